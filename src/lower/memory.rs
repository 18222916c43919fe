//! The memory plan: which buffers share memory.
//!
//! A temporary lives from its first dispatch to its last within one phase. Temporaries whose lifetimes are disjoint, in one
//! phase or in different ones, may share a slot, whatever their types: all elements are words. Everything else has a slot of its
//! own. A dispatch never reads and writes the same slot. A temporary that nothing uses has no memory. Largest first, each goes into
//! the first slot that is free for it.

use std::collections::BTreeMap;

use super::program::{BufferId, Extent, Phase, Program, Role, Slot};
use crate::graph::DType;

/// The physical batch at which sizes are compared; the plan holds at any.
pub const NOMINAL_ROWS: usize = 64;

/// First and last time that a buffer is used, in a numbering where phases do not overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    start: usize,
    end: usize,
}

impl Lifetime {
    fn overlaps(self, other: Lifetime) -> bool {
        self.start <= other.end && other.start <= self.end
    }
}

/// What wants memory.
#[derive(Clone, Copy, Debug)]
pub struct Tenant {
    /// Element type.
    pub dtype: DType,
    /// Number of elements.
    pub len: Extent,
    /// When it is used; `None` for a slot of its own.
    pub life: Option<Lifetime>,
}

/// Slots for all tenants, and which of them each gets.
pub fn share(tenants: &BTreeMap<BufferId, Tenant>) -> (Vec<Slot>, BTreeMap<BufferId, u32>) {
    let mut slots: Vec<Slot> = Vec::new();
    let mut lives: Vec<Vec<Lifetime>> = Vec::new();
    let mut homes = BTreeMap::new();
    let mut order: Vec<(&BufferId, &Tenant)> = tenants.iter().collect();
    order.sort_by_key(|(id, tenant)| (std::cmp::Reverse(tenant.len.at(NOMINAL_ROWS)), **id));
    for (&id, &Tenant { dtype, len, life }) in order {
        let free = life.and_then(|life| {
            let fits = |s: &usize| !lives[*s].is_empty() && lives[*s].iter().all(|other| !other.overlaps(life));
            (0..slots.len()).find(|s| slots[*s].dtype.size() == dtype.size() && fits(s))
        });
        let slot = free.unwrap_or_else(|| {
            slots.push(Slot { dtype, tenants: vec![] });
            lives.push(vec![]);
            slots.len() - 1
        });
        lives[slot].extend(life);
        if !slots[slot].tenants.contains(&len) {
            slots[slot].tenants.push(len);
        }
        homes.insert(id, slot as u32);
    }
    (slots, homes)
}

/// Assigns a slot to every buffer.
pub fn plan(program: &mut Program) {
    let mut at = 0;
    let tenants = tenants(program, |_, _| {
        at += 1;
        at
    });
    let (slots, homes) = share(&tenants);
    for (id, slot) in homes {
        program.buffers[id.0 as usize].slot = slot;
    }
    program.slots = slots;
}

/// Bytes of the slots that a phase's temporaries share, at a nominal physical batch.
pub fn temporaries(program: &Program, phase: Phase) -> usize {
    let mut at = 0;
    let mut tenants = tenants(program, |_, _| {
        at += 1;
        at
    });
    let used: std::collections::BTreeSet<BufferId> =
        program.phase(phase).iter().flat_map(|dispatch| dispatch.buffers.iter().copied()).collect();
    tenants.retain(|id, tenant| tenant.life.is_some() && used.contains(id));
    let (slots, _) = share(&tenants);
    let bytes = |slot: &Slot| {
        let len = slot.tenants.iter().map(|len| len.at(NOMINAL_ROWS)).max().unwrap_or(0);
        len.saturating_mul(slot.dtype.size())
    };
    slots.iter().map(bytes).fold(0, usize::saturating_add)
}

/// The buffers of a program that want memory. `time` tells of each dispatch, by its phase and its place there, when it runs;
/// it is called in their order and does not go back.
pub fn tenants(program: &Program, mut time: impl FnMut(Phase, usize) -> usize) -> BTreeMap<BufferId, Tenant> {
    let mut lives: BTreeMap<BufferId, Lifetime> = BTreeMap::new();
    for (&phase, dispatches) in &program.phases {
        for (place, dispatch) in dispatches.iter().enumerate() {
            let at = time(phase, place);
            for &id in &dispatch.buffers {
                lives.entry(id).or_insert(Lifetime { start: at, end: at }).end = at;
            }
        }
    }
    let tenant = |id: BufferId| {
        let buffer = program.buffer(id);
        let life = match (&buffer.role, lives.get(&id)) {
            (Role::Temporary, None) => return None,
            (Role::Temporary, life) => life.copied(),
            _ => None,
        };
        Some((id, Tenant { dtype: buffer.dtype, len: buffer.len, life }))
    };
    program.ids().filter_map(tenant).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::DType;
    use crate::lower::kernels::{Accumulate, Kernel};
    use crate::lower::program::{Buffer, Dispatch, Extent, Phase};

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
            views: 1,
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
