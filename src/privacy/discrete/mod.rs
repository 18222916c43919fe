//! Exact discrete Gaussian noise.
//!
//! The discrete Gaussian `N_Z(0, s²)` has `P[z] ∝ exp(-z²/2s²)` over all integers z (Canonne, Kamath and Steinke 2020,
//! <https://arxiv.org/abs/2004.00010>, Definition 1). Added to a sum of integers whose sensitivity is known, it leaves no low bits
//! that tell anything: what floating-point noise cannot have (Mironov 2012).
//!
//! | module | does |
//! |---|---|
//! | [`scale`] | holds s, a fixed-point number |
//! | [`exact`] | probabilities to any number of bits, with proved rounding |
//! | [`sampler`] | draws, in integers and without any error of the distribution |
//! | [`words`] | which part of the key stream each draw reads |
//! | [`noise`] | the noise of any element of any parameter at any step |
//! | [`accounting`] | what the discrete mechanism costs beyond the continuous one, and the s that a noise multiplier takes |
//! | [`grid`] | which integers stand for numbers beside the gradient |

pub mod accounting;
pub mod grid;
pub mod noise;
pub mod sampler;
pub mod scale;

mod exact;
#[cfg(test)]
mod tests;
mod words;

pub use accounting::{Excess, ParameterError, Smoothing};
pub use grid::Grid;
pub use noise::{DiscreteNoise, NoRoom};
pub use sampler::DiscreteGaussian;
pub use scale::{Scale, ScaleError};
