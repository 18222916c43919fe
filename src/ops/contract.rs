//! Matrix products, with native VJPs.

use super::movement::{Reshape, Transpose};
use super::outer::Outer;
use super::{Backward, OpRules, VjpError};
use crate::graph::{DType, NodeId, Type, broadcast};
use crate::lower::kernels::{self, Bias, View};
use crate::lower::program::Extent;
use crate::lower::scalar::Func;
use crate::lower::{LowerError, Lowering};

/// `a · b` on the last two dims of one record, with the dims before them equal or absent in one operand.
///
/// A left operand of rank 1 is a row and a right one a column, and the result lacks that dim. A third operand is a bias
/// along the columns, and `activation` is applied last; passes fuse them in.
#[derive(Clone, Debug, PartialEq)]
pub struct Contract {
    /// Whether the last two dims of `a` are exchanged.
    pub trans_a: bool,
    /// Whether the last two dims of `b` are exchanged.
    pub trans_b: bool,
    /// Whether there is a third operand, the bias `[columns]`.
    pub bias: bool,
    /// Applied to the result.
    pub activation: Option<Func>,
}

impl Contract {
    /// The plain product.
    pub fn new(trans_a: bool, trans_b: bool) -> Contract {
        Contract { trans_a, trans_b, bias: false, activation: None }
    }
}

/// The dims of one operand: leading ones, then (outer, inner), the outer one absent for rank 1.
struct Parts {
    lead: Vec<usize>,
    outer: Option<usize>,
    inner: usize,
}

fn parts(dims: &[usize], inner_last: bool) -> Result<Parts, String> {
    match dims {
        [] => Err("an operand is a scalar".into()),
        [k] => Ok(Parts { lead: vec![], outer: None, inner: *k }),
        [lead @ .., x, y] => {
            let (outer, inner) = if inner_last { (*x, *y) } else { (*y, *x) };
            Ok(Parts { lead: lead.to_vec(), outer: Some(outer), inner })
        }
    }
}

impl OpRules for Contract {
    fn mnemonic(&self) -> String {
        "contract".into()
    }

    fn text(&self, operands: &[String]) -> String {
        let t = |name: &String, flag: bool| if flag { format!("{name}ᵀ") } else { name.clone() };
        let (Some(a), Some(b)) = (operands.first(), operands.get(1)) else { return self.mnemonic() };
        let mut text = format!("contract {}, {}", t(a, self.trans_a), t(b, self.trans_b));
        if let Some(bias) = operands.get(2) {
            text += &format!(" + {bias}");
        }
        if let Some(f) = self.activation {
            text += &format!(" → {}", f.name());
        }
        text
    }

    fn infer(&self, operands: &[&Type]) -> Result<Type, String> {
        let (a, b, bias) = match (operands, self.bias) {
            ([a, b], false) => (a, b, None),
            ([a, b, c], true) => (a, b, Some(c)),
            _ => return Err("wrong operand count".into()),
        };
        if operands.iter().any(|t| t.dtype != DType::F32) {
            return Err("an operand is not a float".into());
        }
        let (x, y) = (parts(&a.dims, !self.trans_a)?, parts(&b.dims, self.trans_b)?);
        if x.inner != y.inner {
            return Err(format!("inner dims {} and {} differ", x.inner, y.inner));
        }
        if !x.lead.is_empty() && !y.lead.is_empty() && x.lead != y.lead {
            return Err("leading dims differ".into());
        }
        let mut dims = if x.lead.is_empty() { y.lead } else { x.lead };
        dims.extend(x.outer);
        dims.extend(y.outer);
        if let Some(c) = bias
            && (c.batched || c.dims != [y.outer.unwrap_or(1)])
        {
            return Err("the bias does not run along the columns".into());
        }
        Ok(Type { dtype: DType::F32, batched: a.batched || b.batched, dims })
    }

