//! Plans broken on purpose, to show that the audit has the power to catch them.
//!
//! Production code has no switch for any of them: a compiled program is data, so each is an edit of the program, or of the
//! plan that is followed while another is claimed.

mod edit;
mod exact;

use super::AuditError;
use super::ranks::Fault;
use super::subject::Subject;
use crate::graph::DType;
use crate::lower::kernels::{Accumulate, Carry, Copy, CopyAxis, Fill, Kernel};
use crate::lower::program::{BufferId, Extent, Phase, Role};
use crate::lower::scalar::{Expr, Func, Step, Value};
use crate::lower::{host_inputs, memory};
use crate::privacy::adjacency::Adjacency;
use crate::privacy::correlation::Strategy;
use crate::privacy::plan::{PlanSpec, PrivacyPlan};
use crate::privacy::sampling::Sampling;
use edit::{Edit, elementwise};

/// A way to break a plan.
pub struct Mutation {
    /// What is done.
    pub name: &'static str,
    /// Whether it is done to the program that takes norms by Gram matrices, not to the artifact's.
    pub ghost: bool,
    /// Whether it is done to integer sums and their noise, which programs of floats do not have.
    pub exact: bool,
    /// Whether it is done to steps with correlated noise.
    pub correlated: bool,
    /// What ranks that take steps together do, if it is done by such, whose subjects are whole.
    pub ranks: Option<Fault>,
    /// Does it; false where the subject has nothing to break in this way.
    pub apply: fn(&mut Subject) -> Result<bool, AuditError>,
}

/// All of them; most are bugs that released trainers have had.
pub const MUTATIONS: &[Mutation] = &[
    of_any("half the noise", half_noise),
    of_any("gradients clipped to 2C", double_bound),
    of_any("noise once a physical batch", noise_per_physical_batch),
    of_any("division by the realised batch size", realised_divisor),
    of_any("no noise in empty batches", skipped_empty_batches),
    of_any("one noise stream for all tensors", reused_key),
    of_any("no noise on the smallest tensor", bare_tensor),
    Mutation { ghost: true, ..of_any("cross terms of ghost norms dropped", dropped_cross_terms) },
    of_any("shuffling accounted as Poisson sampling", shuffled),
    Mutation { exact: true, ..of_any("a grid too coarse for the bound", exact::coarse_grid) },
    Mutation { exact: true, ..of_any("floats between sum and noise", exact::float_sums) },
    Mutation { exact: true, ..of_any("noise without tails", exact::truncated_tails) },
    Mutation { exact: true, ..of_any("modulo bias of the noise", exact::modulo_bias) },
    of_ranks("noise on every rank", Fault::Noise),
    of_ranks("the noise of one rank's part left out", Fault::NoPart),
    of_correlated("noise correlated by fewer bands", fewer_bands),
    of_correlated("independent noise in place of correlated", independent),
    of_correlated("correlated noise for one row alone", one_row),
];

/// What can be done to programs of floats and of integers.
const fn of_any(name: &'static str, apply: fn(&mut Subject) -> Result<bool, AuditError>) -> Mutation {
    Mutation { name, ghost: false, exact: false, correlated: false, ranks: None, apply }
}

/// What can be done to steps with correlated noise, which take sums of integers.
const fn of_correlated(name: &'static str, apply: fn(&mut Subject) -> Result<bool, AuditError>) -> Mutation {
    Mutation { name, ghost: false, exact: true, correlated: true, ranks: None, apply }
}

/// What is done by ranks whose sums are of integers.
const fn of_ranks(name: &'static str, fault: Fault) -> Mutation {
    Mutation { exact: true, ranks: Some(fault), ..of_any(name, |_| Ok(true)) }
}

impl Mutation {
    /// The broken counterpart of `subject`, if there is one.
    ///
    /// # Errors
    /// Where the broken plan or the broken program is none.
    pub fn of(&self, subject: &Subject) -> Result<Option<Subject>, AuditError> {
        let mut broken = subject.clone();
        if !(self.apply)(&mut broken)? {
            return Ok(None);
        }
        memory::plan(&mut broken.program);
        Ok(Some(broken))
    }
}

fn half_noise(subject: &mut Subject) -> Result<bool, AuditError> {
    let spec = PlanSpec::from(subject.plan.clone());
    subject.plan = PrivacyPlan::new(PlanSpec { noise_multiplier: 0.5 * spec.noise_multiplier, ..spec })?;
    Ok(true)
}

fn fewer_bands(subject: &mut Subject) -> Result<bool, AuditError> {
    recorrelated(subject, |coefficients, sigma| (coefficients[..coefficients.len() / 2].to_vec(), sigma))
}

/// As much noise in each step as correlated noise has in the first.
fn independent(subject: &mut Subject) -> Result<bool, AuditError> {
    recorrelated(subject, |coefficients, sigma| {
        let square: f64 = coefficients.iter().map(|&k| f64::from(k).powi(2)).sum();
        (coefficients[..1].to_vec(), sigma * square.sqrt() / f64::from(coefficients[0]))
    })
}

