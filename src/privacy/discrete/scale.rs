//! The parameter s of the discrete Gaussian.

use miette::Diagnostic;
use thiserror::Error;

/// The parameter s of `N_Z(0, s²)`, a multiple of 2⁻²⁰ in (0, 2⁴⁰). It is in units of the grid that is drawn on, and next to the
/// standard deviation (a little below it for s < 1, and equal to many digits above).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scale(u64);

impl Scale {
    /// The base-2 logarithm of the steps of one unit.
    pub const FRACTION_BITS: u32 = 20;
    /// The base-2 logarithm of what every s is below.
    pub const INTEGER_BITS: u32 = 40;

    /// `steps · 2⁻²⁰`.
    ///
    /// # Errors
    /// When that is 0, or 2⁴⁰ or more.
    pub fn from_steps(steps: u64) -> Result<Scale, ScaleError> {
        match steps {
            0 => Err(ScaleError::Zero),
            _ if steps >> (Scale::FRACTION_BITS + Scale::INTEGER_BITS) != 0 => Err(ScaleError::TooLarge),
            _ => Ok(Scale(steps)),
        }
    }

    /// s in steps of 2⁻²⁰.
    pub fn steps(self) -> u64 {
        self.0
    }

    /// s, rounded to the nearest `f64`. To be shown, not to draw by.
    pub fn to_f64(self) -> f64 {
        self.0 as f64 / f64::from(1 << Scale::FRACTION_BITS)
    }
}

/// A parameter that no noise is drawn with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error, Diagnostic)]
pub enum ScaleError {
    /// s is 0, where no noise should be drawn at all.
    #[error("the discrete Gaussian's parameter is 0")]
    #[diagnostic(code(dpc::privacy::discrete::zero), help("draw no noise, or use a noise multiplier above 0"))]
    Zero,
    /// s is not below 2⁴⁰.
    #[error("the discrete Gaussian's parameter is 2^{} or more", Scale::INTEGER_BITS)]
    #[diagnostic(code(dpc::privacy::discrete::large), help("use a coarser grid or a smaller noise multiplier"))]
    TooLarge,
}