    fn vjp(&self, bw: &mut Backward<'_>) -> Result<Vec<Option<NodeId>>, VjpError> {
        if self.bias || self.activation.is_some() {
            return Err(bw.not_differentiable());
        }
        (0..2).map(|i| bw.needs(i).then(|| self.cotangent_of(bw, i)).transpose()).collect()
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<(), LowerError> {
        let (a, b) = (cx.operand_ty(0).clone(), cx.operand_ty(1).clone());
        let bad = |cx: &Lowering<'_>, why: String| cx.no_kernel(why);
        let x = parts(&a.dims, !self.trans_a).map_err(|e| bad(cx, e))?;
        let y = parts(&b.dims, self.trans_b).map_err(|e| bad(cx, e))?;
        let (rows, cols, inner) = (x.outer.unwrap_or(1), y.outer.unwrap_or(1), x.inner);
        let batched = cx.ty().batched;
        let groups: usize = if x.lead.is_empty() { y.lead.iter().product() } else { x.lead.iter().product() };
        let strided = |outer_first: bool, outer: usize, group: usize, record: usize| {
            let (row, col) = if outer_first { (inner, 1) } else { (1, outer) };
            View::Strided { record, group, row, col }
        };
        let group = |lead: &[usize], outer: usize| if lead.is_empty() { 0 } else { outer * inner };
        let view_a = strided(!self.trans_a, rows, group(&x.lead, rows), cx.record_stride(0));
        // `b` is read with row k and column j.
        let view_b = match strided(self.trans_b, cols, group(&y.lead, cols), cx.record_stride(1)) {
            View::Strided { record, group, row, col } => View::Strided { record, group, row: col, col: row },
            other => other,
        };
        // Records of the left operand are rows of one large product where the right one is the same for all.
        let merge = !b.batched && y.lead.is_empty() && (!self.trans_a || x.outer.is_none());
        let kernel = if merge {
            let all = rows * groups;
            kernels::Gemm {
                records: Extent::fixed(1),
                groups: 1,
                rows: Extent::of(all, a.batched),
                cols,
                inner,
                a: View::Strided { record: 0, group: 0, row: inner, col: 1 },
                b: view_b,
                bias: self.bias.then_some(Bias::Cols),
                activation: self.activation,
                out_record: 0,
                out_group: 0,
                out_row: cols,
                out_col: 1,
            }
        } else {
            kernels::Gemm {
                records: Extent::of(1, batched),
                groups,
                rows: Extent::fixed(rows),
                cols,
                inner,
                a: view_a,
                b: view_b,
                bias: None,
                activation: self.activation,
                out_record: groups * rows * cols,
                out_group: rows * cols,
                out_row: cols,
                out_col: 1,
            }
        };
        if self.bias && kernel.bias.is_none() {
            return Err(cx.no_kernel("a bias on a product that is not one of rows by a shared matrix"));
        }
        let reads: Vec<_> = (0..cx.arity()).map(|i| cx.operand(i)).collect();
        let out = cx.output();
        cx.launch(kernel, &reads, &[out]);
        Ok(())
    }
}

impl Contract {
    /// Whether a bias along the last dim of the result can be added by the kernel.
    pub fn takes_bias(&self, b: &Type) -> bool {
        !self.bias && self.activation.is_none() && !self.trans_a && !b.batched && b.dims.len() == 2
    }

