//! Strided copies: transpose, slice, concatenate, broadcast, pad.

use serde::{Deserialize, Serialize};

use super::contract::reach;
use super::{Binding, KernelRules};
use crate::graph::product;
use crate::lower::program::Extent;

/// An axis of a [`Copy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CopyAxis {
    /// Number of elements.
    pub size: usize,
    /// Elements of the source between neighbours; 0 broadcasts.
    pub from: usize,
    /// Elements of the destination between neighbours.
    pub to: usize,
}

/// `y[n·to_record + to_offset + Σ iₖ·toₖ] = x[n·from_record + from_offset + Σ iₖ·fromₖ]` over all indices; elements of
/// `y` that no index reaches are left as they were.
///
/// Buffers: `x`; then `y`. At most 6 axes. Elements are copied as 32-bit words, whatever their type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Copy {
    /// Whether `n` runs over the `P` rows (else over one).
    pub batched: bool,
    /// Elements between records of the source, 0 for a shared source.
    pub from_record: usize,
    /// Elements between records of the destination.
    pub to_record: usize,
    /// First element of the source.
    pub from_offset: usize,
    /// First element of the destination.
    pub to_offset: usize,
    /// The axes, slowest first, merged where both sides allow it.
    pub axes: Vec<CopyAxis>,
}

impl KernelRules for Copy {
    fn name(&self) -> &'static str {
        "copy"
    }

    fn buffers(&self) -> Vec<Binding> {
        let records = Extent::of(1, self.batched);
        let axes = |stride: fn(&CopyAxis) -> usize| reach(self.axes.iter().map(|axis| (axis.size, stride(axis))));
        let part = |record, offset: usize, elements: usize| match elements {
            0 => Extent::fixed(0),
            _ => records.strided(record, offset.saturating_add(elements)),
        };
        let x = part(self.from_record, self.from_offset, axes(|axis| axis.from));
        let y = part(self.to_record, self.to_offset, axes(|axis| axis.to));
        vec![Binding::any("x", x), Binding::any("y", y).written()]
    }

    fn problem(&self) -> Option<String> {
        let axes = || self.axes.iter().map(|axis| axis.size);
        let (count, span) = (product(&axes().collect::<Vec<_>>()), reach(self.axes.iter().map(|a| (a.size, a.to))));
        match self.axes.len() {
            0..=6 if count <= span => None,
            0..=6 => Some("writes an element more than once".into()),
            rank => Some(format!("has {rank} axes")),
        }
    }

    fn flops(&self, _rows: usize) -> u64 {
        0
    }

    fn text(&self) -> String {
        let axes: Vec<String> = self.axes.iter().map(|a| format!("{}:{}→{}", a.size, a.from, a.to)).collect();
        format!("[{}] {}→{}", axes.join(", "), self.from_offset, self.to_offset)
    }
}
