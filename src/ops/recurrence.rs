//! Recurrent layers: one op for a recurrence of any cell of the table, one for its backward sweep.
//!
//! The input's product with its weight and the biases are ops of their own before the recurrence; the recurrent weight's
//! gradient is a sum over time of outer products. A bidirectional layer is two recurrences.

use std::ops::Range;

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

/// The tape `[planes, T, H]` of a recurrence, from pre-activations `pre[T, C·H]` in the cell's columns, the shared recurrent
/// weight `R[G·H, H]` of its gates and, if `initial`, the states `[H]` before the first step, from the last, `h`, to the first.
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

/// The cotangent of the pre-activations `[T, C·H]`, from the tape, `R`, those initial states that the backward step reads if
/// there are some, the cotangent `[T, H]` of `h` and, if `inner`, those of the other states, all from the last state to the
/// first. If `before`, a row more has in its first columns the cotangents of the states that the cell carries, before the
/// first step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RecurrenceVjp {
    /// The recurrence.
    pub of: Recurrence,
    /// Whether there are cotangents of the states besides `h`.
    pub inner: bool,
    /// Whether the carried states' cotangents before the first step are wanted.
    pub before: bool,
}

impl Recurrence {
    /// The plane of the tape that holds a state.
    pub fn plane(&self, state: usize) -> usize {
        self.cell.plane(state)
    }

    /// The planes of the states, from the last, `h`, to the first.
    fn planes(&self) -> Vec<usize> {
        (0..self.cell.states()).rev().map(|k| self.plane(k)).collect()
    }

    /// Rows of the recurrent weight.
    fn rows(&self) -> usize {
        self.cell.gates() * self.hidden
    }

    /// Pre-activations of a step.
    fn width(&self) -> usize {
        self.cell.columns() * self.hidden
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
        let direction = if self.direction == Direction::Reverse { "reverse" } else { "" };
        format!("{direction} {}", self.cell.attributes()).trim().into()
    }

    fn infer(&self, operands: &[&Type]) -> Result<Type, String> {
        let (h, width) = (self.hidden, self.width());
        if operands.len() != 2 + if self.initial { self.cell.states() } else { 0 }
            || operands.iter().any(|o| o.dtype != DType::F32)
        {
            return Err("takes pre-activations, a recurrent weight and initial states where it has them".into());
        }
        let &[steps, gates] = operands[0].dims.as_slice() else {
            return Err("the pre-activations are not [T, C·H]".into());
        };
        let states = operands[2..].iter().all(|s| s.dims == [h]);
        if gates != width || operands[1].dims != [self.rows(), h] || operands[1].batched || !states {
            return Err(format!("the operands do not fit {h} hidden units"));
        }
        batched(operands, &[self.cell.planes(), steps, h])
    }

