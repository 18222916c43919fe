//! Cross-entropy and negative log-likelihood of a record; [`crate::passes::attach_loss`] adds them.
//!
//! The loss of a record is the mean over those of its labels that are not ignored, and 0 if there are none.

use super::{Backward, OpRules, VjpError};
use crate::graph::{DType, NodeId, Type};
use crate::lower::kernels::{self, Tokens};
use crate::lower::{LowerError, Lowering};
use crate::passes::prove::Rule;

/// `f32[N]` from scores whose last axis is the classes and labels of the other dims, `i32`.
#[derive(Clone, Debug, PartialEq)]
pub struct CrossEntropy {
    /// The label that does not count.
    pub ignore_index: i32,
    /// Whether the scores are log-probabilities, which are read as they stand, rather than logits.
    pub log_probabilities: bool,
}

/// The cotangent of the scores, from the scores, the labels and the cotangent `f32[N]` of the loss.
#[derive(Clone, Debug, PartialEq)]
pub struct CrossEntropyVjp {
    /// The loss.
    pub loss: CrossEntropy,
}

pub(super) const IMPORTS: &[(&str, Rule)] = &[];

impl CrossEntropy {
    fn name(&self) -> &'static str {
        if self.log_probabilities { "negative_log_likelihood" } else { "cross_entropy" }
    }

    fn tokens(&self, scores: &Type) -> Tokens {
        let classes = scores.dims.last().copied().unwrap_or(1);
        Tokens {
            tokens: scores.len() / classes.max(1),
            classes,
            ignore: self.ignore_index,
            log_probabilities: self.log_probabilities,
        }
    }

    fn check(scores: &Type, label: &Type) -> Result<(), String> {
        let fits = scores.dtype == DType::F32
            && label.dtype == DType::I32
            && label.batched
            && scores.dims.split_last().is_some_and(|(classes, dims)| *classes > 0 && dims == label.dims);
        if fits { Ok(()) } else { Err(format!("labels {label} do not fit scores {scores}")) }
    }
}

impl OpRules for CrossEntropy {
    fn mnemonic(&self) -> String {
        self.name().into()
    }

    fn attributes(&self) -> String {
        format!("ignore={}", self.ignore_index)
    }

    fn infer(&self, operands: &[&Type]) -> Result<Type, String> {
        let [scores, label] = operands else { return Err("takes scores and labels".into()) };
        CrossEntropy::check(scores, label)?;
        Ok(Type::batched([]))
    }

    fn vjp(&self, bw: &mut Backward<'_>) -> Result<Vec<Option<NodeId>>, VjpError> {
        let (scores, label, d) = (bw.operand(0), bw.operand(1), bw.cotangent());
        let dx = bw.emit(CrossEntropyVjp { loss: self.clone() }, &[scores, label, d])?;
        Ok(vec![Some(bw.sum_batch_to(0, dx)?), None])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<(), LowerError> {
        let kernel = kernels::CrossEntropy(self.tokens(cx.operand_ty(0)));
        let reads = [cx.spread(0), cx.operand(1)];
        let out = cx.output();
        cx.launch(kernel, &reads, &[out]);
        Ok(())
    }
}

impl OpRules for CrossEntropyVjp {
    fn mnemonic(&self) -> String {
        format!("{}_vjp", self.loss.name())
    }

    fn attributes(&self) -> String {
        self.loss.attributes()
    }

    fn infer(&self, operands: &[&Type]) -> Result<Type, String> {
        let [scores, label, d] = operands else { return Err("takes scores, labels and a cotangent".into()) };
        CrossEntropy::check(scores, label)?;
        if d.dtype != DType::F32 || !d.dims.is_empty() {
            return Err(format!("{d} is no cotangent of a loss"));
        }
        Ok(Type { batched: true, ..(*scores).clone() })
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<(), LowerError> {
        let kernel = kernels::CrossEntropyVjp(self.loss.tokens(cx.operand_ty(0)));
        let reads = [cx.spread(0), cx.operand(1), cx.spread(2)];
        let out = cx.output();
        cx.launch(kernel, &reads, &[out]);
        Ok(())
    }
}
