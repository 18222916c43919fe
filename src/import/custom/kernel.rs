//! Kernels of ops from outside: their batch rules, and their derivatives.

use std::sync::Arc;

use super::super::axes::{Axes, Axis};
use super::super::broadcast::align;
use super::super::formula::{Formula, Step, Term};
use super::super::{Import, Refusal, Value};
use super::{Code, CustomOp, name};
use crate::graph::{self, NodeId};
use crate::lower::scalar::{Expr, Func};
use crate::onnx::OnnxNode;
use crate::ops::custom::{Custom, RecordOp};
use crate::ops::elementwise::Elementwise;
use crate::ops::leaf::{Constant, Data};
use crate::ops::movement::{Broadcast, Reshape};
use crate::ops::reduce::Sum;
use crate::ops::{Backward, VjpError};

/// The dims of one record's result by those of the operands, of one record each, and by the numbers; or what does not fit.
pub type RecordDims = fn(&[&[usize]], &[f32]) -> Result<Vec<usize>, String>;

/// The cotangents of the operands, `None` for one on which the value does not depend smoothly.
pub type Vjp = for<'c, 'f> fn(&'c Call<'f>) -> Vec<Option<Term<'f>>>;

/// A kernel of an op from outside.
#[derive(Debug)]
pub struct Kernel {
    /// Its name, among those of its op.
    pub name: &'static str,
    /// The batch rule and the dims.
    pub shape: Shape,
    /// What is computed.
    pub code: Code,
    /// The derivative; `None` where there is none.
    pub vjp: Option<Vjp>,
}

/// The batch rule of a kernel and the dims of its result.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// Element by element: operands are broadcast to one shape, which the result has, and the batch is on any axis.
    Elementwise,
    /// Record by record: the batch is alone on axis 0 of every operand that has it, and of the result.
    Records(RecordDims),
}

/// The op that a formula is of.
#[derive(Clone, Debug)]
pub struct Owner {
    op: String,
    kernels: Vec<&'static Kernel>,
}

impl Owner {
    pub(in crate::import) fn of(op: &dyn CustomOp) -> Owner {
        Owner { op: name(op.domain(), op.op_type()), kernels: op.kernels() }
    }
}

/// A kernel with its numbers.
#[derive(Clone, Debug)]
pub struct Called {
    pub(in crate::import) owner: Option<Owner>,
    pub(in crate::import) kernel: &'static Kernel,
    pub(in crate::import) numbers: Vec<f32>,
}

impl Called {
    /// The kernel on ONNX values.
    pub(in crate::import) fn emit(
        self,
        cx: &mut Import<'_>,
        node: &OnnxNode,
        operands: &[Value],
    ) -> Result<Value, Refusal> {
        self.problem().map_or(Ok(()), |why| Err(cx.unsupported(node, &why)))?;
        let (nodes, axes) = match self.kernel.shape {
            Shape::Elementwise => {
                let (nodes, axes) = align(cx, node, operands)?;
                let dims = axes.per_record();
                let spread = |id: NodeId| match cx.ty(id).dims == dims {
                    true => Ok(id),
                    false => cx.emit(node, Broadcast { dims: dims.clone() }, &[id]),
                };
                (nodes.into_iter().map(spread).collect::<Result<Vec<_>, _>>()?, Some(axes))
            }
            Shape::Records(_) => {
                let elsewhere = operands
                    .iter()
                    .find(|value| value.axes.batch_axis().is_some_and(|axis| axis > 0 || !value.axes.0[0].is_batch()));
                if let Some(value) = elsewhere {
                    let why = format!("its kernel takes records along axis 0, and an operand is {}", value.axes);
                    return Err(cx.mixes(
                        node,
                        why,
                        "transpose or reshape the operand, so that axis 0 is the batch alone",
                    ));
                }
                (operands.iter().map(|value| value.node).collect(), None)
            }
        };
        let result = cx.emit(node, Custom(Arc::new(self)), &nodes)?;
        let axes = axes.unwrap_or_else(|| {
            let batch = operands.iter().any(|value| value.axes.batch_axis().is_some()).then(Axis::batch);
            Axes(batch.into_iter().chain(cx.ty(result).dims.iter().map(|&size| Axis::size(size))).collect())
        });
        Ok(Value { node: result, axes })
    }

