//! dpc
pub mod files;
pub mod tensors;
pub mod train;
