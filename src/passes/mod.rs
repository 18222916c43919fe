//! The passes, in the order in which [`crate::compile`] runs them. Each has one public function that takes a graph and
//! returns one, and knows nothing of the others.

pub mod attach_loss;
pub mod collapse;
pub mod differentiate;
pub mod fuse;
pub mod fuse_sums;
pub mod inference;
pub mod narrow;
pub mod privatize;
pub mod simplify;
pub mod strategy;
pub mod verify;
