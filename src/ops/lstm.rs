//! The LSTM layer: one op for the recurrence, one for its backward sweep.
//!
//! The input's product with its weight and the biases are ops of their own before the recurrence; the recurrent weight's
//! gradient is a sum over time of outer products.

use super::contract::Contract;
use super::elementwise::Elementwise;
use super::leaf::Fill;
use super::movement::{Concat, Reshape, Slice};
use super::outer::Outer;
use super::{Backward, OpRules, VjpError};
use crate::graph::{DType, NodeId, Type};
use crate::lower::kernels::{self, LstmSizes, View};
use crate::lower::scalar::Func;
use crate::lower::{LowerError, Lowering};
use crate::ops::Op;

/// The tape `[6, T, H]` of the recurrence, planes i, o, f, g, c and h, from gate pre-activations `pre[T, 4H]`, the shared
/// recurrent weight `R[4H, H]` and, if `initial`, the states `h0[H]` and `c0[H]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Lstm {
    /// Hidden units.
    pub hidden: usize,
    /// Whether initial states are given; without them they are zero.
    pub initial: bool,
}

/// The cotangent of the pre-activations `[T, 4H]`, from the tape, `R`, `c0` if `initial`, the cotangent `[T, H]` of the
/// hidden states and, if `cell`, that of the cell states.
#[derive(Clone, Debug, PartialEq)]
pub struct LstmVjp {
    /// Hidden units.
    pub hidden: usize,
    /// Whether initial states are given.
    pub initial: bool,
    /// Whether there is a cotangent of the cell states.
    pub cell: bool,
}

/// Planes of the tape.
const PLANES: usize = 6;
/// The plane of the cell states.
pub const CELL: usize = 4;
/// The plane of the hidden states.
pub const STATE: usize = 5;

/// The type of a sweep's result; the kernels sweep over the records of a batch.
fn batched(operands: &[&Type], dims: &[usize]) -> Result<Type, String> {
    match operands.iter().any(|operand| operand.batched) {
        true => Ok(Type::batched(dims)),
        false => Err("no operand depends on the record".into()),
    }
}

fn sizes(cx: &Lowering<'_>, steps: usize, hidden: usize, c0: Option<usize>) -> LstmSizes {
    let record = c0.map_or(0, |i| if cx.operand_ty(i).batched { hidden } else { 0 });
    LstmSizes { steps, hidden, initial: c0.is_some(), initial_record: record }
}

impl OpRules for Lstm {
    fn mnemonic(&self) -> String {
        "lstm".into()
    }

    fn infer(&self, operands: &[&Type]) -> Result<Type, String> {
        let h = self.hidden;
        if operands.len() != if self.initial { 4 } else { 2 } || operands.iter().any(|o| o.dtype != DType::F32) {
            return Err("takes pre-activations, a recurrent weight and initial states where it has them".into());
        }
        let &[steps, gates] = operands[0].dims.as_slice() else {
            return Err("the pre-activations are not [T, 4H]".into());
        };
        let states = operands[2..].iter().all(|s| s.dims == [h]);
        if gates != 4 * h || operands[1].dims != [gates, h] || operands[1].batched || !states {
            return Err(format!("the operands do not fit {h} hidden units"));
        }
        batched(operands, &[PLANES, steps, h])
    }

