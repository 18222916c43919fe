//! Rows of a table by id, and the gradient of the table.

use super::elementwise::Elementwise;
use super::movement::Reshape;
use super::{Backward, OpRules, VjpError, leaf};
use crate::graph::{DType, NodeId, Type};
use crate::lower::kernels::{self, Records, Sums};
use crate::lower::program::Extent;
use crate::lower::scalar::Func;
use crate::lower::{LowerError, Lowering};

/// `table[ids]`: of a `table[V, D…]` and ids of any dims, with dims `ids.dims ++ [D…]`; each record's own table where it is
/// batched.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gather {
    /// The row that gets no gradient here, as PyTorch's
    /// [`padding_idx`](https://docs.pytorch.org/docs/stable/generated/torch.nn.Embedding.html) has it.
    pub padding: Option<usize>,
}

/// Rows `[ids.dims…, D…]` added up in a table `[V, D…]` by their ids, as the cotangent of a table is from that of what was
/// gathered: one table of each record where ids or rows are batched.
#[derive(Clone, Debug, PartialEq)]
pub struct Scatter {
    /// Dims of the table.
    pub table: Vec<usize>,
}

impl OpRules for Gather {
    fn mnemonic(&self) -> String {
        "gather".into()
    }

    fn attributes(&self) -> String {
        self.padding.map_or(String::new(), |row| format!("padding={row}"))
    }

    fn infer(&self, operands: &[&Type]) -> Result<Type, String> {
        let [table, ids] = operands else { return Err("takes a table and ids".into()) };
        if table.dims.is_empty() || ids.dtype != DType::I32 {
            return Err("takes a table and integer ids".into());
        }
        let dims: Vec<usize> = ids.dims.iter().chain(&table.dims[1..]).copied().collect();
        Ok(Type { dtype: table.dtype, batched: table.batched || ids.batched, dims })
    }

    fn vjp(&self, bw: &mut Backward<'_>) -> Result<Vec<Option<NodeId>>, VjpError> {
        let (ids, mut d, table) = (bw.operand(1), bw.cotangent(), bw.ty(bw.operand(0)).dims);
        if let Some(padding) = self.padding {
            d = without_row(bw, padding, table[0], ids, d)?;
        }
        let rows = bw.emit(Scatter { table }, &[ids, d])?;
        Ok(vec![Some(bw.sum_batch_to(0, rows)?), None])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<(), LowerError> {
        let (table, ids) = (cx.operand_ty(0).dims.clone(), cx.operand_ty(1).clone());
        let width = table[1..].iter().product();
        let kernel = kernels::Gather {
            batched: cx.ty().batched,
            table_record: cx.record_stride(0),
            ids_record: cx.record_stride(1),
            count: ids.len(),
            width,
            table_rows: table[0],
        };
        let reads = [cx.operand(0), cx.operand(1)];
        let out = cx.output();
        cx.launch(kernel, &reads, &[out]);
        Ok(())
    }
}

/// The cotangent `d` of gathered rows, 0 where an id is `row`.
fn without_row(bw: &mut Backward<'_>, row: usize, rows: usize, ids: NodeId, d: NodeId) -> Result<NodeId, VjpError> {
    let (dims, own) = (bw.ty(d).dims, bw.ty(ids).dims);
    let counts = leaf::Data::F32((0..rows).map(|k| if k == row { 0.0 } else { 1.0 }).collect());
    let counts = bw.emit(leaf::Constant { dims: vec![rows], data: counts }, &[])?;
    let mut mask = bw.emit(Gather::default(), &[counts, ids])?;
    let wide: Vec<usize> = own.iter().copied().chain(vec![1; dims.len() - own.len()]).collect();
    if wide != own {
        mask = bw.emit(Reshape { dims: wide }, &[mask])?;
    }
    bw.emit(Elementwise::call(Func::Mul), &[d, mask])
}

impl OpRules for Scatter {
    fn mnemonic(&self) -> String {
        "per_sample_gradient".into()
    }

    fn text(&self, operands: &[String]) -> String {
        match operands {
            [ids, x] => format!("{} rows({ids}), {x}", self.mnemonic()),
            _ => format!("{} {}", self.mnemonic(), operands.join(", ")),
        }
    }

    fn infer(&self, operands: &[&Type]) -> Result<Type, String> {
        let [ids, x] = operands else { return Err("takes ids and a cotangent".into()) };
        let dims: Vec<usize> = ids.dims.iter().chain(self.table.get(1..).unwrap_or_default()).copied().collect();
        if ids.dtype != DType::I32 || x.dtype != DType::F32 || x.dims != dims || self.table.is_empty() {
            return Err(format!("rows {ids} of {:?} have no cotangent {x}", self.table));
        }
        Ok(Type { batched: ids.batched || x.batched, ..Type::shared(self.table.clone()) })
    }

    fn vjp(&self, bw: &mut Backward<'_>) -> Result<Vec<Option<NodeId>>, VjpError> {
        let (ids, d) = (bw.operand(0), bw.cotangent());
        let rows = bw.emit(Gather::default(), &[d, ids])?;
        Ok(vec![None, Some(bw.sum_batch_to(1, rows)?)])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<(), LowerError> {
        let kernel = self.kernel(cx, Records::Each(Extent::of(1, cx.ty().batched)));
        let reads = [cx.operand(0), cx.operand(1)];
        let out = cx.output();
        cx.launch(kernel, &reads, &[out]);
        Ok(())
    }
}

impl Scatter {
    fn kernel(&self, cx: &Lowering<'_>, records: Records) -> kernels::Scatter {
        kernels::Scatter {
            records,
            ids_record: cx.record_stride(0),
            record: cx.record_stride(1),
            count: cx.operand_ty(0).len(),
            width: self.table[1..].iter().product(),
            table_rows: self.table[0],
            ordered: false,
        }
    }

    /// Lowers the sum over the batch of the tables, weighted by operand 2.
    pub(super) fn sum(&self, cx: &mut Lowering<'_>, sums: Sums) {
        let mut kernel = self.kernel(cx, Records::Weighted(sums));
        kernel.ordered = kernel.ids_record > 0 && kernel.count > 1;
        let mut reads: Vec<_> = (0..3).map(|i| cx.operand(i)).collect();
        if kernel.ordered {
            let order = cx.temporary("order", DType::I32, Extent::rows(kernel.count));
            cx.launch(kernels::SortIds { count: kernel.count, table_rows: self.table[0] }, &reads[..1], &[order]);
            reads.push(order);
        }
        let out = cx.output();
        cx.launch(kernel, &reads, &[out]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_gradient_is_that_of_a_record_where_there_are_records() {
        let ids = Type::shared([4]).of(DType::I32);
        let rows = Scatter { table: vec![9, 3] };
        assert_eq!(rows.infer(&[&ids, &Type::batched([4, 3])]), Ok(Type::batched([9, 3])));
        assert_eq!(rows.infer(&[&ids, &Type::shared([4, 3])]), Ok(Type::shared([9, 3])));
        assert!(rows.infer(&[&ids, &Type::shared([4, 2])]).is_err());
    }

    #[test]
    fn gathered_rows_have_the_dims_of_the_ids_first() {
        let (table, ids) = (Type::shared([9, 3, 2]), Type::batched([5]).of(DType::I32));
        assert_eq!(Gather::default().infer(&[&table, &ids]), Ok(Type::batched([5, 3, 2])));
        assert_eq!(Gather::default().infer(&[&Type::batched([9, 3]), &ids]), Ok(Type::batched([5, 3])));
    }
}
