//! Native twin of [`Elementwise`]: the steps of the expression, each over a block that stays in cache.

use rayon::prelude::*;

use super::parallel::{GRAIN, room, with_scratch};
use super::{Buffers, Native};
use crate::lower::kernels::Elementwise;
use crate::lower::scalar::{Expr, Step};

/// Elements that a step is worked out for at a time.
const BLOCK: usize = 1024;

impl Native for Elementwise {
    fn run(&self, rows: usize, Buffers { read, written, .. }: Buffers) {
        let records = if self.batched { rows } else { 1 };
        let sizes: Vec<usize> = [records].into_iter().chain(self.dims.iter().copied()).collect();
        let total: usize = sizes.iter().product();
        let operands: Vec<Strided> = self
            .operands
            .iter()
            .zip(read)
            .map(|(b, x)| Strided::new(x.words(), &sizes, [b.record].iter().chain(&b.strides)))
            .collect();
        let part = BLOCK * (GRAIN / BLOCK / self.expr.calls().max(1)).max(1);
        let parts = written[0].words()[..total].par_chunks_mut(part).enumerate();
        parts.for_each(|(i, y)| {
            with_scratch(|registers: &mut Vec<f32>| {
                let registers = room(registers, self.expr.steps().len() * BLOCK);
                for (j, y) in y.chunks_mut(BLOCK).enumerate() {
                    evaluate(&self.expr, &operands, registers, i * part + j * BLOCK, y);
                }
            });
        });
    }
}

/// Works out the expression for elements `start..start + y.len()`, with a block of `registers` a step.
fn evaluate(expr: &Expr, operands: &[Strided], registers: &mut [f32], start: usize, y: &mut [f32]) {
    let last = expr.steps().len() - 1;
    for (i, step) in expr.steps().iter().enumerate() {
        let (before, here) = registers.split_at_mut(i * BLOCK);
        let to = if i == last { &mut *y } else { &mut here[..y.len()] };
        match step {
            Step::Const(c) => to.fill(c.word()),
            Step::Operand(k, _) if i == last || operands[*k].contiguous().is_none() => operands[*k].load(start, to),
            Step::Operand(..) => {}
            Step::Call(func, args) => {
                let value = |arg: usize| match expr.steps()[arg] {
                    Step::Operand(k, _) => operands[k].contiguous().map(|x| &x[start..][..to.len()]),
                    _ => None,
                };
                let value = |arg: usize| value(arg).unwrap_or_else(|| &before[arg * BLOCK..][..to.len()]);
                let arity = func.arity();
                let args = args.map(|arg| if arg < i { value(arg) } else { &[] });
                func.apply(&args[..arity], to);
            }
        }
    }
}

/// A buffer read along strides, with neighbouring axes merged.
struct Strided<'a> {
    data: &'a [f32],
    /// Size and stride of each axis, slowest first, none of size 1.
    axes: Vec<(usize, usize)>,
}

impl<'a> Strided<'a> {
    fn new<'s>(data: &'a [f32], sizes: &[usize], strides: impl Iterator<Item = &'s usize>) -> Strided<'a> {
        let mut axes: Vec<(usize, usize)> = Vec::new();
        for (&size, &stride) in sizes.iter().zip(strides).filter(|(size, _)| **size != 1) {
            match axes.last_mut() {
                Some((outer, step)) if *step == size * stride => (*outer, *step) = (*outer * size, stride),
                _ => axes.push((size, stride)),
            }
        }
        Strided { data, axes }
    }

    /// The buffer, if elements are read in order.
    fn contiguous(&self) -> Option<&'a [f32]> {
        matches!(self.axes[..], [] | [(_, 1)]).then_some(self.data)
    }

    /// Reads elements `start..start + out.len()`.
    fn load(&self, start: usize, out: &mut [f32]) {
        let Some((&(size, stride), outer)) = self.axes.split_last() else {
            return out.fill(self.data[0]);
        };
        let (mut line, mut column, mut done) = (start / size, start % size, 0);
        while done < out.len() {
            let mut rest = line;
            let mut offset = column * stride;
            for &(size, stride) in outer.iter().rev() {
                offset += rest % size * stride;
                rest /= size;
            }
            let to = out.len().min(done + size - column);
            let (from, run) = (&self.data[offset..], &mut out[done..to]);
            match stride {
                0 => run.fill(from[0]),
                1 => run.copy_from_slice(&from[..run.len()]),
                _ => run.iter_mut().zip(from.iter().step_by(stride)).for_each(|(y, x)| *y = *x),
            }
            (line, column, done) = (line + 1, 0, to);
        }
    }
}
