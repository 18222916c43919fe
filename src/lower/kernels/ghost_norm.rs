//! Square norms of per-sample gradients from Gram matrices of positions.

use serde::{Deserialize, Serialize};

use super::contract::{work, zero};
use super::{Binding, KernelRules, View};
use crate::graph::product;
use crate::lower::program::Extent;

/// `y[n, q] = s Σ (Σ_i a[n, g](i, t) · c[n, g](i, u)) (Σ_j b[n, g](j, t) · d[n, g](j, u))` over the pairs of positions
/// `(t, u)` of tile `q` (Li et al., arXiv 2110.05679, §4): the inner product of the per-sample gradients
/// `Σ_t a_t ⊗ b_t` and `Σ_u c_u ⊗ d_u`, tile by tile.
///
/// Tiles are [`GhostNorm::TILE`] by [`GhostNorm::TILE`] positions, numbered row-major within a group, groups in order.
/// The inner sums are worked out in more bits than `f32` has: what is added up of their products is far larger than the result.
///
/// If `symmetric`, `c` is `a` and `d` is `b`: tiles below the diagonal are 0 and those above it count twice.
///
/// Buffers: `a`, `b`, `c`, `d`; then `y`, `f32[P, tiles]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GhostNorm {
    /// Groups.
    pub groups: usize,
    /// Items of `a` and `c`.
    pub rows: usize,
    /// Items of `b` and `d`.
    pub cols: usize,
    /// Positions `t` of `a` and `b`.
    pub steps: [usize; 2],
    /// The views of `a`, `b`, `c`, `d`: row is the item, column the position.
    pub views: [View; 4],
    /// Whether the second pair is the first.
    pub symmetric: bool,
    /// The factor `s`.
    pub scale: f32,
}

impl GhostNorm {
    /// Items of operand `k`.
    fn items(&self, k: usize) -> Extent {
        Extent::fixed(if k.is_multiple_of(2) { self.rows } else { self.cols })
    }

    /// Positions along each side of a tile.
    pub const TILE: usize = 32;

    /// Tiles per record.
    pub fn tiles(&self) -> usize {
        product(&[self.groups, self.steps[0].div_ceil(Self::TILE), self.steps[1].div_ceil(Self::TILE)])
    }
}

impl KernelRules for GhostNorm {
    fn name(&self) -> &'static str {
        "ghost_norm"
    }

    fn buffers(&self) -> Vec<Binding> {
        let view = |k: usize| self.views[k].len(Extent::rows(1), self.groups, self.items(k), self.steps[k / 2]);
        let read = ["a", "b", "c", "d"].into_iter().enumerate().map(|(k, name)| Binding::floats(name, view(k)));
        read.chain([Binding::floats("y", Extent::rows(self.tiles())).written()]).collect()
    }

    fn problem(&self) -> Option<String> {
        let Self { groups, rows, cols, steps: [t, u], .. } = *self;
        let sizes = [("groups", groups), ("rows", rows), ("columns", cols), ("positions", t), ("positions", u)];
        let [a, b, c, d] = &self.views;
        if self.symmetric && (a != c || b != d || t != u) {
            return Some("has a second pair that is not the first".into());
        }
        let still = |one: &View, other: &View, len| len > 1 && one.stands([true, false]) && other.stands([true, false]);
        if still(a, c, rows) || still(b, d, cols) {
            return Some("sums the same product again".into());
        }
        let of = |k: usize| self.views[k].problem(groups, [self.items(k).fixed, self.steps[k / 2]]);
        zero(&sizes).or_else(|| (0..4).find_map(of))
    }

    fn flops(&self, rows: usize) -> u64 {
        let terms = self.rows.saturating_add(self.cols);
        let all = work(&[2, rows, self.groups, self.steps[0], self.steps[1], terms]);
        if self.symmetric { all / 2 } else { all }
    }

    fn text(&self) -> String {
        format!("{}×[{}, {}] over {:?} positions", self.groups, self.rows, self.cols, self.steps)
    }
}
