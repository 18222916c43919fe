//! Square norms of per-sample gradients, tile by tile, without storing them.

use serde::{Deserialize, Serialize};

use super::operand::View;
use super::{KernelRules, Launch, linear_grid, words};
use crate::lower::emit::Specialise;

/// `y[n, q] = Σ (Σ_t a[n, g](i, t) · b[n, g](j, t))²` over the pairs `(i, j)` of tile `q`: tiles of [`TileNorm::TILE`]
/// by [`TileNorm::TILE`] items, numbered row-major within a group, groups in order.
///
/// Buffers: `a`, `b`; then `y`, `f32[P, tiles]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TileNorm {
    /// Groups.
    pub groups: usize,
    /// Items of `a`.
    pub rows: usize,
    /// Items of `b`.
    pub cols: usize,
    /// Positions `t`.
    pub steps: usize,
    /// Row is the item `i`, column the position `t`.
    pub a: View,
    /// Row is the item `j`, column the position `t`.
    pub b: View,
}

impl TileNorm {
    /// Items along each side of a tile.
    pub const TILE: usize = 32;

    /// Tiles per record.
    pub fn tiles(&self) -> usize {
        self.groups * self.rows.div_ceil(Self::TILE) * self.cols.div_ceil(Self::TILE)
    }
}

impl KernelRules for TileNorm {
    fn template(&self) -> &'static str {
        "tile_norm"
    }

    fn specialise(&self, template: &mut Specialise) {
        template.constant("A_VIEW", self.a.constant());
        template.constant("B_VIEW", self.b.constant());
    }

    fn launches(&self, rows: usize) -> Vec<Launch> {
        let count = rows * self.tiles();
        let tiles = [self.rows.div_ceil(Self::TILE), self.cols.div_ceil(Self::TILE)];
        let sizes = [count, self.tiles(), tiles[0], tiles[1], self.rows, self.cols, self.steps];
        vec![Launch::new([self.a.words(), self.b.words(), words(&sizes)].concat(), linear_grid(count, 1))]
    }

    fn iterations(&self) -> usize {
        self.steps + 16
    }

    fn flops(&self, rows: usize) -> u64 {
        2 * (rows * self.groups * self.steps) as u64 * (self.rows * self.cols) as u64
    }

    fn text(&self) -> String {
        format!("{}×[{}, {}] over {} positions", self.groups, self.rows, self.cols, self.steps)
    }
}
