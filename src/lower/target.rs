//! What the compiler asks of the devices that may run a program, so that it need not know them.

use miette::Diagnostic;
use thiserror::Error;

use super::kernels::Kernel;
use super::program::{Dispatch, Extent, Program};

/// How often what is added up may be rounded on its way into a result of a kernel. Each rounding may take a unit roundoff of
/// all that is added up, signs aside; the last one, to the number that is stored, takes one of the result and does not count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rounding {
    /// On its way into what is then squared or multiplied: an element of a gradient, or two inner products; and into what a
    /// record adds to a sum over records. In unit roundoffs of `f32`: less than one where it is worked out in more bits.
    pub element: f64,
    /// From there on its way to the result; where nothing is squared, all the way.
    pub square: usize,
    /// On its way through a sum over records, where it meets what others add.
    pub records: Extent,
}

impl Rounding {
    /// Of a kernel that no bound is known for: a record whose norm depended on it would never count.
    pub const UNBOUNDED: Rounding = Rounding {
        element: f64::INFINITY,
        square: usize::MAX,
        records: Extent { per_row: usize::MAX, fixed: usize::MAX },
    };

    /// Of a sum of `square` additions.
    pub const fn sum(square: usize) -> Rounding {
        Rounding { element: 0.0, square, records: Extent::fixed(0) }
    }

    /// The larger of each.
    pub fn max(self, other: Rounding) -> Rounding {
        let (one, two) = (self.records, other.records);
        Rounding {
            element: self.element.max(other.element),
            square: self.square.max(other.square),
            records: Extent { per_row: one.per_row.max(two.per_row), fixed: one.fixed.max(two.fixed) },
        }
    }
}

/// A kind of device that a program is compiled for.
pub trait Target: Sync {
    /// A name for it and the version of the bounds that [`Target::rounding`] gives: another number with every change, so that no
    /// device of another version runs a program that allows for less than it needs.
    fn id(&self) -> &'static str;

    /// Versions of before, whose bounds were nowhere smaller: what was compiled for them can be run.
    fn earlier(&self) -> &'static [&'static str];

    /// What keeps every device of the kind from running a dispatch, whatever the physical batch.
    fn refusal(&self, dispatch: &Dispatch) -> Option<Refusal>;

    /// Bytes that a program takes at a physical batch of `rows`.
    fn bytes(&self, program: &Program, rows: usize) -> usize;

    /// How often a kernel rounds at most on any device of the kind; [`Rounding::UNBOUNDED`] for those that make no norm.
    fn rounding(&self, kernel: &Kernel) -> Rounding;
}

/// The kinds of device that a program is compiled for: each of them can run it.
#[derive(Clone, Copy)]
pub struct Targets<'a>(pub &'a [&'a dyn Target]);

impl Targets<'_> {
    /// The [`Target::id`] of each.
    pub fn ids(&self) -> Vec<String> {
        self.0.iter().map(|target| target.id().to_owned()).collect()
    }

    /// Bytes that a program takes at a physical batch of `rows` on the target that needs most.
    pub fn bytes(&self, program: &Program, rows: usize) -> usize {
        self.0.iter().map(|target| target.bytes(program, rows)).max().unwrap_or(0)
    }

    /// How often a kernel rounds at most on any target.
    pub fn rounding(&self, kernel: impl Into<Kernel>) -> Rounding {
        self.rounding_of(&[kernel.into()])
    }

    /// How often kernels round at most on any target, of which each after the first adds up what the one before it yields.
    pub fn rounding_of(&self, kernels: &[Kernel]) -> Rounding {
        let of = |target: &&dyn Target| {
            let mut kernels = kernels.iter().map(|kernel| target.rounding(kernel));
            let first = kernels.next().unwrap_or(Rounding::UNBOUNDED);
            let square = kernels.fold(first.square, |square, next| square.saturating_add(next.square));
            Rounding { square, ..first }
        };
        self.0.iter().map(of).fold(Rounding::sum(0), Rounding::max)
    }

    /// Makes sure that every dispatch can run on every target.
    ///
    /// # Errors
    /// Every dispatch that cannot.
    pub fn check(&self, program: &Program) -> Result<(), Unrunnable> {
        let dispatches = program.phases.values().flatten();
        let problems: Vec<Refusal> =
            dispatches.flat_map(|dispatch| self.0.iter().find_map(|target| target.refusal(dispatch))).collect();
        if problems.is_empty() { Ok(()) } else { Err(Unrunnable { problems }) }
    }
}

/// A program whose clip factors do not allow for how a device rounds, so that a record might count for more than its bound.
#[derive(Debug, Error, Diagnostic)]
#[error("the program was compiled for {}, and not for `{target}`", if .targets.is_empty() { "no device".to_owned() } else { format!("`{}`", .targets.join("`, `")) })]
#[diagnostic(
    code(dpc::device::other_target),
    help("compile the model again with a dpc that has this device: clipping allows for how each device rounds")
)]
pub struct OtherTarget {
    /// The device's kind.
    pub target: String,
    /// Those that it was compiled for.
    pub targets: Vec<String>,
}

/// A program that some target cannot run.
#[derive(Debug, Error, Diagnostic)]
#[error("no shaders can be made for {} of the dispatches", .problems.len())]
#[diagnostic(code(dpc::emit::refused))]
pub struct Unrunnable {
    /// One for each dispatch.
    #[related]
    pub problems: Vec<Refusal>,
}

/// What stands between a dispatch and a device.
#[derive(Debug, Error, Diagnostic)]
pub enum Refusal {
    /// More buffers than WebGPU guarantees.
    #[error("`{label}` ({template}) binds {count} buffers, and a shader has at most {most}")]
    #[diagnostic(code(dpc::emit::buffers), help("this is a defect of dpc: fusion should have stopped before"))]
    TooManyBuffers {
        /// The dispatch.
        label: String,
        /// Its kernel.
        template: &'static str,
        /// Its buffers.
        count: usize,
        /// The most there may be.
        most: usize,
    },
    /// A loop that some drivers cut short without an error.
    #[error("`{label}` ({template}) takes a loop of {iterations} iterations, and drivers allow {most}")]
    #[diagnostic(
        code(dpc::emit::iterations),
        help("make the tensor smaller, or choose another way for its norm with `--norm materialize`")
    )]
    TooManyIterations {
        /// The dispatch.
        label: String,
        /// Its kernel.
        template: &'static str,
        /// The loop's iterations.
        iterations: usize,
        /// The most there may be.
        most: usize,
    },
    /// A shader that drivers would take minutes over.
    #[error(
        "the shader of `{label}` ({template}) has {size} expressions with all that it calls, and dpc allows {most}"
    )]
    #[diagnostic(
        code(dpc::emit::size),
        help(
            "drivers take minutes over such a shader; it comes of a kernel of a custom op, or of a long chain of element-wise functions: make it shorter, or use `--device cpu`"
        )
    )]
    TooLarge {
        /// The dispatch.
        label: String,
        /// Its kernel.
        template: &'static str,
        /// The expressions.
        size: usize,
        /// The most there may be.
        most: usize,
    },
    /// WGSL that is not valid.
    #[error("the shader of `{label}` ({template}) is not valid: {what}")]
    #[diagnostic(code(dpc::emit::invalid), help("this is a defect of dpc"))]
    Invalid {
        /// The dispatch.
        label: String,
        /// Its kernel.
        template: &'static str,
        /// The parser's words.
        what: String,
    },
}
