//! Makes floats of values that are kept in 16 bits, wherever a kernel reads them.
//!
//! A sum of products reads the 16 bits itself. For all others floats are made, and made anew where much else happens between
//! two readers, so that what stands in memory in between are the 16 bits.

use std::collections::{BTreeMap, BTreeSet};

use super::kernels::{Kernel, KernelRules, OuterSum, Packing, Widen};
use super::program::{Buffer, BufferId, Dispatch, Extent, Phase, Program, Role};
use crate::graph::DType;

/// Puts a [`Widen`] before the readers of what [`Narrow`](super::kernels::Narrow) has written.
pub fn widen(program: &mut Program) {
    let phases: Vec<Phase> = program.phases.keys().copied().collect();
    for phase in phases {
        let dispatches = program.phases.remove(&phase).unwrap_or_default();
        let widened = of_phase(program, dispatches);
        program.phases.insert(phase, widened);
    }
}

/// Floats that have been made of a buffer of words.
struct Floats {
    id: BufferId,
    /// Elements a record that other kernels have written since it was last read.
    since: usize,
}

fn of_phase(program: &mut Program, dispatches: Vec<Dispatch>) -> Vec<Dispatch> {
    let mut packed: BTreeMap<BufferId, Packing> = BTreeMap::new();
    let mut floats: BTreeMap<BufferId, Floats> = BTreeMap::new();
    let mut out = Vec::with_capacity(dispatches.len());
    for mut dispatch in dispatches {
        let reads = dispatch.split().0.len();
        let read: BTreeSet<BufferId> =
            dispatch.buffers[..reads].iter().copied().filter(|id| packed.contains_key(id)).collect();
        for words in read {
            let packing = packed[&words];
            if let Kernel::OuterSum(sum) = &mut dispatch.kernel
                && (0..2).all(|k| dispatch.buffers[k] != words || reads_all(sum, k, packing))
            {
                (0..2).filter(|&k| dispatch.buffers[k] == words).for_each(|k| sum.packed[k] = Some(packing));
                continue;
            }
            let here = floats.get(&words).filter(|floats| floats.since <= packing.len).map(|floats| floats.id);
            let id = here.unwrap_or_else(|| {
                let (id, label) = (wide(program, words, packing.len), program.buffer(words).name.clone());
                out.push(Dispatch { kernel: Widen(packing).into(), buffers: vec![words, id], label, views: 1 });
                id
            });
            floats.insert(words, Floats { id, since: 0 });
            dispatch.buffers[..reads].iter_mut().filter(|read| **read == words).for_each(|read| *read = id);
        }
        let written = &dispatch.buffers[reads..];
        let elements: usize = written.iter().map(|&id| program.buffer(id).len.per_row).sum();
        floats.values_mut().for_each(|floats| floats.since = floats.since.saturating_add(elements));
        if let (Kernel::Narrow(narrow), [words]) = (&dispatch.kernel, written) {
            packed.insert(*words, narrow.0);
        }
        out.push(dispatch);
    }
    out
}

/// Whether a sum of products can read operand `k` of words: its records lie one behind the other.
fn reads_all(sum: &OuterSum, k: usize, packing: Packing) -> bool {
    sum.buffers().get(k).is_some_and(|operand| operand.len == Extent::rows(packing.len))
}

/// A buffer for the floats of `words`.
fn wide(program: &mut Program, words: BufferId, len: usize) -> BufferId {
    let name = program.buffer(words).name.clone();
    let name = format!("{}.32", name.strip_suffix(".16").unwrap_or(&name));
    program.buffers.push(Buffer { name, dtype: DType::F32, len: Extent::rows(len), role: Role::Temporary, slot: 0 });
    BufferId(program.buffers.len() as u32 - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lower::kernels::{Accumulate, Fill, Half, Narrow};

    #[test]
    fn floats_are_made_anew_where_much_is_written_in_between() {
        let packing = Packing { half: Half::Bf16, exponent: 0, len: 8 };
        let mut program = Program::default();
        // Floats, the words that keep them, two results, and something large.
        for (k, (dtype, len)) in [(DType::F32, 8), (DType::I32, 4), (DType::F32, 1), (DType::F32, 1), (DType::F32, 9)]
            .into_iter()
            .enumerate()
        {
            let buffer = Buffer { name: k.to_string(), dtype, len: Extent::rows(len), role: Role::Temporary, slot: 0 };
            program.buffers.push(buffer);
        }
        let dispatch = |kernel: Kernel, ids: &[u32]| Dispatch {
            kernel,
            buffers: ids.iter().map(|&id| BufferId(id)).collect(),
            label: String::new(),
            views: 1,
        };
        let read = |to| dispatch(Accumulate { len: 1 }.into(), &[1, to]);
        let large = dispatch(Fill { len: Extent::rows(9), value: 0.0 }.into(), &[4]);
        let dispatches = vec![dispatch(Narrow(packing).into(), &[0, 1]), read(2), read(3), large, read(3)];
        program.phases.insert(Phase::Private, dispatches);
        widen(&mut program);
        let made: Vec<(&str, Vec<u32>)> = program
            .phase(Phase::Private)
            .iter()
            .map(|dispatch| (dispatch.kernel.rules().name(), dispatch.buffers.iter().map(|id| id.0).collect()))
            .collect();
        let expected = [
            ("narrow", vec![0, 1]),
            ("widen", vec![1, 5]),
            ("accumulate", vec![5, 2]),
            ("accumulate", vec![5, 3]),
            ("fill", vec![4]),
            ("widen", vec![1, 6]),
            ("accumulate", vec![6, 3]),
        ];
        assert_eq!(made, expected);
    }
}
