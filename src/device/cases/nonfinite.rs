//! NaN and infinities in what every kernel reads: each device makes of them what the cpu does. A record counts as zero for
//! what is not finite in its gradient, and so must be the same record everywhere.

use super::data::{Data, output};
use super::{Case, cases as finite};
use crate::device::cpu::Cpu;
use crate::device::{Device, DeviceError, Session};
use crate::graph::DType;
use crate::lower::kernels::{Broadcast, Elementwise, Kernel, View};
use crate::lower::program::{BufferId, Phase};
use crate::lower::scalar::{Expr, Func, Step, Value};

const NONFINITE: [f32; 3] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];

/// A case, and the inputs to run it on.
struct Poisoned {
    case: Case,
    inputs: Vec<Vec<(BufferId, Vec<u32>)>>,
}

/// All cases of all kernels: functions at NaN and infinities, and of the others each operand of floats with one of them in it.
fn cases() -> Vec<Poisoned> {
    let plain = |case: Case| Poisoned { inputs: vec![case.inputs.clone()], case };
    let mut all: Vec<Poisoned> = folded().into_iter().map(plain).collect();
    for case in finite() {
        match case.kernel() {
            Kernel::Elementwise(_) if case.name.ends_with("_nan") || case.name.ends_with("_infinite") => {
                all.push(plain(case));
            }
            Kernel::Elementwise(_) => {}
            // What is summed as integers is finite: other records have the factor 0.
            Kernel::OuterSum(k) if k.sums.integers() => {}
            Kernel::Scatter(k) if k.records.sums().integers() => {}
            Kernel::Reduce(k) if k.records.sums().integers() => {}
            Kernel::Fold(k) if k.grid => {}
            kernel => {
                let reads = case.inputs.len() - kernel.writes();
                let floats =
                    (0..reads).filter(|&k| case.program.buffers[k].dtype == DType::F32 && of_records(kernel, k));
                let inputs: Vec<_> = floats.flat_map(|k| NONFINITE.map(|x| poisoned(&case, k, x))).collect();
                all.push(Poisoned { inputs, case });
            }
        }
    }
    all
}

/// Whether operand `k` comes from records: what the host or the clip factors say is finite, and so are parameters, as training
/// ends before one is not.
fn of_records(kernel: &Kernel, k: usize) -> bool {
    match kernel {
        Kernel::Reduce(reduce) if reduce.records.weighted() => k == 0,
        Kernel::OuterSum(_) => k < 2,
        Kernel::Scatter(_) | Kernel::WeightedCrossEntropy(_) | Kernel::WeightedCrossEntropyVjp(_) => k != 2,
        Kernel::Fold(_) => k != 0,
        Kernel::ClipFactor(_) => k < 4,
        Kernel::Gemm(gemm) => !matches!([gemm.a, gemm.b].get(k), Some(View::WeightTransposed { .. })),
        Kernel::GhostNorm(norm) => !norm.symmetric || k < 2,
        _ => true,
    }
}

/// The inputs of a case with `x` in the middle of operand `k`.
fn poisoned(case: &Case, k: usize, x: f32) -> Vec<(BufferId, Vec<u32>)> {
    let mut inputs = case.inputs.clone();
    let same = match case.kernel() {
        Kernel::GhostNorm(norm) if norm.symmetric => vec![k, k + 2],
        _ => vec![k],
    };
    for k in same {
        let middle = inputs[k].1.len() / 2;
        inputs[k].1.iter_mut().skip(middle).take(1).for_each(|word| *word = x.to_bits());
    }
    inputs
}

/// What a compiler may take for 0 or 1 although it is NaN.
fn folded() -> Vec<Case> {
    let x = Step::Operand(0, DType::F32);
    let twice = |func: Func| vec![x, Step::Call(func, [0, 0, 0])];
    let zero = Step::Const(Value::F32(0.0));
    let all = [
        ("x-x", twice(Func::Sub)),
        ("x/x", twice(Func::Div)),
        ("max(x,x)", twice(Func::Max)),
        ("0x", vec![x, zero, Step::Call(Func::Mul, [0, 1, 0])]),
        ("x0", vec![zero, x, Step::Call(Func::Mul, [0, 1, 0])]),
        ("max(x,0)", vec![x, zero, Step::Call(Func::Max, [0, 1, 0])]),
        ("min(0,x)", vec![zero, x, Step::Call(Func::Min, [0, 1, 0])]),
    ];
    let data = Data::F32(vec![f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.5, -3.0]);
    let case = |(name, steps): (&str, Vec<Step>)| {
        let expr = Expr::new(steps).expect("steps that fit");
        let operands = vec![Broadcast { record: 0, strides: vec![1] }];
        let kernel = Elementwise { batched: false, dims: vec![5], operands, expr };
        Case::new(name, 1, kernel, vec![data.clone()], vec![output(5)])
    };
    all.map(case).into()
}

fn outputs(
    session: &mut dyn Session,
    case: &Case,
    inputs: &[(BufferId, Vec<u32>)],
) -> Result<Vec<Vec<u32>>, DeviceError> {
    inputs.iter().try_for_each(|(id, words)| session.write(*id, words))?;
    session.run(Phase::Forward)?;
    case.outputs.iter().map(|id| session.read(*id)).collect()
}

/// Holds a device to the cpu: NaN where it has NaN, the same infinities, and close to it elsewhere.
pub fn check(device: &dyn Device) {
    let mut problems = Vec::new();
    for Poisoned { case, inputs } in cases() {
        let load = |device: &dyn Device| device.load(case.program.clone().into(), case.rows);
        let mut sessions = [load(&Cpu), load(device)].map(|s| s.unwrap_or_else(|e| panic!("{}: {e}", case.name)));
        for (i, inputs) in inputs.iter().enumerate() {
            let [expected, got] = sessions
                .each_mut()
                .map(|session| outputs(&mut **session, &case, inputs).unwrap_or_else(|e| panic!("{}: {e}", case.name)));
            for (id, (expected, got)) in case.outputs.iter().zip(expected.into_iter().zip(got)) {
                if let Some(problem) = difference(case.program.buffer(*id).dtype, expected, got) {
                    problems.push(format!("{}, input {i}: {problem}", case.name));
                }
            }
        }
    }
    assert!(problems.is_empty(), "{} differ\n{}", problems.len(), problems.join("\n"));
}

/// The first element in which a result differs.
fn difference(dtype: DType, expected: Vec<u32>, got: Vec<u32>) -> Option<String> {
    let [expected, got] = [expected, got].map(|words| Data::from_words(dtype, words).f64());
    let largest = expected.iter().filter(|x| x.is_finite()).fold(0.0f64, |most, x| most.max(x.abs()));
    let tolerance = if dtype == DType::F32 { 2e-5 * largest + 1e-30 } else { 0.0 };
    let same = |(a, b): (&f64, &f64)| a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= tolerance;
    let at = expected.iter().zip(&got).position(|pair| !same(pair))?;
    Some(format!("[{at}] is {} instead of {}", got[at], expected[at]))
}
