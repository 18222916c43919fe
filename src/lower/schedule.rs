//! The order of a phase's dispatches: one that keeps little alive.
//!
//! A graph's order is that in which passes appended nodes. The gradient of each record, say, stands right behind the
//! cotangent that it is made of, and is kept from there on to the clipped sum, which may be long after. Any order will do in which
//! each dispatch comes behind what it depends on; the list schedule here takes, of those that are ready, the one after which least more
//! is alive, and the first of equals.

use std::collections::BTreeMap;

use super::memory::{self, NOMINAL_ROWS};
use super::program::{BufferId, Dispatch, Phase, Program, Role};

/// Puts the dispatches of each phase in such an order, where the memory plan is smaller with it.
pub fn order(program: &mut Program) {
    let phases: Vec<Phase> = program.phases.keys().copied().collect();
    for phase in phases {
        let mut other = Program { buffers: program.buffers.clone(), ..Program::default() };
        let schedule = schedule(program, program.phase(phase));
        let dispatches = schedule.iter().map(|&i| program.phase(phase)[i].clone()).collect();
        other.phases.insert(phase, dispatches);
        let before = memory::temporaries(program, phase);
        if memory::temporaries(&other, phase) < before {
            program.phases.append(&mut other.phases);
        }
    }
}

/// For each dispatch those that must come before it.
fn dependencies(dispatches: &[Dispatch]) -> Vec<Vec<usize>> {
    let mut writer: BTreeMap<BufferId, usize> = BTreeMap::new();
    let mut readers: BTreeMap<BufferId, Vec<usize>> = BTreeMap::new();
    let before = |(i, dispatch): (usize, &Dispatch)| {
        let (read, written) = dispatch.split();
        let mut before: Vec<usize> = dispatch.buffers.iter().filter_map(|id| writer.get(id).copied()).collect();
        before.extend(written.iter().flat_map(|id| readers.get(id).cloned().unwrap_or_default()));
        for id in read {
            readers.entry(*id).or_default().push(i);
        }
        for id in written {
            writer.insert(*id, i);
            readers.remove(id);
        }
        before.sort_unstable();
        before.dedup();
        before.retain(|&other| other != i);
        before
    };
    dispatches.iter().enumerate().map(before).collect()
}

/// Places of dispatches in the order that they should run in.
fn schedule(program: &Program, dispatches: &[Dispatch]) -> Vec<usize> {
    let mut waits: Vec<usize> = vec![0; dispatches.len()];
    let mut frees: Vec<Vec<usize>> = vec![vec![]; dispatches.len()];
    for (i, before) in dependencies(dispatches).into_iter().enumerate() {
        waits[i] = before.len();
        before.into_iter().for_each(|other| frees[other].push(i));
    }
    let bytes = |id: BufferId| match program.buffer(id).role {
        Role::Temporary => {
            let buffer = program.buffer(id);
            buffer.len.at(NOMINAL_ROWS).saturating_mul(buffer.dtype.size()) as i128
        }
        _ => 0,
    };
    // The buffers of each dispatch, each once, and how many dispatches are still to use each.
    let used: Vec<Vec<BufferId>> = dispatches.iter().map(|dispatch| distinct(&dispatch.buffers)).collect();
    let mut uses: BTreeMap<BufferId, (usize, bool)> = BTreeMap::new();
    for id in used.iter().flatten() {
        uses.entry(*id).or_default().0 += 1;
    }
    let mut ready: Vec<usize> = (0..dispatches.len()).filter(|&i| waits[i] == 0).collect();
    let mut order = Vec::with_capacity(dispatches.len());
    while !ready.is_empty() {
        let more = |i: usize| -> i128 {
            let of = |id: &BufferId| match uses[id] {
                (1, true) => -bytes(*id),
                (1, false) | (_, true) => 0,
                (_, false) => bytes(*id),
            };
            used[i].iter().map(of).sum()
        };
        let Some(next) = (0..ready.len()).min_by_key(|&at| (more(ready[at]), ready[at])) else { break };
        let next = ready.swap_remove(next);
        for id in &used[next] {
            let (left, alive) = uses.entry(*id).or_default();
            *left = left.saturating_sub(1);
            *alive = true;
        }
        for &other in &frees[next] {
            waits[other] -= 1;
            if waits[other] == 0 {
                ready.push(other);
            }
        }
        order.push(next);
    }
    order
}

fn distinct(ids: &[BufferId]) -> Vec<BufferId> {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids.dedup();
    ids
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::DType;
    use crate::lower::kernels::{Accumulate, Fill};
    use crate::lower::program::{Buffer, Extent};

    /// A program of temporaries of these lengths, an output of one element after them, and dispatches on these buffers, of which
    /// the last is written.
    fn program(lens: &[usize], dispatches: &[&[u32]]) -> Program {
        let mut program = Program::default();
        for (k, &len) in lens.iter().chain(&[1]).enumerate() {
            let role = if k == lens.len() { Role::Output("y".into()) } else { Role::Temporary };
            let len = Extent::fixed(len);
            program.buffers.push(Buffer { name: k.to_string(), dtype: DType::F32, len, role, slot: 0 });
        }
        let dispatch = |buffers: &&[u32]| Dispatch {
            kernel: match buffers.len() {
                1 => Fill { len: Extent::fixed(1), value: 1.0 }.into(),
                _ => Accumulate { len: 1 }.into(),
            },
            buffers: buffers.iter().map(|&id| BufferId(id)).collect(),
            label: String::new(),
            views: 1,
        };
        program.phases.insert(Phase::Forward, dispatches.iter().map(dispatch).collect());
        program
    }

    fn ordered(mut program: Program) -> Vec<Vec<u32>> {
        order(&mut program);
        let ids = |dispatch: &Dispatch| dispatch.buffers.iter().map(|id| id.0).collect();
        program.phase(Phase::Forward).iter().map(ids).collect()
    }

    #[test]
    fn what_is_large_and_used_late_is_made_late() {
        let program = program(&[101, 100, 10], &[&[0], &[1], &[2], &[1, 3], &[2, 3], &[0, 3]]);
        // Both sums write buffer 3, one after the other.
        assert_eq!(ordered(program), [vec![2], vec![1], vec![1, 3], vec![2, 3], vec![0], vec![0, 3]]);
    }

    #[test]
    fn an_order_that_takes_no_less_stays() {
        let dispatches: [&[u32]; 4] = [&[0], &[1], &[0, 2], &[1, 2]];
        assert_eq!(ordered(program(&[8, 8], &dispatches)), [vec![0], vec![0, 2], vec![1], vec![1, 2]]);
        let dispatches: [&[u32]; 4] = [&[0], &[0, 2], &[1], &[1, 2]];
        assert_eq!(ordered(program(&[8, 4], &dispatches)), dispatches.map(<[u32]>::to_vec));
    }

    #[test]
    fn what_is_written_again_is_read_before() {
        let dispatches: [&[u32]; 5] = [&[0], &[0, 2], &[1], &[1, 0], &[0, 2]];
        let made = ordered(program(&[4, 64], &dispatches));
        let at = |wanted: &[u32]| made.iter().position(|buffers| buffers == wanted);
        assert!(at(&[0, 2]) < at(&[1, 0]), "{made:?}");
    }
}
