//! The clip factor of each record.

use super::OpRules;
use crate::graph::Type;
use crate::lower::kernels;
use crate::lower::{LowerError, Lowering, host_outputs};
use crate::passes::prove::Rule;
use crate::privacy::ClipRule;

/// From the square norm of each record's gradient and the weight of its row, both `f32[N]`, to the factor that bounds
/// the record's share of the sum; see [`kernels::ClipFactor`].
#[derive(Clone, Debug, PartialEq)]
pub struct ClipFactor {
    /// The clip rule.
    pub rule: ClipRule,
}

pub(super) const IMPORTS: &[(&str, Rule)] = &[];

impl OpRules for ClipFactor {
    fn mnemonic(&self) -> String {
        "clip_factor".into()
    }

    fn text(&self, operands: &[String]) -> String {
        format!("clip_factor {} {}", self.rule, operands.join(", "))
    }

    fn infer(&self, operands: &[&Type]) -> Result<Type, String> {
        match operands {
            [sq, weight] if **sq == Type::batched([]) && **weight == Type::batched([]) => Ok(Type::batched([])),
            _ => Err("takes the square norms and the weights, f32[N] each".into()),
        }
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<(), LowerError> {
        let reads = [cx.operand(0), cx.operand(1)];
        let out = cx.output();
        let norm = cx.result(host_outputs::NORM);
        cx.launch(kernels::ClipFactor { rule: self.rule }, &reads, &[out, norm]);
        Ok(())
    }
}
