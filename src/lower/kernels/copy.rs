//! Strided copies: transpose, slice, concatenate, broadcast, pad.

use serde::{Deserialize, Serialize};

use super::{KernelRules, Launch, words};
use crate::lower::emit::Specialise;

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
    fn template(&self) -> &'static str {
        "copy"
    }

    fn specialise(&self, template: &mut Specialise) {
        template.constant("RANK", format!("{}u", self.axes.len().max(1)));
    }

    fn launches(&self, rows: usize) -> Vec<Launch> {
        let records = if self.batched { rows } else { 1 };
        let len: usize = self.axes.iter().map(|a| a.size).product();
        let mut rest = words(&[len, self.from_record, self.to_record, self.from_offset, self.to_offset, 0, 0]);
        if self.axes.is_empty() {
            rest.extend([1, 0, 0, 0]);
        }
        rest.extend(self.axes.iter().flat_map(|a| words(&[a.size, a.from, a.to, 0])));
        Launch::linear(records * len, &rest)
    }

    fn flops(&self, _rows: usize) -> u64 {
        0
    }

    fn text(&self) -> String {
        let axes: Vec<String> = self.axes.iter().map(|a| format!("{}:{}→{}", a.size, a.from, a.to)).collect();
        format!("[{}] {}→{}", axes.join(", "), self.from_offset, self.to_offset)
    }
}