    /// Why no op has this kernel with these numbers.
    fn problem(&self) -> Option<String> {
        let kernel = self.kernel.name;
        match &self.owner {
            Some(owner) if owner.kernels.iter().any(|own| std::ptr::eq(*own, self.kernel)) => {}
            _ => return Some(format!("its op does not list the kernel `{kernel}`")),
        }
        let number = self.numbers.iter().find(|number| !number.is_finite());
        number.map(|number| format!("the kernel `{kernel}` is given the number {number}"))
    }
}

impl RecordOp for Called {
    fn op(&self) -> &str {
        self.owner.as_ref().map_or("", |owner| &owner.op)
    }

    fn name(&self) -> &str {
        self.kernel.name
    }

    fn code(&self) -> &'static Code {
        &self.kernel.code
    }

    fn numbers(&self) -> &[f32] {
        &self.numbers
    }

    fn dims(&self, operands: &[&[usize]]) -> Result<Vec<usize>, String> {
        self.problem().map_or(Ok(()), Err)?;
        let dims = match self.kernel.shape {
            Shape::Records(dims) => dims(operands, &self.numbers)?,
            Shape::Elementwise if operands.windows(2).all(|pair| pair[0] == pair[1]) => operands[0].to_vec(),
            Shape::Elementwise => return Err("takes operands of the same dims".to_owned()),
        };
        if graph::product(&dims) == 0 { Err("its result has no elements".to_owned()) } else { Ok(dims) }
    }

    fn vjp(&self, bw: &mut Backward<'_>) -> Result<Vec<Option<NodeId>>, VjpError> {
        let Some(vjp) = self.kernel.vjp else { return Err(bw.not_differentiable()) };
        let formula = Formula { owner: self.owner.clone(), ..Formula::default() };
        let mut dims = Vec::new();
        let mut of = |id: NodeId| {
            let axes = Axes::shared(&bw.ty(id).dims);
            dims.push(bw.ty(id).dims);
            formula.of(Value { node: id, axes })
        };
        let operands = (0..bw.arity()).map(|i| of(bw.operand(i))).collect();
        let (value, cotangent) = (of(bw.value()), of(bw.cotangent()));
        let call = Call { formula: &formula, operands, dims: &dims, value, cotangent, numbers: &self.numbers };
        let found = vjp(&call);
        let at: Vec<Option<usize>> =
            (0..bw.arity()).map(|i| found.get(i)?.filter(|_| bw.needs(i)).map(|term| term.at)).collect();
        drop(call);
        let parts = backward(bw, formula.steps.into_inner(), at.iter().flatten())?;
        Ok(at.into_iter().map(|at| at.and_then(|at| parts[at])).collect())
    }
}

/// What the derivative of a kernel sees. Everything is of one record here: axes are counted without the batch.
pub struct Call<'f> {
    formula: &'f Formula,
    operands: Vec<Term<'f>>,
    dims: &'f [Vec<usize>],
    value: Term<'f>,
    cotangent: Term<'f>,
    numbers: &'f [f32],
}

