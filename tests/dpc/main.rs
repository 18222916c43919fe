//! The integration tests, one crate so that they link once.

mod accounting;
mod cli;
mod gradients;
mod onnx;
mod sensitivity;
mod zoo;
