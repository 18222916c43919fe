//! Element-wise functions, alone or fused into chains, with NumPy broadcasting.

use super::{Backward, OpRules, VjpError};
use crate::graph::{DType, NodeId, Type, broadcast, strides};
use crate::lower::kernels::{self, Broadcast};
use crate::lower::scalar::{Expr, Func};
use crate::lower::{LowerError, Lowering};

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
        for ty in operands {
            if ty.dtype != DType::F32 {
                return Err("an operand is not a float".into());
            }
            dims = broadcast(&dims, &ty.dims).ok_or("the operands do not broadcast")?;
        }
        Ok(Type { dtype: DType::F32, batched: operands.iter().any(|t| t.batched), dims })
    }

    fn vjp(&self, bw: &mut Backward<'_>) -> Result<Vec<Option<NodeId>>, VjpError> {
        let d = bw.cotangent();
        let y = bw.value();
        let Some(func) = self.expr.as_call() else {
            return match self.expr.steps.as_slice() {
                [_, crate::lower::scalar::Step::Const(c), _] if self.expr == Expr::scale(*c) => {
                    let dx = bw.emit(Elementwise::scale(*c), &[d])?;
                    Ok(vec![Some(dx)])
                }
                _ => Err(bw.not_differentiable()),
            };
        };
        let mut out = Vec::new();
        for i in 0..bw.arity() {
            if !bw.needs(i) {
                out.push(None);
                continue;
            }
            let x = |bw: &Backward<'_>, k: usize| bw.operand(k);
            let mut f = |func: Func, args: &[NodeId]| bw.emit(Elementwise::call(func), args);
            let dx = match (func, i) {
                (Func::Add, _) | (Func::Sub, 0) => d,
                (Func::Sub, _) | (Func::Neg, _) => f(Func::Neg, &[d])?,
                (Func::Mul, _) => {
                    let other = x(bw, 1 - i);
                    bw.emit(Elementwise::call(Func::Mul), &[d, other])?
                }
                (Func::Div, 0) => {
                    let b = x(bw, 1);
                    bw.emit(Elementwise::call(Func::Div), &[d, b])?
                }
                (Func::Div, _) => {
                    let (q, b) = (f(Func::Mul, &[d, y])?, x(bw, 1));
                    let q = bw.emit(Elementwise::call(Func::Div), &[q, b])?;
                    bw.emit(Elementwise::call(Func::Neg), &[q])?
                }
                (Func::Exp, _) => f(Func::Mul, &[d, y])?,
                (Func::Log, _) => {
                    let a = x(bw, 0);
                    bw.emit(Elementwise::call(Func::Div), &[d, a])?
                }
                (Func::Sqrt, _) => {
                    let half = bw.emit(Elementwise::scale(0.5), &[d])?;
                    bw.emit(Elementwise::call(Func::Div), &[half, y])?
                }
                (Func::Abs, _) => {
                    let a = x(bw, 0);
                    bw.emit(Elementwise::call(Func::AbsVjp), &[a, d])?
                }
                (Func::Relu, _) => f(Func::ReluVjp, &[y, d])?,
                (Func::Tanh, _) => f(Func::TanhVjp, &[y, d])?,
                (Func::Sigmoid, _) => f(Func::SigmoidVjp, &[y, d])?,
                (Func::BceWithLogits, 0) => {
                    let (a, b) = (x(bw, 0), x(bw, 1));
                    bw.emit(Elementwise::call(Func::BceWithLogitsVjp), &[a, b, d])?
                }
                (Func::Huber, 0) => {
                    let (a, b) = (x(bw, 0), x(bw, 1));
                    bw.emit(Elementwise::call(Func::HuberVjp), &[a, b, d])?
                }
                _ => return Err(bw.not_differentiable()),
            };
            out.push(Some(bw.reduce_to_operand(i, dx)?));
        }
        Ok(out)
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
