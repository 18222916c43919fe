//! Training: the data, the optimizers, what a run writes, and the loop that ties them to a device.

pub mod checkpoint;
pub mod data;
pub mod dropout;
pub mod engine;
pub mod evaluate;
pub mod finite;
pub mod lr_schedule;
pub mod metrics;
pub mod paid;
pub mod physical;
pub mod predict;
pub mod progress;
pub mod run_dir;
pub mod step;
pub mod trained;
pub mod trainer;
pub mod units;
