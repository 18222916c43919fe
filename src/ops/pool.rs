//! Max and average pooling.

use super::{Backward, OpRules, VjpError};
use crate::graph::{DType, NodeId, Type};
use crate::lower::kernels::{self, PoolKind, Window};
use crate::lower::{LowerError, Lowering};

/// Each window of `[C, …]`, with one to three spatial axes, reduced to an element.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// How a window is reduced.
    pub kind: PoolKind,
    /// Channels, each pooled alone.
    pub channels: usize,
    /// The window.
    pub window: Window,
}

/// The cotangent of a pool's input: of `(x, dy)` for a maximum, of `dy` for a mean.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolVjp {
    /// How a window is reduced.
    pub kind: PoolKind,
    /// Channels, each pooled alone.
    pub channels: usize,
    /// The window.
    pub window: Window,
}

fn name(kind: PoolKind) -> &'static str {
    match kind {
        PoolKind::Max => "max_pool",
        PoolKind::AverageInside => "average_pool",
        PoolKind::AveragePadded => "average_pool_padded",
    }
}

fn attributes(w: &Window) -> String {
    let mut text = format!("{} stride={}", w.text(w.kernel), w.text(w.stride));
    if w.pad != [0; 3] {
        text += &format!(" pad={}", w.text(w.pad));
    }
    if w.dilation != [1; 3] {
        text += &format!(" dilation={}", w.text(w.dilation));
    }
    text
}

impl OpRules for Pool {
    fn mnemonic(&self) -> String {
        name(self.kind).into()
    }

    fn attributes(&self) -> String {
        attributes(&self.window)
    }

    fn infer(&self, operands: &[&Type]) -> Result<Type, String> {
        match operands {
            [x] if x.dtype == DType::F32 && x.dims == self.window.dims(self.channels, self.window.input) => {
                Ok(x.with_dims(self.window.dims(self.channels, self.window.output)))
            }
            _ => Err(format!("the operand is not f32{:?}", self.window.dims(self.channels, self.window.input))),
        }
    }

    fn vjp(&self, bw: &mut Backward<'_>) -> Result<Vec<Option<NodeId>>, VjpError> {
        let (x, dy) = (bw.operand(0), bw.cotangent());
        let op = PoolVjp { kind: self.kind, channels: self.channels, window: self.window };
        let dx = if self.kind == PoolKind::Max { bw.emit(op, &[x, dy])? } else { bw.emit(op, &[dy])? };
        Ok(vec![Some(bw.sum_batch_to(0, dx)?)])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<(), LowerError> {
        let (read, out, batched) = (cx.operand(0), cx.output(), cx.ty().batched);
        cx.launch(
            kernels::Pool { batched, kind: self.kind, channels: self.channels, window: self.window },
            &[read],
            &[out],
        );
        Ok(())
    }
}

impl OpRules for PoolVjp {
    fn mnemonic(&self) -> String {
        format!("{}_vjp", name(self.kind))
    }

    fn attributes(&self) -> String {
        attributes(&self.window)
    }

    fn infer(&self, operands: &[&Type]) -> Result<Type, String> {
        let (x, dy) = match (self.kind, operands) {
            (PoolKind::Max, [x, dy]) if x.dims == self.window.dims(self.channels, self.window.input) => (Some(x), dy),
            (PoolKind::AverageInside | PoolKind::AveragePadded, [dy]) => (None, dy),
            _ => return Err("the operands do not fit the window".into()),
        };
        if dy.dtype != DType::F32 || dy.dims != self.window.dims(self.channels, self.window.output) {
            return Err(format!("the cotangent is not f32{:?}", self.window.dims(self.channels, self.window.output)));
        }
        let batched = dy.batched || x.is_some_and(|x| x.batched);
        Ok(Type { batched, ..Type::shared(self.window.dims(self.channels, self.window.input)) })
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<(), LowerError> {
        let reads: Vec<_> = (0..cx.arity()).map(|i| cx.spread(i)).collect();
        let (out, batched) = (cx.output(), cx.ty().batched);
        cx.launch(
            kernels::PoolVjp { batched, kind: self.kind, channels: self.channels, window: self.window },
            &reads,
            &[out],
        );
        Ok(())
    }
}
