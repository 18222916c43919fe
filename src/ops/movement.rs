//! Data movement within a record: reshapes, transposes, slices, concatenations, broadcasts, permutations.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Backward, OpRules, VjpError, leaf};
use crate::graph::{DType, NodeId, Type, broadcast, strides};
use crate::lower::kernels::{self, CopyAxis};
use crate::lower::program::{BufferId, Extent};
use crate::lower::{LowerError, Lowering};
use crate::ops::Graph;
use crate::ops::Op;

/// The same elements in the same order under other dims.
#[derive(Clone, Debug, PartialEq)]
pub struct Reshape {
    /// Dims of the result.
    pub dims: Vec<usize>,
}

/// Axes in another order.
#[derive(Clone, Debug, PartialEq)]
pub struct Transpose {
    /// Axis `k` of the result is axis `perm[k]` of the operand.
    pub perm: Vec<usize>,
}

/// Consecutive positions of an axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Slice {
    /// The axis.
    pub axis: usize,
    /// First position.
    pub start: usize,
    /// Number of positions.
    pub len: usize,
}

/// The operand at consecutive positions of an axis, and zeros around it: the transpose of [`Slice`].
#[derive(Clone, Debug, PartialEq)]
pub struct Pad {
    /// The axis.
    pub axis: usize,
    /// Where the operand starts.
    pub start: usize,
    /// Size of the axis in the result.
    pub size: usize,
}

/// Operands one after the other along an axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Concat {
    /// The axis.
    pub axis: usize,
}

/// The operand repeated along new leading axes and along its axes of size 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Broadcast {
    /// Dims of the result.
    pub dims: Vec<usize>,
}

/// A constant selection of elements.
#[derive(Clone, Debug, PartialEq)]
pub struct Rearrange {
    /// Element `i` of the result is element `map[i]` of the operand, both row-major.
    pub map: Arc<[i32]>,
    /// Dims of the result.
    pub dims: Vec<usize>,
    /// Elements of the operand.
    pub from_len: usize,
}

impl Rearrange {
    /// Whether every element of the operand is in the result exactly once.
    pub fn is_permutation(&self) -> bool {
        let mut seen = vec![false; self.from_len];
        self.map.len() == self.from_len
            && self.map.iter().all(|&i| {
                let seen = usize::try_from(i).ok().and_then(|i| seen.get_mut(i));
                seen.is_some_and(|s| !std::mem::replace(s, true))
            })
    }
}

/// Whether a value is known to be zero everywhere, such as the initial state of an LSTM.
pub fn is_zero(graph: &Graph, id: NodeId) -> bool {
    let (mut seen, mut rest) = (BTreeSet::from([id]), vec![id]);
    while let Some(id) = rest.pop() {
        let zero = match graph.op(id) {
            Op::Fill(fill) => fill.value == 0.0,
            Op::Constant(leaf::Constant { data: leaf::Data::F32(data), .. }) => data.iter().all(|&x| x == 0.0),
            Op::Reshape(_)
            | Op::Transpose(_)
            | Op::Slice(_)
            | Op::Pad(_)
            | Op::Concat(_)
            | Op::Broadcast(_)
            | Op::Rearrange(_) => {
                rest.extend(graph.operands(id).into_iter().filter(|&operand| seen.insert(operand)));
                true
            }
            _ => false,
        };
        if !zero {
            return false;
        }
    }
    true
}

fn one<'a>(operands: &[&'a Type]) -> Result<&'a Type, String> {
    match operands {
        [x] => Ok(x),
        _ => Err("takes one operand".into()),
    }
}

fn contiguous(dims: &[usize]) -> Vec<CopyAxis> {
    dims.iter().zip(strides(dims)).map(|(&size, s)| CopyAxis { size, from: s, to: s }).collect()
}

/// Drops axes of size 1 and merges neighbouring axes that both sides walk as one.
fn merge(axes: &[CopyAxis]) -> Vec<CopyAxis> {
    let mut out: Vec<CopyAxis> = Vec::new();
    for &axis in axes.iter().filter(|a| a.size != 1) {
        match out.last_mut() {
            Some(last) if last.from == axis.from * axis.size && last.to == axis.to * axis.size => {
                *last = CopyAxis { size: last.size * axis.size, ..axis };
            }
            _ => out.push(axis),
        }
    }
    out
}

