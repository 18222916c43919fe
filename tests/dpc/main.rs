//! The integration tests, one crate so that they link once.

mod accounting;
mod audit;
mod cli;
mod clipping;
mod crash;
mod damaged;
mod empty;
mod faults;
mod forms;
mod gradients;
mod losses;
mod mutations;
mod onnx;
mod opsets;
mod place;
mod privacy;
mod recurrences;
mod refused;
mod runs;
mod seeds;
mod sensitivity;
mod situations;
mod snapshots;
mod units;
mod zoo;