    fn cotangent_of(&self, bw: &mut Backward<'_>, i: usize) -> Result<NodeId, VjpError> {
        let (a, b, d) = (bw.operand(0), bw.operand(1), bw.cotangent());
        let (ta, tb) = (bw.ty(a), bw.ty(b));
        if i == 0 && ta.batched && ta.dims.len() == 1 && tb.dims.len() == 2 {
            // A row times a matrix has a row for its cotangent.
            let g = bw.emit(Contract::new(false, !self.trans_b), &[d, b])?;
            return bw.reduce_to_operand(i, g);
        }
        // Give rank-1 operands their unit dim, so that every value below is a stack of matrices.
        let matrix = |bw: &mut Backward<'_>, x: NodeId, at_end: bool| -> Result<NodeId, VjpError> {
            let dims = bw.ty(x).dims;
            if dims.len() != 1 {
                return Ok(x);
            }
            let dims = if at_end { vec![dims[0], 1] } else { vec![1, dims[0]] };
            bw.emit(Reshape { dims }, &[x])
        };
        let trans_a = self.trans_a && ta.dims.len() > 1;
        let trans_b = self.trans_b && tb.dims.len() > 1;
        let lead_of = |dims: &[usize]| dims[..dims.len().saturating_sub(2)].to_vec();
        let (lead_a, lead_b) = (lead_of(&ta.dims), lead_of(&tb.dims));
        let lead = broadcast(&lead_a, &lead_b).unwrap_or_default();
        let m = if ta.dims.len() == 1 { 1 } else { ta.dims[ta.dims.len() - if trans_a { 1 } else { 2 }] };
        let n = if tb.dims.len() == 1 { 1 } else { tb.dims[tb.dims.len() - if trans_b { 2 } else { 1 }] };
        let a2 = matrix(bw, a, false)?;
        let b2 = matrix(bw, b, true)?;
        let full: Vec<usize> = lead.iter().copied().chain([m, n]).collect();
        let d2 = if bw.ty(d).dims == full { d } else { bw.emit(Reshape { dims: full }, &[d])? };
        let (own, own_lead) = if i == 0 { (&ta, &lead_a) } else { (&tb, &lead_b) };
        let met = bw.ty(d).batched || if i == 0 { tb.batched } else { ta.batched };
        if !own.batched && met && (own_lead.is_empty() || *own_lead == lead) {
            let groups: usize = own_lead.iter().product();
            // Both sides as positions × items; the operand's own gradient has the left side's items as rows.
            let left = if i == 0 { (d2, true) } else { (a2, trans_a) };
            let right = if i == 0 { (b2, !trans_b) } else { (d2, false) };
            let (left, right) = if (i == 0 && trans_a) || (i == 1 && trans_b) { (right, left) } else { (left, right) };
            let (x, vx, rows, steps) = positions(bw, left, groups)?;
            let (y, vy, cols, _) = positions(bw, right, groups)?;
            let g = bw.emit(Outer { groups, rows, cols, steps, a: vx, b: vy }, &[x, y])?;
            let g = bw.sum_batch_to(i, g)?;
            return bw.emit(Reshape { dims: own.dims.clone() }, &[g]);
        }
        let g = match (i, trans_a, trans_b) {
            (0, false, _) => bw.emit(Contract::new(false, !trans_b), &[d2, b2])?,
            (0, true, _) => bw.emit(Contract::new(trans_b, true), &[b2, d2])?,
            (_, _, false) => bw.emit(Contract::new(!trans_a, false), &[a2, d2])?,
            (_, _, true) => bw.emit(Contract::new(true, trans_a), &[d2, a2])?,
        };
        let target = own.dims.len();
        if target == 1 {
            let dims: Vec<usize> = lead.iter().copied().chain([own.dims[0]]).collect();
            let g = if bw.ty(g).dims == dims { g } else { bw.emit(Reshape { dims }, &[g])? };
            return bw.reduce_to_operand(i, g);
        }
        bw.reduce_to_operand(i, g)
    }
}

/// A stack of matrices as `groups` matrices of positions × items: the value, its view (row = item, column = position),
/// the number of items and that of positions. `exchanged` says that the items are the rows of the matrices. A single matrix
/// is that of every group.
fn positions(
    bw: &mut Backward<'_>,
    (x, exchanged): (NodeId, bool),
    groups: usize,
) -> Result<(NodeId, View, usize, usize), VjpError> {
    let dims = bw.ty(x).dims;
    let rank = dims.len();
    let (r, c) = (dims[rank - 2], dims[rank - 1]);
    let stack: usize = dims[..rank - 2].iter().product();
    let per_group = stack / groups;
    if per_group <= 1 {
        let (items, steps) = if exchanged { (r, c) } else { (c, r) };
        let (row, col) = if exchanged { (c, 1) } else { (1, c) };
        let group = if per_group == 0 { 0 } else { r * c };
        return Ok((x, View::Strided { record: 0, group, row, col }, items, steps));
    }
    // Positions run over the stack too, so the items must be the fast axis.
    let (x, items, steps) = if exchanged {
        let mut perm: Vec<usize> = (0..rank).collect();
        perm.swap(rank - 2, rank - 1);
        (bw.emit(Transpose { perm }, &[x])?, r, c)
    } else {
        (x, c, r)
    };
    let view = View::Strided { record: 0, group: per_group * steps * items, row: 1, col: items };
    Ok((x, view, items, per_group * steps))
}