/// Copies operand `i` into the node's buffer `out`.
fn copy(
    cx: &mut Lowering<'_>,
    i: usize,
    axes: &[CopyAxis],
    from_offset: usize,
    to_offset: usize,
    out: BufferId,
) -> Result<(), LowerError> {
    let axes = merge(axes);
    if axes.len() > 6 {
        return Err(cx.no_kernel(format!("a copy over {} axes that do not merge", axes.len())));
    }
    if axes.iter().all(|a| a.size != 0) {
        let (ty, read) = (cx.ty().clone(), cx.operand(i));
        let to_record = if ty.batched { ty.len() } else { 0 };
        let from_record = cx.record_stride(i);
        let kernel = kernels::Copy { batched: ty.batched, from_record, to_record, from_offset, to_offset, axes };
        cx.launch(kernel, &[read], &[out]);
    }
    Ok(())
}

/// Copies the only operand, or shares its buffer where all elements stay in place.
fn copy_or_alias(cx: &mut Lowering<'_>, axes: &[CopyAxis], from_offset: usize) -> Result<(), LowerError> {
    let in_place = matches!(merge(axes).as_slice(), [] | [CopyAxis { from: 1, to: 1, .. }]);
    if in_place && cx.ty().len() == cx.operand_ty(0).len() {
        cx.alias(0);
        return Ok(());
    }
    let out = cx.output();
    copy(cx, 0, axes, from_offset, 0, out)
}

impl OpRules for Reshape {
    fn mnemonic(&self) -> String {
        "reshape".into()
    }

    fn infer(&self, operands: &[&Type]) -> Result<Type, String> {
        let x = one(operands)?;
        let ty = x.with_dims(self.dims.clone());
        if ty.len() == x.len() { Ok(ty) } else { Err(format!("{x} has not as many elements as {ty}")) }
    }

    fn vjp(&self, bw: &mut Backward<'_>) -> Result<Vec<Option<NodeId>>, VjpError> {
        let (d, dims) = (bw.cotangent(), bw.ty(bw.operand(0)).dims);
        Ok(vec![Some(bw.emit(Reshape { dims }, &[d])?)])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<(), LowerError> {
        cx.alias(0);
        Ok(())
    }
}

impl OpRules for Transpose {
    fn mnemonic(&self) -> String {
        "transpose".into()
    }

    fn attributes(&self) -> String {
        format!("{:?}", self.perm)
    }

    fn infer(&self, operands: &[&Type]) -> Result<Type, String> {
        let x = one(operands)?;
        let mut sorted = self.perm.clone();
        sorted.sort_unstable();
        if sorted != (0..x.dims.len()).collect::<Vec<_>>() {
            return Err(format!("{:?} is no order of the axes of {x}", self.perm));
        }
        Ok(x.with_dims(self.perm.iter().map(|&p| x.dims[p]).collect::<Vec<_>>()))
    }

    fn vjp(&self, bw: &mut Backward<'_>) -> Result<Vec<Option<NodeId>>, VjpError> {
        let mut perm = vec![0; self.perm.len()];
        for (k, &p) in self.perm.iter().enumerate() {
            perm[p] = k;
        }
        let d = bw.cotangent();
        Ok(vec![Some(bw.emit(Transpose { perm }, &[d])?)])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<(), LowerError> {
        let from = cx.operand_ty(0).strides();
        let mut axes = contiguous(&cx.ty().dims);
        for (axis, &p) in axes.iter_mut().zip(&self.perm) {
            axis.from = from[p];
        }
        copy_or_alias(cx, &axes, 0)
    }
}

impl OpRules for Slice {
    fn mnemonic(&self) -> String {
        "slice".into()
    }

    fn attributes(&self) -> String {
        format!("axis={} {}..{}", self.axis, self.start, self.start + self.len)
    }

    fn infer(&self, operands: &[&Type]) -> Result<Type, String> {
        let x = one(operands)?;
        let mut dims = x.dims.clone();
        match dims.get_mut(self.axis) {
            Some(size) if self.start + self.len <= *size => *size = self.len,
            _ => return Err(format!("{x} has no positions {}", self.attributes())),
        }
        Ok(x.with_dims(dims))
    }

