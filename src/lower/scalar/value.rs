//! Scalars of each type, and how buffers hold them: 32-bit words, a boolean as the integer 0 or 1.

use std::fmt;

use bytemuck::Pod;
use serde::{Deserialize, Serialize};

use crate::graph::DType;

/// A Rust type of scalars.
pub trait Scalar: Copy {
    /// The element type.
    const DTYPE: DType;
    /// What a buffer holds for it.
    type Word: Pod;
    /// The scalar of a word.
    fn of(word: Self::Word) -> Self;
    /// The word of the scalar.
    fn word(self) -> Self::Word;
}

impl Scalar for f32 {
    const DTYPE: DType = DType::F32;
    type Word = f32;
    #[inline(always)]
    fn of(word: f32) -> f32 {
        word
    }
    #[inline(always)]
    fn word(self) -> f32 {
        self
    }
}

impl Scalar for i32 {
    const DTYPE: DType = DType::I32;
    type Word = i32;
    #[inline(always)]
    fn of(word: i32) -> i32 {
        word
    }
    #[inline(always)]
    fn word(self) -> i32 {
        self
    }
}

impl Scalar for bool {
    const DTYPE: DType = DType::Bool;
    type Word = i32;
    #[inline(always)]
    fn of(word: i32) -> bool {
        word != 0
    }
    #[inline(always)]
    fn word(self) -> i32 {
        self.into()
    }
}

/// A scalar of some type: a constant of an expression. Two are equal if their bits are.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Value {
    /// A float, kept by its bits: JSON has no NaN and no infinities.
    F32(#[serde(with = "bits")] f32),
    /// An integer.
    I32(i32),
    /// A boolean.
    Bool(bool),
}

mod bits {
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(x: &f32, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(x.to_bits())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f32, D::Error> {
        u32::deserialize(deserializer).map(f32::from_bits)
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Value) -> bool {
        self.dtype() == other.dtype() && self.word().to_bits() == other.word().to_bits()
    }
}

impl Value {
    /// The element type.
    pub fn dtype(self) -> DType {
        match self {
            Value::F32(_) => DType::F32,
            Value::I32(_) => DType::I32,
            Value::Bool(_) => DType::Bool,
        }
    }

    /// What a buffer holds for it, as a float of the same bits.
    pub fn word(self) -> f32 {
        match self {
            Value::F32(x) => x,
            Value::I32(x) => bytemuck::cast(x),
            Value::Bool(x) => bytemuck::cast(x.word()),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::F32(x) => write!(f, "{x:?}"),
            Value::I32(x) => write!(f, "{x}"),
            Value::Bool(x) => write!(f, "{x}"),
        }
    }
}
