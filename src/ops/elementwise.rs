//! Element-wise functions, alone or fused into chains, with NumPy broadcasting.
//!
//! ONNX: [Add](https://onnx.ai/onnx/operators/onnx__Add.html), Sub, Mul, Div, Neg, Exp, Log, Sqrt, Relu, Tanh, Sigmoid,
//! and Cast between floats, which is nothing.

mod vjp;

use super::leaf::{Constant, Data};
use super::{Backward, Op, OpRules, VjpError};
use crate::graph::axes::{Axes, Axis};
use crate::graph::{DType, NodeId, Type, broadcast, strides};
use crate::lower::kernels::{self, Broadcast};
use crate::lower::scalar::{Expr, Func};
use crate::lower::{LowerError, Lowering};
use crate::onnx::OnnxNode;
use crate::ops::movement::Reshape;
use crate::passes::prove::{Import, Refusal, Rule, Value};

/// `expr` of the operands, element by element.
#[derive(Clone, Debug, PartialEq)]
pub struct Elementwise {
    /// What is computed.
    pub expr: Expr,
}

impl Elementwise {
    /// One function.
    pub fn call(func: Func) -> Elementwise {
        Elementwise { expr: Expr::call(func) }
    }

    /// Multiplication by a constant.
    pub fn scale(scale: f32) -> Elementwise {
        Elementwise { expr: Expr::scale(scale) }
    }
}

pub(super) const IMPORTS: &[(&str, Rule)] = &[
    ("Add", |cx, n| call(cx, n, Func::Add)),
    ("Sub", |cx, n| call(cx, n, Func::Sub)),
    ("Mul", |cx, n| call(cx, n, Func::Mul)),
    ("Div", |cx, n| call(cx, n, Func::Div)),
    ("Neg", |cx, n| call(cx, n, Func::Neg)),
    ("Exp", |cx, n| call(cx, n, Func::Exp)),
    ("Log", |cx, n| call(cx, n, Func::Log)),
    ("Sqrt", |cx, n| call(cx, n, Func::Sqrt)),
    ("Relu", |cx, n| call(cx, n, Func::Relu)),
    ("Tanh", |cx, n| call(cx, n, Func::Tanh)),
    ("Sigmoid", |cx, n| call(cx, n, Func::Sigmoid)),
    ("Cast", |cx, n| cast(cx, n)),
    ("CastLike", |cx, n| cast(cx, n)),
];

fn call(cx: &mut Import<'_>, node: &OnnxNode, func: Func) -> Result<Vec<Value>, Refusal> {
    let operands = (0..func.operands().len()).map(|i| cx.value(node, i)).collect::<Result<Vec<_>, _>>()?;
    if operands.iter().any(|v| cx.ty(v.node).dtype != DType::F32) {
        return Err(cx.unsupported(node, "arithmetic on integers that depend on the data"));
    }
    let (nodes, axes) = align(cx, node, &operands)?;
    let result = cx.emit(node, Elementwise::call(func), &nodes)?;
    Ok(vec![Value { node: result, axes }])
}

fn cast(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let value = cx.value(node, 0)?;
    let to_float = cx.output_elem(node, 0).is_none_or(|e| e.is_float());
    let data = match (cx.graph().op(value.node), to_float) {
        _ if (cx.ty(value.node).dtype == DType::F32) == to_float => return Ok(vec![value]),
        (Op::Constant(Constant { data: Data::I32(data), .. }), true) => {
            Data::F32(data.iter().map(|&x| x as f32).collect())
        }
        (Op::Constant(Constant { data: Data::F32(data), .. }), false) => {
            Data::I32(data.iter().map(|&x| x as i32).collect())
        }
        _ => return Err(cx.unsupported(node, "a cast between floats and integers of values that depend on the data")),
    };
    let constant = Constant { dims: cx.ty(value.node).dims.clone(), data };
    Ok(vec![Value { node: cx.emit(node, constant, &[])?, axes: value.axes }])
}

