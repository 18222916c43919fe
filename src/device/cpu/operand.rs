//! Operands of the matrix products: a [`View`] of a buffer as one strided [`Matrix`] a record and group.

use std::borrow::Cow;
use std::sync::Arc;

use super::convolve::{Patches, places};
use super::image::Slide;
use super::matmul::Matrix;
use super::narrow::widen;
use super::parallel::room;
use super::patches;
use crate::lower::kernels::{Packing, View};

/// A view of a buffer.
pub struct Operand<'a> {
    view: View,
    data: Cow<'a, [f32]>,
    rows: usize,
    cols: usize,
    /// Of patches that need not be written out.
    slide: Option<(Slide, Arc<[usize]>)>,
    /// The first record that is in `data`.
    first: usize,
    /// The words that a record's elements are kept in, in place of `data`.
    packed: Option<(Packing, &'a [i32])>,
}

impl<'a> Operand<'a> {
    /// The view of `data`, with `groups` matrices of `rows` by `cols` a record. What all records share is put in matrix
    /// form here, once.
    pub fn new(view: View, data: &'a [f32], groups: usize, rows: usize, cols: usize) -> Operand<'a> {
        let view = simplify(view);
        let slide = match &view {
            View::Patches { conv, .. } => Slide::of(&conv.window).map(|s| (s, places(&s, conv.group_channels()))),
            _ => None,
        };
        let plain = Operand { view, data: Cow::Borrowed(data), rows, cols, slide, first: 0, packed: None };
        let shared = match plain.view {
            View::Strided { .. } => false,
            View::WeightTransposed { .. } => true,
            View::Patches { record, .. } | View::PatchesTransposed { record, .. } => record == 0,
            View::CotangentPatches { record, .. } => record == 0,
        };
        if !shared {
            return plain;
        }
        let mut packed = vec![0.0; groups * rows * cols];
        for (g, matrix) in packed.chunks_exact_mut((rows * cols).max(1)).enumerate() {
            plain.pack(0, g, matrix, plain.leading());
        }
        let (row, col) = plain.packed_strides(plain.leading());
        let view = View::Strided { record: 0, group: rows * cols, row, col };
        Operand { view, data: Cow::Owned(packed), rows, cols, slide: None, first: 0, packed: None }
    }

    /// The view of what [`Operand::new`] reads, kept in words: to be read by [`Operand::unpacked`].
    pub fn packed(
        view: View,
        packing: Packing,
        words: &'a [i32],
        groups: usize,
        rows: usize,
        cols: usize,
    ) -> Operand<'a> {
        Operand { packed: Some((packing, words)), ..Operand::new(view, &[], groups, rows, cols) }
    }

    /// Elements of a record that are kept in words.
    pub fn packed_len(&self) -> usize {
        self.packed.map_or(0, |(packing, _)| packing.len)
    }