    fn vjp(&self, bw: &mut Backward<'_>) -> Result<Vec<Option<NodeId>>, VjpError> {
        let (d, size) = (bw.cotangent(), bw.ty(bw.operand(0)).dims[self.axis]);
        Ok(vec![Some(bw.emit(Pad { axis: self.axis, start: self.start, size }, &[d])?)])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<(), LowerError> {
        let from = cx.operand_ty(0).strides();
        let mut axes = contiguous(&cx.ty().dims);
        for (axis, &stride) in axes.iter_mut().zip(&from) {
            axis.from = stride;
        }
        copy_or_alias(cx, &axes, self.start * from[self.axis])
    }
}

impl OpRules for Pad {
    fn mnemonic(&self) -> String {
        "pad".into()
    }

    fn attributes(&self) -> String {
        format!("axis={} at {} of {}", self.axis, self.start, self.size)
    }

    fn infer(&self, operands: &[&Type]) -> Result<Type, String> {
        let x = one(operands)?;
        let mut dims = x.dims.clone();
        match dims.get_mut(self.axis) {
            Some(len) if x.dtype == DType::F32 && self.start + *len <= self.size => *len = self.size,
            _ => return Err(format!("{x} does not fit {}", self.attributes())),
        }
        Ok(x.with_dims(dims))
    }

    fn vjp(&self, bw: &mut Backward<'_>) -> Result<Vec<Option<NodeId>>, VjpError> {
        let (d, len) = (bw.cotangent(), bw.ty(bw.operand(0)).dims[self.axis]);
        Ok(vec![Some(bw.emit(Slice { axis: self.axis, start: self.start, len }, &[d])?)])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<(), LowerError> {
        let ty = cx.ty().clone();
        let (to, out) = (ty.strides(), cx.output());
        cx.launch(kernels::Fill { len: Extent::of(ty.len(), ty.batched), value: 0.0 }, &[], &[out]);
        let mut axes = contiguous(&cx.operand_ty(0).dims);
        for (axis, &stride) in axes.iter_mut().zip(&to) {
            axis.to = stride;
        }
        copy(cx, 0, &axes, 0, self.start * to[self.axis], out)
    }
}

impl OpRules for Concat {
    fn mnemonic(&self) -> String {
        "concat".into()
    }

    fn attributes(&self) -> String {
        format!("axis={}", self.axis)
    }

    fn infer(&self, operands: &[&Type]) -> Result<Type, String> {
        let first = *operands.first().ok_or("takes an operand or more")?;
        let mut dims = first.dims.clone();
        let size = dims.get_mut(self.axis).ok_or_else(|| format!("{first} has no axis {}", self.axis))?;
        *size = 0;
        for x in operands {
            *dims.get_mut(self.axis).ok_or("no axis")? += x.dims.get(self.axis).copied().unwrap_or(0);
            let fits = x.dtype == first.dtype
                && x.dims.len() == dims.len()
                && x.dims.iter().zip(&dims).enumerate().all(|(k, (a, b))| k == self.axis || a == b);
            if !fits {
                return Err(format!("{x} does not continue {first} along axis {}", self.axis));
            }
        }
        Ok(Type { batched: operands.iter().any(|x| x.batched), ..first.with_dims(dims) })
    }

    fn vjp(&self, bw: &mut Backward<'_>) -> Result<Vec<Option<NodeId>>, VjpError> {
        let d = bw.cotangent();
        let (mut out, mut start) = (Vec::new(), 0);
        for i in 0..bw.arity() {
            let len = bw.ty(bw.operand(i)).dims[self.axis];
            out.push(if bw.needs(i) {
                let part = bw.emit(Slice { axis: self.axis, start, len }, &[d])?;
                Some(bw.sum_batch_to(i, part)?)
            } else {
                None
            });
            start += len;
        }
        Ok(out)
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<(), LowerError> {
        let (to, out) = (cx.ty().strides(), cx.output());
        let mut offset = 0;
        for i in 0..cx.arity() {
            let dims = cx.operand_ty(i).dims.clone();
            let mut axes = contiguous(&dims);
            for (axis, &stride) in axes.iter_mut().zip(&to) {
                axis.to = stride;
            }
            copy(cx, i, &axes, 0, offset, out)?;
            offset += dims[self.axis] * to[self.axis];
        }
        Ok(())
    }
}

impl OpRules for Broadcast {
    fn mnemonic(&self) -> String {
        "broadcast".into()
    }

