//! The sum over the batch: the only op through which records meet.
//!
//! Differentiation makes it where a shared value, and so a parameter, meets the records; the privatize pass moves it to
//! the parameter and weighs the records by their clip factors; the strategy pass lets it take in the per-sample gradient
//! that it sums, where nothing else needs that stored.

use super::embedding::Scatter;
use super::outer::{Outer, with_record};
use super::{Op, OpRules};
use crate::graph::{DType, Type};
use crate::lower::kernels::{self, Records, Sums, View, Walk};
use crate::lower::program::Extent;
use crate::lower::{LowerError, Lowering};

/// `Σ_n w[n] x[n]` over the records `n` of the batch.
///
/// Operands: those of the [`terms`](SumBatch::terms), then `w`, an `f32[N]`, if weighted. A record whose weight is 0 does
/// not touch the sum, even if its values are not finite.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SumBatch {
    /// What is summed.
    pub terms: Terms,
    /// Whether the last operand weighs the records.
    pub weighted: bool,
    /// What weighted sums are made of.
    pub sums: Sums,
    /// Whether the weights are clip factors.
    pub clipped: bool,
}

/// What a [`SumBatch`] sums.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(clippy::large_enum_variant)]
pub enum Terms {
    /// The operand.
    #[default]
    Stored,
    /// The per-sample gradient of a product, which is never stored. Operands as those of [`Outer`].
    Products(Outer),
    /// The per-sample gradient of a table, which is never stored. Operands as those of [`Scatter`].
    Rows(Scatter),
}

impl Terms {
    /// The per-sample gradient as an op of its own.
    pub fn op(&self) -> Option<Op> {
        match self {
            Terms::Stored => None,
            Terms::Products(outer) => Some(outer.clone().into()),
            Terms::Rows(scatter) => Some(scatter.clone().into()),
        }
    }

    /// Number of operands.
    pub fn arity(&self) -> usize {
        if matches!(self, Terms::Stored) { 1 } else { 2 }
    }
}

impl SumBatch {
    /// The sum of a value that is there, weighted by clip factors.
    pub fn weighted(sums: Sums) -> SumBatch {
        SumBatch { terms: Terms::Stored, weighted: true, sums, clipped: true }
    }
}

impl OpRules for SumBatch {
    fn mnemonic(&self) -> String {
        "sum_batch".into()
    }

    fn text(&self, operands: &[String]) -> String {
        let (x, weight) = operands.split_at(operands.len().min(self.terms.arity()));
        let x = match (&self.terms, x) {
            (Terms::Products(outer), _) => {
                let [a, b] = outer.sides(x);
                format!("({a} ⊗ {b})")
            }
            (Terms::Rows(_), [ids, x]) => format!("(rows({ids}) ⊗ {x})"),
            _ => x.join(", "),
        };
        let weight = weight.first().map_or(String::new(), |w| format!("{w} · "));
        match self.sums {
            Sums::Floats => format!("sum_batch {weight}{x}"),
            Sums::Grid => format!("sum_batch ⟦{weight}{x}⟧"),
            Sums::WideGrid => format!("sum_batch wide ⟦{weight}{x}⟧"),
        }
    }

    fn infer(&self, operands: &[&Type]) -> Result<Type, String> {
        let (x, weight) = operands.split_at(operands.len().min(self.terms.arity()));
        let ty = match (self.terms.op(), x) {
            (Some(op), _) => op.rules().infer(x)?,
            (None, [x]) => (*x).clone(),
            _ => return Err("takes an operand".into()),
        };
        if ty.dtype != DType::F32 || !ty.batched {
            return Err(format!("{ty} has no batch to sum over"));
        }
        match (weight, self.weighted) {
            ([], false) => {}
            ([w], true) if **w == Type::batched([]) => {}
            _ => return Err("the weights are not f32[N]".into()),
        }
        if self.sums.integers() && !self.weighted {
            return Err("integers are sums of weighted records".into());
        }
        Ok(Type::shared(ty.dims).of(self.sums.dtype()))
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<(), LowerError> {
        match &self.terms {
            Terms::Stored => {
                self.sum(cx);
                Ok(())
            }
            _ if !self.weighted => Err(cx.no_kernel("a sum over the batch without weights")),
            Terms::Products(outer) => {
                products(cx, outer, self.sums, self.clipped);
                Ok(())
            }
            Terms::Rows(scatter) => {
                scatter.sum(cx, self.sums);
                Ok(())
            }
        }
    }

    fn crosses_batch(&self) -> bool {
        true
    }
}

impl SumBatch {
    fn sum(&self, cx: &mut Lowering<'_>) {
        let len = cx.ty().len();
        let records = if self.weighted { Records::Weighted(self.sums) } else { Records::All(Extent::rows(1)) };
        let reads: Vec<_> = (0..cx.arity()).map(|i| cx.operand(i)).collect();
        let out = cx.output();
        cx.launch(stored_kernel(len, records), &reads, &[out]);
    }
}

/// The kernel of a sum over records of stored gradients of `len` elements.
pub fn stored_kernel(len: usize, records: Records) -> kernels::Reduce {
    let kept = vec![Walk { size: len, stride: 1 }];
    kernels::Reduce { records, record: len, kept, reduced: vec![], square: false }
}

fn products(cx: &mut Lowering<'_>, outer: &Outer, sums: Sums, clipped: bool) {
    let a = with_record(outer.a, cx.record_stride(0));
    let b = with_record(outer.b, cx.record_stride(1));
    let reads: Vec<_> = (0..3).map(|i| cx.operand(i)).collect();
    let out = cx.output();
    cx.launch(kernels::OuterSum { clipped, ..products_kernel(outer, [a, b], sums) }, &reads, &[out]);
}

/// The kernel of a clipped sum of products, whose sides are read by `views`.
pub fn products_kernel(outer: &Outer, [a, b]: [View; 2], sums: Sums) -> kernels::OuterSum {
    let Outer { groups, rows, cols, steps, .. } = *outer;
    kernels::OuterSum { groups, rows, cols, steps, a, b, packed: [None; 2], sums, clipped: true }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_batch_is_dropped_from_whatever_is_summed() {
        let (ids, d) = (Type::batched([4]).of(DType::I32), Type::batched([4, 3]));
        let weight = Type::batched([]);
        let rows = SumBatch { terms: Terms::Rows(Scatter { table: vec![9, 3] }), weighted: true, ..Default::default() };
        assert_eq!(rows.infer(&[&ids, &d, &weight]), Ok(Type::shared([9, 3])));
        assert!(rows.infer(&[&ids, &d]).is_err());
        assert!(rows.infer(&[&ids, &d, &Type::batched([1])]).is_err());
        assert_eq!(SumBatch::default().infer(&[&d]), Ok(Type::shared([4, 3])));
        assert!(SumBatch::default().infer(&[&Type::shared([4])]).is_err());
        assert!(SumBatch::default().infer(&[&ids]).is_err());
    }
}
