//! Privacy.

mod clipping;
pub use clipping::ClipRule;
