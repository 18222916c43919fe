//! The clip factor of each record.

use super::OpRules;
use crate::graph::Type;
use crate::lower::kernels;
use crate::lower::program::Extent;
use crate::lower::{LowerError, Lowering, host_outputs};
use crate::passes::prove::Rule;
use crate::privacy::clipping::ClipFunction;

/// From the square norm of each record's gradient in one clip group and the weight of its row, both `f32[N]`, and the
/// bounds of all groups, `f32[K]`, to the factor that bounds the record's share of the group's sum; see
/// [`kernels::ClipFactor`].
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
}

pub(super) const IMPORTS: &[(&str, Rule)] = &[];

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
        format!("clip_factor {rule} {}", operands.join(", "))
    }

    fn infer(&self, operands: &[&Type]) -> Result<Type, String> {
        let [sq, weight, bounds] = operands else { return Err("takes three operands".into()) };
        if [sq, weight].iter().any(|ty| ***ty != Type::batched([])) {
            return Err("takes the square norms and the weights, f32[N] each".into());
        }
        if **bounds != Type::shared([self.groups]) || self.group >= self.groups {
            return Err(format!("takes the bounds of {} clip groups", self.groups));
        }
        Ok(Type::batched([]))
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<(), LowerError> {
        let reads = [cx.operand(0), cx.operand(1), cx.operand(2)];
        let out = cx.output();
        let norm = cx.result(host_outputs::NORM, self.groups);
        let ClipFactor { function, group, groups, .. } = *self;
        cx.launch(kernels::ClipFactor { records: Extent::rows(1), function, group, groups }, &reads, &[out, norm]);
        Ok(())
    }
}
