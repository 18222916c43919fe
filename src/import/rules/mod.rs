//! The import rules, one file an ONNX op family.

mod activation;
mod arg;
mod attention;
mod batch_normalization;
mod cast;
mod col2im;
mod compress;
mod concat;
mod constant_of_shape;
mod conv;
mod cum_sum;
mod depth_to_space;
mod det;
mod dropout;
mod einsum;
mod elementwise;
mod expand;
mod eye_like;
mod gather;
mod gather_elements;
mod gather_nd;
mod gradient;
mod grid_sample;
mod gru;
mod identity;
mod loss;
mod lrn;
mod lstm;
mod matmul;
mod max_unpool;
mod normalization;
mod one_hot;
mod optimizer;
mod pad;
mod pool;
mod quantize;
mod random;
mod range;
mod recurrent;
mod reduce;
mod reshape;
mod resize;
mod rnn;
mod rotary_embedding;
mod scatter;
mod slice;
mod softmax;
mod split;
mod tile;
mod transpose;
mod trilu;
mod variadic;

use super::Rule;

/// A line a family.
const FAMILIES: &[&[(&str, Rule)]] = &[
    activation::RULES,
    arg::RULES,
    attention::RULES,
    batch_normalization::RULES,
    cast::RULES,
    col2im::RULES,
    compress::RULES,
    concat::RULES,
    constant_of_shape::RULES,
    conv::RULES,
    cum_sum::RULES,
    depth_to_space::RULES,
    det::RULES,
    dropout::RULES,
    einsum::RULES,
    elementwise::RULES,
    expand::RULES,
    eye_like::RULES,
    gather::RULES,
    gather_elements::RULES,
    gather_nd::RULES,
    gradient::RULES,
    grid_sample::RULES,
    gru::RULES,
    identity::RULES,
    loss::RULES,
    lrn::RULES,
    lstm::RULES,
    matmul::RULES,
    max_unpool::RULES,
    normalization::RULES,
    one_hot::RULES,
    optimizer::RULES,
    pad::RULES,
    pool::RULES,
    quantize::RULES,
    random::RULES,
    range::RULES,
    reduce::RULES,
    reshape::RULES,
    resize::RULES,
    rnn::RULES,
    rotary_embedding::RULES,
    scatter::RULES,
    slice::RULES,
    softmax::RULES,
    split::RULES,
    tile::RULES,
    transpose::RULES,
    trilu::RULES,
    variadic::RULES,
];

/// Every rule, by ONNX op type, before which the domain stands where it is not ONNX's own.
pub fn rules() -> impl Iterator<Item = (&'static str, Rule)> {
    FAMILIES.iter().copied().flatten().copied()
}
