//! Native twin of [`GhostNorm`].

use super::matmul::{Into, MatrixMut, matmul};
use super::operand::Operand;
use super::{Buffers, Native, parallel};
use crate::lower::kernels::GhostNorm;
use crate::lower::target::Rounding;

const TILE: usize = GhostNorm::TILE;

/// Room for the four operands and the two Gram matrices of a stripe of tiles.
type Scratch = [Vec<f32>; 6];

impl Native for GhostNorm {
    fn rounding(&self) -> Rounding {
        // Line after line of a tile.
        let square = TILE + parallel::roundings(TILE);
        Rounding { element: self.rows.saturating_add(self.cols), ..Rounding::sum(square) }
    }

    fn run(&self, rows: usize, Buffers { read, written, .. }: Buffers) {
        let operand = |v: usize| {
            Operand::new(self.views[v], read[v].f32(), self.groups, [self.rows, self.cols][v % 2], self.steps[v / 2])
        };
        let operands: [Operand; 4] = std::array::from_fn(operand);
        let (tiles, across) = (self.tiles(), self.steps[1].div_ceil(TILE));
        parallel::pieces(written[0].f32(), rows, tiles, tiles, |scratch: &mut Scratch, n, y| {
            let [s0, s1, s2, s3, left, right] = scratch;
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
                        let gram = parallel::room(gram, count * width);
                        let from = from.cols(first, count).transposed();
                        let out = MatrixMut::contiguous(gram, count, width);
                        matmul(out, Into::Set, 1.0, from, to.cols(skip * TILE, width));
                    }
                    stripe.fill(0.0);
                    for (x, y) in left[..count * width].chunks_exact(width).zip(right.chunks_exact(width)) {
                        let parts = x.chunks(TILE).zip(y.chunks(TILE));
                        for (tile, (x, y)) in stripe[skip..].iter_mut().zip(parts) {
                            *tile += parallel::sum(x.len(), |i| x[i] * y[i]);
                        }
                    }
                    for (j, tile) in stripe.iter_mut().enumerate() {
                        *tile *= if self.symmetric && j > i { 2.0 * self.scale } else { self.scale };
                    }
                }
            }
        });
    }
}
