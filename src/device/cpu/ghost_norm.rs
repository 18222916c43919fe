//! Native twin of [`GhostNorm`].

use super::double::{self, Columns};
use super::operand::Operand;
use super::{Buffers, Native, parallel};
use crate::lower::kernels::GhostNorm;
use crate::lower::target::Rounding;

const TILE: usize = GhostNorm::TILE;

/// Room for the four operands, for columns, and for the two Gram matrices and the sums of a stripe of tiles.
type Scratch = ([Vec<f32>; 4], Columns, [Vec<f64>; 3]);

impl Native for GhostNorm {
    fn rounding(&self) -> Rounding {
        // In `f64` all the way, and then a number.
        let element = double::roundings(self.rows) + double::roundings(self.cols) + double::roundings(TILE * TILE);
        Rounding { element, ..Rounding::sum(1) }
    }

    fn run(&self, rows: usize, Buffers { read, written, .. }: Buffers) {
        let operand = |v: usize| {
            Operand::new(self.views[v], read[v].f32(), self.groups, [self.rows, self.cols][v % 2], self.steps[v / 2])
        };
        let operands: [Operand; 4] = std::array::from_fn(operand);
        let (tiles, across) = (self.tiles(), self.steps[1].div_ceil(TILE));
        parallel::pieces(written[0].f32(), rows, tiles, tiles, |scratch: &mut Scratch, n, y| {
            let ([s0, s1, s2, s3], columns, [left, right, sums]) = scratch;
            let mut stripes = y[..tiles].chunks_exact_mut(across.max(1));
            for g in 0..self.groups {
                let (a, b) = (operands[0].matrix(n, g, s0), operands[1].matrix(n, g, s1));
                let (c, d) =
                    if self.symmetric { (a, b) } else { (operands[2].matrix(n, g, s2), operands[3].matrix(n, g, s3)) };
                for (i, first) in (0..self.steps[0]).step_by(TILE).enumerate() {
                    let Some(stripe) = stripes.next() else { return };
                    let count = TILE.min(self.steps[0] - first);
                    // Tiles below the diagonal are 0, and the positions of their columns are left out.
                    let skip = if self.symmetric { i } else { 0 };
                    let width = self.steps[1] - skip * TILE;
                    for (gram, from, to) in [(&mut *left, a, c), (&mut *right, b, d)] {
                        gram.clear();
                        gram.resize(count * width, 0.0);
                        let (from, to) = (from.cols(first, count), to.cols(skip * TILE, width));
                        double::products(from.transposed(), to.transposed(), columns, gram);
                    }
                    sums.clear();
                    sums.resize(across, 0.0);
                    for (x, y) in left.chunks_exact(width).zip(right.chunks_exact(width)) {
                        let parts = x.chunks(TILE).zip(y.chunks(TILE));
                        for (sum, (x, y)) in sums[skip..].iter_mut().zip(parts) {
                            *sum += x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
                        }
                    }
                    for (j, (tile, sum)) in stripe.iter_mut().zip(sums.iter()).enumerate() {
                        let scale = if self.symmetric && j > i { 2.0 * self.scale } else { self.scale };
                        *tile = (sum * f64::from(scale)) as f32;
                    }
                }
            }
        });
    }
}
