//! Floats kept in 16 bits.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::contract::work;
use super::{Binding, KernelRules};
use crate::lower::program::Extent;

/// A float of 16 bits. A number is rounded to the nearest one, ties to even; what is too large is infinite, NaN is NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Half {
    /// IEEE binary16: 11 digits, from 2⁻²⁴ to 65,504.
    F16,
    /// The upper half of an `f32`: 8 digits, and the range of `f32`.
    Bf16,
}

impl fmt::Display for Half {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Half::F16 => "f16",
            Half::Bf16 => "bf16",
        })
    }
}

/// How floats are kept in words of 32 bits, two a word, the first in the lower half.
///
/// `exponent` moves the range of the numbers: `half(x · 2^exponent)` is kept, and read as a number times `2^-exponent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Packing {
    /// The floats.
    pub half: Half,
    /// The power of two that they are multiplied by.
    pub exponent: i32,
    /// Floats a record.
    pub len: usize,
}

impl Packing {
    /// Words a record.
    pub fn words(&self) -> usize {
        self.len.div_ceil(2)
    }

    /// What a number is multiplied by before it is rounded.
    pub fn scale(&self) -> f32 {
        2.0_f32.powi(self.exponent)
    }

    pub(super) fn problem(&self) -> Option<String> {
        (!(-64..=64).contains(&self.exponent)).then(|| format!("multiplies by 2^{}", self.exponent))
    }

    fn text(&self) -> String {
        let scale = if self.exponent == 0 { String::new() } else { format!(" × 2^{}", self.exponent) };
        format!("[{}] {}{scale}", self.len, self.half)
    }

    fn bindings(&self, names: [&'static str; 2]) -> [Binding; 2] {
        let (floats, words) = (Extent::rows(self.len), Extent::rows(self.words()));
        [Binding::floats(names[0], floats), Binding::integers(names[1], words)]
    }
}

/// `y[n, j]` holds `x[n, 2j]` and `x[n, 2j + 1]` as [`Packing`] says; a half without a number is 0.
///
/// Buffers: `x`; then `y`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Narrow(pub Packing);

/// `y[n, i]` is the number that [`Narrow`] has kept.
///
/// Buffers: `x`; then `y`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Widen(pub Packing);

impl KernelRules for Narrow {
    fn name(&self) -> &'static str {
        "narrow"
    }

    fn buffers(&self) -> Vec<Binding> {
        let [x, y] = self.0.bindings(["x", "y"]);
        vec![x, y.written()]
    }

    fn problem(&self) -> Option<String> {
        self.0.problem()
    }

    fn flops(&self, rows: usize) -> u64 {
        work(&[rows, self.0.len])
    }

    fn text(&self) -> String {
        self.0.text()
    }
}

impl KernelRules for Widen {
    fn name(&self) -> &'static str {
        "widen"
    }

    fn buffers(&self) -> Vec<Binding> {
        let [y, x] = self.0.bindings(["y", "x"]);
        vec![x, y.written()]
    }

    fn problem(&self) -> Option<String> {
        self.0.problem()
    }

    fn flops(&self, rows: usize) -> u64 {
        work(&[rows, self.0.len])
    }

    fn text(&self) -> String {
        self.0.text()
    }
}
