//! Plans broken on purpose, to show that the audit has the power to catch them.
//!
//! Production code has no switch for any of them: a compiled program is data, so each is an edit of the program, or of the
//! plan that is followed while another is claimed.

use super::AuditError;
use super::subject::Subject;
use crate::graph::DType;
use crate::lower::kernels::{
    Accumulate, Broadcast, Copy, CopyAxis, Elementwise, Fill, GhostNorm, Kernel, Records, Reduce, View, Walk,
};
use crate::lower::program::{Buffer, BufferId, Dispatch, Extent, Phase, Program, Role};
use crate::lower::scalar::{Expr, Func, Step, Value};
use crate::lower::{emit, host_inputs, memory};
use crate::privacy::adjacency::Adjacency;
use crate::privacy::plan::{PlanSpec, PrivacyPlan};
use crate::privacy::sampling::Sampling;

/// A way to break a plan.
pub struct Mutation {
    /// What is done.
    pub name: &'static str,
    /// Whether it is done to the program that takes norms by Gram matrices, not to the artifact's.
    pub ghost: bool,
    /// Does it; false where the subject has nothing to break in this way.
    pub apply: fn(&mut Subject) -> Result<bool, AuditError>,
}

/// All of them; most are bugs that released trainers have had.
pub const MUTATIONS: &[Mutation] = &[
    Mutation { name: "half the noise", ghost: false, apply: half_noise },
    Mutation { name: "gradients clipped to 2C", ghost: false, apply: double_bound },
    Mutation { name: "noise once a physical batch", ghost: false, apply: noise_per_physical_batch },
    Mutation { name: "division by the realised batch size", ghost: false, apply: realised_divisor },
    Mutation { name: "no noise in empty batches", ghost: false, apply: skipped_empty_batches },
    Mutation { name: "one noise stream for all tensors", ghost: false, apply: reused_key },
    Mutation { name: "no noise on the smallest tensor", ghost: false, apply: bare_tensor },
    Mutation { name: "cross terms of ghost norms dropped", ghost: true, apply: dropped_cross_terms },
    Mutation { name: "shuffling accounted as Poisson sampling", ghost: false, apply: shuffled },
];

impl Mutation {
    /// The broken counterpart of `subject`, if there is one.
    ///
    /// # Errors
    /// Where the broken program cannot be emitted.
    pub fn of(&self, subject: &Subject) -> Result<Option<Subject>, AuditError> {
        let mut broken = subject.clone();
        if !(self.apply)(&mut broken)? {
            return Ok(None);
        }
        memory::plan(&mut broken.program);
        emit::shaders(&mut broken.program)?;
        Ok(Some(broken))
    }
}

fn half_noise(subject: &mut Subject) -> Result<bool, AuditError> {
    let spec = PlanSpec::from(subject.plan.clone());
    subject.plan = PrivacyPlan::new(PlanSpec { noise_multiplier: 0.5 * spec.noise_multiplier, ..spec })?;
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
    Ok(true)
}

