//! Cases whose sums are longer than [`MAX_ITERATIONS`], which a device with bounded loops takes in parts. Sums are of small
//! integers, so that any order gives the same result.

use super::Case;
use super::data::{Data, Values, output};
use crate::device::gpu::MAX_ITERATIONS;
use crate::lower::cells::{Direction, Kind};
use crate::lower::kernels::*;
use crate::lower::program::Extent;

/// More terms than a loop may have iterations.
const LONG: usize = MAX_ITERATIONS + 4_465;

pub fn cases() -> Vec<Case> {
    let mut all = sums();
    all.extend(layers());
    all
}

/// `len` floats from 0, 1 and 2.
fn small(v: &mut Values, len: usize) -> Data {
    let Data::I32(ids) = v.ids(len, 3) else { unreachable!() };
    Data::F32(ids.into_iter().map(|i| i as f32).collect())
}

fn matrix(record: usize, group: usize, row: usize, col: usize) -> View {
    View::Strided { record, group, row, col }
}

fn sums() -> Vec<Case> {
    let mut v = Values::new(1_100);
    let mut all = Vec::new();
    let gemm = Gemm {
        records: Extent::fixed(1),
        groups: 1,
        rows: Extent::rows(1),
        cols: 3,
        inner: LONG,
        a: matrix(0, 0, LONG, 1),
        b: matrix(0, 0, 1, LONG),
        bias: Some(Bias::Cols),
        activation: None,
        out_record: 0,
        out_group: 0,
        out_row: 3,
        out_col: 1,
    };
    let read = vec![small(&mut v, 2 * LONG), small(&mut v, 3 * LONG), small(&mut v, 3)];
    all.push(Case::new("inner", 2, gemm, read, vec![output(6)]));
    for (steps, rows) in [(1_000, 130), (LONG, 2), (1, LONG)] {
        let (a, b) = (matrix(steps, 0, 0, 1), matrix(2 * steps, 0, 1, 2));
        let kernel = OuterSum {
            groups: 1,
            rows: 1,
            cols: 2,
            steps,
            a,
            b,
            packed: [None; 2],
            sums: Sums::Floats,
            clipped: false,
        };
        let read = vec![small(&mut v, rows * steps), small(&mut v, 2 * rows * steps), Data::F32(vec![1.0; rows])];
        all.push(Case::new(format!("{steps}x{rows}"), rows, kernel, read, vec![output(2)]));
    }
    let reduce = |records, terms| Reduce {
        records,
        record: terms,
        kept: vec![],
        reduced: vec![Walk { size: terms, stride: 1 }],
        square: true,
    };
    let terms = 65 * LONG;
    let read = vec![small(&mut v, terms)];
    all.push(Case::new("terms", 1, reduce(Records::Each(Extent::rows(1)), terms), read, vec![output(1)]));
    let read = vec![small(&mut v, LONG), Data::F32(vec![1.0; LONG])];
    all.push(Case::new("weighted", LONG, reduce(Records::Weighted(Sums::Floats), 1), read, vec![output(1)]));
    let groups = 5_000;
    let a = matrix(groups, 1, 0, 0);
    let kernel = OuterNorm { groups, rows: 1, cols: 1, steps: 1, a, b: a };
    let read = vec![small(&mut v, groups), small(&mut v, groups)];
    all.push(Case::new("groups", 1, kernel, read, vec![output(1)]));
    // As long as the vocabulary of a language model times a text. The square norms are integers that floats have, and so is
    // their product.
    let (cols, steps) = (50_257, 26);
    let (a, b) = (matrix(steps, 0, 0, 1), matrix(cols * steps, 0, 1, cols));
    let kernel = OuterNorm { groups: 1, rows: 1, cols, steps, a, b };
    let one = |every: usize| move |i: usize| if i.is_multiple_of(every) { 1.0 } else { 0.0 };
    let [ones, few] =
        [(steps, 13), (cols * steps, 1_009)].map(|(len, every)| Data::F32((0..len).map(one(every)).collect()));
    all.push(Case::new("vocabulary", 1, kernel, vec![ones, few], vec![output(1)]));
    all
}

fn layers() -> Vec<Case> {
    let mut v = Values::new(1_200);
    let mut all = Vec::new();
    let (rows, count) = (350, 200);
    let scatter = Scatter {
        records: Records::All(Extent::rows(1)),
        ids_record: 200,
        record: 200,
        count,
        width: 1,
        table_rows: 5,
        ordered: false,
    };
    let read = vec![v.ids(rows * count, 5), small(&mut v, rows * count)];
    all.push(Case::new("positions", rows, scatter, read, vec![output(5)]));

    let tokens = Tokens { tokens: 200, classes: 10_000, ignore: -100, log_probabilities: false };
    let logits = Data::F32(v.range(200 * 10_000, -3.0, 3.0));
    let ids = v.ids(200, 10_000);
    all.push(Case::new("tokens", 1, CrossEntropy(tokens), vec![logits.clone(), ids.clone()], vec![output(1)]));
    let weighted = WeightedTokens { of: tokens, smoothing: 0.1 };
    let read = vec![logits, ids, Data::F32(vec![1.0; 10_000])];
    all.push(Case::new("weighted_tokens", 1, WeightedCrossEntropy(weighted), read, vec![output(1)]));

    let (count, width) = (30_000, 130);
    let ids = Data::I32((0..count as i32).map(|t| t / 7).collect());
    let order = Data::I32((0..count as i32).collect());
    let read = vec![ids, order, small(&mut v, count * width)];
    all.push(Case::new("columns", 1, SegmentNorm { count, width, table_rows: 5_000 }, read, vec![output(1)]));

    let (count, steps, width, table_rows) = (100, 100, 500, 7);
    let (a, b) = (matrix(0, 0, steps, 1), matrix(0, 0, steps, 1));
    let kernel = SegmentCross { count, width, table_rows, steps, b, a };
    let x = small(&mut v, count * width);
    let read = vec![v.ids(count, table_rows), x, small(&mut v, table_rows * steps), small(&mut v, width * steps)];
    all.push(Case::new("pairs", 1, kernel, read, vec![output(1)]));

    let (cell, direction, hidden, initial) = (Kind::Lstm.into(), Direction::Forward, 8, false);
    let of = |steps| Recurrence { cell, direction, steps, hidden, initial, initial_record: 0 };
    let recurrent = Data::F32(v.range(32 * 8, -0.3, 0.3));
    let read = vec![v.floats(7_000 * 32), recurrent.clone()];
    all.push(Case::new("steps", 1, of(7_000), read, vec![output(6 * 7_000 * 8)]));
    let tape = Data::F32(v.range(6 * 2_000 * 8, 0.1, 0.9));
    let read = vec![tape, recurrent, v.floats(2_000 * 8)];
    all.push(Case::new(
        "steps",
        1,
        RecurrenceVjp { of: of(2_000), inner: false, before: false },
        read,
        vec![output(2_000 * 32)],
    ));
    all
}
