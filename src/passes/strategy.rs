//! The choice of how each square norm is computed.
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
//! Each strategy is a list of kernels, the weighted sum included, and a [`CostModel`] says what those cost: by rates where
//! nothing is known of the device, by their measured times where a device is tuned for.
//!
//! A gradient is stored without being asked for if it is small, or if it is no larger than its sides ([`Outer::is_long`]), which
//! wait for the sum otherwise: that takes one product in place of two.
//!
//! Ghost norms are out of the question where rounding could hide a share of the square, since that is added to it
//! (see [`ghost_rounding`]): [`allows_ghost`] decides that for a strategy that is forced, too.

use std::collections::BTreeSet;

use super::privatize::rounding::{Bounds, ghost_rounding};
use crate::lower::cost::CostModel;
use crate::lower::kernels::{Kernel, Records, View};
use crate::ops::norm::{GhostNorm, LengthBound, OuterNorm, SquareNorm, TileNorm};
use crate::ops::outer::Outer;
use crate::ops::sum_batch::{products_kernel, stored_kernel};

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

/// The most elements of a per-sample gradient that is stored without being asked for: a physical batch of 64 then takes
/// 64 MiB, half of what one binding holds at least.
const LARGEST_STORED: usize = 1 << 18;

/// What rounding may hide of a square without making a difference, where terms point in any direction.
const LARGEST_ROUNDING: f64 = 2e-5;

/// What it may hide where Gram matrices are asked for.
const LARGEST_FORCED: f64 = 1e-3;

/// Whether a ghost norm says enough: what rounding may hide of the square is little of it, or not much where it is `forced`.
pub fn allows_ghost(outer: &Outer, bounds: Bounds<'_>, forced: bool) -> bool {
    // The square of the terms' total length is about T times that of the gradient.
    let most = if forced { LARGEST_FORCED } else { LARGEST_ROUNDING };
    outer.steps as f64 * ghost_rounding(bounds, outer) <= most
}

/// The strategies that there are, each with its kernels from the norm to the weighted sum, for sides that are read by `views`.
pub fn alternatives(outer: &Outer, views: [View; 2], bounds: Bounds<'_>) -> Vec<(NormStrategy, Vec<Kernel>)> {
    let [a, b] = views;
    let len = outer.groups.saturating_mul(outer.rows).saturating_mul(outer.cols);
    let length: Kernel = LengthBound::kernel(outer, views).into();
    let sum: Kernel = products_kernel(outer, views, bounds.1).into();
    let of_tiles = |kernels: [Option<Kernel>; 2]| -> Vec<Kernel> {
        kernels.into_iter().flatten().chain([length.clone(), sum.clone()]).collect()
    };
    let mut out = vec![(NormStrategy::Tile, of_tiles(TileNorm(outer.clone()).kernels(views)))];
    match outer.steps {
        1 => out.push((NormStrategy::Outer, vec![OuterNorm(outer.clone()).kernel(views).into(), sum.clone()])),
        _ if !allows_ghost(outer, bounds, false) => {}
        _ => {
            let ghost = GhostNorm { first: outer.clone(), second: None };
            out.push((NormStrategy::Ghost, of_tiles(ghost.kernels([a, b, a, b]))));
        }
    }
    if let Some(product) = outer.kernel(views).filter(|_| len <= LARGEST_STORED || outer.is_long()) {
        let (square, sum) = (SquareNorm::kernel(len), stored_kernel(len, Records::Weighted(bounds.1)));
        out.push((NormStrategy::Materialize, vec![product.into(), square.into(), sum.into()]));
    }
    out
}

/// The cheapest strategy, which stores gradients only where it `may_store` them.
pub fn choose(outer: &Outer, views: [View; 2], model: &CostModel, bounds: Bounds<'_>, may_store: bool) -> NormStrategy {
    let ways = alternatives(outer, views, bounds).into_iter();
    let ways = ways.filter(|(strategy, _)| may_store || *strategy != NormStrategy::Materialize);
    let costs = ways.map(|(strategy, kernels)| (strategy, model.seconds(&kernels)));
    costs.min_by(|x, y| x.1.total_cmp(&y.1)).map_or(NormStrategy::Tile, |(strategy, _)| strategy)
}

