//! Native twin of [`Scatter`].

use super::adding::{Grid, Sum, WideGrid, holds_none, leave_out};
use super::{Buffers, Native, double, parallel};
use crate::lower::kernels::{Records, Scatter, Sums, row_of_id};
use crate::lower::program::Extent;
use crate::lower::target::Rounding;

/// The most parts of a table that are filled at the same time, each of which goes through all ids.
const PARTS: usize = 16;
/// Elements of a part, so that it stays near the processor.
const PART: usize = 32 * 1024;

/// What the rows of a record are worked out in.
#[derive(Default)]
struct Room {
    /// The sum of the positions of one id, and what is added of it.
    sum: Vec<f64>,
    share: Vec<f32>,
    /// Zeros, which a record adds that is left out.
    nothing: Vec<f32>,
}

/// What is read.
struct Sources<'a> {
    ids: &'a [i32],
    x: &'a [f32],
    /// The positions of each record by id.
    order: Option<&'a [i32]>,
}

impl Native for Scatter {
    fn rounding(&self) -> Rounding {
        // Of a run of one id, all of which joins the others at once; or of each position.
        let per_row = match self.ordered {
            _ if self.records.sums().integers() => 0,
            true => 1,
            false => self.count,
        };
        // A run is summed in `f64`.
        let element = if self.ordered { double::roundings(self.count) } else { self.count as f64 + 1.0 };
        Rounding { element, records: Extent { per_row, fixed: 0 }, ..Rounding::sum(0) }
    }

    fn run(&self, rows: usize, Buffers { read, written, .. }: Buffers) {
        let order = self.ordered.then(|| read[3].i32());
        let sources = Sources { ids: read[0].i32(), x: read[1].f32(), order };
        let Scatter { width, table_rows, .. } = *self;
        let table = table_rows * width;
        if let Records::Each(records) = self.records {
            parallel::pieces(written[0].f32(), records.at(rows), table, table, |room: &mut Room, n, y| {
                let y = &mut y[..table];
                y.fill(0.0);
                self.add(&sources, n, 1.0, 0, room, y);
            });
            return;
        }
        let (records, weight) = match self.records {
            Records::Each(e) | Records::All(e) => (e.at(rows), None),
            Records::Weighted(_) => (rows, Some(read[2].f32())),
        };
        let weight = |n: usize| weight.map_or(1.0, |w| w[n]);
        match self.records.sums() {
            Sums::Floats => self.total(&sources, records, weight, &mut written[0].f32()[..table]),
            Sums::Grid => self.total::<Grid>(&sources, records, weight, &mut written[0].i32()[..table]),
            Sums::WideGrid => {
                let out = bytemuck::cast_slice_mut(&mut written[0].i32()[..table]);
                self.total::<WideGrid>(&sources, records, weight, out);
            }
        }
    }
}

impl Scatter {
    /// Sets `out` to the sum over records with these weights. Each part of the table goes through all ids, so that an element is
    /// added to in order.
    fn total<T: Sum>(
        &self,
        sources: &Sources<'_>,
        records: usize,
        weight: impl Fn(usize) -> f32 + Sync,
        out: &mut [T],
    ) {
        let Scatter { width, table_rows, .. } = *self;
        let parts = (table_rows * width / PART).max(2 * rayon::current_num_threads()).min(PARTS);
        let part = table_rows.div_ceil(parts);
        let parts = table_rows.div_ceil(part.max(1));
        parallel::pieces(out, parts, part * width, part * width, |room: &mut Room, i, y| {
            let len = y.len().min(part * width);
            let y = &mut y[..len];
            y.fill(T::default());
            for n in 0..records {
                let w = weight(n);
                if !holds_none(w) {
                    self.add(sources, n, w, i * part, room, y);
                }
            }
        });
    }

    /// Adds the positions of record `n` whose ids fall into `y`, the rows of the table from `first` on, those of one id
    /// summed in `room` first where they are ordered.
    fn add<T: Sum>(&self, sources: &Sources<'_>, n: usize, w: f32, first: usize, room: &mut Room, y: &mut [T]) {
        let Room { sum, share, nothing } = room;
        nothing.resize(self.width, 0.0);
        let nothing = &nothing[..];
        let ids = &sources.ids[n * self.ids_record..][..self.count];
        let x = |t: usize| &sources.x[n * self.record + t * self.width..][..self.width];
        let row = |id: i32| {
            let row = row_of_id(id, self.table_rows).checked_sub(first).filter(|row| *row < self.table_rows)?;
            Some(row * self.width..(row + 1) * self.width)
        };
        let Some(order) = sources.order else {
            for (t, &id) in ids.iter().enumerate() {
                let Some(y) = row(id).and_then(|row| y.get_mut(row)) else { continue };
                T::add_scaled(y, if w == 0.0 { nothing } else { x(t) }, w);
            }
            return;
        };
        let order = &order[n * self.count..][..self.count];
        // A position that is none of the record's, which only a damaged order has, belongs to no row.
        let id = |t: i32| usize::try_from(t).ok().and_then(|t| ids.get(t)).copied().unwrap_or(i32::MAX);
        let named = |t: i32| row_of_id(id(t), self.table_rows);
        // They are in order of row, so those of the part are neighbours.
        let last = first + y.len() / self.width;
        let mut rest = &order[order.partition_point(|&t| named(t) < first)..];
        while let [t, others @ ..] = rest {
            let at = named(*t);
            if at >= last {
                break;
            }
            let more = others.iter().take_while(|&&t| named(t) == at).count();
            let (same, after) = rest.split_at(1 + more);
            rest = after;
            let Some(y) = row(id(*t)).and_then(|row| y.get_mut(row)) else { continue };
            if more == 0 {
                T::add_scaled(y, if w == 0.0 { nothing } else { x(*t as usize) }, w);
                continue;
            }
            sum.clear();
            sum.resize(self.width, 0.0);
            for &t in same {
                sum.iter_mut().zip(x(t as usize)).for_each(|(sum, x)| *sum += f64::from(*x));
            }
            share.clear();
            share.extend(sum.iter().map(|sum| *sum as f32));
            leave_out(share, w);
            T::add_scaled(y, share, w);
        }
    }
}
