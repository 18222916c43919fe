//! What breaks integer sums and their noise.

use super::super::AuditError;
use super::super::claim::noise_scales;
use super::super::subject::Subject;
use super::edit::{Edit, elementwise};
use crate::graph::DType;
use crate::lower::kernels::{Broadcast, Elementwise, Kernel, Records, Sums};
use crate::lower::program::{BufferId, Phase, Role};
use crate::lower::scalar::{Expr, Func, Step, Value};
use crate::privacy::grid::UNITS;

/// Where the noise is cut off, in standard deviations.
const CUT: f64 = 2.0;
/// A byte is drawn, and its remainder by this is taken.
const BIASED: i32 = 200;

/// Shares of records are rounded to so many units that elements of a usual size are about one of them.
pub(super) fn coarse_grid(subject: &mut Subject) -> Result<bool, AuditError> {
    let mut edit = Edit(&mut subject.program);
    let elements: usize = edit.endings().iter().map(|(_, ending)| ending.len).sum();
    let coarse = (f64::from(UNITS) / (elements as f64).sqrt()).log2().floor().clamp(1.0, 20.0) as u32;
    let by = 1 << coarse;
    let expr = Expr::new(vec![
        Step::Operand(0, DType::I32),
        Step::Const(Value::I32(by)),
        Step::Call(Func::MulI32, [0, 1, 0]),
    ])?;
    for at in edit.positions(Phase::Private, |kernel| matches!(kernel, Kernel::Carry(_))).into_iter().rev() {
        let sum = edit.dispatch(Phase::Private, at).buffers[0];
        let scaled = edit.add_like("coarse sum", sum);
        edit.dispatch(Phase::Private, at).buffers[0] = scaled;
        edit.insert(Phase::Private, at, elementwise(edit.len(sum), &[1], &expr), &[sum, scaled]);
    }
    edit.scale_factors(1.0 / by as f32);
    Ok(elements > 0)
}

/// Records of a physical batch are summed as floats, and their sum is rounded.
pub(super) fn float_sums(subject: &mut Subject) -> Result<bool, AuditError> {
    let mut edit = Edit(&mut subject.program);
    let expr = Expr::new(vec![
        Step::Operand(0, DType::F32),
        Step::Call(Func::Round, [0, 0, 0]),
        Step::Call(Func::F32ToI32, [1, 0, 0]),
    ])?;
    let positions = edit.positions(Phase::Private, |kernel| sums(&mut kernel.clone()).is_some_and(|s| s.integers()));
    for &at in positions.iter().rev() {
        let dispatch = edit.dispatch(Phase::Private, at);
        if let Some(sums) = sums(&mut dispatch.kernel) {
            *sums = Sums::Floats;
        }
        let Some(&sum) = dispatch.buffers.last() else { continue };
        let floats = edit.add_extent("float sum", edit.extent(sum));
        if let Some(last) = edit.dispatch(Phase::Private, at).buffers.last_mut() {
            *last = floats;
        }
        edit.insert(Phase::Private, at + 1, elementwise(edit.len(sum), &[1], &expr), &[floats, sum]);
    }
    Ok(!positions.is_empty())
}

/// What a kernel's weighted sums over records are made of.
fn sums(kernel: &mut Kernel) -> Option<&mut Sums> {
    match kernel {
        Kernel::OuterSum(kernel) => Some(&mut kernel.sums),
        Kernel::Reduce(kernel) => of_records(&mut kernel.records),
        Kernel::Scatter(kernel) => of_records(&mut kernel.records),
        _ => None,
    }
}

fn of_records(records: &mut Records) -> Option<&mut Sums> {
    if let Records::Weighted(sums) = records { Some(sums) } else { None }
}

/// Noise farther out than [`CUT`] standard deviations is put there.
pub(super) fn truncated_tails(subject: &mut Subject) -> Result<bool, AuditError> {
    let scales = noise_scales(&subject.plan, &subject.groups)?;
    on_words(subject, |group| {
        let cut = CUT * scales.get(group)?.to_f64();
        let cut = if cut < f64::from(i32::MAX) { cut as i32 } else { return None };
        Some(vec![
            Step::Const(Value::I32(cut)),
            Step::Call(Func::MinI32, [LOW, 3, 0]),
            Step::Const(Value::I32(-cut)),
            Step::Call(Func::MaxI32, [4, 5, 0]),
            // The sign fills the high word.
            Step::Const(Value::I32(0)),
            Step::Call(Func::LessI32, [6, 7, 0]),
            Step::Call(Func::BoolToI32, [8, 0, 0]),
            Step::Call(Func::NegI32, [9, 0, 0]),
            Step::Call(Func::I32ToBool, [WHICH, 0, 0]),
            Step::Call(Func::SelectI32, [11, 10, 6]),
        ])
    })
}

/// The lowest byte of the noise is a remainder of what is as likely as any byte.
pub(super) fn modulo_bias(subject: &mut Subject) -> Result<bool, AuditError> {
    on_words(subject, |_| {
        Some(vec![
            Step::Const(Value::I32(256)),
            Step::Call(Func::ModI32, [LOW, 3, 0]),
            Step::Call(Func::SubI32, [LOW, 4, 0]),
            Step::Const(Value::I32(BIASED)),
            Step::Call(Func::ModI32, [4, 6, 0]),
            Step::Call(Func::AddI32, [5, 7, 0]),
            Step::Call(Func::I32ToBool, [WHICH, 0, 0]),
            Step::Call(Func::SelectI32, [9, OWN, 8]),
        ])
    })
}

/// The steps that hold the low word of an integer, the word that is worked out, and whether that is the high one.
const LOW: usize = 0;
const OWN: usize = 1;
const WHICH: usize = 2;

/// Replaces both words of the integers of each parameter's noise by what the steps after the first three make of them, given
/// for each clip group. They take noise to have no more than the low word.
fn on_words(subject: &mut Subject, steps: impl Fn(usize) -> Option<Vec<Step>>) -> Result<bool, AuditError> {
    let mut edit = Edit(&mut subject.program);
    let which = edit.add("which word", 2, Role::ConstantI32(vec![0, 1]));
    edit.0.buffers[which.0 as usize].dtype = DType::I32;
    let mut changed = false;
    for (at, ending) in edit.endings().into_iter().rev() {
        let Kernel::Release(release) = &edit.0.phase(Phase::Release)[at].kernel else { continue };
        let Some(steps) = steps(release.group) else { continue };
        let first = [Step::Operand(0, DType::I32), Step::Operand(1, DType::I32), Step::Operand(2, DType::I32)];
        let expr = Expr::new(first.into_iter().chain(steps).collect())?;
        let operand = |strides: [usize; 2]| Broadcast { record: 0, strides: strides.to_vec() };
        let operands = vec![operand([2, 0]), operand([2, 1]), operand([0, 1])];
        let kernel = Elementwise { batched: false, dims: vec![ending.len, 2], operands, expr };
        let noise: BufferId = edit.of_end(at, ending.noise);
        let other = edit.add_like("other noise", noise);
        edit.set_of_end(at, ending.noise, other);
        edit.before_end(at, kernel, &[noise, noise, which, other]);
        changed = true;
    }
    Ok(changed)
}
