//! A fused chain of scalar functions.

use serde::{Deserialize, Serialize};

use super::contract::{reach, work};
use super::{Binding, KernelRules};
use crate::graph::product;
use crate::lower::program::Extent;
use crate::lower::scalar::Expr;

/// How an operand of an [`Elementwise`] kernel is read.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Broadcast {
    /// Elements between records, 0 for a shared operand.
    pub record: usize,
    /// Elements between neighbours along each of the kernel's dims, 0 where the operand is broadcast.
    pub strides: Vec<usize>,
}

/// `y[n, i] = expr(x0[n, i], x1[n, i], …)` over all `i` of `dims`.
///
/// Buffers: the operands; then `y`, contiguous.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Elementwise {
    /// Whether there is one result per record.
    pub batched: bool,
    /// Dims of one record's result; neighbouring axes are merged where all operands allow it.
    pub dims: Vec<usize>,
    /// How each operand is read.
    pub operands: Vec<Broadcast>,
    /// What is computed.
    pub expr: Expr,
}

impl Elementwise {
    /// Elements of one record's result.
    pub fn elements(&self) -> usize {
        product(&self.dims)
    }
}

impl KernelRules for Elementwise {
    fn name(&self) -> &'static str {
        "elementwise"
    }

    fn buffers(&self) -> Vec<Binding> {
        let records = Extent::of(1, self.batched);
        let operand = |(k, operand): (usize, &Broadcast)| {
            let axes = self.dims.iter().copied().zip(operand.strides.iter().copied());
            let len = records.strided(operand.record, reach(axes));
            Binding { dtype: Some(self.expr.operand_type(k)), ..Binding::floats("x", len) }
        };
        let y = Binding::floats("y", records.times(self.elements())).written();
        let y = Binding { dtype: Some(self.expr.dtype()), ..y };
        self.operands.iter().enumerate().map(operand).chain([y]).collect()
    }

    fn problem(&self) -> Option<String> {
        if self.dims.len() > 64 || self.operands.iter().any(|operand| operand.strides.len() != self.dims.len()) {
            return Some(format!("reads operands along other than its {} axes", self.dims.len()));
        }
        let (count, read) = (self.operands.len(), self.expr.operands());
        (read > count).then(|| format!("reads {read} operands of {count}"))
    }

    fn flops(&self, rows: usize) -> u64 {
        work(&[self.expr.calls(), self.elements(), if self.batched { rows } else { 1 }])
    }

    fn text(&self) -> String {
        format!("{:?} {}", self.dims, self.expr)
    }
}
