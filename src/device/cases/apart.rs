//! Sums over records of terms that cancel: what a record adds may not depend on the others.

use super::{Case, Data};
use crate::device::{Device, DeviceError};
use crate::lower::kernels::{OuterSum, Records, Scatter, Sums, View};
use crate::lower::program::{BufferId, Phase};

/// Records, few enough to be added one after the other on every device.
const ROWS: usize = 8;
/// The buffer that holds the weights.
const WEIGHTS: BufferId = BufferId(2);

/// Large numbers that cancel but for their last bits, of a different size for each record.
fn cancelling(rows: usize, steps: usize, width: usize) -> Data {
    let number = |n: usize, t: usize, j: usize| {
        let size = (1.0 + (7 * n + 3 * j) as f32 / 64.0) * (1 << 20) as f32;
        let sign = if (n + t).is_multiple_of(2) { 1.0 } else { -1.0 };
        sign * (size + (n * t + j) as f32 / 8.0)
    };
    let all = (0..rows).flat_map(|n| (0..steps).flat_map(move |t| (0..width).map(move |j| number(n, t, j))));
    Data::F32(all.collect())
}

/// Sums over records of terms that cancel.
pub fn cases() -> Vec<Case> {
    let weights = Data::F32((0..ROWS).map(|n| 1.0 + n as f32 / 8.0).collect());
    let mut all = Vec::new();
    for (steps, rows, cols) in [(2, 1, 1), (4, 3, 70), (37, 9, 5)] {
        let view = |width: usize| View::Strided { record: steps * width, group: 0, row: 1, col: width };
        let (a, b) = (view(rows), view(cols));
        let kernel =
            OuterSum { groups: 1, rows, cols, steps, a, b, packed: [None; 2], sums: Sums::Floats, clipped: false };
        let ones = Data::F32(vec![1.0; ROWS * steps * cols]);
        let read = vec![cancelling(ROWS, steps, rows), ones, weights.clone()];
        all.push(Case::new(steps.to_string(), ROWS, kernel, read, vec![Data::F32(vec![0.0; rows * cols])]));
    }
    let (count, width, table_rows) = (6, 3, 5);
    let ids: Vec<i32> = (0..ROWS).flat_map(|n| [2, 2, 4, 4, (n % 5) as i32, (n % 5) as i32]).collect();
    let order = super::layers::order_of(&Data::I32(ids.clone()), count, table_rows);
    let (ids_record, record) = (count, count * width);
    let records = Records::Weighted(Sums::Floats);
    let kernel = Scatter { records, ids_record, record, count, width, table_rows, ordered: true };
    let read = vec![Data::I32(ids), cancelling(ROWS, count, width), weights, Data::I32(order)];
    all.push(Case::new("ids", ROWS, kernel, read, vec![Data::F32(vec![0.0; table_rows * width])]));
    all
}

fn sum(device: &dyn Device, case: &Case, only: Option<usize>) -> Result<Vec<f32>, DeviceError> {
    let mut session = device.load(case.program.clone().into(), case.rows)?;
    for (id, words) in &case.inputs {
        let alone = |(n, &word): (usize, &u32)| if only.is_none_or(|only| only == n) { word } else { 0 };
        match *id == WEIGHTS {
            true => session.write(*id, &words.iter().enumerate().map(alone).collect::<Vec<u32>>())?,
            false => session.write(*id, words)?,
        }
    }
    session.run(Phase::Forward)?;
    Ok(session.read(case.outputs[0])?.into_iter().map(f32::from_bits).collect())
}

/// Holds sums over records to the sum, one record after the other, of what each adds alone, to the last bit.
pub fn check(device: &dyn Device, cases: &[Case]) {
    for case in cases {
        let run = |only| sum(device, case, only).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        let mut expected = vec![0.0; run(None).len()];
        for n in 0..ROWS {
            expected.iter_mut().zip(run(Some(n))).for_each(|(sum, share)| *sum += share);
        }
        assert_eq!(run(None), expected, "{}", case.name);
        assert!(expected.iter().any(|sum| *sum != 0.0), "{}", case.name);
    }
}
