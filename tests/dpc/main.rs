//! The integration tests, one crate so that they link once.

mod accounting;
mod cli;
mod clipping;
mod gradients;
mod onnx;
mod refused;
mod sensitivity;
mod snapshots;
mod units;
mod zoo;
