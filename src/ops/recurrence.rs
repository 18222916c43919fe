//! Recurrent layers: one op for a recurrence of any cell of the table, one for its backward sweep.
//!
//! The input's product with its weight and the biases are ops of their own before the recurrence; the recurrent weight's
//! gradient is a sum over time of outer products. A bidirectional layer is two recurrences.

use super::contract::Contract;
use super::elementwise::Elementwise;
use super::leaf::Fill;
use super::movement::{Concat, Reshape, Slice};
use super::outer::Outer;
use super::{Backward, OpRules, VjpError};
use crate::graph::{DType, NodeId, Type};
use crate::lower::cells::{Cell, Direction};
use crate::lower::kernels::{self, View};
use crate::lower::program::BufferId;
use crate::lower::scalar::Func;
use crate::lower::{LowerError, Lowering};
use crate::ops::Op;

/// The tape `[planes, T, H]` of a recurrence, the gates and then the states, from gate pre-activations `pre[T, G·H]`, the
/// shared recurrent weight `R[G·H, H]` and, if `initial`, the states `[H]` before the first step, from the last, `h`, to the
/// first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recurrence {
    /// The cell.
    pub cell: Cell,
    /// The order of the steps.
    pub direction: Direction,
    /// Hidden units.
    pub hidden: usize,
    /// Whether initial states are given; without them they are zero.
    pub initial: bool,
}

/// The cotangent of the pre-activations `[T, G·H]`, from the tape, `R`, those initial states that the backward step reads if
/// there are some, the cotangent `[T, H]` of `h` and, if `inner`, those of the other states, all from the last state to the
/// first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RecurrenceVjp {
    /// The recurrence.
    pub of: Recurrence,
    /// Whether there are cotangents of the states besides `h`.
    pub inner: bool,
}

impl Recurrence {
    /// The plane of the tape that holds a state.
    pub fn plane(&self, state: usize) -> usize {
        self.cell.gates() + state
    }

    /// The planes of the states, from the last, `h`, to the first.
    fn planes(&self) -> Vec<usize> {
        (0..self.cell.states()).rev().map(|k| self.plane(k)).collect()
    }

    /// Rows of the recurrent weight.
    fn width(&self) -> usize {
        self.cell.gates() * self.hidden
    }

    /// The kernel for so many steps, and what it reads of the initial states: operands from `first` on, of which either all
    /// or none have one for each record.
    fn kernel(
        &self,
        cx: &mut Lowering<'_>,
        steps: usize,
        first: usize,
        count: usize,
    ) -> (kernels::Recurrence, Vec<BufferId>) {
        let Recurrence { cell, direction, hidden, initial } = *self;
        let mixed = (first..first + count).any(|i| cx.operand_ty(i).batched);
        let reads = (first..first + count).map(|i| if mixed { cx.spread(i) } else { cx.operand(i) }).collect();
        let initial_record = if mixed { hidden } else { 0 };
        (kernels::Recurrence { cell, direction, steps, hidden, initial, initial_record }, reads)
    }

    /// How many initial states the backward sweep reads.
    fn reread(&self) -> usize {
        if self.initial { self.cell.reread().len() } else { 0 }
    }
}

/// The type of a sweep's result; the kernels sweep over the records of a batch.
fn batched(operands: &[&Type], dims: &[usize]) -> Result<Type, String> {
    match operands.iter().any(|operand| operand.batched) {
        true => Ok(Type::batched(dims)),
        false => Err("no operand depends on the record".into()),
    }
}

impl OpRules for Recurrence {
    fn mnemonic(&self) -> String {
        self.cell.name().into()
    }

    fn attributes(&self) -> String {
        if self.direction == Direction::Reverse { "reverse".into() } else { String::new() }
    }

