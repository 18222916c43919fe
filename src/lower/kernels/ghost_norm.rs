//! Square norms of per-sample gradients from Gram matrices of positions.

use serde::{Deserialize, Serialize};

use super::operand::View;
use super::{KernelRules, Launch, linear_grid, words};
use crate::lower::emit::Specialise;

/// `y[n, q] = s Σ (Σ_i a[n, g](i, t) · c[n, g](i, u)) (Σ_j b[n, g](j, t) · d[n, g](j, u))` over the pairs of positions
/// `(t, u)` of tile `q` (Li et al., arXiv 2110.05679, §4): the inner product of the per-sample gradients
/// `Σ_t a_t ⊗ b_t` and `Σ_u c_u ⊗ d_u`, tile by tile.
///
/// Tiles are [`GhostNorm::TILE`] by [`GhostNorm::TILE`] positions, numbered row-major within a group, groups in order.
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
    /// Positions along each side of a tile.
    pub const TILE: usize = 32;

    /// Tiles per record.
    pub fn tiles(&self) -> usize {
        self.groups * self.steps[0].div_ceil(Self::TILE) * self.steps[1].div_ceil(Self::TILE)
    }
}

impl KernelRules for GhostNorm {
    fn template(&self) -> &'static str {
        "ghost_norm"
    }

    fn specialise(&self, template: &mut Specialise) {
        for (name, view) in ["A_VIEW", "B_VIEW", "C_VIEW", "D_VIEW"].iter().zip(&self.views) {
            template.constant(name, view.constant());
        }
        template.constant("SYMMETRIC", self.symmetric);
    }

    fn launches(&self, rows: usize) -> Vec<Launch> {
        let count = rows * self.tiles();
        let [t, u] = self.steps;
        let tiles = [t, u].map(|n| n.div_ceil(Self::TILE));
        let mut all: Vec<u32> = self.views.iter().flat_map(View::words).collect();
        all.extend(words(&[count, self.tiles(), tiles[0], tiles[1], self.rows, self.cols, t, u]));
        all.push(self.scale.to_bits());
        vec![Launch::new(all, linear_grid(count, 1))]
    }

    fn iterations(&self) -> usize {
        self.rows + self.cols + 16
    }

    fn flops(&self, rows: usize) -> u64 {
        let pairs = (rows * self.groups * self.steps[0] * self.steps[1]) as u64;
        2 * pairs * (self.rows + self.cols) as u64 / if self.symmetric { 2 } else { 1 }
    }

    fn text(&self) -> String {
        format!("{}×[{}, {}] over {:?} positions", self.groups, self.rows, self.cols, self.steps)
    }
}