/// Noise for what a unit adds to one step, though later steps hold it too.
fn one_row(subject: &mut Subject) -> Result<bool, AuditError> {
    recorrelated(subject, |coefficients, sigma| {
        let square: f64 = coefficients.iter().map(|&k| f64::from(k).powi(2)).sum();
        (coefficients.to_vec(), sigma * f64::from(coefficients[0]) / square.sqrt())
    })
}

/// Follows other coefficients and another σ, if noise is correlated.
fn recorrelated(subject: &mut Subject, other: impl Fn(&[u32], f64) -> (Vec<u32>, f64)) -> Result<bool, AuditError> {
    let spec = PlanSpec::from(subject.plan.clone());
    let Some(Strategy::Banded { coefficients }) = &spec.correlation else { return Ok(false) };
    let (coefficients, noise_multiplier) = other(coefficients, spec.noise_multiplier);
    let correlation = Some(Strategy::Banded { coefficients });
    subject.plan = PrivacyPlan::new(PlanSpec { correlation, noise_multiplier, ..spec })?;
    Ok(true)
}

fn shuffled(subject: &mut Subject) -> Result<bool, AuditError> {
    let spec = PlanSpec::from(subject.plan.clone());
    let units = (spec.expected_batch / spec.sampling.rate()).round() as u64;
    let sampling = Sampling::Shuffle { units, batch: spec.expected_batch as u64 };
    let adjacency = Adjacency::ReplaceOne;
    subject.plan = PrivacyPlan::new(PlanSpec { sampling, adjacency, public_units: Some(units), ..spec })?;
    Ok(true)
}

fn double_bound(subject: &mut Subject) -> Result<bool, AuditError> {
    let mut edit = Edit(&mut subject.program);
    let role = Role::Input(host_inputs::CLIP_BOUNDS.to_owned());
    let Some(bounds) = edit.0.find(&role) else { return Ok(false) };
    let len = edit.len(bounds);
    let doubled = edit.add("doubled bounds", len, Role::Temporary);
    for at in edit.positions(Phase::Private, |kernel| matches!(kernel, Kernel::ClipFactor(_))) {
        let buffers = &mut edit.dispatch(Phase::Private, at).buffers;
        buffers.iter_mut().filter(|buffer| **buffer == bounds).for_each(|buffer| *buffer = doubled);
    }
    edit.insert(Phase::Private, 0, elementwise(len, &[1], &Expr::scale(2.0)), &[bounds, doubled]);
    if edit.0.exact() {
        // The unit of factors is that of the bound.
        edit.scale_factors(2.0);
    }
    Ok(true)
}

fn noise_per_physical_batch(subject: &mut Subject) -> Result<bool, AuditError> {
    let mut edit = Edit(&mut subject.program);
    for (at, ending) in edit.endings() {
        let [sum, lent] = [ending.sum, ending.noise].map(|buffer| edit.of_end(at, buffer));
        let (len, words) = (ending.len, ending.words() * ending.len);
        // What the host lends to the end of a step may be gone after it.
        let noise = edit.add_like("noise of the step before", lent);
        edit.0.buffers[noise.0 as usize].role = Role::Output(format!("audit/kept/{at}"));
        edit.push(edit.end(), copy(CopyAxis { size: words, from: 1, to: 1 }, 0), &[lent, noise]);
        if ending.unit.is_none() {
            edit.push(Phase::Private, Accumulate { len }, &[noise, sum]);
            continue;
        }
        // The low words: noise of a few bounds has no more.
        let low = edit.add("low words", len, Role::Temporary);
        edit.0.buffers[low.0 as usize].dtype = DType::I32;
        edit.push(Phase::Private, copy(CopyAxis { size: len, from: 2, to: 1 }, 0), &[noise, low]);
        edit.push(Phase::Private, Carry { len }, &[low, sum]);
    }
    Ok(true)
}

fn realised_divisor(subject: &mut Subject) -> Result<bool, AuditError> {
    let mut edit = Edit(&mut subject.program);
    let Some(count) = edit.count_records() else { return Ok(false) };
    // 1/max(count, 1), for the one element of the host's numbers that is read here.
    let at_least_one = Expr::new(vec![
        Step::Operand(0, DType::F32),
        Step::Const(Value::F32(1.0)),
        Step::Call(Func::Sub, [0, 1, 0]),
        Step::Call(Func::Relu, [2, 0, 0]),
        Step::Call(Func::Add, [3, 1, 0]),
        Step::Call(Func::Div, [1, 4, 0]),
    ])?;
    for (at, ending) in edit.endings().into_iter().rev() {
        let len = edit.len(edit.of_end(at, ending.divisor));
        let inverse = edit.add("inverse", len, Role::Temporary);
        edit.set_of_end(at, ending.divisor, inverse);
        edit.before_end(at, elementwise(len, &[0], &at_least_one), &[count, inverse]);
    }
    Ok(true)
}

