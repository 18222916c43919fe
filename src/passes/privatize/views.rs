//! The gradient of a record that is seen in several views: what the per-sample gradients of its rows add up to.
//!
//! A record's K rows follow each other in the batch, so that their values are one value of the record, along a new first axis
//! ([`Views`]). A sum over T positions of outer products is, over all views, one over K·T positions: its sides are the rows'
//! sides, with the axis of views put before that of positions where the two are not neighbours already. To move a side's
//! elements takes less than to make the products, unless the gradient is as small; then, and for every other gradient, the
//! rows' gradients are added up.
//!
//! All that comes after, norms, clip factors and sums over the batch, is that of records as ever.

use super::Rewrite;
use crate::graph::{DType, NodeId, Origin, Type, TypeError};
use crate::lower::kernels::{ConvGeometry, View, Window};
use crate::ops::Op;
use crate::ops::embedding::Scatter;
use crate::ops::movement::{Reshape, Slice, Transpose};
use crate::ops::outer::Outer;
use crate::ops::reduce::Sum;
use crate::ops::views::Views;
use crate::passes::fuse_sums::{as_add, is_permutation};

/// How the views of a side become positions.
struct Side {
    /// The dims that a row's value is split into: what comes before the positions, and the rest.
    split: [usize; 2],
    /// How what comes of it is read.
    view: View,
}

impl Rewrite<'_> {
    /// The gradient of records whose rows have the gradient `id`.
    pub(super) fn of_record(&mut self, id: NodeId) -> Result<NodeId, TypeError> {
        if self.views == 1 {
            return Ok(id);
        }
        if let Some(&known) = self.of_record.get(&id) {
            return Ok(known);
        }
        let (node, operands) = (self.graph.node(id).clone(), self.graph.operands(id));
        let batched = |rewrite: &Self, id: &NodeId| rewrite.graph.ty(*id).batched;
        let found = match &node.op {
            Op::Outer(outer) => self.products(outer, &operands, &node.origin)?,
            Op::Scatter(scatter) => self.rows(scatter, &operands, &node.origin)?,
            op if is_permutation(op) || (as_add(op) && operands.iter().all(|id| batched(self, id))) => {
                let parts = operands.iter().map(|&o| self.of_record(o)).collect::<Result<Vec<_>, _>>()?;
                Some(self.graph.add(node.op.clone(), &parts, node.origin.named(""))?)
            }
            _ => None,
        };
        let found = match found {
            Some(found) => found,
            None => self.sum_of_views(id)?,
        };
        self.of_record.insert(id, found);
        Ok(found)
    }

    /// The value of a row, the same for all rows of a record, as a value of the record.
    pub(super) fn of_any_view(&mut self, id: NodeId) -> Result<NodeId, TypeError> {
        if self.views == 1 {
            return Ok(id);
        }
        let (views, dims) = (self.joined(id)?, self.graph.ty(id).dims.clone());
        let first = self.add(Slice { axis: 0, start: 0, len: 1 }, &[views], "")?;
        self.add(Reshape { dims }, &[first], "")
    }

    /// The values of a record's rows.
    fn joined(&mut self, id: NodeId) -> Result<NodeId, TypeError> {
        if let Some(&known) = self.joined.get(&id) {
            return Ok(known);
        }
        let joined = self.add(Views { count: self.views }, &[id], "")?;
        self.joined.insert(id, joined);
        Ok(joined)
    }

    fn sum_of_views(&mut self, id: NodeId) -> Result<NodeId, TypeError> {
        let views = self.joined(id)?;
        self.add(Sum { axes: vec![0] }, &[views], "")
    }

    /// Products over the positions of all views, where both sides can be read so.
    fn products(&mut self, outer: &Outer, operands: &[NodeId], origin: &Origin) -> Result<Option<NodeId>, TypeError> {
        let [a, b] = [0, 1].map(|k| self.graph.ty(operands[k]).clone());
        let sides =
            [side(outer, outer.a, outer.rows, &a, self.views), side(outer, outer.b, outer.cols, &b, self.views)];
        let [Some(a), Some(b)] = sides else { return Ok(None) };
        let moved = |side: &Side| if side.split[0] == 1 { 0 } else { side.split[0] * side.split[1] };
        if moved(&a) + moved(&b) > outer.groups * outer.rows * outer.cols {
            return Ok(None);
        }
        let views = [a.view, b.view];
        let mut read = Vec::new();
        for (&id, side) in operands.iter().zip([a, b]) {
            read.push(self.positions(id, side.split)?);
        }
        let steps = self.views * outer.steps;
        let [a, b] = views;
        Ok(Some(self.graph.add(Outer { steps, a, b, ..outer.clone() }, &read, origin.clone())?))
    }

    /// The values of a record's rows with the axis of views between the two that a row's is split into.
    fn positions(&mut self, id: NodeId, [before, after]: [usize; 2]) -> Result<NodeId, TypeError> {
        let views = self.joined(id)?;
        if before == 1 {
            return Ok(views);
        }
        let key = (id, before);
        if let Some(&known) = self.moved.get(&key) {
            return Ok(known);
        }
        let split = self.add(Reshape { dims: vec![self.views, before, after] }, &[views], "")?;
        let moved = self.add(Transpose { perm: vec![1, 0, 2] }, &[split], "")?;
        self.moved.insert(key, moved);
        Ok(moved)
    }

    /// Rows by the ids of all views.
    fn rows(&mut self, scatter: &Scatter, operands: &[NodeId], origin: &Origin) -> Result<Option<NodeId>, TypeError> {
        let [ids, x] = [0, 1].map(|k| self.graph.ty(operands[k]).clone());
        if !x.batched || ids.dtype != DType::I32 {
            return Ok(None);
        }
        if !ids.batched {
            let sum = self.sum_of_views(operands[1])?;
            return Ok(Some(self.graph.add(scatter.clone(), &[operands[0], sum], origin.clone())?));
        }
        let count = self.views * ids.len();
        let dims = [vec![count], scatter.table[1..].to_vec()];
        let mut read = Vec::new();
        for (&id, dims) in operands.iter().zip([vec![count], dims.concat()]) {
            let views = self.joined(id)?;
            read.push(self.add(Reshape { dims }, &[views], "")?);
        }
        Ok(Some(self.graph.add(scatter.clone(), &read, origin.clone())?))
    }
}

