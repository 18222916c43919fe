//! The import rules, one file an ONNX op family.

mod batch_normalization;
mod cast;
mod concat;
mod constant_of_shape;
mod conv;
mod dropout;
mod elementwise;
mod expand;
mod gather;
mod gru;
mod identity;
mod lstm;
mod matmul;
mod pool;
mod recurrent;
mod reduce;
mod reshape;
mod rnn;
mod slice;
mod softmax;
mod split;
mod transpose;

use super::Rule;

/// A line a family.
const FAMILIES: &[&[(&str, Rule)]] = &[
    batch_normalization::RULES,
    cast::RULES,
    concat::RULES,
    constant_of_shape::RULES,
    conv::RULES,
    dropout::RULES,
    elementwise::RULES,
    expand::RULES,
    gather::RULES,
    gru::RULES,
    identity::RULES,
    lstm::RULES,
    matmul::RULES,
    pool::RULES,
    reduce::RULES,
    reshape::RULES,
    rnn::RULES,
    slice::RULES,
    softmax::RULES,
    split::RULES,
    transpose::RULES,
];

/// Every rule, by ONNX op type.
pub fn rules() -> impl Iterator<Item = (&'static str, Rule)> {
    FAMILIES.iter().copied().flatten().copied()
}
