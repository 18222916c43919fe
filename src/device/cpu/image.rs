//! Images with the zeros that a window meets around them, in which every element of a kernel is an offset.

use super::parallel::room;
use super::patches::copy;
use crate::lower::kernels::Window;

/// How a window with one plane of depth slides over planes: where its elements and positions are in a padded plane.
///
/// Each row of a padded plane is in `stride` parts of every `stride`-th column, so that neighbouring positions meet
/// neighbouring elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slide {
    kernel: [usize; 2],
    dilation: [usize; 2],
    stride: [usize; 2],
    input: [usize; 2],
    /// Zeros before the input's first row and column.
    pad: [usize; 2],
    /// Positions along each axis.
    pub output: [usize; 2],
    rows: usize,
    /// Columns of a part of a row.
    columns: usize,
    /// Elements between rows.
    pitch: usize,
    /// Whether the kernel's elements are taken from last to first.
    mirrored: bool,
}

impl Slide {
    /// That of a window's elements, if it has no depth.
    pub fn of(w: &Window) -> Option<Slide> {
        let [one, two] = [w.kernel[0], w.output[0]];
        let flat = one == 1 && two == 1 && w.input[0] == 1 && w.pad[0] == 0;
        let last = |axis: [usize; 3]| [axis[1], axis[2]];
        flat.then(|| {
            Slide::new(
                last(w.kernel),
                last(w.dilation),
                last(w.stride),
                last(w.input),
                last(w.pad),
                last(w.output),
                false,
            )
        })
    }

    /// That by which an input gradient meets the cotangent: each element of the input gets what the positions that met it have,
    /// through a kernel that is mirrored. Only without a stride.
    pub fn back(w: &Window) -> Option<Slide> {
        let of = Slide::of(w)?;
        let room = [0, 1].map(|i| (of.kernel[i] - 1) * of.dilation[i]);
        let fits = |i: usize| room[i] >= of.pad[i] && room[i] - of.pad[i] + of.output[i] <= of.input[i] + room[i];
        let pad = [0, 1].map(|i| room[i].saturating_sub(of.pad[i]));
        (of.stride == [1, 1] && fits(0) && fits(1))
            .then(|| Slide::new(of.kernel, of.dilation, [1, 1], of.output, pad, of.input, true))
    }

    fn new(
        kernel: [usize; 2],
        dilation: [usize; 2],
        stride: [usize; 2],
        input: [usize; 2],
        pad: [usize; 2],
        output: [usize; 2],
        mirrored: bool,
    ) -> Slide {
        let reach = |i: usize| {
            let last = (output[i] - 1) * stride[i] + (kernel[i] - 1) * dilation[i];
            (last + 1).max(input[i] + pad[i])
        };
        let columns = reach(1).div_ceil(stride[1]);
        let (rows, pitch) = (reach(0), columns * stride[1]);
        Slide { kernel, dilation, stride, input, pad, output, rows, columns, pitch, mirrored }
    }

    /// Elements of a kernel.
    pub fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Elements of an input plane.
    pub fn elements(&self) -> usize {
        self.input[0] * self.input[1]
    }

    /// Positions.
    pub fn positions(&self) -> usize {
        self.output[0] * self.output[1]
    }

    /// Elements of a padded plane.
    pub fn area(&self) -> usize {
        self.rows * self.pitch
    }

    /// Where kernel element `tap` meets a padded plane at the first position.
    pub fn tap(&self, tap: usize) -> usize {
        let tap = if self.mirrored { self.taps() - 1 - tap } else { tap };
        let [top, left] = [tap / self.kernel[1] * self.dilation[0], tap % self.kernel[1] * self.dilation[1]];
        top * self.pitch + left % self.stride[1] * self.columns + left / self.stride[1]
    }

    /// Elements between rows of positions.
    pub fn step(&self) -> usize {
        self.stride[0] * self.pitch
    }

    /// The planes of `x` with their zeros, in `scratch` where there are any.
    pub fn pad<'a>(&self, x: &'a [f32], scratch: &'a mut Vec<f32>) -> &'a [f32] {
        if self.stride[1] == 1 && [self.rows, self.pitch] == self.input {
            return x;
        }
        let planes = x.len() / self.elements();
        let padded = room(scratch, planes * self.area());
        for (to, from) in padded.chunks_exact_mut(self.area()).zip(x.chunks_exact(self.elements())) {
            match self.stride[1] {
                1 => self.rows(to, from),
                _ => self.parts(to, from),
            }
        }
        padded
    }

    /// Writes a plane with its zeros, without a stride.
    fn rows(&self, to: &mut [f32], from: &[f32]) {
        let ([top, left], [height, width]) = (self.pad, self.input);
        let (above, to) = to.split_at_mut(top * self.pitch);
        let (rows, below) = to.split_at_mut(height * self.pitch);
        above.fill(0.0);
        below.fill(0.0);
        for (to, from) in rows.chunks_exact_mut(self.pitch).zip(from.chunks_exact(width)) {
            let (zeros, to) = to.split_at_mut(left);
            let (to, rest) = to.split_at_mut(width);
            clear(zeros);
            clear(rest);
            copy(to, from);
        }
    }

    /// Writes a plane with its zeros, each row in parts.
    fn parts(&self, to: &mut [f32], from: &[f32]) {
        let ([top, left], stride) = (self.pad, self.stride[1]);
        to.fill(0.0);
        for (to, from) in to.chunks_exact_mut(self.pitch).skip(top).zip(from.chunks_exact(self.input[1])) {
            if stride == 2 {
                let (even, odd) = to.split_at_mut(self.columns);
                let (first, second) = if left % 2 == 0 { (even, odd) } else { (odd, even) };
                // The second element of a pair is one further along when the first is in the odd part.
                let (first, second) = (&mut first[left / 2..], &mut second[left.div_ceil(2)..]);
                let (pairs, last) = from.as_chunks::<2>();
                let both = first.iter_mut().zip(&mut *second);
                both.zip(pairs).for_each(|((x, y), pair)| (*x, *y) = (pair[0], pair[1]));
                if let ([x], Some(to)) = (last, first.get_mut(pairs.len())) {
                    *to = *x;
                }
                continue;
            }
            for first in 0..stride.min(from.len()) {
                let start = (left + first) % stride * self.columns + (left + first) / stride;
                to[start..].iter_mut().zip(from[first..].iter().step_by(stride)).for_each(|(y, &x)| *y = x);
            }
        }
    }
}

/// Sets elements to 0: a few, as a rule, for which a call would take longer.
#[inline(always)]
fn clear(zeros: &mut [f32]) {
    match zeros {
        [] => {}
        [a] => *a = 0.0,
        [a, b] => (*a, *b) = (0.0, 0.0),
        [a, b, c] => (*a, *b, *c) = (0.0, 0.0, 0.0),
        _ => zeros.fill(0.0),
    }
}