    fn vjp(&self, bw: &mut Backward<'_>) -> Result<Vec<Option<NodeId>>, VjpError> {
        if self.initial && bw.needs(3) {
            return Err(bw.not_differentiable());
        }
        let (h, tape, r) = (self.hidden, bw.value(), bw.operand(1));
        let steps = bw.ty(tape).dims[1];
        let [dh, dc] = plane_cotangents(bw, steps, h)?;
        let mut operands = vec![tape, r];
        if self.initial {
            operands.push(bw.operand(3));
        }
        let dh = match dh {
            Some(dh) => dh,
            None => bw.emit(Fill { ty: Type::shared([steps, h]), value: 0.0 }, &[])?,
        };
        operands.push(dh);
        operands.extend(dc);
        let op = LstmVjp { hidden: h, initial: self.initial, cell: dc.is_some() };
        let dpre = bw.emit(op, &operands)?;
        let mut out = vec![None; bw.arity()];
        if bw.needs(0) {
            out[0] = Some(bw.sum_batch_to(0, dpre)?);
        }
        if bw.needs(1) {
            let before = states_before(bw, steps, h, self.initial)?;
            let column = |width: usize| View::Strided { record: 0, group: 0, row: 1, col: width };
            let (a, b) = (column(4 * h), column(h));
            let dr = bw.emit(Outer { groups: 1, rows: 4 * h, cols: h, steps, a, b }, &[dpre, before])?;
            out[1] = Some(bw.sum_batch_to(1, dr)?);
        }
        if self.initial && bw.needs(2) {
            let first = bw.emit(Slice { axis: 0, start: 0, len: 1 }, &[dpre])?;
            let d = bw.emit(Contract::new(false, false), &[first, r])?;
            let d = bw.emit(Reshape { dims: vec![h] }, &[d])?;
            out[2] = Some(bw.sum_batch_to(2, d)?);
        }
        Ok(out)
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<(), LowerError> {
        let steps = cx.ty().dims[1];
        let mut reads = vec![cx.spread(0), cx.operand(1)];
        let mut sizes = sizes(cx, steps, self.hidden, self.initial.then_some(3));
        if self.initial {
            let mixed = cx.operand_ty(2).batched || cx.operand_ty(3).batched;
            sizes.initial_record = if mixed { self.hidden } else { 0 };
            reads.extend([2, 3].map(|i| if mixed { cx.spread(i) } else { cx.operand(i) }));
        }
        let out = cx.output();
        cx.launch(kernels::Lstm(sizes), &reads, &[out]);
        Ok(())
    }
}

/// The cotangents `[T, H]` of the hidden and of the cell states: found behind the sums and paddings that make up the
/// tape's cotangent, or else cut out of it.
fn plane_cotangents(bw: &mut Backward<'_>, steps: usize, hidden: usize) -> Result<[Option<NodeId>; 2], VjpError> {
    let tape = bw.cotangent();
    let planes = [STATE, CELL];
    let found = padded_planes(bw, tape, planes);
    let mut out = [None, None];
    for (k, plane) in planes.into_iter().enumerate() {
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
fn padded_planes(bw: &Backward<'_>, tape: NodeId, planes: [usize; 2]) -> Option<[Vec<NodeId>; 2]> {
    let graph = bw.graph();
    let mut terms = [Vec::new(), Vec::new()];
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

/// `h_{t−1}` for every step, `[T, H]`.
fn states_before(bw: &mut Backward<'_>, steps: usize, hidden: usize, initial: bool) -> Result<NodeId, VjpError> {
    let first = if initial {
        let h0 = bw.operand(2);
        bw.emit(Reshape { dims: vec![1, hidden] }, &[h0])?
    } else {
        bw.emit(Fill { ty: Type::shared([1, hidden]), value: 0.0 }, &[])?
    };
    if steps == 1 {
        return Ok(first);
    }
    let tape = bw.value();
    let states = bw.emit(Slice { axis: 0, start: STATE, len: 1 }, &[tape])?;
    let states = bw.emit(Reshape { dims: vec![steps, hidden] }, &[states])?;
    let states = bw.emit(Slice { axis: 0, start: 0, len: steps - 1 }, &[states])?;
    bw.emit(Concat { axis: 0 }, &[first, states])
}

impl OpRules for LstmVjp {
    fn mnemonic(&self) -> String {
        "lstm_vjp".into()
    }

    fn infer(&self, operands: &[&Type]) -> Result<Type, String> {
        let (h, initial) = (self.hidden, self.initial as usize);
        if operands.len() != 3 + initial + self.cell as usize || operands.iter().any(|o| o.dtype != DType::F32) {
            return Err("the operands do not fit its form".into());
        }
        let &[PLANES, steps, width] = operands[0].dims.as_slice() else {
            return Err("the tape is not [6, T, H]".into());
        };
        let cotangents = operands[2 + initial..].iter().all(|d| d.dims == [steps, h]);
        let states = operands[2..2 + initial].iter().all(|s| s.dims == [h]);
        if width != h || operands[1].dims != [4 * h, h] || operands[1].batched || !cotangents || !states {
            return Err(format!("the operands do not fit {h} hidden units"));
        }
        batched(operands, &[steps, 4 * h])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<(), LowerError> {
        let steps = cx.ty().dims[0];
        let sizes = sizes(cx, steps, self.hidden, self.initial.then_some(2));
        let states = 2 + self.initial as usize;
        let reads: Vec<_> =
            (0..cx.arity()).map(|i| if i == 0 || i >= states { cx.spread(i) } else { cx.operand(i) }).collect();
        let out = cx.output();
        cx.launch(kernels::LstmVjp { sizes, cell: self.cell }, &reads, &[out]);
        Ok(())
    }
}
