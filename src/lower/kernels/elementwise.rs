//! A fused chain of scalar functions.

use serde::{Deserialize, Serialize};

use super::KernelRules;
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

impl KernelRules for Elementwise {
    fn template(&self) -> &'static str {
        "elementwise"
    }

    fn flops(&self, rows: usize) -> u64 {
        let len: usize = self.dims.iter().product();
        (self.expr.calls() * len * if self.batched { rows } else { 1 }) as u64
    }

    fn text(&self) -> String {
        format!("{:?} {}", self.dims, self.expr)
    }
}
