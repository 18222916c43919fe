//! Max and average pooling.

use super::{Backward, OpRules, VjpError};
use crate::graph::{DType, NodeId, Type};
use crate::lower::kernels::{self, PoolGeometry, PoolKind};
use crate::lower::{LowerError, Lowering};

/// Each window of `[C, H, W]` reduced to an element.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// How a window is reduced.
    pub kind: PoolKind,
    /// The window.
    pub geometry: PoolGeometry,
}

/// The cotangent of a pool's input: of `(x, dy)` for a maximum, of `dy` for a mean.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolVjp {
    /// How a window is reduced.
    pub kind: PoolKind,
    /// The window.
    pub geometry: PoolGeometry,
}

fn input_dims(g: &PoolGeometry) -> Vec<usize> {
    vec![g.channels, g.input[0], g.input[1]]
}

fn output_dims(g: &PoolGeometry) -> Vec<usize> {
    vec![g.channels, g.output[0], g.output[1]]
}

fn name(kind: PoolKind) -> &'static str {
    match kind {
        PoolKind::Max => "max_pool",
        PoolKind::AverageInside => "average_pool",
        PoolKind::AveragePadded => "average_pool_padded",
    }
}

fn attributes(g: &PoolGeometry) -> String {
    let pair = |p: [usize; 2]| format!("{}×{}", p[0], p[1]);
    let mut text = format!("{} stride={}", pair(g.kernel), pair(g.stride));
    if g.pad != [0, 0] {
        text += &format!(" pad={}", pair(g.pad));
    }
    if g.dilation != [1, 1] {
        text += &format!(" dilation={}", pair(g.dilation));
    }
    text
}

impl OpRules for Pool {
    fn mnemonic(&self) -> String {
        name(self.kind).into()
    }

    fn attributes(&self) -> String {
        attributes(&self.geometry)
    }

    fn infer(&self, operands: &[&Type]) -> Result<Type, String> {
        match operands {
            [x] if x.dtype == DType::F32 && x.dims == input_dims(&self.geometry) => {
                Ok(x.with_dims(output_dims(&self.geometry)))
            }
            _ => Err(format!("the operand is not f32{:?}", input_dims(&self.geometry))),
        }
    }

    fn vjp(&self, bw: &mut Backward<'_>) -> Result<Vec<Option<NodeId>>, VjpError> {
        let (x, dy) = (bw.operand(0), bw.cotangent());
        let op = PoolVjp { kind: self.kind, geometry: self.geometry };
        let dx = if self.kind == PoolKind::Max { bw.emit(op, &[x, dy])? } else { bw.emit(op, &[dy])? };
        Ok(vec![Some(bw.sum_batch_to(0, dx)?)])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<(), LowerError> {
        let (read, out, batched) = (cx.operand(0), cx.output(), cx.ty().batched);
        cx.launch(kernels::Pool { batched, kind: self.kind, geometry: self.geometry }, &[read], &[out]);
        Ok(())
    }
}

impl OpRules for PoolVjp {
    fn mnemonic(&self) -> String {
        format!("{}_vjp", name(self.kind))
    }

    fn attributes(&self) -> String {
        attributes(&self.geometry)
    }

    fn infer(&self, operands: &[&Type]) -> Result<Type, String> {
        let (x, dy) = match (self.kind, operands) {
            (PoolKind::Max, [x, dy]) if x.dims == input_dims(&self.geometry) => (Some(x), dy),
            (PoolKind::AverageInside | PoolKind::AveragePadded, [dy]) => (None, dy),
            _ => return Err("the operands do not fit the window".into()),
        };
        if dy.dtype != DType::F32 || dy.dims != output_dims(&self.geometry) {
            return Err(format!("the cotangent is not f32{:?}", output_dims(&self.geometry)));
        }
        let batched = dy.batched || x.is_some_and(|x| x.batched);
        Ok(Type { batched, ..Type::shared(input_dims(&self.geometry)) })
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<(), LowerError> {
        let reads: Vec<_> = (0..cx.arity()).map(|i| cx.spread(i)).collect();
        let (out, batched) = (cx.output(), cx.ty().batched);
        cx.launch(kernels::PoolVjp { batched, kind: self.kind, geometry: self.geometry }, &reads, &[out]);
        Ok(())
    }
}
