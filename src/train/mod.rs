//! Training: the data, the optimizers, what a run writes, and the loop that ties them to a device.

#[cfg(feature = "host")]
pub mod checkpoint;
pub mod data;
pub mod dropout;
pub mod empirical;
pub mod engine;
pub mod evaluate;
pub mod finite;
pub mod lr_schedule;
#[cfg(feature = "host")]
pub mod metrics;
pub mod paid;
pub mod physical;
pub mod predict;
#[cfg(feature = "host")]
pub mod progress;
pub mod released;
#[cfg(feature = "host")]
pub mod run_dir;
pub mod step;
#[cfg(feature = "host")]
pub mod trained;
#[cfg(feature = "host")]
pub mod trainer;
pub mod units;