/// The batch rule of element-wise ops: the operands' axes are aligned from the right, and the batch factor must be in
/// the same axis, with the same factors, in every operand that has one; an operand without it must have size 1 there.
///
/// Returns the operands with one axis more or less where the hoisting of the batch factor calls for it, so that they
/// broadcast per record as the ONNX operands do, and the axes of the result.
pub fn align(cx: &mut Import<'_>, node: &OnnxNode, operands: &[Value]) -> Result<(Vec<NodeId>, Axes), Refusal> {
    const HELP: &str =
        "keep the batch on the same axis of every operand; statistics over the batch cannot be trained privately";
    let rank = operands.iter().map(|v| v.axes.rank()).max().unwrap_or(0);
    let mut axes = vec![Axis::size(1); rank];
    let mut place: Option<usize> = None;
    for value in operands {
        let lead = rank - value.axes.rank();
        if let Some(b) = value.axes.batch_axis() {
            match place {
                Some(p) if p != lead + b => {
                    return Err(cx.mixes(
                        node,
                        format!("the batch is on axis {p} of one operand and on axis {} of another", lead + b),
                        HELP,
                    ));
                }
                Some(p) if axes[p] != value.axes.0[b] => {
                    let why = format!(
                        "axis {p} holds the batch as {} in one operand and as {} in another",
                        axes[p], value.axes.0[b]
                    );
                    return Err(cx.mixes(node, why, HELP));
                }
                _ => {}
            }
            place = Some(lead + b);
            axes[lead + b] = value.axes.0[b].clone();
        }
    }
    for (k, axis) in axes.iter_mut().enumerate().filter(|(k, _)| Some(*k) != place) {
        for value in operands {
            let size = (k + value.axes.rank()).checked_sub(rank).map_or(1, |i| value.axes.0[i].per_record());
            match axis.per_record() {
                1 => *axis = Axis::size(size),
                have if size == 1 || size == have => {}
                have => return Err(cx.invalid(node, format!("sizes {have} and {size} do not broadcast"))),
            }
        }
    }
    let axes = Axes(axes);
    let mut nodes = Vec::new();
    for value in operands {
        let lead = rank - value.axes.rank();
        let own = |k: usize| k.checked_sub(lead).map(|i| &value.axes.0[i]);
        if let Some(p) = place
            && own(p).is_some_and(|a| !a.is_batched() && a.per_record() != 1)
        {
            let why = format!("an operand of axes {} varies along the batch axis {p}", value.axes);
            return Err(cx.mixes(node, why, HELP));
        }
        let dims: Vec<usize> =
            (lead..rank).filter(|&k| !axes.0[k].is_batch()).map(|k| own(k).map_or(1, Axis::per_record)).collect();
        let same = cx.ty(value.node).dims == dims;
        nodes.push(if same { value.node } else { cx.emit(node, Reshape { dims }, &[value.node])? });
    }
    Ok((nodes, axes))
}

impl OpRules for Elementwise {
    fn mnemonic(&self) -> String {
        self.expr.as_call().map_or("elementwise", Func::name).into()
    }

    fn text(&self, operands: &[String]) -> String {
        self.expr.text(operands)
    }

    fn infer(&self, operands: &[&Type]) -> Result<Type, String> {
        if operands.len() != self.expr.operands() {
            return Err(format!("{} operands where the expression has {}", operands.len(), self.expr.operands()));
        }
        let mut dims = vec![];
        for (k, ty) in operands.iter().enumerate() {
            let taken = self.expr.operand_type(k);
            if ty.dtype != taken {
                return Err(format!("operand {k} is a {} where the expression takes a {taken}", ty.dtype));
            }
            dims = broadcast(&dims, &ty.dims).ok_or("the operands do not broadcast")?;
        }
        Ok(Type { dtype: self.expr.dtype(), batched: operands.iter().any(|t| t.batched), dims })
    }

    fn vjp(&self, bw: &mut Backward<'_>) -> Result<Vec<Option<NodeId>>, VjpError> {
        vjp::vjp(&self.expr, bw)
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<(), LowerError> {
        let ty = cx.ty().clone();
        let rank = ty.dims.len();
        let operands: Vec<Broadcast> = (0..cx.arity())
            .map(|i| {
                let operand = cx.operand_ty(i);
                let own = strides(&operand.dims);
                let lead = rank - operand.dims.len();
                let strides = (0..rank)
                    .map(|k| k.checked_sub(lead).map_or(0, |j| if operand.dims[j] == 1 { 0 } else { own[j] }))
                    .collect();
                Broadcast { record: cx.record_stride(i), strides }
            })
            .collect();
        let (dims, operands) = merge_axes(ty.dims.clone(), operands);
        let reads: Vec<_> = (0..cx.arity()).map(|i| cx.operand(i)).collect();
        let out = cx.output();
        cx.launch(
            kernels::Elementwise { batched: ty.batched, dims, operands, expr: self.expr.clone() },
            &reads,
            &[out],
        );
        Ok(())
    }
}

/// Merges neighbouring axes that every operand walks as one, and drops axes of size 1.
fn merge_axes(dims: Vec<usize>, operands: Vec<Broadcast>) -> (Vec<usize>, Vec<Broadcast>) {
    let mut merged: Vec<usize> = Vec::new();
    let mut out: Vec<Broadcast> = operands.iter().map(|o| Broadcast { record: o.record, strides: vec![] }).collect();
    for (k, &size) in dims.iter().enumerate().filter(|(_, s)| **s != 1) {
        let joins = !merged.is_empty()
            && out.iter().zip(&operands).all(|(m, o)| m.strides.last().is_some_and(|&s| s == o.strides[k] * size));
        if joins && let Some(last) = merged.last_mut() {
            *last *= size;
            for (m, o) in out.iter_mut().zip(&operands) {
                if let Some(s) = m.strides.last_mut() {
                    *s = o.strides[k];
                }
            }
        } else {
            merged.push(size);
            for (m, o) in out.iter_mut().zip(&operands) {
                m.strides.push(o.strides[k]);
            }
        }
    }
    (merged, out)
}
