//! Values that a phase computes twice are computed once.
//!
//! Graph passes see to that for nodes. Lowering a node adds dispatches of its own, such as the order of the ids of a table,
//! which the norm and the sum of its gradient both ask for.

use std::collections::{BTreeMap, HashMap};

use super::program::{BufferId, Dispatch, Program, Role};

/// Takes out each dispatch that another one of its phase makes superfluous: the same kernel of the same values.
pub fn merge(program: &mut Program) {
    let mut phases = std::mem::take(&mut program.phases);
    for dispatches in phases.values_mut() {
        merge_phase(program, dispatches);
    }
    program.phases = phases;
}

fn merge_phase(program: &Program, dispatches: &mut Vec<Dispatch>) {
    let mut writers: BTreeMap<BufferId, usize> = BTreeMap::new();
    for id in dispatches.iter().flat_map(|dispatch| dispatch.split().1) {
        *writers.entry(*id).or_default() += 1;
    }
    // What is written once has one value from then on.
    let once = |id: &BufferId| writers.get(id).is_none_or(|&count| count == 1);
    let own = |id: &BufferId| once(id) && program.buffer(*id).role == Role::Temporary;
    let mut renamed: HashMap<BufferId, BufferId> = HashMap::new();
    let mut seen: HashMap<(String, Vec<BufferId>), Vec<BufferId>> = HashMap::new();
    dispatches.retain_mut(|dispatch| {
        for id in &mut dispatch.buffers {
            *id = renamed.get(id).copied().unwrap_or(*id);
        }
        let (read, written) = dispatch.split();
        if !read.iter().all(once) || !written.iter().all(own) {
            return true;
        }
        // The text tells zeros of different sign apart, which are equal as numbers.
        let key = (format!("{} {:?}", dispatch.views, dispatch.kernel), read.to_vec());
        match seen.get(&key) {
            Some(same) => {
                renamed.extend(written.iter().copied().zip(same.iter().copied()));
                false
            }
            None => {
                seen.insert(key, written.to_vec());
                true
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::DType;
    use crate::lower::kernels::{Accumulate, Fill};
    use crate::lower::program::{Buffer, Extent, Phase};

    /// The writes that are left of fills of four temporaries, the last of which something is added to, and one that reads
    /// all.
    fn left(values: [f32; 4]) -> Vec<Vec<u32>> {
        let mut program = Program::default();
        for name in 0..5 {
            let role = if name == 4 { Role::Output("y".into()) } else { Role::Temporary };
            let (name, len) = (name.to_string(), Extent::fixed(1));
            program.buffers.push(Buffer { name, dtype: DType::F32, len, role, slot: 0 });
        }
        let dispatch = |kernel, buffers: &[u32]| Dispatch {
            kernel,
            buffers: buffers.iter().map(|&id| BufferId(id)).collect(),
            label: String::new(),
            views: 1,
        };
        let fill = |(id, value)| dispatch(Fill { len: Extent::fixed(1), value }.into(), &[id]);
        let add = |from, to| dispatch(Accumulate { len: 1 }.into(), &[from, to]);
        let mut dispatches: Vec<Dispatch> = (0..).zip(values).map(fill).collect();
        dispatches.extend([add(0, 3), add(0, 4), add(1, 4), add(2, 4), add(3, 4)]);
        program.phases.insert(Phase::Forward, dispatches);
        merge(&mut program);
        let ids = |dispatch: &Dispatch| dispatch.buffers.iter().map(|id| id.0).collect();
        program.phase(Phase::Forward).iter().map(ids).collect()
    }

    #[test]
    fn equal_dispatches_are_one() {
        let adds = |second: u32, third: u32| vec![vec![0, 3], vec![0, 4], vec![second, 4], vec![third, 4], vec![3, 4]];
        assert_eq!(left([1.0; 4]), [vec![vec![0], vec![3]], adds(0, 0)].concat());
        assert_eq!(left([1.0, 2.0, 1.0, 2.0]), [vec![vec![0], vec![1], vec![3]], adds(1, 0)].concat());
        assert_eq!(left([0.0, -0.0, 0.0, 0.0]), [vec![vec![0], vec![1], vec![3]], adds(1, 0)].concat());
    }
}
