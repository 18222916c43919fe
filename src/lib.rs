//! dpc: an ONNX-graph rewriting compiler for differentially private training.
//!
//! [`onnx`] reads a model; [`compile::compile`] proves by [`import`] that it treats every record alone, differentiates
//! it, makes the gradient private and lowers it to a [`lower::program::Program`]; [`artifact`] keeps that in a file; [`train`] runs it
//! on a [`device`] under the plan, the noise and the ledger of [`privacy`], and [`audit`] checks that. [`graph`], [`ops`] and [`passes`] are the
//! compiler's inside, and [`cli`] is the program around all of it. The README tells the whole story.

pub mod artifact;
#[cfg(all(feature = "cpu", feature = "gpu", feature = "host"))]
pub mod audit;
#[cfg(all(feature = "cpu", feature = "gpu", feature = "host"))]
pub mod cli;
pub mod compile;
pub mod device;
pub mod files;
pub mod glob;
pub mod graph;
pub mod import;
pub mod library;
pub mod lower;
mod memory;
pub mod onnx;
pub mod ops;
pub mod options;
mod panics;
pub mod passes;
#[cfg(feature = "host")]
pub mod picture;
pub mod privacy;
pub mod ranks;
#[cfg(feature = "host")]
pub mod report;
pub mod schema;
pub mod tensors;
#[cfg(test)]
mod tests;
pub mod train;

pub use compile::Options;
pub use library::{Compiled, Error, Model, Setup, Step, Trainer};