fn noise_per_physical_batch(subject: &mut Subject) -> Result<bool, AuditError> {
    let mut edit = Edit(&mut subject.program);
    for at in edit.add_noise() {
        let buffers = &edit.dispatch(Phase::Update, at).buffers;
        let (sum, noise) = (buffers[0], buffers[1]);
        let len = edit.len(sum);
        edit.push(Phase::Private, Accumulate { len }, &[noise, sum]);
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
    for at in edit.add_noise().into_iter().rev() {
        let hyper = edit.dispatch(Phase::Update, at).buffers[2];
        let len = edit.len(hyper);
        let inverse = edit.add("inverse", len, Role::Temporary);
        edit.dispatch(Phase::Update, at).buffers[2] = inverse;
        edit.insert(Phase::Update, at, elementwise(len, &[0], &at_least_one), &[count, inverse]);
    }
    Ok(true)
}

fn skipped_empty_batches(subject: &mut Subject) -> Result<bool, AuditError> {
    let mut edit = Edit(&mut subject.program);
    let Some(count) = edit.count_records() else { return Ok(false) };
    // noise · min(count, 1)
    let unless_empty = Expr::new(vec![
        Step::Operand(0, DType::F32),
        Step::Operand(1, DType::F32),
        Step::Const(Value::F32(1.0)),
        Step::Call(Func::Sub, [1, 2, 0]),
        Step::Call(Func::Relu, [3, 0, 0]),
        Step::Call(Func::Sub, [1, 4, 0]),
        Step::Call(Func::Mul, [0, 5, 0]),
    ])?;
    for at in edit.add_noise().into_iter().rev() {
        let noise = edit.dispatch(Phase::Update, at).buffers[1];
        let len = edit.len(noise);
        let kept = edit.add("noise unless empty", len, Role::Temporary);
        edit.dispatch(Phase::Update, at).buffers[1] = kept;
        edit.insert(Phase::Update, at, elementwise(len, &[1, 0], &unless_empty), &[noise, count, kept]);
    }
    Ok(true)
}

fn reused_key(subject: &mut Subject) -> Result<bool, AuditError> {
    let mut edit = Edit(&mut subject.program);
    let positions = edit.add_noise();
    let noises: Vec<BufferId> = positions.iter().map(|&at| edit.dispatch(Phase::Update, at).buffers[1]).collect();
    let Some(longest) = noises.iter().copied().max_by_key(|&noise| edit.len(noise)) else { return Ok(false) };
    if noises.len() > 1 {
        for at in positions {
            edit.dispatch(Phase::Update, at).buffers[1] = longest;
        }
        return Ok(true);
    }
    // One tensor alone: its second half gets the noise of the first.
    let half = edit.len(longest) / 2;
    let twice = edit.add("noise twice", edit.len(longest), Role::Temporary);
    let axes = |size| vec![CopyAxis { size, from: 1, to: 1 }];
    let copy = |size, to_offset| Copy {
        batched: false,
        from_record: 0,
        to_record: 0,
        from_offset: 0,
        to_offset,
        axes: axes(size),
    };
    let at = positions[0];
    edit.dispatch(Phase::Update, at).buffers[1] = twice;
    edit.insert(Phase::Update, at, copy(half, edit.len(longest) - half), &[longest, twice]);
    edit.insert(Phase::Update, at, copy(edit.len(longest), 0), &[longest, twice]);
    Ok(half > 0)
}

fn bare_tensor(subject: &mut Subject) -> Result<bool, AuditError> {
    let mut edit = Edit(&mut subject.program);
    let noise_at = |edit: &mut Edit<'_>, at| edit.dispatch(Phase::Update, at).buffers[1];
    let noises: Vec<_> = edit.add_noise().into_iter().map(|at| (at, noise_at(&mut edit, at))).collect();
    let Some(&(at, noise)) = noises.iter().min_by_key(|(_, noise)| edit.len(*noise)) else { return Ok(false) };
    let len = edit.len(noise);
    let none = edit.add("no noise", len, Role::Temporary);
    edit.dispatch(Phase::Update, at).buffers[1] = none;
    edit.insert(Phase::Update, at, Fill { len: Extent::fixed(len), value: 0.0 }, &[none]);
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

/// `expr` over `len` elements; a stride of 0 reads an operand's first element throughout.
fn elementwise(len: usize, strides: &[usize], expr: &Expr) -> Elementwise {
    let operands = strides.iter().map(|&stride| Broadcast { record: 0, strides: vec![stride] }).collect();
    Elementwise { batched: false, dims: vec![len], operands, expr: expr.clone() }
}

/// How many positions are about the first half of `positions`, and the views of them: of a convolution's output they are
/// whole rows, where there are several.
fn first_half(views: [View; 2], positions: usize) -> (usize, [View; 2]) {
    let mut half = positions / 2;
    let cut = views.map(|view| {
        let View::Patches { mut conv, record } = view else { return view };
        let axis = (0..2).find(|&axis| conv.window.output[axis] > 1).unwrap_or(2);
        conv.window.output[axis] /= 2;
        half = conv.positions();
        View::Patches { conv, record }
    });
    (half, cut)
}

/// A program being edited.
struct Edit<'a>(&'a mut Program);

impl Edit<'_> {
    fn positions(&self, phase: Phase, wanted: impl Fn(&Kernel) -> bool) -> Vec<usize> {
        let dispatches = self.0.phase(phase).iter().enumerate();
        dispatches.filter(|(_, dispatch)| wanted(&dispatch.kernel)).map(|(at, _)| at).collect()
    }

    /// Where noise is added and the sum divided: buffers `sum`, `noise`, `hyper`, `gradient`.
    fn add_noise(&self) -> Vec<usize> {
        self.positions(Phase::Update, |kernel| matches!(kernel, Kernel::AddNoise(_)))
    }

    /// # Panics
    /// If there is no such dispatch.
    fn dispatch(&mut self, phase: Phase, at: usize) -> &mut Dispatch {
        &mut self.0.phases.entry(phase).or_default()[at]
    }

    fn extent(&self, id: BufferId) -> Extent {
        self.0.buffer(id).len
    }

    fn len(&self, id: BufferId) -> usize {
        self.extent(id).at(1)
    }

    fn add(&mut self, name: &str, len: usize, role: Role) -> BufferId {
        let id = self.add_extent(name, Extent::fixed(len));
        self.0.buffers[id.0 as usize].role = role;
        id
    }

    fn add_extent(&mut self, name: &str, len: Extent) -> BufferId {
        let buffer = Buffer { name: name.to_owned(), dtype: DType::F32, len, role: Role::Temporary, slot: 0 };
        self.0.buffers.push(buffer);
        BufferId(self.0.buffers.len() as u32 - 1)
    }

    fn insert(&mut self, phase: Phase, at: usize, kernel: impl Into<Kernel>, buffers: &[BufferId]) {
        let dispatch =
            Dispatch { kernel: kernel.into(), buffers: buffers.to_vec(), label: "mutation".to_owned(), shader: 0 };
        self.0.phases.entry(phase).or_default().insert(at, dispatch);
    }

    fn push(&mut self, phase: Phase, kernel: impl Into<Kernel>, buffers: &[BufferId]) {
        self.insert(phase, self.0.phase(phase).len(), kernel, buffers);
    }

    /// Takes what the first half of the positions and the second add together off the square norm at `at`: with the
    /// gradients `g` and `h` of the halves, `‖g‖² + ‖h‖² = ‖g + h‖² + 2‖g‖² - 2⟨g + h, g⟩`.
    fn halve_ghost(&mut self, at: usize) -> Result<(), AuditError> {
        let Dispatch { kernel: Kernel::GhostNorm(whole), buffers, .. } = self.dispatch(Phase::Private, at).clone()
        else {
            return Ok(());
        };
        let [a, b, .., out] = buffers[..] else { return Ok(()) };
        let [x, y, ..] = whole.views;
        let (tiles, all) = (whole.tiles(), whole.steps[0]);
        let (half, [first_x, first_y]) = first_half([x, y], all);
        let uncut = self.add_extent("uncut", self.extent(out));
        let mut operands = vec![uncut];
        let mut added = Vec::new();
        for (steps, [x, y], scale) in [([half, half], [first_x, first_y], 2.0), ([all, half], [x, y], -2.0)] {
            let views = [x, y, first_x, first_y];
            let part = GhostNorm { steps, scale, symmetric: false, views, ..whole.clone() };
            let parts = self.add_extent("parts", Extent::rows(part.tiles()));
            let sum = self.add_extent("of halves", Extent::rows(1));
            let total = Reduce {
                records: Records::Each(Extent::rows(1)),
                record: part.tiles(),
                kept: vec![],
                reduced: vec![Walk { size: part.tiles(), stride: 1 }],
                square: false,
            };
            added.push((Kernel::from(part), vec![a, b, a, b, parts]));
            added.push((total.into(), vec![parts, sum]));
            operands.push(sum);
        }
        // Taken off in equal parts from all tiles.
        let expr = Expr::new(vec![
            Step::Operand(0, DType::F32),
            Step::Operand(1, DType::F32),
            Step::Operand(2, DType::F32),
            Step::Const(Value::F32(1.0 / tiles as f32)),
            Step::Call(Func::Add, [1, 2, 0]),
            Step::Call(Func::Mul, [4, 3, 0]),
            Step::Call(Func::Add, [0, 5, 0]),
        ])?;
        let of_tiles = Broadcast { record: tiles, strides: vec![1] };
        let of_record = || Broadcast { record: 1, strides: vec![0] };
        let dims = vec![tiles];
        let cut = Elementwise { batched: true, dims, operands: vec![of_tiles, of_record(), of_record()], expr };
        operands.push(out);
        added.push((cut.into(), operands));
        if let Some(last) = self.dispatch(Phase::Private, at).buffers.last_mut() {
            *last = uncut;
        }
        for (kernel, buffers) in added.into_iter().rev() {
            self.insert(Phase::Private, at + 1, kernel, &buffers);
        }
        Ok(())
    }

    /// A buffer that holds the number of records of the logical step while it is updated.
    fn count_records(&mut self) -> Option<BufferId> {
        let weight = self.0.find(&Role::Input(host_inputs::WEIGHT.to_owned()))?;
        let batch = self.add("records of the physical batch", 1, Role::Temporary);
        let count = self.add("records", 1, Role::Output("audit/records".to_owned()));
        let records = Records::All(Extent::rows(1));
        let sum = Reduce { records, record: 1, kept: vec![], reduced: vec![], square: false };
        self.push(Phase::Private, sum, &[weight, batch]);
        self.push(Phase::Private, Accumulate { len: 1 }, &[batch, count]);
        self.push(Phase::Update, Fill { len: Extent::fixed(1), value: 0.0 }, &[count]);
        Some(count)
    }
}
