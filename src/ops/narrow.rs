//! Values that are kept in 16 bits.
//!
//! Whoever reads such a value reads the same rounded numbers, so that the norm of a gradient and the sum that it is clipped
//! for are of one and the same gradient. Sums of them are of `f32`, as everywhere.

use super::OpRules;
use crate::graph::{DType, Type};
use crate::lower::kernels::{self, Half, Packing};
use crate::lower::program::Extent;
use crate::lower::{LowerError, Lowering};

/// The operand, each number of it rounded to 16 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Narrow {
    /// What it is rounded to.
    pub half: Half,
    /// The power of two that numbers are multiplied by before they are rounded, and divided by after.
    pub exponent: i32,
}

impl OpRules for Narrow {
    fn mnemonic(&self) -> String {
        "narrow".into()
    }

    fn attributes(&self) -> String {
        let scale = if self.exponent == 0 { String::new() } else { format!(" × 2^{}", self.exponent) };
        format!("{}{scale}", self.half)
    }

    fn infer(&self, operands: &[&Type]) -> Result<Type, String> {
        match operands {
            [x] if x.dtype == DType::F32 && x.batched => Ok((*x).clone()),
            _ => Err("takes one float of each record".into()),
        }
    }

    /// The value's buffer holds words; [`widen`](crate::lower::widen) makes floats of them where they are read.
    fn lower(&self, cx: &mut Lowering<'_>) -> Result<(), LowerError> {
        let packing = Packing { half: self.half, exponent: self.exponent, len: cx.ty().len() };
        let read = cx.operand(0);
        let words = cx.output_as(DType::I32, Extent::rows(packing.words()));
        cx.launch(kernels::Narrow(packing), &[read], &[words]);
        Ok(())
    }
}
