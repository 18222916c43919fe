//! One array of a data set. Its elements stay as they are stored, and become the model's when records are gathered.

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::Values;
use super::error::DataError;
use super::normalize::Normalize;
use super::stored::{DataFile, Stored};

/// Bytes that are looked at at a time.
const CHUNK: usize = 1 << 20;

/// One array of a data set: `records × dims`, in C order.
#[derive(Clone, Debug)]
pub struct Column {
    pub name: String,
    /// The shape of one record.
    pub dims: Vec<usize>,
    array: Stored,
    becomes: Becomes,
    scales: Vec<Normalize>,
}

/// What the elements of a column become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Becomes {
    /// The nearest f32.
    Floats,
    /// Floats in [0, 1]: bytes divided by 255.
    UnitFloats,
    /// i32, which hold all that there is.
    Integers,
}

impl Column {
    /// The records of `array`, of which each has as many elements as `dims`.
    pub(super) fn new(name: &str, dims: &[usize], array: impl Into<Stored>, becomes: Becomes) -> Self {
        Self { name: name.to_owned(), dims: dims.to_vec(), array: array.into(), becomes, scales: vec![] }
    }

    /// Elements of one record.
    pub fn width(&self) -> usize {
        self.dims.iter().product()
    }

    /// Whether the elements become floats, and not integers.
    pub fn is_float(&self) -> bool {
        self.becomes != Becomes::Integers
    }

    /// The values of all records.
    ///
    /// # Errors
    /// Where they cannot be read.
    pub fn values(&self) -> Result<Values, DataError> {
        let mut values = self.none();
        self.extend(0..self.array.dims()[0], &mut values)?;
        Ok(values)
    }

    /// The values of these records, one after another.
    ///
    /// # Errors
    /// Where they cannot be read.
    ///
    /// # Panics
    /// Where there is no such record.
    pub fn gathered(&self, records: &[usize]) -> Result<Values, DataError> {
        let mut values = self.none();
        self.gather(records, records.len(), &mut values)?;
        Ok(values)
    }

    pub(super) fn is_in_files(&self) -> bool {
        self.array.is_in_files()
    }

    /// The files that the elements are in.
    pub(super) fn files(&self) -> impl Iterator<Item = Arc<DataFile>> {
        self.array.files()
    }

    /// Says that these records are gathered soon.
    pub(super) fn expect(&self, records: &[usize]) {
        let width = self.width();
        runs(records).for_each(|run| self.array.expect(run.start * width..run.end * width));
    }

    /// Puts the values of `records` into `out`, and after them zeros for as many rows as are left of `rows`.
    pub(super) fn gather(&self, records: &[usize], rows: usize, out: &mut Values) -> Result<(), DataError> {
        match (&mut *out, self.is_float()) {
            (Values::F32(to), true) => to.clear(),
            (Values::I32(to), false) => to.clear(),
            (to, _) => *to = self.none(),
        }
        for run in runs(records) {
            self.extend(run, out)?;
        }
        match out {
            Values::F32(to) => to.resize(rows * self.width(), 0.0),
            Values::I32(to) => to.resize(rows * self.width(), 0),
        }
        Ok(())
    }

    /// How many of the values are NaN or infinite, unless they are in files.
    pub(super) fn nonfinite(&self) -> Result<usize, DataError> {
        if self.array.is_in_files() || !self.is_float() || !self.array.dtype().is_float() && self.scales.is_empty() {
            return Ok(0);
        }
        let count = self.array.dims()[0];
        let at_a_time = (CHUNK / self.record_bytes().max(1)).max(1);
        let starts: Vec<usize> = (0..count).step_by(at_a_time).collect();
        let nonfinite = |&start: &usize| {
            let mut values = self.none();
            self.extend(start..count.min(start + at_a_time), &mut values)?;
            Ok(match values {
                Values::F32(values) => values.iter().filter(|value| !value.is_finite()).count(),
                Values::I32(_) => 0,
            })
        };
        starts.par_iter().map(nonfinite).sum()
    }

    /// Scales what is gathered from now on, after all that it is scaled by already.
    pub(super) fn scale(&mut self, by: &Normalize) {
        self.scales.push(by.clone());
    }

    fn none(&self) -> Values {
        if self.is_float() { Values::F32(Vec::new()) } else { Values::I32(Vec::new()) }
    }

    fn record_bytes(&self) -> usize {
        self.width() * self.array.dtype().size()
    }

    fn extend(&self, records: Range<usize>, out: &mut Values) -> Result<(), DataError> {
        let elements = records.start * self.width()..records.end * self.width();
        let dtype = self.array.dtype();
        match out {
            Values::F32(to) => {
                let start = to.len();
                self.array.read(elements, &mut |bytes| dtype.decode_f32(bytes, to))?;
                let new = &mut to[start..];
                if self.becomes == Becomes::UnitFloats {
                    new.iter_mut().for_each(|byte| *byte /= 255.0);
                }
                self.scales.iter().for_each(|scale| scale.apply(&self.dims, new));
            }
            Values::I32(to) => {
                let mut wide = Vec::new();
                self.array.read(elements, &mut |bytes| {
                    wide.clear();
                    dtype.decode_i64(bytes, &mut wide);
                    to.extend(wide.iter().map(|&value| value as i32));
                })?;
            }
        }
        Ok(())
    }
}

/// Records that follow one another, as ranges.
fn runs(records: &[usize]) -> impl Iterator<Item = Range<usize>> {
    records.chunk_by(|a, b| a + 1 == *b).map(|run| run[0]..run[0] + run.len())
}