impl<'f> Call<'f> {
    /// What terms of numbers and of kernels are made with.
    pub fn formula(&self) -> &'f Formula {
        self.formula
    }

    /// The kernel's operands.
    ///
    /// # Panics
    /// Where there are other than `N`.
    pub fn operands<const N: usize>(&self) -> [Term<'f>; N] {
        self.operands.clone().try_into().unwrap_or_else(|_| panic!("the kernel has {} operands", self.operands.len()))
    }

    /// The dims of operand `i`.
    pub fn dims(&self, i: usize) -> &[usize] {
        &self.dims[i]
    }

    /// The kernel's value.
    pub fn value(&self) -> Term<'f> {
        self.value
    }

    /// The cotangent of the value, of its dims.
    pub fn cotangent(&self) -> Term<'f> {
        self.cotangent
    }

    /// The numbers that the kernel was given.
    pub fn numbers(&self) -> &[f32] {
        self.numbers
    }

    /// Another kernel of the op.
    pub fn kernel(&self, kernel: &'static Kernel, operands: &[Term<'f>]) -> Term<'f> {
        self.formula.kernel(kernel, operands, self.numbers)
    }
}

/// Emits the steps of a formula that `wanted` ones take, on values of one record.
fn backward<'w>(
    bw: &mut Backward<'_>,
    steps: Vec<Step>,
    wanted: impl Iterator<Item = &'w usize>,
) -> Result<Vec<Option<NodeId>>, VjpError> {
    let mut needed = vec![false; steps.len()];
    wanted.for_each(|&at| needed[at] = true);
    for at in (0..steps.len()).rev() {
        if needed[at] {
            steps[at].operands().for_each(|operand| needed[operand] = true);
        }
    }
    let mut parts: Vec<Option<NodeId>> = Vec::new();
    for (step, needed) in steps.into_iter().zip(needed) {
        let part = |at: &usize| parts[*at].into_iter();
        parts.push(match step {
            _ if !needed => None,
            Step::Of(value) => Some(value.node),
            Step::Number(number) => Some(bw.emit(Constant { dims: vec![], data: Data::F32([number].into()) }, &[])?),
            Step::Scaled(x, scale) => Some(bw.emit(Elementwise::scale(scale), &part(&x).collect::<Vec<_>>())?),
            Step::Call(func, arguments) => Some(call(bw, func, &arguments.iter().flat_map(part).collect::<Vec<_>>())?),
            Step::Sum(x, axes, mean) => Some(sum(bw, part(&x).collect(), axes, mean)?),
            Step::Kernel(called, arguments) => {
                let mut operands: Vec<NodeId> = arguments.iter().flat_map(part).collect();
                if let Shape::Elementwise = called.kernel.shape {
                    operands = spread(bw, operands)?;
                }
                Some(bw.emit(Custom(Arc::new(called)), &operands)?)
            }
        });
    }
    Ok(parts)
}

fn call(bw: &mut Backward<'_>, func: Func, operands: &[NodeId]) -> Result<NodeId, VjpError> {
    bw.emit(Elementwise { expr: Expr::call(func) }, operands)
}

fn sum(bw: &mut Backward<'_>, operands: Vec<NodeId>, axes: Vec<usize>, mean: bool) -> Result<NodeId, VjpError> {
    let mut dims = operands.first().map(|&x| bw.ty(x).dims).unwrap_or_default();
    let count: usize = axes.iter().filter_map(|&axis| dims.get(axis)).product();
    axes.iter().for_each(|&axis| dims.get_mut(axis).into_iter().for_each(|size| *size = 1));
    let mut total = bw.emit(Sum { axes }, &operands)?;
    if mean {
        total = bw.emit(Elementwise::scale(1.0 / count as f32), &[total])?;
    }
    bw.emit(Reshape { dims }, &[total])
}

/// The operands, broadcast to one shape where they broadcast.
fn spread(bw: &mut Backward<'_>, operands: Vec<NodeId>) -> Result<Vec<NodeId>, VjpError> {
    let dims = operands.iter().try_fold(vec![], |dims, &x| graph::broadcast(&dims, &bw.ty(x).dims));
    let Some(dims) = dims else { return Ok(operands) };
    let to = |x: NodeId| match bw.ty(x).dims == dims {
        true => Ok(x),
        false => bw.emit(Broadcast { dims: dims.clone() }, &[x]),
    };
    operands.into_iter().map(to).collect()
}
