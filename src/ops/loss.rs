//! Cross-entropy and negative log-likelihood of a record; [`crate::passes::attach_loss`] adds them.
//!
//! The loss of a record is the sum over those of its labels that are not ignored, divided by their number, and 0 if there
//! are none.

use super::{Backward, OpRules, VjpError};
use crate::graph::{DType, NodeId, Type};
use crate::lower::kernels::{self, Tokens, WeightedTokens};
use crate::lower::{LowerError, Lowering};

/// `f32[N]` from scores whose last axis is the classes, labels of the other dims, `i32`, and where there is a third operand
/// the weight of each class.
#[derive(Clone, Debug, PartialEq)]
pub struct CrossEntropy {
    /// The label that does not count.
    pub ignore_index: i32,
    /// Whether the scores are log-probabilities, which are read as they stand, rather than logits.
    pub log_probabilities: bool,
    /// The share of each label that is spread evenly over the classes; above 0 only with weights.
    pub smoothing: f32,
}

/// The cotangent of the scores, from the operands of the loss and its cotangent `f32[N]`.
#[derive(Clone, Debug, PartialEq)]
pub struct CrossEntropyVjp {
    /// The loss.
    pub loss: CrossEntropy,
}

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

    fn weighted(&self, scores: &Type) -> WeightedTokens {
        WeightedTokens { of: self.tokens(scores), smoothing: self.smoothing }
    }

    fn check(&self, operands: &[&Type]) -> Result<(), String> {
        let (scores, label, weights) = match operands {
            [scores, label] if self.smoothing == 0.0 => (scores, label, None),
            [scores, label, weights] => (scores, label, Some(weights)),
            _ => return Err("takes scores, labels and perhaps weights".into()),
        };
        if let Some(weights) = weights {
            let classes = scores.dims.last().copied().unwrap_or_default();
            if **weights != Type::shared([classes]) {
                return Err(format!("weights {weights} do not fit scores {scores}"));
            }
        }
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
        let smoothing = if self.smoothing > 0.0 { format!(" smoothing={}", self.smoothing) } else { String::new() };
        format!("ignore={}{smoothing}", self.ignore_index)
    }

    fn infer(&self, operands: &[&Type]) -> Result<Type, String> {
        self.check(operands)?;
        Ok(Type::batched([]))
    }

    fn vjp(&self, bw: &mut Backward<'_>) -> Result<Vec<Option<NodeId>>, VjpError> {
        let mut operands: Vec<NodeId> = (0..bw.arity()).map(|k| bw.operand(k)).collect();
        operands.push(bw.cotangent());
        let dx = bw.emit(CrossEntropyVjp { loss: self.clone() }, &operands)?;
        let mut out = vec![None; bw.arity()];
        out[0] = Some(bw.sum_batch_to(0, dx)?);
        Ok(out)
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<(), LowerError> {
        let reads = [cx.spread(0), cx.operand(1)];
        let out = cx.output();
        match cx.arity() {
            2 => cx.launch(kernels::CrossEntropy(self.tokens(cx.operand_ty(0))), &reads, &[out]),
            _ => {
                let kernel = kernels::WeightedCrossEntropy(self.weighted(cx.operand_ty(0)));
                let weights = cx.operand(2);
                cx.launch(kernel, &[&reads[..], &[weights]].concat(), &[out]);
            }
        }
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
        let Some((d, operands)) = operands.split_last() else { return Err("takes a loss's operands".into()) };
        self.loss.check(operands)?;
        if d.dtype != DType::F32 || !d.dims.is_empty() {
            return Err(format!("{d} is no cotangent of a loss"));
        }
        Ok(Type { batched: true, ..(*operands[0]).clone() })
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<(), LowerError> {
        let last = cx.arity() - 1;
        let (scores, label, d) = (cx.spread(0), cx.operand(1), cx.spread(last));
        let out = cx.output();
        match cx.arity() {
            3 => cx.launch(kernels::CrossEntropyVjp(self.loss.tokens(cx.operand_ty(0))), &[scores, label, d], &[out]),
            _ => {
                let kernel = kernels::WeightedCrossEntropyVjp(self.loss.weighted(cx.operand_ty(0)));
                let weights = cx.operand(2);
                cx.launch(kernel, &[scores, label, weights, d], &[out]);
            }
        }
        Ok(())
    }
}