    fn infer(&self, operands: &[&Type]) -> Result<Type, String> {
        let (h, width) = (self.hidden, self.width());
        if operands.len() != 2 + if self.initial { self.cell.states() } else { 0 }
            || operands.iter().any(|o| o.dtype != DType::F32)
        {
            return Err("takes pre-activations, a recurrent weight and initial states where it has them".into());
        }
        let &[steps, gates] = operands[0].dims.as_slice() else {
            return Err("the pre-activations are not [T, G·H]".into());
        };
        let states = operands[2..].iter().all(|s| s.dims == [h]);
        if gates != width || operands[1].dims != [gates, h] || operands[1].batched || !states {
            return Err(format!("the operands do not fit {h} hidden units"));
        }
        batched(operands, &[self.cell.planes(), steps, h])
    }

    fn vjp(&self, bw: &mut Backward<'_>) -> Result<Vec<Option<NodeId>>, VjpError> {
        let (cell, states) = (self.cell, self.cell.states());
        // The initial states have a derivative through the recurrent product alone.
        let refused = |k: usize| k + 1 != states || cell.carried().contains(&k);
        if self.initial && (0..states).any(|k| refused(k) && bw.needs(1 + states - k)) {
            return Err(bw.not_differentiable());
        }
        let (h, tape, r) = (self.hidden, bw.value(), bw.operand(1));
        let (width, steps) = (self.width(), bw.ty(tape).dims[1]);
        let cotangents = plane_cotangents(bw, &self.planes(), steps, h)?;
        let mut operands = vec![tape, r];
        if self.initial {
            operands.extend(cell.reread().iter().rev().map(|k| bw.operand(1 + states - k)));
        }
        let inner = cotangents[1..].iter().any(Option::is_some);
        for cotangent in &cotangents[..if inner { states } else { 1 }] {
            operands.push(match cotangent {
                Some(d) => *d,
                None => bw.emit(Fill { ty: Type::shared([steps, h]), value: 0.0 }, &[])?,
            });
        }
        let op = RecurrenceVjp { of: *self, inner };
        let dpre = bw.emit(op, &operands)?;
        let mut out = vec![None; bw.arity()];
        if bw.needs(0) {
            out[0] = Some(bw.sum_batch_to(0, dpre)?);
        }
        if bw.needs(1) {
            let before = self.states_before(bw, steps)?;
            let column = |width: usize| View::Strided { record: 0, group: 0, row: 1, col: width };
            let (a, b) = (column(width), column(h));
            let dr = bw.emit(Outer { groups: 1, rows: width, cols: h, steps, a, b }, &[dpre, before])?;
            out[1] = Some(bw.sum_batch_to(1, dr)?);
        }
        if self.initial && bw.needs(2) {
            let first = self.direction.step(0, steps);
            let first = bw.emit(Slice { axis: 0, start: first, len: 1 }, &[dpre])?;
            let d = bw.emit(Contract::new(false, false), &[first, r])?;
            let d = bw.emit(Reshape { dims: vec![h] }, &[d])?;
            out[2] = Some(bw.sum_batch_to(2, d)?);
        }
        Ok(out)
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<(), LowerError> {
        let steps = cx.ty().dims[1];
        let mut reads = vec![cx.spread(0), cx.operand(1)];
        let (kernel, states) = self.kernel(cx, steps, 2, if self.initial { self.cell.states() } else { 0 });
        reads.extend(states);
        let out = cx.output();
        cx.launch(kernel, &reads, &[out]);
        Ok(())
    }
}

/// The cotangents `[T, H]` of the states on these planes: found behind the sums and paddings that make up the tape's
/// cotangent, or else cut out of it.
fn plane_cotangents(
    bw: &mut Backward<'_>,
    planes: &[usize],
    steps: usize,
    hidden: usize,
) -> Result<Vec<Option<NodeId>>, VjpError> {
    let tape = bw.cotangent();
    let found = padded_planes(bw, tape, planes);
    let mut out = vec![None; planes.len()];
    for (k, &plane) in planes.iter().enumerate() {
        let terms = match &found {
            Some(terms) => terms[k].clone(),
            None => vec![bw.emit(Slice { axis: 0, start: plane, len: 1 }, &[tape])?],
        };
        for term in terms {
            let term = bw.emit(Reshape { dims: vec![steps, hidden] }, &[term])?;
            out[k] = Some(match out[k] {
                Some(sum) => bw.emit(Elementwise::call(Func::Add), &[sum, term])?,
                None => term,
            });
        }
    }
    Ok(out)
}

/// The terms `[1, T, H]` of each plane, if the tape's cotangent is a sum of paddings of these planes alone.
fn padded_planes(bw: &Backward<'_>, tape: NodeId, planes: &[usize]) -> Option<Vec<Vec<NodeId>>> {
    let graph = bw.graph();
    let mut terms = vec![Vec::new(); planes.len()];
    let mut open = vec![tape];
    while let Some(id) = open.pop() {
        let operands = graph.operands(id);
        match graph.op(id) {
            Op::Elementwise(e) if *e == Elementwise::call(Func::Add) => open.extend(operands),
            Op::Pad(e) if e.axis == 0 && graph.ty(operands[0]).dims.first() == Some(&1) => {
                let k = planes.iter().position(|&p| p == e.start)?;
                terms[k].push(operands[0]);
            }
            _ => return None,
        }
    }
    Some(terms)
}

impl Recurrence {
    /// `h` before every step, `[T, H]`.
    fn states_before(&self, bw: &mut Backward<'_>, steps: usize) -> Result<NodeId, VjpError> {
        let hidden = self.hidden;
        let first = if self.initial {
            let h0 = bw.operand(2);
            bw.emit(Reshape { dims: vec![1, hidden] }, &[h0])?
        } else {
            bw.emit(Fill { ty: Type::shared([1, hidden]), value: 0.0 }, &[])?
        };
        if steps == 1 {
            return Ok(first);
        }
        let (tape, h) = (bw.value(), self.plane(self.cell.states() - 1));
        let states = bw.emit(Slice { axis: 0, start: h, len: 1 }, &[tape])?;
        let states = bw.emit(Reshape { dims: vec![steps, hidden] }, &[states])?;
        // All but those after the step that is made last.
        let reverse = self.direction == Direction::Reverse;
        let states = bw.emit(Slice { axis: 0, start: usize::from(reverse), len: steps - 1 }, &[states])?;
        bw.emit(Concat { axis: 0 }, &if reverse { [states, first] } else { [first, states] })
    }
}

impl OpRules for RecurrenceVjp {
    fn mnemonic(&self) -> String {
        format!("{}_vjp", self.of.cell.name())
    }