    /// The operand with the records from `first` to `last` alone, if it is kept in words: its elements are put into `floats`.
    pub fn unpacked<'s>(&self, [first, last]: [usize; 2], floats: &'s mut Vec<f32>) -> Option<Operand<'s>> {
        let (packing, words) = self.packed?;
        let floats = room(floats, (last + 1 - first) * packing.len);
        let own = words[first * packing.words()..].chunks_exact(packing.words());
        floats.chunks_exact_mut(packing.len).zip(own).for_each(|(floats, words)| widen(packing, words, floats));
        let Operand { view, rows, cols, ref slide, .. } = *self;
        Some(Operand { view, data: Cow::Borrowed(floats), rows, cols, slide: slide.clone(), first, packed: None })
    }

    /// The elements from those of a record on, whose records are `stride` apart.
    fn record(&self, record: usize, stride: usize) -> &[f32] {
        &self.data[(record - self.first) * stride..]
    }

    /// Row and column strides of the matrices of `rows` by `cols` of a view.
    pub fn strides(view: View, rows: usize, cols: usize) -> (usize, usize) {
        let view = simplify(view);
        let plain = Operand { view, data: Cow::Borrowed(&[]), rows, cols, slide: None, first: 0, packed: None };
        match plain.view {
            View::Strided { row, col, .. } => (row, col),
            _ => plain.packed_strides(plain.leading()),
        }
    }

    /// Matrix `group` of record `record`, gathered into `scratch` where it is not in the buffer as it stands.
    pub fn matrix<'s>(&'s self, record: usize, group: usize, scratch: &'s mut Vec<f32>) -> Matrix<'s> {
        if let Some(matrix) = self.direct(record, group) {
            return matrix;
        }
        let scratch = room(scratch, self.rows * self.cols);
        self.pack(record, group, scratch, self.leading());
        let (row, col) = self.packed_strides(self.leading());
        Matrix { data: scratch, rows: self.rows, cols: self.cols, row, col }
    }

    /// Matrix `group` of record `record` as patches that need not be written out, if they are such.
    pub fn patches<'s>(&'s self, record: usize, group: usize, scratch: &'s mut Vec<f32>) -> Option<Patches<'s>> {
        let View::Patches { conv, record: r } = &self.view else { return None };
        let (slide, places) = self.slide.as_ref()?;
        Some(Patches::of(conv, *slide, places, self.record(record, *r), group, scratch))
    }

    /// Elements of the padded image whose patches the matrices are, if [`Operand::patches`] has them.
    pub fn image(&self) -> Option<usize> {
        let View::Patches { conv, .. } = &self.view else { return None };
        self.slide.as_ref().map(|(slide, _)| conv.group_channels() * slide.area())
    }

    /// Matrix `group` of record `record` if it is in the buffer as it stands.
    pub fn direct(&self, record: usize, group: usize) -> Option<Matrix<'_>> {
        let View::Strided { record: r, group: g, row, col } = self.view else { return None };
        let data = self.data.get((record - self.first) * r + group * g..).unwrap_or(&[]);
        Some(Matrix { data, rows: self.rows, cols: self.cols, row, col })
    }

    /// The matrices of `records` side by side, `[rows, records · cols]`, gathered into `scratch`, each multiplied by its
    /// `scale`.
    pub fn side_by_side<'s>(
        &self,
        records: &[(usize, f32)],
        group: usize,
        scaled: bool,
        scratch: &'s mut Vec<f32>,
    ) -> Matrix<'s> {
        let total = records.len() * self.cols;
        let scratch = room(scratch, self.rows * total);
        // Column by column where neighbours of a column are neighbours in the buffer, else row by row.
        let by_columns = matches!(self.view, View::Strided { row: 1, col, .. } if col != 1)
            || matches!(self.view, View::PatchesTransposed { .. });
        let (row, col) = if by_columns { (1, self.rows) } else { (total, 1) };
        let step = self.cols * col;
        for (i, &(record, scale)) in records.iter().enumerate() {
            let to = &mut scratch[i * step..];
            match self.direct(record, group) {
                Some(from) if by_columns => copy_lines(from.transposed(), to, self.rows),
                Some(from) => copy_lines(from, to, total),
                None => self.pack(record, group, to, if by_columns { self.rows } else { total }),
            }
            let (lines, len, ld) =
                if by_columns { (self.cols, self.rows, self.rows) } else { (self.rows, self.cols, total) };
            if scale == 0.0 {
                (0..lines).for_each(|l| to[l * ld..][..len].fill(0.0));
            } else if scaled && scale != 1.0 {
                (0..lines).for_each(|l| to[l * ld..][..len].iter_mut().for_each(|x| *x *= scale));
            }
        }
        Matrix { data: scratch, rows: self.rows, cols: total, row, col }
    }

    /// Writes a matrix that is not strided, lines `ld` apart; lines are columns for [`View::PatchesTransposed`].
    fn pack(&self, record: usize, group: usize, out: &mut [f32], ld: usize) {
        match &self.view {
            View::Strided { .. } => unreachable!("strided views are read in place"),
            View::Patches { conv, record: r } | View::PatchesTransposed { conv, record: r } => {
                patches::gather(conv, self.record(record, *r), group, out, ld);
            }
            View::CotangentPatches { conv, record: r } => {
                patches::gather_cotangent(conv, self.record(record, *r), group, out, ld);
            }
            View::WeightTransposed { conv } => patches::transpose_weight(conv, &self.data, group, out, ld),
        }
    }

    /// Length of the lines that [`Operand::pack`] writes.
    fn leading(&self) -> usize {
        if matches!(self.view, View::PatchesTransposed { .. }) { self.rows } else { self.cols }
    }

    /// Row and column strides of what [`Operand::pack`] writes.
    fn packed_strides(&self, ld: usize) -> (usize, usize) {
        if matches!(self.view, View::PatchesTransposed { .. }) { (1, ld) } else { (ld, 1) }
    }
}

/// Copies the rows of a matrix to lines `ld` apart.
fn copy_lines(from: Matrix, to: &mut [f32], ld: usize) {
    for i in 0..from.rows {
        let (line, from_row) = (&mut to[i * ld..][..from.cols], &from.data[i * from.row..]);
        if from.col == 1 {
            line.copy_from_slice(&from_row[..from.cols]);
        } else {
            line.iter_mut().enumerate().for_each(|(j, y)| *y = from_row[j * from.col]);
        }
    }
}

/// Patches of one element each are the input itself.
fn simplify(view: View) -> View {
    match view {
        View::Patches { conv, record } if conv.window.is_pointwise() => {
            let area = conv.positions();
            View::Strided { record, group: conv.group_channels() * area, row: area, col: 1 }
        }
        View::PatchesTransposed { conv, record } => match simplify(View::Patches { conv, record }) {
            strided @ View::Strided { .. } => strided.transposed().unwrap_or(view),
            _ => view,
        },
        _ => view,
    }
}
