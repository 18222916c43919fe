//! The compiler's graph.

pub mod axes;
mod types;

pub use types::{DType, Type, broadcast, strides};