    fn infer(&self, operands: &[&Type]) -> Result<Type, String> {
        let x = one(operands)?;
        match broadcast(&x.dims, &self.dims) {
            Some(dims) if dims == self.dims => Ok(x.with_dims(dims)),
            _ => Err(format!("{x} does not broadcast to {:?}", self.dims)),
        }
    }

    fn vjp(&self, bw: &mut Backward<'_>) -> Result<Vec<Option<NodeId>>, VjpError> {
        let d = bw.cotangent();
        Ok(vec![Some(bw.reduce_to_operand(0, d)?)])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<(), LowerError> {
        let dims = cx.operand_ty(0).dims.clone();
        let (own, lead) = (strides(&dims), self.dims.len() - dims.len());
        let mut axes = contiguous(&self.dims);
        for (k, axis) in axes.iter_mut().enumerate() {
            axis.from = k.checked_sub(lead).map_or(0, |j| if dims[j] == 1 { 0 } else { own[j] });
        }
        copy_or_alias(cx, &axes, 0)
    }
}

impl OpRules for Rearrange {
    fn mnemonic(&self) -> String {
        "rearrange".into()
    }

    fn attributes(&self) -> String {
        let few: Vec<String> = self.map.iter().take(6).map(i32::to_string).collect();
        format!("[{}{}]", few.join(", "), if self.map.len() > few.len() { ", …" } else { "" })
    }

    fn infer(&self, operands: &[&Type]) -> Result<Type, String> {
        let x = one(operands)?;
        let ty = x.with_dims(self.dims.clone());
        let inside = |&m: &i32| usize::try_from(m).is_ok_and(|m| m < self.from_len);
        if x.len() != self.from_len || ty.len() != self.map.len() || !self.map.iter().all(inside) {
            return Err(format!("its map does not take {x} to {ty}"));
        }
        Ok(ty)
    }

    /// Each element must be selected at most once; one that is not selected has cotangent 0.
    fn vjp(&self, bw: &mut Backward<'_>) -> Result<Vec<Option<NodeId>>, VjpError> {
        let len = self.map.len();
        let mut inverse = vec![len as i32; self.from_len];
        for (i, &m) in self.map.iter().enumerate() {
            if inverse[m as usize] != len as i32 {
                return Err(bw.not_differentiable());
            }
            inverse[m as usize] = i as i32;
        }
        let (mut d, dims) = (bw.cotangent(), bw.ty(bw.operand(0)).dims);
        let mut from_len = len;
        if inverse.contains(&(len as i32)) {
            let flat = bw.emit(Reshape { dims: vec![len] }, &[d])?;
            let zero = bw.emit(leaf::Fill { ty: Type::shared([1]), value: 0.0 }, &[])?;
            d = bw.emit(Concat { axis: 0 }, &[flat, zero])?;
            from_len += 1;
        }
        Ok(vec![Some(bw.emit(Rearrange { map: inverse.into(), dims, from_len }, &[d])?)])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<(), LowerError> {
        let map = cx.constant("map", self.map.to_vec());
        let (read, out, batched) = (cx.operand(0), cx.output(), cx.ty().batched);
        let kernel = kernels::Rearrange { batched, from_len: self.from_len, len: self.map.len() };
        cx.launch(kernel, &[read, map], &[out]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_that_both_sides_walk_as_one_are_merged() {
        let axis = |size, from, to| CopyAxis { size, from, to };
        assert_eq!(merge(&contiguous(&[2, 1, 3, 5])), [axis(30, 1, 1)]);
        let transposed = [axis(5, 1, 12), axis(1, 7, 12), axis(3, 20, 4), axis(4, 5, 1)];
        assert_eq!(merge(&transposed), [axis(5, 1, 12), axis(12, 5, 1)]);
        assert_eq!(merge(&[axis(3, 0, 4), axis(4, 0, 1)]), [axis(12, 0, 1)]);
    }

    #[test]
    fn concatenation_may_mix_shared_and_batched_operands() {
        let (a, b) = (Type::shared([1, 3]), Type::batched([4, 3]));
        assert_eq!(Concat { axis: 0 }.infer(&[&a, &b]), Ok(Type::batched([5, 3])));
        assert!(Concat { axis: 1 }.infer(&[&a, &b]).is_err());
        assert!(Concat { axis: 2 }.infer(&[&a]).is_err());
    }
}
