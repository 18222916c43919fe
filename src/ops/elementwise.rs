//! Element-wise functions, alone or fused into chains, with NumPy broadcasting.

mod vjp;

use super::{Backward, OpRules, VjpError};
use crate::graph::{NodeId, Type, broadcast, strides};
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
