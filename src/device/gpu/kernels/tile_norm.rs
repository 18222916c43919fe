//! Schedule of [`TileNorm`].

use super::tile::{Axis, PART, own_roundings, pair_roundings, specialise_own};
use super::{Launch, On, Schedule, Specialise, TILE_ROUNDINGS, Template, Tile, linear_grid, specialise_views, words};
use crate::lower::kernels::TileNorm;
use crate::lower::target::Rounding;

impl Template for TileNorm {
    const WGSL: &'static str = include_str!("../../../../shaders/tile_norm.wgsl");
}

impl Schedule for On<'_, TileNorm> {
    fn specialise(&self, template: &mut Specialise) {
        let tile = if self.precise() { Tile::PRECISE } else { Tile::square(self.class) };
        tile.specialise(template);
        tile.specialise_reads(template, [(&self.a, Axis::Cols), (&self.b, Axis::Cols)], self.steps);
        specialise_own(template, self.precise(), self.steps);
        specialise_views(template, [("A_VIEW", &self.a), ("B_VIEW", &self.b)]);
    }

    fn launches(&self, rows: usize) -> Vec<Launch> {
        let count = rows * self.tiles();
        let tiles = [self.rows.div_ceil(TileNorm::TILE), self.cols.div_ceil(TileNorm::TILE)];
        let sizes = [count, self.tiles(), tiles[0], tiles[1], self.rows, self.cols, self.steps, 0];
        vec![Launch::new([self.a.words(), self.b.words(), words(&sizes)].concat(), linear_grid(count, 1))]
    }

    fn iterations(&self) -> usize {
        self.steps.saturating_add(self.steps.div_ceil(PART) + 16)
    }

    fn rounding(&self) -> Rounding {
        let steps = self.steps;
        let element = if self.precise() { pair_roundings(steps) } else { own_roundings(steps) as f64 };
        Rounding { element, ..Rounding::sum(TILE_ROUNDINGS) }
    }
}
