//! How a GPU runs each kernel, one a file: its WGSL template, and the launches that its work is cut into.

mod launch;
mod operand;

use launch::{Lanes, Span, TILE_ROUNDINGS, Tile, linear_grid, literal, words};
pub use launch::{Launch, MAX_ITERATIONS};
use operand::specialise_views;

use super::emit::Specialise;
use crate::lower::kernels::{Kernel, KernelRules, Reduce, for_each_kernel};
use crate::lower::target::Rounding;

/// The template of a kernel.
pub trait Template {
    /// Its text, a file of `shaders/`.
    const WGSL: &'static str;
}

/// How a kernel's work is cut into launches.
pub trait Schedule {
    /// Specialises the template, by what the kernel's launches do not say; by default it is used as it stands.
    fn specialise(&self, _template: &mut Specialise) {}

    /// The launches at a physical batch of `rows`, in order. More than one where a grid or a loop would pass a limit.
    fn launches(&self, rows: usize) -> Vec<Launch>;

    /// The most iterations of one invocation that no launch can split, one more for every loop that is left; a kernel with
    /// more than [`MAX_ITERATIONS`] is refused.
    fn iterations(&self) -> usize {
        0
    }

    /// How often a sum of the kernel rounds at most.
    fn rounding(&self) -> Rounding {
        Rounding::UNBOUNDED
    }

    /// Where the launches leave partial results in scratch memory, in place of the last buffer: the kernel that makes it of
    /// them.
    fn sum_of_parts(&self, _rows: usize) -> Option<Reduce> {
        None
    }
}

/// Floats of scratch memory for the partial results of a kernel.
pub fn scratch(kernel: &Kernel, rows: usize) -> usize {
    let parts = schedule(kernel).1.sum_of_parts(rows);
    parts.and_then(|parts| parts.buffers().first().map(|partial| partial.len.at(rows))).unwrap_or(0)
}

/// Declares the schedules.
macro_rules! schedule_table {
    ($($module:ident { $($kernel:ident),* })*) => {
        $(mod $module;)*

        /// The template of a kernel and how its work is cut.
        pub fn schedule(kernel: &Kernel) -> (&'static str, &dyn Schedule) {
            match kernel {
                $($(Kernel::$kernel(k) => (<crate::lower::kernels::$kernel as Template>::WGSL, k),)*)*
            }
        }

        /// All templates with the names of their kernels.
        #[cfg(test)]
        pub const TEMPLATES: &[(&str, &str)] = &[
            $($((stringify!($kernel), <crate::lower::kernels::$kernel as Template>::WGSL),)*)*
        ];
    };
}

for_each_kernel!(schedule_table);