/// How the side `view` of products, of a value of the type `ty` with so many items of each group, is read over the positions of
/// all views; `None` where it cannot be.
fn side(outer: &Outer, view: View, items: usize, ty: &Type, views: usize) -> Option<Side> {
    if !ty.batched {
        return None;
    }
    let (len, steps) = (ty.len(), outer.steps);
    match view {
        View::Strided { record, group, row, col } => {
            if steps == 1 {
                return Some(Side { split: [1, len], view: View::Strided { record, group, row, col: len } });
            }
            // Positions are neighbours, `after` elements from one end of the axis to the other.
            let after = col.checked_mul(steps)?;
            if after == 0 || !len.is_multiple_of(after) {
                return None;
            }
            // What is outside of the positions is now outside of the views too.
            let outside = |count: usize, stride: usize| match stride {
                _ if count == 1 || stride.saturating_mul(count) <= col => Some(stride),
                _ if stride.is_multiple_of(after) => Some(stride * views),
                _ => None,
            };
            let (group, row) = (outside(outer.groups, group)?, outside(items, row)?);
            Some(Side { split: [len / after, after], view: View::Strided { record, group, row, col } })
        }
        View::Patches { conv, record } => {
            let conv = stacked(conv, views)?;
            let view = View::Patches { conv, record };
            Some(Side { split: [conv.channels, len / conv.channels], view })
        }
        View::CotangentPatches { conv, record } => {
            let conv = stacked(conv, views)?;
            let view = View::CotangentPatches { conv, record };
            Some(Side { split: [conv.filters, len / conv.filters], view })
        }
        View::PatchesTransposed { .. } | View::WeightTransposed { .. } => None,
    }
}

/// The convolution of images that lie one behind the other, where there is an axis left for that.
fn stacked(conv: ConvGeometry, images: usize) -> Option<ConvGeometry> {
    let window = conv.window;
    let free = window.rank < 3 && (window.input[0], window.output[0], window.kernel[0]) == (1, 1, 1);
    free.then(|| {
        let along = |sizes: [usize; 3]| [images, sizes[1], sizes[2]];
        let (input, output) = (along(window.input), along(window.output));
        ConvGeometry { window: Window { rank: 3, input, output, ..window }, ..conv }
    })
}
