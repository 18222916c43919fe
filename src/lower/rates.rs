//! Parameters that an optimizer updates by numbers of their own.
//!
//! A compiled program has one input `dpc.hyper` of the numbers of a step, the learning rate among them, which every update reads. Here
//! some updates are made to read inputs of the same form instead, `dpc.hyper.1` and so on. Nothing else changes: sums, noise and
//! their division read what they did.

use super::kernels::Kernel;
use super::program::{Buffer, BufferId, Extent, Phase, Program, Role};
use super::{host_inputs, hyper};
use crate::graph::DType;

/// The name of the input that the updates of group `group` read, counted from 0.
pub fn input(group: usize) -> String {
    format!("{}.{}", host_inputs::HYPER, group + 1)
}

/// Whether updates may read the input `name` as the numbers of a step: that of all, or a group's own.
pub fn is_input(name: &str) -> bool {
    match name.strip_prefix(host_inputs::HYPER) {
        Some("") => true,
        Some(rest) => rest.strip_prefix('.').and_then(|group| group.parse().ok()).is_some_and(|group: usize| group > 0),
        None => false,
    }
}

/// `program` with an input of its own, [`input`], for the updates of each group of parameters. Its memory is still to be planned.
pub fn regroup(program: &Program, groups: &[Vec<&str>]) -> Program {
    let mut program = program.clone();
    for (group, parameters) in groups.iter().enumerate() {
        let own = BufferId(program.buffers.len() as u32);
        let (name, role) = (format!("hyper.{}", group + 1), Role::Input(input(group)));
        program.buffers.push(Buffer { name, dtype: DType::F32, len: Extent::fixed(hyper::LEN), role, slot: 0 });
        let of_group = |program: &Program, id: BufferId| matches!(&program.buffer(id).role, Role::Parameter(name) if parameters.contains(&name.as_str()));
        for phase in [Phase::Update, Phase::Release] {
            let mut dispatches = program.phases.remove(&phase).unwrap_or_default();
            for dispatch in &mut dispatches {
                if let (Kernel::Sgd(_) | Kernel::Adam(_), [_, numbers, parameter, ..]) =
                    (&dispatch.kernel, &mut dispatch.buffers[..])
                    && of_group(&program, *parameter)
                {
                    *numbers = own;
                }
            }
            if !dispatches.is_empty() {
                program.phases.insert(phase, dispatches);
            }
        }
    }
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn updates_read_the_numbers_of_all_or_of_a_group() {
        assert!([host_inputs::HYPER, &input(0), &input(41)].into_iter().all(is_input));
        assert!(
            !["dpc.hyper.", "dpc.hyper.0", "dpc.hyper1", "dpc.hyper.x", host_inputs::GRID_UNITS]
                .into_iter()
                .any(is_input)
        );
    }
}
