//! Square norms of per-sample gradients, tile by tile, without storing them.

use serde::{Deserialize, Serialize};

use super::contract::work;
use super::operand::{is_long, pair, pair_problem};
use super::{Binding, KernelRules, View};
use crate::graph::product;
use crate::lower::program::Extent;

/// `y[n, q] = Σ (Σ_t a[n, g](i, t) · b[n, g](j, t))²` over the pairs `(i, j)` of tile `q`: tiles of [`TileNorm::TILE`]
/// by [`TileNorm::TILE`] items, numbered row-major within a group, groups in order. Of a long product ([`TileNorm::precise`])
/// the inner sums are worked out in more bits than `f32` has.
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

    /// Whether the sums over positions are worked out in more bits than `f32` has, see [`is_long`].
    pub fn precise(&self) -> bool {
        is_long(self.rows, self.cols, self.steps)
    }

    /// Tiles per record.
    pub fn tiles(&self) -> usize {
        product(&[self.groups, self.rows.div_ceil(Self::TILE), self.cols.div_ceil(Self::TILE)])
    }
}

impl KernelRules for TileNorm {
    fn name(&self) -> &'static str {
        "tile_norm"
    }

    fn buffers(&self) -> Vec<Binding> {
        let tiles = Extent::rows(self.tiles());
        pair([&self.a, &self.b], self.groups, [self.rows, self.cols], self.steps, tiles)
    }

    fn problem(&self) -> Option<String> {
        pair_problem([&self.a, &self.b], self.groups, [self.rows, self.cols], self.steps)
    }

    fn flops(&self, rows: usize) -> u64 {
        work(&[2, rows, self.groups, self.steps, self.rows, self.cols])
    }

    fn text(&self) -> String {
        format!("{}×[{}, {}] over {} positions", self.groups, self.rows, self.cols, self.steps)
    }
}
