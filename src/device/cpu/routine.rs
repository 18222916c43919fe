//! Runs the steps of a cell's [`Routine`], each over a line of elements, in as few lines as they need, so that these stay in cache.

use std::ops::Range;

use super::lanes::widest;
use crate::lower::cells::Routine;
use crate::lower::scalar::Step;

/// A routine, and which line each of its steps writes.
pub struct Lines {
    code: Routine,
    places: Vec<usize>,
    count: usize,
}

/// Records of a block whose steps are worked out together.
#[derive(Default)]
pub struct Tile {
    /// Elements of each line, record by record.
    lines: Vec<Vec<f32>>,
    len: usize,
}

impl Lines {
    /// The lines of a routine: a step takes one that no later step reads, and none that it reads itself.
    pub fn of(code: Routine) -> Lines {
        let mut last: Vec<usize> = (0..code.steps.len()).collect();
        for (i, step) in code.steps.iter().enumerate() {
            if let Step::Call(func, args) = step {
                args[..func.arity()].iter().for_each(|&arg| last[arg] = i);
            }
        }
        code.outputs.iter().flatten().for_each(|&output| last[output] = code.steps.len());
        let (mut free, mut count) = (Vec::new(), 0);
        let mut places = vec![0; code.steps.len()];
        for (i, step) in code.steps.iter().enumerate() {
            if matches!(step, Step::Operand(k, _) if !code.read.contains(k)) {
                continue;
            }
            places[i] = free.pop().unwrap_or_else(|| {
                count += 1;
                count - 1
            });
            let Step::Call(func, args) = step else { continue };
            let mut ended: Vec<usize> = args[..func.arity()].iter().copied().filter(|&arg| last[arg] == i).collect();
            ended.sort_unstable();
            ended.dedup();
            free.extend(ended.into_iter().map(|arg| places[arg]));
        }
        Lines { code, places, count }
    }

    /// The line of each result; none for one that is nothing.
    pub fn outputs(&self) -> impl Iterator<Item = Option<usize>> {
        self.code.outputs.iter().map(|output| output.map(|step| self.places[step]))
    }

    /// That of result `k`.
    pub fn output(&self, k: usize) -> Option<usize> {
        self.code.outputs[k].map(|step| self.places[step])
    }
}

impl Tile {
    /// Runs the steps for `records` of `hidden` elements. Operand `k` of record `b` is the sum of what `operand(k, b)` starts with.
    pub fn run<'a>(
        &mut self,
        Lines { code, places, count }: &Lines,
        hidden: usize,
        records: Range<usize>,
        operand: impl Fn(usize, usize) -> [&'a [f32]; 3],
    ) {
        let len = records.len() * hidden;
        self.len = len;
        self.lines.resize_with(self.lines.len().max(*count), Vec::new);
        self.lines.iter_mut().filter(|line| line.len() < len).for_each(|line| line.resize(len, 0.0));
        for (step, &place) in code.steps.iter().zip(places) {
            let mut to = std::mem::take(&mut self.lines[place]);
            match step {
                Step::Operand(k, _) if code.read.contains(k) => {
                    for (b, to) in records.clone().zip(to.chunks_exact_mut(hidden)) {
                        match operand(*k, b) {
                            [x, [], []] => to.copy_from_slice(&x[..hidden]),
                            terms => add(to, terms),
                        }
                    }
                }
                Step::Operand(..) => {}
                Step::Const(c) => to[..len].fill(c.word()),
                Step::Call(func, args) => {
                    let args = args.map(|arg| self.lines[places[arg]].get(..len).unwrap_or_default());
                    func.apply(&args[..func.arity()], &mut to[..len]);
                }
            }
            self.lines[place] = to;
        }
    }

    /// Copies a result to `to`, from element `first` of the tile on: zeros for a result that is nothing.
    pub fn store(&self, output: Option<usize>, first: usize, to: &mut [f32]) {
        match output {
            Some(line) => to.copy_from_slice(&self.lines[line][..self.len][first..][..to.len()]),
            None => to.fill(0.0),
        }
    }
}

widest! {
    /// Sets `to` to the sum of two terms, or of three.
    add(to: &mut [f32], terms: [&[f32]; 3]) {
        match terms {
            [x, y, []] => to.iter_mut().zip(x).zip(y).for_each(|((to, x), y)| *to = x + y),
            [x, y, z] => to.iter_mut().zip(x).zip(y).zip(z).for_each(|(((to, x), y), z)| *to = x + y + z),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lower::cells::{Cell, Kind};

    /// No step writes a line that a later step, or a result, has yet to read.
    #[test]
    fn lines_are_reused_only_when_they_are_read() {
        for cell in Kind::ALL.iter().map(|&kind| Cell::from(kind)) {
            for stage in 0..cell.stages().len() {
                for code in [cell.forward(stage), cell.backward(stage)] {
                    let Lines { code, places, count } = Lines::of(code);
                    let mut holds = vec![None; count];
                    for (i, step) in code.steps.iter().enumerate() {
                        if let Step::Call(func, args) = step {
                            for &arg in &args[..func.arity()] {
                                assert_eq!(holds[places[arg]], Some(arg));
                                assert_ne!(places[arg], places[i]);
                            }
                        }
                        if !matches!(step, Step::Operand(k, _) if !code.read.contains(k)) {
                            holds[places[i]] = Some(i);
                        }
                    }
                    for &output in code.outputs.iter().flatten() {
                        assert_eq!(holds[places[output]], Some(output));
                    }
                    assert!(count < code.steps.len());
                }
            }
        }
    }
}
