//! dpc: an ONNX-graph rewriting compiler for differentially private training.

pub mod artifact;
pub mod cli;
pub mod compile;
pub mod device;
pub mod files;
pub mod graph;
pub mod lower;
pub mod onnx;
pub mod ops;
pub mod options;
pub mod passes;
pub mod privacy;
pub mod tensors;
pub mod train;
