//! The clip factor of each record.

use super::OpRules;
use crate::graph::Type;
use crate::lower::kernels;
use crate::lower::program::Extent;
use crate::lower::{LowerError, Lowering, host_outputs};
use crate::privacy::clipping::ClipFunction;

/// From the square norm of each record's gradient in one clip group and the weight of its row, both `f32[N]`, and the
/// bounds of all groups, `f32[K]`, to the factor that bounds the record's share of the group's sum; see
/// [`kernels::ClipFactor`]. Between square norm and weight may stand bounds on the rounding errors of the square and, squared,
/// of the norm and of the norm for each row of a physical batch, `f32[N]` each.
///
/// A sum of squares loses a little by rounding too, in proportion to itself, which `additions` make up for.
#[derive(Clone, Debug, PartialEq)]
pub struct ClipFactor {
    /// The name of the clip rule's scope, for people.
    pub scope: &'static str,
    /// How a norm becomes a factor.
    pub function: ClipFunction,
    /// The clip group.
    pub group: usize,
    /// Number of clip groups, K.
    pub groups: usize,
    /// The longest chain of additions on the way to the square norm.
    pub additions: usize,
    /// Whether the factor is to grid units.
    pub grid: bool,
}

impl OpRules for ClipFactor {
    fn mnemonic(&self) -> String {
        "clip_factor".into()
    }

    fn text(&self, operands: &[String]) -> String {
        let group = if self.groups > 1 { format!("[{}]", self.group) } else { String::new() };
        let rule = match (self.scope, self.function) {
            (scope, ClipFunction::Threshold) => format!("{scope}{group}"),
            ("flat", ClipFunction::Automatic { gamma }) => format!("auto(γ={gamma:?})"),
            (scope, ClipFunction::Automatic { gamma }) => format!("{scope}{group} auto(γ={gamma:?})"),
        };
        let grid = if self.grid { "grid " } else { "" };
        format!("clip_factor {grid}{rule} {}", operands.join(", "))
    }

    fn infer(&self, operands: &[&Type]) -> Result<Type, String> {
        let [records @ .., bounds] = operands else { return Err("takes operands".into()) };
        if !matches!(records.len(), 2 | 4 | 5) || records.iter().any(|ty| **ty != Type::batched([])) {
            return Err("takes the square norms, what rounding hides if anything, and the weights, f32[N] each".into());
        }
        if **bounds != Type::shared([self.groups]) || self.group >= self.groups {
            return Err(format!("takes the bounds of {} clip groups", self.groups));
        }
        Ok(Type::batched([]))
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<(), LowerError> {
        let errors = cx.arity() - 3;
        // Bounds that are not there have their buffers all the same, which the kernel does not read.
        let at = |i: usize| if i <= errors { i } else { 0 };
        let reads = [0, at(1), at(2), at(3), errors + 1, errors + 2].map(|i| cx.operand(i));
        let out = cx.output();
        let norm = cx.result(host_outputs::NORM, self.groups);
        let ClipFactor { function, group, groups, additions, grid, .. } = *self;
        let records = Extent::rows(1);
        let kernel = kernels::ClipFactor { records, function, group, groups, errors, additions, grid };
        cx.launch(kernel, &reads, &[out, norm]);
        Ok(())
    }
}
