//! Ops from outside: of a user's, for one record at a time, so that records cannot meet in them.

use std::fmt;
use std::sync::Arc;

use super::{Backward, OpRules, VjpError};
use crate::graph::{DType, NodeId, Type};
use crate::lower::kernels::{self, Code, Link, Reads};
use crate::lower::{LowerError, Lowering};

/// What [`Custom`] asks of a user's op.
pub trait RecordOp: fmt::Debug + Send + Sync {
    /// The op, as `domain::Op`.
    fn op(&self) -> &str;

    /// The name of its kernel within the op.
    fn name(&self) -> &str;

    /// The code of its kernel.
    fn code(&self) -> &'static Code;

    /// The numbers that the code reads.
    fn numbers(&self) -> &[f32];

    /// The dims of one record's result, by those of the operands.
    fn dims(&self, operands: &[&[usize]]) -> Result<Vec<usize>, String>;

    /// As [`OpRules::vjp`], but for the sums to the operands' own dims and over the batch.
    fn vjp(&self, bw: &mut Backward<'_>) -> Result<Vec<Option<NodeId>>, VjpError>;
}

/// A user's kernel on floats.
#[derive(Clone, Debug)]
pub struct Custom(pub Arc<dyn RecordOp>);

impl PartialEq for Custom {
    fn eq(&self, other: &Custom) -> bool {
        let numbers = |custom: &Custom| custom.0.numbers().iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        let same = (self.0.op(), self.0.name()) == (other.0.op(), other.0.name());
        same && std::ptr::eq(self.0.code(), other.0.code()) && numbers(self) == numbers(other)
    }
}

impl OpRules for Custom {
    fn mnemonic(&self) -> String {
        format!("{}.{}", self.0.op(), self.0.name())
    }

    fn attributes(&self) -> String {
        self.0.numbers().iter().map(f32::to_string).collect::<Vec<_>>().join(" ")
    }

    fn infer(&self, operands: &[&Type]) -> Result<Type, String> {
        let count = self.0.code().operands.len();
        if operands.len() != count {
            return Err(format!("takes {count} operands"));
        }
        if operands.iter().any(|ty| ty.dtype != DType::F32) {
            return Err("takes floats".into());
        }
        let dims = self.0.dims(&operands.iter().map(|ty| ty.dims.as_slice()).collect::<Vec<_>>())?;
        Ok(Type { dtype: DType::F32, batched: operands.iter().any(|ty| ty.batched), dims })
    }

    fn vjp(&self, bw: &mut Backward<'_>) -> Result<Vec<Option<NodeId>>, VjpError> {
        let cotangents = self.0.vjp(bw)?;
        let reduced = |(i, cotangent): (usize, Option<NodeId>)| {
            cotangent.map(|cotangent| bw.reduce_to_operand(i, cotangent)).transpose()
        };
        cotangents.into_iter().enumerate().map(reduced).collect()
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<(), LowerError> {
        let reads = |i: usize| Reads { record: cx.record_stride(i), len: cx.operand_ty(i).len() };
        let code = self.0.code();
        let kernel = kernels::Custom {
            op: self.0.op().to_owned(),
            name: self.0.name().to_owned(),
            digest: code.digest(),
            batched: cx.ty().batched,
            operands: (0..cx.arity()).map(reads).collect(),
            len: cx.ty().len(),
            numbers: self.0.numbers().to_vec(),
            code: Link(Some(code)),
        };
        let operands: Vec<_> = (0..cx.arity()).map(|i| cx.operand(i)).collect();
        let y = cx.output();
        cx.launch(kernel, &operands, &[y]);
        Ok(())
    }
}
