//! Schedule of [`GhostNorm`].

use super::tile::pair_roundings;
use super::{Launch, On, Schedule, Specialise, TILE_ROUNDINGS, Template, Tile, linear_grid, specialise_views, words};
use crate::lower::kernels::{GhostNorm, View};
use crate::lower::target::Rounding;

impl Template for GhostNorm {
    const WGSL: &'static str = include_str!("../../../../shaders/ghost_norm.wgsl");
}

impl Schedule for On<'_, GhostNorm> {
    fn specialise(&self, template: &mut Specialise) {
        Tile::PRECISE.specialise(template);
        specialise_views(template, ["A_VIEW", "B_VIEW", "C_VIEW", "D_VIEW"].into_iter().zip(&self.views));
        template.constant("SYMMETRIC", self.symmetric);
    }

    fn launches(&self, rows: usize) -> Vec<Launch> {
        let count = rows * self.tiles();
        let [t, u] = self.steps;
        let tiles = [t, u].map(|n| n.div_ceil(GhostNorm::TILE));
        let mut all: Vec<u32> = self.views.iter().flat_map(View::words).collect();
        all.extend(words(&[count, self.tiles(), tiles[0], tiles[1], self.rows, self.cols, t, u]));
        all.extend([self.scale.to_bits(), 0]);
        vec![Launch::new(all, linear_grid(count, 1))]
    }

    fn iterations(&self) -> usize {
        self.rows + self.cols + 16
    }

    fn rounding(&self) -> Rounding {
        // Two Gram matrices, each of which becomes numbers, and their products.
        let element = 3.0 + pair_roundings(self.rows) + pair_roundings(self.cols);
        Rounding { element, ..Rounding::sum(TILE_ROUNDINGS) }
    }
}
