//! Native twin of [`TileNorm`].

use super::double::{self, Columns};
use super::matmul::{self, MatrixMut, matmul_by_parts};
use super::microkernel::FEWEST;
use super::operand::Operand;
use super::{Buffers, Native, parallel};
use crate::lower::kernels::{TileNorm, View};
use crate::lower::target::Rounding;

/// Rows of a gradient that are worked out at a time, a whole number of tiles.
const STRIPE: usize = 4 * TileNorm::TILE;

impl Native for TileNorm {
    fn rounding(&self) -> Rounding {
        if self.precise() {
            // In `f64` all the way, and then a number.
            return Rounding { element: double::roundings(self.steps), ..Rounding::sum(1) };
        }
        // Line after line of a tile.
        let square = TileNorm::TILE + parallel::roundings(TileNorm::TILE);
        // Of patches term by term.
        let patches = matches!(self.b, View::Patches { .. });
        let element = if patches { self.steps + 1 } else { matmul::roundings(self.steps) };
        Rounding { element: element as f64, ..Rounding::sum(square) }
    }

    fn run(&self, rows: usize, Buffers { read, written, .. }: Buffers) {
        let a = Operand::new(self.a, read[0].f32(), self.groups, self.rows, self.steps);
        let b = Operand::new(self.b, read[1].f32(), self.groups, self.cols, self.steps);
        if self.precise() {
            return self.precisely([&a, &b], rows, written[0].f32());
        }
        let (tiles, across) = (self.tiles(), self.cols.div_ceil(TileNorm::TILE));
        parallel::pieces(
            written[0].f32(),
            rows,
            tiles,
            tiles,
            |[s, t, padded, panel, gradient]: &mut [Vec<f32>; 5], n, y| {
                let mut stripes = y[..tiles].chunks_exact_mut(across.max(1));
                for g in 0..self.groups {
                    let patches = b.patches(n, g, padded).filter(|_| self.rows >= FEWEST);
                    let (a, b) = (a.matrix(n, g, s), if patches.is_some() { None } else { Some(b.matrix(n, g, t)) });
                    for first in (0..self.rows).step_by(STRIPE) {
                        let count = STRIPE.min(self.rows - first);
                        let gradient = parallel::room(gradient, count * self.cols);
                        let a = a.rows(first, count);
                        match (patches, b) {
                            (Some(patches), _) => {
                                patches.times_transposed(a, panel, |part| part.set(gradient, [1, self.cols]));
                            }
                            (_, Some(b)) => {
                                let out = MatrixMut::contiguous(gradient, count, self.cols);
                                matmul_by_parts(out, a, b.transposed());
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

/// Room for the two operands, for their columns and for tiles of a gradient.
type Precise = ([Vec<f32>; 2], Columns, Vec<f64>);

impl TileNorm {
    /// The norms, from a gradient in `f64`.
    fn precisely(&self, [a, b]: [&Operand; 2], rows: usize, out: &mut [f32]) {
        let (tiles, across) = (self.tiles(), self.cols.div_ceil(TileNorm::TILE));
        parallel::pieces(out, rows, tiles, tiles, |([s, t], columns, gradient): &mut Precise, n, y| {
            let mut stripes = y[..tiles].chunks_exact_mut(across.max(1));
            for g in 0..self.groups {
                let (a, b) = (a.matrix(n, g, s), b.matrix(n, g, t));
                for first in (0..self.rows).step_by(TileNorm::TILE) {
                    let Some(stripe) = stripes.next() else { return };
                    let count = TileNorm::TILE.min(self.rows - first);
                    gradient.clear();
                    gradient.resize(count * self.cols, 0.0);
                    double::products(a.rows(first, count), b, columns, gradient);
                    for (q, tile) in stripe.iter_mut().enumerate() {
                        let own = gradient.chunks_exact(self.cols).map(|row| {
                            double::squares(&row[q * TileNorm::TILE..row.len().min((q + 1) * TileNorm::TILE)])
                        });
                        *tile = own.sum::<f64>() as f32;
                    }
                }
            }
        });
    }
}