    fn attributes(&self) -> String {
        self.of.attributes()
    }

    fn infer(&self, operands: &[&Type]) -> Result<Type, String> {
        let (h, width, cell) = (self.of.hidden, self.of.width(), self.of.cell);
        let (initial, cotangents) = (self.of.reread(), if self.inner { cell.states() } else { 1 });
        if operands.len() != 2 + initial + cotangents || operands.iter().any(|o| o.dtype != DType::F32) {
            return Err("the operands do not fit its form".into());
        }
        let &[planes, steps, units] = operands[0].dims.as_slice() else {
            return Err("the tape is not [planes, T, H]".into());
        };
        let cotangents = operands[2 + initial..].iter().all(|d| d.dims == [steps, h]);
        let states = operands[2..2 + initial].iter().all(|s| s.dims == [h]);
        if planes != cell.planes()
            || units != h
            || operands[1].dims != [width, h]
            || operands[1].batched
            || !cotangents
            || !states
        {
            return Err(format!("the operands do not fit {h} hidden units"));
        }
        batched(operands, &[steps, width])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<(), LowerError> {
        let steps = cx.ty().dims[0];
        let count = self.of.reread();
        let mut reads = vec![cx.spread(0), cx.operand(1)];
        let (of, states) = self.of.kernel(cx, steps, 2, count);
        reads.extend(states);
        for i in 2 + count..cx.arity() {
            reads.push(cx.spread(i));
        }
        let out = cx.output();
        cx.launch(kernels::RecurrenceVjp { of, inner: self.inner }, &reads, &[out]);
        Ok(())
    }
}
