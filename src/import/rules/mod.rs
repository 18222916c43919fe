//! The import rules, one file an ONNX op family.

mod activation;
mod attention;
mod batch_normalization;
mod cast;
mod concat;
mod constant_of_shape;
mod conv;
mod dropout;
mod elementwise;
mod expand;
mod gather;
mod gather_nd;
mod identity;
mod lstm;
mod matmul;
mod normalization;
mod pool;
mod random;
mod range;
mod reduce;
mod reshape;
mod slice;
mod softmax;
mod split;
mod transpose;
mod variadic;

use super::Rule;

/// A line a family.
const FAMILIES: &[&[(&str, Rule)]] = &[
    activation::RULES,
    attention::RULES,
    batch_normalization::RULES,
    cast::RULES,
    concat::RULES,
    constant_of_shape::RULES,
    conv::RULES,
    dropout::RULES,
    elementwise::RULES,
    expand::RULES,
    gather::RULES,
    gather_nd::RULES,
    identity::RULES,
    lstm::RULES,
    matmul::RULES,
    normalization::RULES,
    pool::RULES,
    random::RULES,
    range::RULES,
    reduce::RULES,
    reshape::RULES,
    slice::RULES,
    softmax::RULES,
    split::RULES,
    transpose::RULES,
    variadic::RULES,
];

/// Every rule, by ONNX op type.
pub fn rules() -> impl Iterator<Item = (&'static str, Rule)> {
    FAMILIES.iter().copied().flatten().copied()
}
