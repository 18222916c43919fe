//! Made-up data, and how results are compared.

use crate::graph::DType;
use crate::lower::kernels::Window;

/// The contents of a buffer.
#[derive(Clone, Debug)]
pub enum Data {
    /// Floats.
    F32(Vec<f32>),
    /// Integers.
    I32(Vec<i32>),
    /// Truth values.
    Bool(Vec<i32>),
}

impl Data {
    /// Number of elements.
    pub fn elements(&self) -> usize {
        match self {
            Data::F32(x) => x.len(),
            Data::I32(x) | Data::Bool(x) => x.len(),
        }
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        match self {
            Data::F32(_) => DType::F32,
            Data::I32(_) => DType::I32,
            Data::Bool(_) => DType::Bool,
        }
    }

    /// The 32-bit words.
    pub fn words(self) -> Vec<u32> {
        match self {
            Data::F32(x) => bytemuck::cast_vec(x),
            Data::I32(x) | Data::Bool(x) => bytemuck::cast_vec(x),
        }
    }

    /// The inverse of [`Data::words`].
    pub fn from_words(dtype: DType, words: Vec<u32>) -> Data {
        match dtype {
            DType::F32 => Data::F32(bytemuck::cast_vec(words)),
            DType::I32 => Data::I32(bytemuck::cast_vec(words)),
            DType::Bool => Data::Bool(bytemuck::cast_vec(words)),
        }
    }

    /// The elements in double precision.
    pub fn f64(&self) -> Vec<f64> {
        match self {
            Data::F32(x) => x.iter().map(|&v| v.into()).collect(),
            Data::I32(x) | Data::Bool(x) => x.iter().map(|&v| v.into()).collect(),
        }
    }

    /// Compares with exact values: integers must be equal, floats within 2e-5 of the largest finite one, and what is not
    /// finite must not be.
    pub fn compare(&self, expected: &[f64]) -> Result<(), String> {
        let got = self.f64();
        if got.len() != expected.len() {
            return Err(format!("{} elements instead of {}", got.len(), expected.len()));
        }
        let largest = expected.iter().filter(|e| e.is_finite()).fold(0.0f64, |m, e| m.max(e.abs()));
        let tolerance = if self.dtype() == DType::F32 { 2e-5 * largest + 1e-30 } else { 0.0 };
        let miss = |g: f64, e: f64| if e.is_finite() { g.is_nan() || (g - e).abs() > tolerance } else { g.is_finite() };
        let misses: Vec<usize> = (0..got.len()).filter(|&i| miss(got[i], expected[i])).collect();
        match misses.first() {
            None => Ok(()),
            Some(&i) => Err(format!(
                "{} of {} differ, first [{i}]: {} instead of {}",
                misses.len(),
                got.len(),
                got[i],
                expected[i]
            )),
        }
    }
}

/// A window over an input with padding, at as many positions as there is room for.
pub fn window<const RANK: usize>(
    input: [usize; RANK],
    kernel: [usize; RANK],
    stride: [usize; RANK],
    dilation: [usize; RANK],
    [pad, pad_end]: [[usize; RANK]; 2],
) -> Window {
    let mut window = Window::point(RANK);
    for (i, axis) in window.axes().enumerate() {
        let room = input[i] + pad[i] + pad_end[i] - dilation[i] * (kernel[i] - 1) - 1;
        (window.input[axis], window.output[axis]) = (input[i], room / stride[i] + 1);
        (window.kernel[axis], window.stride[axis], window.dilation[axis]) = (kernel[i], stride[i], dilation[i]);
        (window.pad[axis], window.pad_end[axis]) = (pad[i], pad_end[i]);
    }
    window
}

/// What written buffers hold before a dispatch, so that an element it forgets shows.
pub const UNTOUCHED: f32 = -12_345.0;

/// A written buffer of `len` floats.
pub fn output(len: usize) -> Data {
    Data::F32(vec![UNTOUCHED; len])
}

/// A written buffer of `len` elements.
pub fn untouched(dtype: DType, len: usize) -> Data {
    match dtype {
        DType::F32 => output(len),
        DType::I32 => Data::I32(vec![UNTOUCHED as i32; len]),
        DType::Bool => Data::Bool(vec![UNTOUCHED as i32; len]),
    }
}

/// A generator of test values (SplitMix64).
#[derive(Clone, Debug)]
pub struct Values(u64);

impl Values {
    /// Starts a sequence.
    pub fn new(seed: u64) -> Values {
        Values(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// `len` floats in `[low, high)`.
    pub fn range(&mut self, len: usize, low: f32, high: f32) -> Vec<f32> {
        (0..len).map(|_| low + (high - low) * (self.next() >> 40) as f32 / (1 << 24) as f32).collect()
    }

    /// `len` floats in `[-1, 1)`.
    pub fn floats(&mut self, len: usize) -> Data {
        Data::F32(self.range(len, -1.0, 1.0))
    }

    /// `len` scalars: floats in `(-4, 4)`, the first of them positive, integers of all sizes, or booleans.
    pub fn scalars(&mut self, dtype: DType, len: usize) -> Data {
        match dtype {
            DType::F32 => {
                let mut floats = self.range(len, -4.0, 4.0);
                floats.iter_mut().take(1).for_each(|x| *x = x.abs());
                Data::F32(floats)
            }
            DType::I32 => Data::I32((0..len).map(|_| self.next() as i32 >> (self.next() % 32)).collect()),
            DType::Bool => Data::Bool((0..len).map(|_| (self.next() % 2) as i32).collect()),
        }
    }

    /// `len` integers in `0..below`.
    pub fn ids(&mut self, len: usize, below: usize) -> Data {
        Data::I32((0..len).map(|_| (self.next() % below as u64) as i32).collect())
    }

    /// Ids into a table of `rows` rows, half of them counted from its end.
    pub fn signed_ids(&mut self, len: usize, rows: usize) -> Data {
        Data::I32((0..len).map(|_| (self.next() % (2 * rows) as u64) as i32 - rows as i32).collect())
    }

    /// `[rows, len]` floats whose rows of weight 0 are NaN.
    pub fn poisoned(&mut self, weights: &[f32], len: usize) -> Data {
        let row = |&w: &f32| if w == 0.0 { vec![f32::NAN; len] } else { self.range(len, -1.0, 1.0) };
        Data::F32(weights.iter().flat_map(row).collect())
    }
}

/// Row weights with zeros among them, the first row's included.
pub fn weights(rows: usize) -> Vec<f32> {
    [0.0, 1.0, 0.25, 0.0, 1.0, 0.75, 0.0].into_iter().cycle().take(rows).collect()
}

#[test]
fn wrong_results_are_found() {
    let data = Data::F32(vec![1.0, -2.0, 0.0]);
    assert!(data.compare(&[1.0, -2.0, 1e-6]).is_ok());
    assert!(data.compare(&[1.0, -2.0, 1e-4]).is_err());
    assert!(data.compare(&[1.0, -2.0]).is_err());
    assert!(data.compare(&[1.0, -2.0, f64::NAN]).is_err());
    assert!(Data::F32(vec![f32::NAN]).compare(&[0.0]).is_err());
    assert!(Data::I32(vec![7]).compare(&[7.0 + 1e-9]).is_err());
}