    fn vjp(&self, bw: &mut Backward<'_>) -> Result<Vec<Option<NodeId>>, VjpError> {
        let (cell, states) = (self.cell, self.cell.states());
        let (h, tape, r) = (self.hidden, bw.value(), bw.operand(1));
        let steps = bw.ty(tape).dims[1];
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
        let carried = cell.carried();
        let before = self.initial && carried.iter().any(|k| bw.needs(1 + states - k));
        let all = bw.emit(RecurrenceVjp { of: *self, inner, before }, &operands)?;
        let dpre = part(bw, all, 0, 0..steps)?;
        let mut out = vec![None; bw.arity()];
        if bw.needs(0) {
            out[0] = Some(bw.sum_batch_to(0, dpre)?);
        }
        if bw.needs(1) {
            let dr = self.weight_gradient(bw, dpre, steps)?;
            out[1] = Some(bw.sum_batch_to(1, dr)?);
        }
        let wanted: Vec<usize> = (0..states).filter(|k| self.initial && bw.needs(1 + states - k)).collect();
        for k in wanted {
            let mut d = None;
            if k + 1 == states {
                let (first, gates) = (self.direction.step(0, steps), 0..cell.stages()[0].len() * h);
                let first = part(bw, dpre, 0, first..first + 1)?;
                let (first, r) = (part(bw, first, 1, gates.clone())?, part(bw, r, 0, gates)?);
                let product = bw.emit(Contract::new(false, false), &[first, r])?;
                d = Some(bw.emit(Reshape { dims: vec![h] }, &[product])?);
            }
            if let Some(slot) = carried.iter().position(|&state| state == k) {
                let row = part(bw, all, 0, steps..steps + 1)?;
                let handed = part(bw, row, 1, slot * h..(slot + 1) * h)?;
                let handed = bw.emit(Reshape { dims: vec![h] }, &[handed])?;
                d = Some(match d {
                    Some(d) => bw.emit(Elementwise::call(Func::Add), &[d, handed])?,
                    None => handed,
                });
            }
            if let Some(d) = d {
                out[1 + states - k] = Some(bw.sum_batch_to(1 + states - k, d)?);
            }
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

/// These positions along an axis.
fn part(bw: &mut Backward<'_>, x: NodeId, axis: usize, of: Range<usize>) -> Result<NodeId, VjpError> {
    if of == (0..bw.ty(x).dims[axis]) {
        return Ok(x);
    }
    bw.emit(Slice { axis, start: of.start, len: of.len() }, &[x])
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
    /// The gradient of the recurrent weight: for the gates of each stage the products of their cotangents with what the weight
    /// multiplies at the stage.
    fn weight_gradient(&self, bw: &mut Backward<'_>, dpre: NodeId, steps: usize) -> Result<NodeId, VjpError> {
        let (h, mut parts) = (self.hidden, Vec::new());
        for (stage, gates) in self.cell.stages().into_iter().enumerate() {
            let multiplied = match stage {
                0 => self.states_before(bw, steps)?,
                _ => self.tape_plane(bw, self.cell.multiplied(stage), steps)?,
            };
            let rows = gates.len() * h;
            let d = part(bw, dpre, 1, gates.start * h..gates.end * h)?;
            let column = |width: usize| View::Strided { record: 0, group: 0, row: 1, col: width };
            let outer = Outer { groups: 1, rows, cols: h, steps, a: column(rows), b: column(h) };
            parts.push(bw.emit(outer, &[d, multiplied])?);
        }
        match parts[..] {
            [only] => Ok(only),
            _ => bw.emit(Concat { axis: 0 }, &parts),
        }
    }

    /// A plane of the tape, `[T, H]`.
    fn tape_plane(&self, bw: &mut Backward<'_>, plane: usize, steps: usize) -> Result<NodeId, VjpError> {
        let tape = bw.value();
        let plane = bw.emit(Slice { axis: 0, start: plane, len: 1 }, &[tape])?;
        bw.emit(Reshape { dims: vec![steps, self.hidden] }, &[plane])
    }

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
        let states = self.tape_plane(bw, self.plane(self.cell.states() - 1), steps)?;
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
        let before = if self.before { "with_before" } else { "" };
        format!("{before} {}", self.of.attributes()).trim().into()
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
            || operands[1].dims != [self.of.rows(), h]
            || operands[1].batched
            || !cotangents
            || !states
        {
            return Err(format!("the operands do not fit {h} hidden units"));
        }
        batched(operands, &[steps + usize::from(self.before), width])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<(), LowerError> {
        let steps = cx.ty().dims[0] - usize::from(self.before);
        let count = self.of.reread();
        let mut reads = vec![cx.spread(0), cx.operand(1)];
        let (of, states) = self.of.kernel(cx, steps, 2, count);
        reads.extend(states);
        for i in 2 + count..cx.arity() {
            reads.push(cx.spread(i));
        }
        let out = cx.output();
        cx.launch(kernels::RecurrenceVjp { of, inner: self.inner, before: self.before }, &reads, &[out]);
        Ok(())
    }
}
