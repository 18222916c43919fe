//! Edits of a program.

use super::super::AuditError;
use super::super::ending::Ending;
use crate::graph::DType;
use crate::lower::host_inputs;
use crate::lower::kernels::{Accumulate, Broadcast, Elementwise, Fill, GhostNorm, Kernel, Records, Reduce, View, Walk};
use crate::lower::program::{Buffer, BufferId, Dispatch, Extent, Phase, Program, Role};
use crate::lower::scalar::{Expr, Func, Step, Value};

/// The place of the factors among the buffers of [`crate::lower::kernels::ClipFactor`].
const FACTOR: usize = 6;

/// `expr` over `len` elements; a stride of 0 reads an operand's first element throughout.
pub(super) fn elementwise(len: usize, strides: &[usize], expr: &Expr) -> Elementwise {
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
pub(super) struct Edit<'a>(pub &'a mut Program);

impl Edit<'_> {
    pub(super) fn positions(&self, phase: Phase, wanted: impl Fn(&Kernel) -> bool) -> Vec<usize> {
        let dispatches = self.0.phase(phase).iter().enumerate();
        dispatches.filter(|(_, dispatch)| wanted(&dispatch.kernel)).map(|(at, _)| at).collect()
    }

    /// The phase that ends a step.
    pub(super) fn end(&self) -> Phase {
        self.0.private_update()
    }

    /// Where noise is added and the sum divided.
    pub(super) fn endings(&self) -> Vec<(usize, Ending)> {
        let dispatches = self.0.phase(self.end()).iter().enumerate();
        dispatches.filter_map(|(at, dispatch)| Some((at, Ending::of(&dispatch.kernel)?))).collect()
    }

    /// Buffer number `buffer` of the dispatch at `at` that ends a step.
    pub(super) fn of_end(&self, at: usize, buffer: usize) -> BufferId {
        self.0.phase(self.end())[at].buffers[buffer]
    }

    /// Puts `to` in its place.
    pub(super) fn set_of_end(&mut self, at: usize, buffer: usize, to: BufferId) {
        let end = self.end();
        self.dispatch(end, at).buffers[buffer] = to;
    }

    /// Puts a dispatch before the one at `at` that ends a step.
    pub(super) fn before_end(&mut self, at: usize, kernel: impl Into<Kernel>, buffers: &[BufferId]) {
        self.insert(self.end(), at, kernel, buffers);
    }

    /// # Panics
    /// If there is no such dispatch.
    pub(super) fn dispatch(&mut self, phase: Phase, at: usize) -> &mut Dispatch {
        &mut self.0.phases.entry(phase).or_default()[at]
    }

    pub(super) fn extent(&self, id: BufferId) -> Extent {
        self.0.buffer(id).len
    }

    pub(super) fn len(&self, id: BufferId) -> usize {
        self.extent(id).at(1)
    }

    pub(super) fn add(&mut self, name: &str, len: usize, role: Role) -> BufferId {
        let id = self.add_extent(name, Extent::fixed(len));
        self.0.buffers[id.0 as usize].role = role;
        id
    }

    /// A buffer like `other` for an intermediate value.
    pub(super) fn add_like(&mut self, name: &str, other: BufferId) -> BufferId {
        let Buffer { dtype, len, .. } = self.0.buffer(other).clone();
        let id = self.add_extent(name, len);
        self.0.buffers[id.0 as usize].dtype = dtype;
        id
    }

    /// Multiplies every record's clip factors by `scale`.
    pub(super) fn scale_factors(&mut self, scale: f32) {
        for at in self.positions(Phase::Private, |kernel| matches!(kernel, Kernel::ClipFactor(_))).into_iter().rev() {
            let Some(&to) = self.dispatch(Phase::Private, at).buffers.get(FACTOR) else { continue };
            let from = self.add_like("factor", to);
            self.dispatch(Phase::Private, at).buffers[FACTOR] = from;
            let operands = vec![Broadcast { record: 1, strides: vec![0] }];
            let scaled = Elementwise { batched: true, dims: vec![1], operands, expr: Expr::scale(scale) };
            self.insert(Phase::Private, at + 1, scaled, &[from, to]);
        }
    }

    pub(super) fn add_extent(&mut self, name: &str, len: Extent) -> BufferId {
        let buffer = Buffer { name: name.to_owned(), dtype: DType::F32, len, role: Role::Temporary, slot: 0 };
        self.0.buffers.push(buffer);
        BufferId(self.0.buffers.len() as u32 - 1)
    }

    pub(super) fn insert(&mut self, phase: Phase, at: usize, kernel: impl Into<Kernel>, buffers: &[BufferId]) {
        let dispatch =
            Dispatch { kernel: kernel.into(), buffers: buffers.to_vec(), label: "mutation".to_owned(), views: 1 };
        self.0.phases.entry(phase).or_default().insert(at, dispatch);
    }

    pub(super) fn push(&mut self, phase: Phase, kernel: impl Into<Kernel>, buffers: &[BufferId]) {
        self.insert(phase, self.0.phase(phase).len(), kernel, buffers);
    }

    /// Takes what the first half of the positions and the second add together off the square norm at `at`: with the
    /// gradients `g` and `h` of the halves, `‖g‖² + ‖h‖² = ‖g + h‖² + 2‖g‖² - 2⟨g + h, g⟩`.
    pub(super) fn halve_ghost(&mut self, at: usize) -> Result<(), AuditError> {
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
    pub(super) fn count_records(&mut self) -> Option<BufferId> {
        let weight = self.0.find(&Role::Input(host_inputs::WEIGHT.to_owned()))?;
        let batch = self.add("records of the physical batch", 1, Role::Temporary);
        let count = self.add("records", 1, Role::Output("audit/records".to_owned()));
        let records = Records::All(Extent::rows(1));
        let sum = Reduce { records, record: 1, kept: vec![], reduced: vec![], square: false };
        self.push(Phase::Private, sum, &[weight, batch]);
        self.push(Phase::Private, Accumulate { len: 1 }, &[batch, count]);
        self.push(self.end(), Fill { len: Extent::fixed(1), value: 0.0 }, &[count]);
        Some(count)
    }
}