/// Which of several gradients are stored, by number, so that the bytes of a record that the model allows go where they save most
/// time. Of each there are its elements and its [`alternatives`].
pub fn stored<'a>(
    gradients: impl IntoIterator<Item = (usize, &'a [(NormStrategy, Vec<Kernel>)])>,
    model: &CostModel,
) -> BTreeSet<usize> {
    let mut saved: Vec<(f64, usize, usize)> = Vec::new();
    for (number, (len, ways)) in gradients.into_iter().enumerate() {
        let seconds = |stored: bool| {
            let ways = ways.iter().filter(|(strategy, _)| (*strategy == NormStrategy::Materialize) == stored);
            ways.map(|(_, kernels)| model.seconds(kernels)).fold(f64::INFINITY, f64::min)
        };
        let (bytes, gain) = (len.saturating_mul(4), seconds(false) - seconds(true));
        if gain > 0.0 {
            saved.push((gain / bytes as f64, bytes, number));
        }
    }
    saved.sort_by(|x, y| y.0.total_cmp(&x.0).then(x.2.cmp(&y.2)));
    let mut left = model.memory;
    let mut fits = |&(_, bytes, number): &(f64, usize, usize)| {
        left = left.checked_sub(bytes)?;
        Some(number)
    };
    saved.iter().filter_map(&mut fits).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::device::TARGETS;
    use crate::lower::cost::Costs;
    use crate::lower::kernels::Sums;

    fn outer(steps: usize, rows: usize, cols: usize) -> Outer {
        let view = |items| View::Strided { record: items * steps, group: 0, row: 1, col: items };
        Outer { groups: 1, rows, cols, steps, a: view(rows), b: view(cols) }
    }

    fn chosen(outer: &Outer) -> NormStrategy {
        choose(outer, [outer.a, outer.b], &CostModel::default(), Bounds(TARGETS, Sums::Floats), true)
    }

    #[test]
    fn each_way_wins_where_it_should() {
        assert_eq!(chosen(&outer(1, 32, 512)), NormStrategy::Outer);
        assert_eq!(chosen(&outer(196, 16, 64)), NormStrategy::Materialize);
        assert_eq!(chosen(&outer(4, 768, 2304)), NormStrategy::Ghost);
        assert_eq!(chosen(&outer(512, 768, 2304)), NormStrategy::Tile);
        // No larger than what it is made of.
        assert_eq!(chosen(&outer(4096, 768, 2304)), NormStrategy::Materialize);
    }

    #[test]
    fn memory_goes_where_it_saves_most_time() {
        let outers = [outer(196, 16, 64), outer(25, 32, 256), outer(4, 768, 2304)];
        let ways =
            outers.each_ref().map(|outer| alternatives(outer, [outer.a, outer.b], Bounds(TARGETS, Sums::Floats)));
        let gradients = || outers.iter().zip(&ways).map(|(outer, ways)| (outer.rows * outer.cols, &ways[..]));
        let of = |memory| stored(gradients(), &CostModel { memory, ..CostModel::default() });
        assert_eq!(of(usize::MAX), BTreeSet::from([0, 1]));
        assert_eq!(of(4 * (16 * 64 + 32 * 256)), BTreeSet::from([0, 1]));
        assert_eq!(of(4 * (16 * 64 + 32 * 256) - 1).len(), 1);
        assert_eq!(of(0), BTreeSet::new());
        assert_eq!(
            choose(&outers[0], [outers[0].a, outers[0].b], &CostModel::default(), Bounds(TARGETS, Sums::Floats), false),
            NormStrategy::Tile
        );
    }

    /// A device on which one kernel of the three that make a norm is as good as free.
    struct Cheap(&'static str);

    impl Costs for Cheap {
        fn seconds(&self, kernel: &Kernel, _rows: usize) -> f64 {
            let name = kernel.rules().name();
            if name != self.0 && ["tile_norm", "ghost_norm", "gemm"].contains(&name) { 1.0 } else { 1e-9 }
        }
    }

    #[test]
    fn the_cheapest_kernels_on_the_device_decide() {
        let outer = outer(8, 64, 64);
        let ways = [("tile_norm", NormStrategy::Tile), ("ghost_norm", NormStrategy::Ghost)];
        for (kernel, strategy) in ways.into_iter().chain([("gemm", NormStrategy::Materialize)]) {
            let model = CostModel { costs: Arc::new(Cheap(kernel)), ..CostModel::default() };
            assert_eq!(choose(&outer, [outer.a, outer.b], &model, Bounds(TARGETS, Sums::Floats), true), strategy);
        }
    }
}
