//! Square norms of wide sides, and of many groups, that lose as much to rounding as can be: a one, and then squares just too small to be added.

use super::{Case, Data};
use crate::device::Device;
use crate::lower::kernels::{OuterNorm, View};
use crate::lower::program::Phase;

/// As wide as an image of 224 × 224 in three colours.
pub const WIDTH: usize = 150_528;
/// Elements that a device sums at a time, at most.
const BLOCK: usize = 4096;
/// Lanes that share a sum, at most.
const LANES: usize = 64;

fn values() -> Vec<f32> {
    let small = 0.9999 * 2.0_f32.powi(-12);
    (0..WIDTH).map(|i| if i < LANES || i % BLOCK == 0 { 1.0 } else { small }).collect()
}

/// The square norm of such a side.
pub fn case() -> Case {
    let view = |width: usize| View::Strided { record: width, group: 0, row: 1, col: 0 };
    let kernel = OuterNorm { groups: 1, rows: 1, cols: WIDTH, steps: 1, a: view(1), b: view(WIDTH) };
    let read = vec![Data::F32(vec![1.0]), Data::F32(values())];
    Case::new("wide", 1, kernel, read, vec![Data::F32(vec![0.0])])
}

/// Groups of a depthwise layer.
pub const GROUPS: usize = 1_024;

/// The square norm of such a gradient of a depthwise layer of one position: each group has one element.
pub fn groups() -> Case {
    let view = View::Strided { record: GROUPS, group: 1, row: 0, col: 0 };
    let kernel = OuterNorm { groups: GROUPS, rows: 1, cols: 1, steps: 1, a: view, b: view };
    let small = 0.9999 * 2.0_f32.powi(-12);
    let values = (0..GROUPS).map(|g| if g == 0 { 1.0 } else { small }).collect();
    Case::new("groups", 1, kernel, vec![Data::F32(vec![1.0; GROUPS]), Data::F32(values)], vec![Data::F32(vec![0.0])])
}

/// The norm that a device finds, over the true one.
pub fn found(device: &dyn Device, case: &Case) -> f64 {
    let mut session = device.load(case.program.clone().into(), case.rows).expect("a session");
    for (id, words) in &case.inputs {
        session.write(*id, words).expect("a write");
    }
    session.run(Phase::Forward).expect("a run");
    let square = f32::from_bits(session.read(case.outputs[0]).expect("a read")[0]);
    let truth: f64 = case.inputs[1].1.iter().map(|word| f64::from(f32::from_bits(*word)).powi(2)).sum();
    (f64::from(square) / truth).sqrt()
}
