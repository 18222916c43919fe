//! Native twin of [`Scatter`].

use super::{Native, parallel};
use crate::lower::kernels::{Records, Scatter};

/// Parts of a table that are filled at the same time.
const PARTS: usize = 16;

impl Native for Scatter {
    fn run(&self, rows: usize, read: &[&[f32]], written: &mut [&mut [f32]]) {
        let (ids, x) = (parallel::integers(read[0]), read[1]);
        let Scatter { width, table_rows, .. } = *self;
        let table = table_rows * width;
        if let Records::Each(records) = self.records {
            parallel::pieces(written[0], records.at(rows), table, table, |_: &mut (), n, y| {
                let y = &mut y[..table];
                y.fill(0.0);
                self.add(ids, x, n, 1.0, 0, y);
            });
            return;
        }
        let (records, weight) = match self.records {
            Records::Each(e) | Records::All(e) => (e.at(rows), None),
            Records::Weighted => (rows, Some(read[2])),
        };
        // Each part of the table goes through all ids, so that an element is added to in order.
        let part = table_rows.div_ceil(PARTS);
        let parts = table_rows.div_ceil(part.max(1));
        parallel::pieces(&mut written[0][..table], parts, part * width, part * width, |_: &mut (), i, y| {
            let len = y.len().min(part * width);
            let y = &mut y[..len];
            y.fill(0.0);
            for n in 0..records {
                let w = weight.map_or(1.0, |w| w[n]);
                if w != 0.0 {
                    self.add(ids, x, n, w, i * part, y);
                }
            }
        });
    }
}

impl Scatter {
    /// Adds the positions of record `n` whose ids fall into `y`, the rows of the table from `first` on.
    fn add(&self, ids: &[i32], x: &[f32], n: usize, w: f32, first: usize, y: &mut [f32]) {
        for t in 0..self.count {
            let row = usize::try_from(ids[n * self.ids_record + t]).ok().and_then(|id| id.checked_sub(first));
            let Some(y) = row.and_then(|row| y.get_mut(row * self.width..(row + 1) * self.width)) else { continue };
            y.iter_mut().zip(&x[n * self.record + t * self.width..]).for_each(|(y, x)| *y += w * x);
        }
    }
}
