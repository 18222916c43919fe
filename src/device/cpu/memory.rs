//! The memory of buffers, of words that are read by the type of a buffer's elements.

use std::ops::Range;

use super::stages::largest;
use crate::device::DeviceError;
use crate::graph::DType;
use crate::lower::program::Slot;

/// A slot of memory.
pub struct Memory(Vec<f32>);

/// The elements of a buffer that is read.
#[derive(Clone, Copy)]
pub enum Read<'a> {
    F32(&'a [f32]),
    I32(&'a [i32]),
}

/// The elements of a buffer that is written.
pub enum Written<'a> {
    F32(&'a mut [f32]),
    I32(&'a mut [i32]),
}

/// What a kernel runs on: its buffers in binding order, and its scratch memory. Loading has made sure of the contract's
/// types and lengths.
pub struct Buffers<'a, 'b, 'c> {
    pub read: &'a [Read<'b>],
    pub written: &'a mut [Written<'c>],
    pub scratch: &'a mut [f32],
    /// Rows of the physical batch, of which these may be some.
    pub batch: usize,
}

impl<'a> Read<'a> {
    /// The elements that have these bits.
    pub fn of_words(words: &'a [u32], dtype: DType) -> Read<'a> {
        match dtype {
            DType::F32 => Read::F32(bytemuck::cast_slice(words)),
            DType::I32 | DType::Bool => Read::I32(bytemuck::cast_slice(words)),
        }
    }

    /// Its floats.
    pub fn f32(self) -> &'a [f32] {
        let Read::F32(elements) = self else { return &[] };
        elements
    }

    /// Its words, for element-wise functions of any type.
    pub fn words(self) -> &'a [f32] {
        match self {
            Read::F32(elements) => elements,
            Read::I32(elements) => bytemuck::cast_slice(elements),
        }
    }

    /// Its integers, or its truth values as the integers 0 and 1.
    pub fn i32(self) -> &'a [i32] {
        let Read::I32(elements) = self else { return &[] };
        elements
    }
}

impl<'a> Written<'a> {
    /// What it holds.
    pub fn read(&self) -> Read<'_> {
        match self {
            Written::F32(elements) => Read::F32(elements),
            Written::I32(elements) => Read::I32(elements),
        }
    }

    /// The same for a while.
    pub fn reborrow(&mut self) -> Written<'_> {
        match self {
            Written::F32(elements) => Written::F32(elements),
            Written::I32(elements) => Written::I32(elements),
        }
    }

    /// Pieces of `len` elements, the last of which may have fewer.
    pub fn pieces(self, len: usize) -> Box<dyn Iterator<Item = Written<'a>> + 'a> {
        match self {
            Written::F32(elements) => Box::new(elements.chunks_mut(len).map(Written::F32)),
            Written::I32(elements) => Box::new(elements.chunks_mut(len).map(Written::I32)),
        }
    }

    /// Its floats.
    pub fn f32(&mut self) -> &mut [f32] {
        let Written::F32(elements) = self else { return &mut [] };
        elements
    }

    /// Its words, for element-wise functions of any type.
    pub fn words(&mut self) -> &mut [f32] {
        match self {
            Written::F32(elements) => elements,
            Written::I32(elements) => bytemuck::cast_slice_mut(elements),
        }
    }

    /// Its integers, or its truth values as the integers 0 and 1.
    pub fn i32(&mut self) -> &mut [i32] {
        let Written::I32(elements) = self else { return &mut [] };
        elements
    }
}

impl Memory {
    /// `len` zeros.
    pub fn zeros(device: &str, len: usize) -> Result<Memory, DeviceError> {
        Ok(Memory(zeros(device, len)?))
    }

    /// No memory, in the place of some that is in use.
    pub fn nothing() -> Memory {
        Memory(Vec::new())
    }

    /// Whether it is none.
    pub fn is_nothing(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes.
    pub fn bytes(&self) -> usize {
        size_of_val(&self.0[..])
    }

    /// Zeros for a slot's tenants of `rows` records.
    pub fn zeroed(slot: &Slot, rows: usize) -> Memory {
        Memory(vec![0.0; largest(slot, rows)])
    }

    /// Some of the elements.
    pub fn read(&self, dtype: DType, elements: Range<usize>) -> Read<'_> {
        let words = &self.0[elements];
        match dtype {
            DType::F32 => Read::F32(words),
            DType::I32 | DType::Bool => Read::I32(bytemuck::cast_slice(words)),
        }
    }

    /// The first `len` elements, to be written.
    pub fn written(&mut self, dtype: DType, len: usize) -> Written<'_> {
        let words = &mut self.0[..len];
        match dtype {
            DType::F32 => Written::F32(words),
            DType::I32 | DType::Bool => Written::I32(bytemuck::cast_slice_mut(words)),
        }
    }

    /// Sets the first elements to those that have the bits `words`.
    pub fn set(&mut self, words: &[u32]) {
        self.0[..words.len()].copy_from_slice(bytemuck::cast_slice(words));
    }

    /// The bits of the first `len` elements.
    pub fn words(&self, len: usize) -> Vec<u32> {
        bytemuck::cast_slice(&self.0[..len]).to_vec()
    }
}

/// `len` zeros, or an error where there is no room for them.
pub fn zeros<T: Clone + Default>(device: &str, len: usize) -> Result<Vec<T>, DeviceError> {
    let mut memory = Vec::new();
    memory.try_reserve_exact(len).map_err(|_| DeviceError::OutOfMemory {
        device: device.to_owned(),
        what: format!("{} bytes for a buffer", len.saturating_mul(size_of::<T>())),
    })?;
    memory.resize(len, T::default());
    Ok(memory)
}
