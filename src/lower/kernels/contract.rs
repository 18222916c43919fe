//! What a kernel asks of the buffers that it is bound to.

use crate::graph::DType;
use crate::lower::program::Extent;

/// How a kernel uses a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It only reads it; two read buffers of a dispatch may be one.
    Read,
    /// It writes it, and may read it; no other buffer of the dispatch shares its memory.
    Write,
}

/// A buffer of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Its name in the kernel's doc.
    pub name: &'static str,
    /// Element type; `None` for elements that are moved whatever their type, which all such buffers of a kernel share.
    pub dtype: Option<DType>,
    /// How many of its first elements the kernel may reach.
    pub len: Extent,
    /// Whether it is written.
    pub access: Access,
}

impl Binding {
    /// Floats that are read.
    pub const fn floats(name: &'static str, len: Extent) -> Binding {
        Binding { name, dtype: Some(DType::F32), len, access: Access::Read }
    }

    /// Integers that are read.
    pub const fn integers(name: &'static str, len: Extent) -> Binding {
        Binding { name, dtype: Some(DType::I32), len, access: Access::Read }
    }

    /// Elements of any type that are read.
    pub const fn any(name: &'static str, len: Extent) -> Binding {
        Binding { name, dtype: None, len, access: Access::Read }
    }

    /// The buffer, written.
    pub const fn written(self) -> Binding {
        Binding { access: Access::Write, ..self }
    }
}

/// The product of counts of operations, or the largest number where it overflows.
pub(super) fn work(factors: &[usize]) -> u64 {
    factors.iter().fold(1, |product: u64, &n| product.saturating_mul(n as u64))
}

/// Elements from the first to the last that axes of `(size, stride)` reach, 0 where a size is 0.
pub(super) fn reach(axes: impl IntoIterator<Item = (usize, usize)>) -> usize {
    let mut last = 0_usize;
    for (size, stride) in axes {
        let Some(steps) = size.checked_sub(1) else { return 0 };
        last = last.saturating_add(steps.saturating_mul(stride));
    }
    last.saturating_add(1)
}

/// The first of the named sizes that is 0, in words.
pub(super) fn zero(sizes: &[(&str, usize)]) -> Option<String> {
    sizes.iter().find(|(_, size)| *size == 0).map(|(name, _)| format!("has no {name}"))
}
