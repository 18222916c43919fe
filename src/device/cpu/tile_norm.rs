//! Native twin of [`TileNorm`].

use super::matmul::{Into, MatrixMut, matmul};
use super::microkernel::ROWS;
use super::operand::Operand;
use super::{Buffers, Native, parallel};
use crate::lower::kernels::TileNorm;
use crate::lower::target::Rounding;

/// Rows of a gradient that are worked out at a time, a whole number of tiles.
const STRIPE: usize = 4 * TileNorm::TILE;

impl Native for TileNorm {
    fn rounding(&self) -> Rounding {
        // Line after line of a tile.
        let square = TileNorm::TILE + parallel::roundings(TileNorm::TILE);
        Rounding { element: self.steps, ..Rounding::sum(square) }
    }

    fn run(&self, rows: usize, Buffers { read, written, .. }: Buffers) {
        let a = Operand::new(self.a, read[0].f32(), self.groups, self.rows, self.steps);
        let b = Operand::new(self.b, read[1].f32(), self.groups, self.cols, self.steps);
        let (tiles, across) = (self.tiles(), self.cols.div_ceil(TileNorm::TILE));
        parallel::pieces(
            written[0].f32(),
            rows,
            tiles,
            tiles,
            |[s, t, padded, panel, gradient]: &mut [Vec<f32>; 5], n, y| {
                let mut stripes = y[..tiles].chunks_exact_mut(across.max(1));
                for g in 0..self.groups {
                    let patches = b.patches(n, g, padded).filter(|_| self.rows >= ROWS / 2);
                    let (a, b) = (a.matrix(n, g, s), if patches.is_some() { None } else { Some(b.matrix(n, g, t)) });
                    for first in (0..self.rows).step_by(STRIPE) {
                        let count = STRIPE.min(self.rows - first);
                        let gradient = parallel::room(gradient, count * self.cols);
                        let a = a.rows(first, count);
                        match (patches, b) {
                            (Some(patches), _) => {
                                let set = |value: f32, to: &mut f32| *to = value;
                                patches.times_transposed(a, panel, |part| part.each(gradient, [1, self.cols], set));
                            }
                            (_, Some(b)) => {
                                let out = MatrixMut::contiguous(gradient, count, self.cols);
                                matmul(out, Into::Set, 1.0, a, b.transposed());
                            }
                            _ => {}
                        }
                        for rows in gradient.chunks(TileNorm::TILE * self.cols) {
                            let Some(stripe) = stripes.next() else { return };
                            stripe.fill(0.0);
                            for row in rows.chunks_exact(self.cols) {
                                for (tile, part) in stripe.iter_mut().zip(row.chunks(TileNorm::TILE)) {
                                    *tile += parallel::sum(part.len(), |i| part[i] * part[i]);
                                }
                            }
                        }
                    }
                }
            },
        );
    }
}
