//! The integration tests, one crate so that they link once.

mod accounting;
mod audit;
mod cli;
mod clipping;
mod crash;
mod faults;
mod gradients;
mod onnx;
mod place;
mod privacy;
mod refused;
mod runs;
mod seeds;
mod sensitivity;
mod snapshots;
mod units;
mod zoo;