fn skipped_empty_batches(subject: &mut Subject) -> Result<bool, AuditError> {
    let mut edit = Edit(&mut subject.program);
    let Some(count) = edit.count_records() else { return Ok(false) };
    // noise · min(count, 1)
    let of = |dtype| {
        let mut steps = vec![
            Step::Operand(0, dtype),
            Step::Operand(1, DType::F32),
            Step::Const(Value::F32(1.0)),
            Step::Call(Func::Sub, [1, 2, 0]),
            Step::Call(Func::Relu, [3, 0, 0]),
            Step::Call(Func::Sub, [1, 4, 0]),
        ];
        match dtype {
            DType::I32 => steps.extend([Step::Call(Func::F32ToI32, [5, 0, 0]), Step::Call(Func::MulI32, [0, 6, 0])]),
            _ => steps.push(Step::Call(Func::Mul, [0, 5, 0])),
        }
        Expr::new(steps)
    };
    for (at, ending) in edit.endings().into_iter().rev() {
        let noise = edit.of_end(at, ending.noise);
        let kept = edit.add_like("noise unless empty", noise);
        let unless_empty = of(edit.0.buffer(noise).dtype)?;
        edit.set_of_end(at, ending.noise, kept);
        edit.before_end(at, elementwise(edit.len(noise), &[1, 0], &unless_empty), &[noise, count, kept]);
    }
    Ok(true)
}

fn reused_key(subject: &mut Subject) -> Result<bool, AuditError> {
    let mut edit = Edit(&mut subject.program);
    let endings = edit.endings();
    let noises: Vec<BufferId> = endings.iter().map(|(at, ending)| edit.of_end(*at, ending.noise)).collect();
    let Some(longest) = noises.iter().copied().max_by_key(|&noise| edit.len(noise)) else { return Ok(false) };
    if noises.len() > 1 {
        for (at, ending) in endings {
            edit.set_of_end(at, ending.noise, longest);
        }
        return Ok(true);
    }
    // One tensor alone: its second half gets the noise of the first.
    let (at, ending) = endings[0];
    let (half, words) = (ending.len / 2, ending.words());
    let twice = edit.add_like("noise twice", longest);
    let first = |size| CopyAxis { size, from: 1, to: 1 };
    edit.set_of_end(at, ending.noise, twice);
    edit.before_end(at, copy(first(half * words), (ending.len - half) * words), &[longest, twice]);
    edit.before_end(at, copy(first(edit.len(longest)), 0), &[longest, twice]);
    Ok(half > 0)
}

/// A copy along `axis` to an offset.
fn copy(axis: CopyAxis, to_offset: usize) -> Copy {
    Copy { batched: false, from_record: 0, to_record: 0, from_offset: 0, to_offset, axes: vec![axis] }
}

fn bare_tensor(subject: &mut Subject) -> Result<bool, AuditError> {
    let mut edit = Edit(&mut subject.program);
    let Some((at, ending)) = edit.endings().into_iter().min_by_key(|(_, ending)| ending.len) else { return Ok(false) };
    let noise = edit.of_end(at, ending.noise);
    let (none, len) = (edit.add_like("no noise", noise), edit.len(noise));
    edit.set_of_end(at, ending.noise, none);
    match ending.unit {
        Some(_) => edit.0.buffers[none.0 as usize].role = Role::ConstantI32(vec![0; len]),
        None => edit.before_end(at, Fill { len: Extent::fixed(len), value: 0.0 }, &[none]),
    }
    Ok(true)
}

/// Drops what different positions, or different uses, of a parameter add to the square norm together.
fn dropped_cross_terms(subject: &mut Subject) -> Result<bool, AuditError> {
    let mut edit = Edit(&mut subject.program);
    let mut dropped = false;
    let is_cross = |kernel: &Kernel| match kernel {
        Kernel::SegmentCross(_) => true,
        Kernel::GhostNorm(ghost) => !ghost.symmetric,
        _ => false,
    };
    for at in edit.positions(Phase::Private, is_cross) {
        let dispatch = edit.dispatch(Phase::Private, at);
        let Some(out) = dispatch.buffers.pop() else { continue };
        dispatch.buffers = vec![out];
        let len = edit.extent(out);
        edit.dispatch(Phase::Private, at).kernel = Fill { len, value: 0.0 }.into();
        dropped = true;
    }
    let is_own = |kernel: &Kernel| matches!(kernel, Kernel::GhostNorm(ghost) if ghost.symmetric && ghost.steps[0] > 1);
    for at in edit.positions(Phase::Private, is_own).into_iter().rev() {
        edit.halve_ghost(at)?;
        dropped = true;
    }
    Ok(dropped)
}
