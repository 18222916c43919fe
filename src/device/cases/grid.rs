//! Sums of integers: the cases of sums of floats with numbers of few bits, so that every device must yield the same integers.

use super::{Case, Data};
use crate::lower::kernels::{Carry, Fold, Kernel, Records, Release, Sums};
use crate::lower::program::BufferId;

/// A number of few bits near another.
fn coarse(value: f32) -> f32 {
    if value.is_finite() { (value * 8.0).round() / 8.0 } else { value }
}

/// The case with weighted sums of `sums` in place of floats, if it has any.
fn on_grid(case: &Case, sums: Sums) -> Option<Case> {
    let mut kernel = case.kernel().clone();
    let weights = match &mut kernel {
        // What is kept in 16 bits has more of them than make products exact at this size.
        Kernel::OuterSum(outer) if sums == Sums::WideGrid && outer.packed != [None; 2] => return None,
        Kernel::OuterSum(outer) => {
            outer.sums = sums;
            2
        }
        Kernel::Scatter(scatter) if scatter.records.weighted() => {
            scatter.records = Records::Weighted(sums);
            2
        }
        Kernel::Reduce(reduce) if reduce.records.weighted() && !reduce.square && reduce.reduced.is_empty() => {
            reduce.records = Records::Weighted(sums);
            1
        }
        _ => return None,
    };
    let scale = if sums == Sums::WideGrid { (1 << 28) as f32 } else { 1.0 };
    let data =
        |(id, words): &(BufferId, Vec<u32>)| match Data::from_words(case.program.buffer(*id).dtype, words.clone()) {
            Data::F32(values) if id.0 == weights => {
                let weight = |(n, w): (usize, &f32)| if *w == 0.0 { 0.0 } else { scale * (2.5 + n as f32) };
                Data::F32(values.iter().enumerate().map(weight).collect())
            }
            Data::F32(values) => Data::F32(values.into_iter().map(coarse).collect()),
            other => other,
        };
    let mut read: Vec<Data> = case.inputs.iter().map(data).collect();
    let written = read.pop().map(|sums| Data::I32(vec![-7; sums.elements()]))?;
    let name = case.name.rsplit('/').next().unwrap_or_default();
    Some(Case::new(format!("{sums:?}_{name}"), case.rows, kernel, read, vec![written]))
}

/// Integers of 64 bits around the limits of a word, in words.
fn words(len: usize, seed: i64) -> Data {
    let value = |i: i64| (i * 0x1_2345_6789 + seed * 0x7654_3211) * if i % 2 == 0 { 1 } else { -1 };
    Data::I32((0..len as i64).flat_map(|i| [value(i) as i32, (value(i) >> 32) as i32]).collect())
}

/// Cases of integers, those of `floats` among them.
pub fn cases(floats: &[Case]) -> Vec<Case> {
    let of = |case: &Case| [Sums::Grid, Sums::WideGrid].map(|sums| on_grid(case, sums));
    let mut all: Vec<Case> = floats.iter().flat_map(of).flatten().collect();
    for len in [1, 67, 1030] {
        let values = (0..len).map(|i| [i32::MIN, i32::MAX, -1, 1, 0, i][i as usize % 6]).collect();
        let len = len as usize;
        all.push(Case::new(len.to_string(), 3, Carry { len }, vec![Data::I32(values)], vec![words(len, 3)]));
        let floats = Data::F32((0..len).map(|i| (i as f32 - 200.0) * 2093.7).collect());
        for factor in [0.0, 0.3, -1.5] {
            let (name, written) = (format!("{len}_{factor}"), vec![words(len, 5), floats.clone()]);
            all.push(Case::new(name, 3, Fold { len, grid: true }, vec![Data::F32(vec![factor])], written));
        }
        let hyper = Data::F32(vec![0.125, 9.0, 9.0, 9.0]);
        let read = vec![words(len, 11), hyper, Data::F32(vec![5.0, 1e-7, 5.0])];
        let written = vec![words(len, 2), Data::F32(vec![0.0; len])];
        all.push(Case::new(len.to_string(), 3, Release { len, group: 1, groups: 3 }, read, written));
    }
    all
}
