//! dpc
pub mod files;
pub mod onnx;
pub mod tensors;
pub mod train;
