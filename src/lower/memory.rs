//! The memory plan: which buffers share memory.
//!
//! A temporary lives from its first dispatch to its last within one phase. Temporaries of one phase whose lifetimes are
//! disjoint, and any two temporaries of different phases, may share a slot; everything else has a slot of its own. A
//! dispatch never reads and writes the same slot. A temporary that nothing uses has no memory. Largest first, each goes into the slot that it fits best.

use super::program::{BufferId, Extent, Program, Role};

/// The physical batch at which sizes are compared; the plan holds at any.
const NOMINAL_ROWS: usize = 64;

/// First and last dispatch that uses a buffer, in a numbering where phases do not overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lifetime {
    start: usize,
    end: usize,
}

impl Lifetime {
    fn overlaps(self, other: Lifetime) -> bool {
        self.start <= other.end && other.start <= self.end
    }
}

/// Assigns a slot to every buffer.
pub fn plan(program: &mut Program) {
    let lifetimes = lifetimes(program);
    let mut slots: Vec<Vec<Extent>> = Vec::new();
    let mut tenants: Vec<Vec<Lifetime>> = Vec::new();
    let mut order: Vec<BufferId> = program.ids().collect();
    let size = |program: &Program, id: BufferId| program.buffer(id).len.at(NOMINAL_ROWS);
    order.sort_by_key(|&id| (std::cmp::Reverse(size(program, id)), id));
    for id in order {
        let len = program.buffer(id).len;
        let shared = match (&program.buffer(id).role, lifetimes[id.0 as usize]) {
            (Role::Temporary, Some(life)) => {
                let free =
                    (0..slots.len()).find(|&s| !tenants[s].is_empty() && tenants[s].iter().all(|t| !t.overlaps(life)));
                let slot = free.unwrap_or_else(|| {
                    slots.push(vec![]);
                    tenants.push(vec![]);
                    slots.len() - 1
                });
                tenants[slot].push(life);
                slot
            }
            (Role::Temporary, None) => continue,
            _ => {
                slots.push(vec![]);
                tenants.push(vec![]);
                slots.len() - 1
            }
        };
        if !slots[shared].contains(&len) {
            slots[shared].push(len);
        }
        program.buffers[id.0 as usize].slot = shared as u32;
    }
    program.slots = slots;
}

fn lifetimes(program: &Program) -> Vec<Option<Lifetime>> {
    let mut lifetimes: Vec<Option<Lifetime>> = vec![None; program.buffers.len()];
    let mut at = 0;
    for dispatches in program.phases.values() {
        for dispatch in dispatches {
            for id in &dispatch.buffers {
                let life = lifetimes[id.0 as usize].get_or_insert(Lifetime { start: at, end: at });
                life.end = at;
            }
            at += 1;
        }
    }
    lifetimes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::DType;
    use crate::lower::kernels::{Accumulate, Kernel};
    use crate::lower::program::{Buffer, Dispatch, Phase};

    #[test]
    fn temporaries_share_memory_only_when_they_are_not_alive_together() {
        let mut program = Program::default();
        for (k, len) in [64, 64, 32, 64].into_iter().enumerate() {
            let role = if k == 3 { Role::Output("forward/y".into()) } else { Role::Temporary };
            program.buffers.push(Buffer {
                name: k.to_string(),
                dtype: DType::F32,
                len: Extent::rows(len),
                role,
                slot: 0,
            });
        }
        let step = |from: u32, to: u32| Dispatch {
            kernel: Kernel::Accumulate(Accumulate { len: 1 }),
            buffers: vec![BufferId(from), BufferId(to)],
            label: String::new(),
            shader: 0,
        };
        program.phases.insert(Phase::Forward, vec![step(0, 1), step(1, 2), step(2, 3)]);
        plan(&mut program);
        let slot = |k: usize| program.buffers[k].slot;
        assert_eq!(slot(0), slot(2));
        assert_ne!(slot(0), slot(1));
        assert!((0..3).all(|k| slot(k) != slot(3)));
        assert_eq!(program.bytes(2), 4 * 2 * (64 * 3));
    }
}
