//! Schedule of [`OuterSum`]: chunks of records are summed apart, then their sums.

use super::tile::Axis;
use super::tile::{PART, own_roundings, pair_roundings, specialise_own};
use super::{Launch, On, Schedule, Span, Specialise, Template, Tile, specialise_grid, specialise_views, words};
use crate::lower::kernels::{Half, OuterSum, Packing, Records, Reduce, Sums, View, Walk};
use crate::lower::program::Extent;
use crate::lower::target::Rounding;

/// Records summed into one partial result: few enough to keep loops short and many enough to keep partial results small
/// beside the operands; one where a launch cannot make all of its steps, so that even then no other record's are among
/// them.
fn chunk(kernel: &OuterSum) -> usize {
    let wanted = match Span::split(1, kernel.steps, 1).len() {
        1 if kernel.size() <= 1 << 16 => 16,
        1 => 64,
        _ => 1,
    };
    (super::MAX_ITERATIONS / kernel.steps.max(1)).clamp(1, wanted)
}

impl On<'_, OuterSum> {
    fn tile(&self) -> Tile {
        if self.precise() {
            return Tile::PRECISE;
        }
        Tile::of_sums(self.class, self.rows, self.cols, self.steps)
    }
}

/// Adds a record's own sums to those of integers, weighted before or after.
const RECORD: &str = "\
        var sums = Tile();
        add_own(&sums, own, base, params.begin, params.end, select(weight, 1.0, SEVERAL), lane);
        add(&tile, sums, select(1.0, weight, SEVERAL));";

/// Adds a record's own sums, which are weighted afterwards.
const PRECISE_RECORD: &str = "\
        var sums = Tile();
        add_own(&sums, own, base, params.begin, params.end, 1.0, lane);
        sums.low_low = weight * sums.low_low;
        add(&tile, sums);";

/// How an operand is read that is kept in words, whose records begin at whole ones.
fn read_packed(name: &str, binding: usize, packing: Packing) -> String {
    let (f16, scale) = (packing.half == Half::F16, packing.scale().recip());
    format!(
        "@group(0) @binding({binding}) var<storage, read> {name}: array<i32>;\n\n\
         fn read_{name}(at: u32) -> f32 {{\n    \
         let half = (bitcast<u32>({name}[at / 2u]) >> (16u * (at % 2u))) & 0xffffu;\n    \
         return number_of(half, {f16}) * {scale:?}f;\n}}\n\n\
         fn quad_{name}(base: u32, line: Place, k: Place) -> vec4<f32> {{\n    return vec4<f32>(0.0);\n}}"
    )
}

/// The words of a view, whose records begin at whole words where it is kept in such.
fn view_words(view: &View, packing: Option<Packing>) -> Vec<u32> {
    packing.map_or(*view, |packing| view.with_record(2 * packing.words())).words()
}

impl Template for OuterSum {
    const WGSL: &'static str = include_str!("../../../../shaders/outer_sum.wgsl");
}

impl Schedule for On<'_, OuterSum> {
    fn specialise(&self, template: &mut Specialise) {
        self.tile().specialise(template);
        self.tile().specialise_reads(template, [(&self.a, Axis::Cols), (&self.b, Axis::Cols)], self.steps);
        specialise_own(template, self.precise(), self.steps);
        template.constant("SEVERAL", self.steps > 1);
        specialise_views(template, [("A_VIEW", &self.a), ("B_VIEW", &self.b)]);
        if self.sums.integers() {
            template.snippet("sums", "grid_sums");
            template.block("record", RECORD);
            template.block("place", "    let at = g;");
        } else if self.precise() {
            template.block("record", PRECISE_RECORD);
        }
        specialise_grid(template, self.sums);
        for (k, name) in ["a", "b"].into_iter().enumerate() {
            if let Some(packing) = self.packed[k] {
                template.snippet("packed", "half");
                template.constant(&format!("{}_QUADS", name.to_uppercase()), false);
                template.block(name, &read_packed(name, k + 1, packing));
            }
        }
    }

    fn launches(&self, rows: usize) -> Vec<Launch> {
        let chunk = chunk(self);
        let matrices = rows.div_ceil(chunk) * self.groups;
        let [a, b] = [(&self.a, 0), (&self.b, 1)].map(|(view, k)| view_words(view, self.packed[k]));
        let mut launches = Vec::new();
        let sizes = |first: [usize; 2]| [first[0], first[1], self.groups, self.rows, self.cols, rows, chunk];
        if self.sums.integers() {
            // The first launch clears the sums, and the others add to them.
            for (first, grid) in self.tile().grids(self.groups, self.rows, self.cols) {
                let part = words(&[0; 6]);
                launches.push(Launch::new([a.clone(), b.clone(), words(&sizes(first)), part].concat(), grid));
            }
        }
        for (first, grid) in self.tile().grids(matrices, self.rows, self.cols) {
            for part in Span::split(chunk.min(rows), self.steps, 1) {
                let adds = self.sums.integers() || !part.is_first();
                let part = words(&[&part.outer[..], &part.inner, &[usize::from(adds), 0]].concat());
                launches.push(Launch::new([a.clone(), b.clone(), words(&sizes(first)), part].concat(), grid));
            }
        }
        launches
    }

    fn sum_of_parts(&self, rows: usize) -> Option<Reduce> {
        let (chunks, record) = (rows.div_ceil(chunk(self)), self.size());
        let kept = vec![Walk { size: record, stride: 1 }];
        let records = Records::All(Extent::fixed(chunks));
        (chunks > 1 && !self.sums.integers()).then_some(Reduce {
            records,
            record,
            kept,
            reduced: vec![],
            square: false,
        })
    }

    fn iterations(&self) -> usize {
        // A record's own sum is rounded once, where all of it is in one launch.
        let own = self.steps.saturating_add(self.steps.div_ceil(PART));
        if self.sums.integers() { own.saturating_mul(2).saturating_add(2) } else { 0 }
    }

    fn rounding(&self) -> Rounding {
        // A record's own terms, in parts where launches cut them, after the weight but for integers of several positions; then the
        // records of a chunk, and the chunks.
        let weighted = usize::from(self.steps == 1 || !self.sums.integers());
        let element = match Span::split(1, self.steps, 1).len() {
            1 if self.precise() => pair_roundings(self.steps),
            launches if self.precise() => launches as f64 + 1.0,
            launches => (own_roundings(self.steps) + weighted + launches - 1) as f64,
        };
        let records = match self.sums {
            Sums::Floats => Extent { per_row: 1, fixed: chunk(self) },
            _ => Extent::fixed(0),
        };
        Rounding { element, records, ..Rounding::sum(0) }
    }
}
