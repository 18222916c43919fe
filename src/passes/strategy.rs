//! The cost model that picks how each square norm is computed.
//!
//! For `g = Σ_t a_t ⊗ b_t` with `T` positions, `a` of width `d` and `b` of width `p`, per record and group:
//!
//! | strategy | extra FLOPs | bytes moved | then the weighted sum |
//! |---|---|---|---|
//! | materialize | `2pd` (norm) `+ 2pd` (sum), the product replaces the weighted one | `4·3pd` | from the stored gradients |
//! | ghost | `T²(p+d)`, symmetric | tiles only | one product |
//! | tile | `2Tpd` | tiles only | one product |
//! | outer (`T = 1`) | `p+d` | none | one product |
//!
//! Ghost norms are out of the question where rounding could hide a share of the square, since that is added to it
//! (see [`ghost_rounding`]).
//!
//! The rates are those of a mid-range device; only their ratios matter for the choice.

use super::privatize::rounding::{Bounds, ghost_rounding};
use crate::ops::outer::Outer;

/// A strategy for a square norm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NormStrategy {
    /// Store the per-sample gradient.
    Materialize,
    /// Gram matrices of positions.
    Ghost,
    /// Tiles of the gradient, squared and dropped.
    Tile,
    /// The product of two norms, for a single position.
    Outer,
    /// Runs of equal ids.
    Segment,
}

impl NormStrategy {
    /// The name in the textual form and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            NormStrategy::Materialize => "materialize",
            NormStrategy::Ghost => "ghost",
            NormStrategy::Tile => "tile",
            NormStrategy::Outer => "outer",
            NormStrategy::Segment => "segment",
        }
    }
}

/// What a device does in a second.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    /// Floating-point operations in matrix products.
    pub flops: f64,
    /// Bytes to and from memory.
    pub bytes: f64,
    /// The share of `flops` that the norm kernels reach, whose tiles are small.
    pub norm_efficiency: f64,
}

impl Default for Rates {
    fn default() -> Self {
        Rates { flops: 1e11, bytes: 2e10, norm_efficiency: 0.5 }
    }
}

/// The most elements of a per-sample gradient that is stored without being asked for: a physical batch of 64 then takes
/// 64 MiB, half of what one binding holds at least.
const LARGEST_STORED: usize = 1 << 18;

/// What rounding may hide of a square without making much of a difference, where nothing cancels.
const LARGEST_ROUNDING: f64 = 1e-2;

/// Seconds per record that each strategy costs on top of the non-private pass.
pub fn costs(outer: &Outer, rates: Rates, bounds: Bounds<'_>) -> Vec<(NormStrategy, f64)> {
    let (t, d, p, g) = (outer.steps as f64, outer.rows as f64, outer.cols as f64, outer.groups as f64);
    let norm = rates.flops * rates.norm_efficiency;
    let mut out = vec![(NormStrategy::Tile, g * 2.0 * t * p * d / norm)];
    // Where no terms cancel, the square of their total length is about T times that of the gradient.
    let hidden = t * ghost_rounding(bounds, outer);
    match outer.steps {
        1 => out.push((NormStrategy::Outer, g * (p + d) / norm)),
        _ if hidden > LARGEST_ROUNDING => {}
        _ => out.push((NormStrategy::Ghost, g * t * t * (p + d) / norm)),
    }
    if outer.groups * outer.rows * outer.cols <= LARGEST_STORED {
        out.push((NormStrategy::Materialize, g * (4.0 * p * d / norm + 12.0 * p * d / rates.bytes)));
    }
    out
}

/// The cheapest strategy.
pub fn choose(outer: &Outer, rates: Rates, bounds: Bounds<'_>) -> NormStrategy {
    let costs = costs(outer, rates, bounds);
    costs.into_iter().min_by(|x, y| x.1.total_cmp(&y.1)).map_or(NormStrategy::Tile, |(strategy, _)| strategy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::TARGETS;
    use crate::lower::kernels::View;

    fn outer(steps: usize, rows: usize, cols: usize) -> Outer {
        let view = View::Strided { record: 0, group: 0, row: 1, col: 1 };
        Outer { groups: 1, rows, cols, steps, a: view, b: view }
    }

    #[test]
    fn each_way_wins_where_it_should() {
        assert_eq!(choose(&outer(1, 32, 512), Rates::default(), Bounds(TARGETS)), NormStrategy::Outer);
        assert_eq!(choose(&outer(196, 16, 64), Rates::default(), Bounds(TARGETS)), NormStrategy::Materialize);
        assert_eq!(choose(&outer(4, 768, 2304), Rates::default(), Bounds(TARGETS)), NormStrategy::Ghost);
        assert_eq!(choose(&outer(4096, 768, 2304), Rates::default(), Bounds(TARGETS)), NormStrategy::Tile);
    }
}
