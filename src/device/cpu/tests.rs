//! The device against the contracts.

use std::sync::Arc;

use super::*;
use crate::device::TARGETS;
use crate::device::cases::{Case, apart, cases, check, rounding};
use crate::graph::DType;
use crate::lower::kernels::{Nonfinite, Release, Sgd};
use crate::lower::program::{Buffer, BufferId, Extent, Phase};
use crate::lower::{hyper, memory};

#[test]
fn every_kernel_keeps_its_contract() {
    check(&Cpu, &cases()).unwrap_or_else(|problems| panic!("{problems}"));
}

#[test]
fn sums_round_as_often_as_they_state() {
    rounding::check(&Cpu, &Cpu, false);
}

#[test]
fn what_a_record_adds_does_not_depend_on_others() {
    apart::check(&Cpu, &apart::cases());
}

fn outputs(case: &Case, threads: usize) -> Vec<Vec<u32>> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| {
        let mut session = Cpu.load(Arc::new(case.program.clone()), case.rows).unwrap();
        case.inputs.iter().for_each(|(id, words)| session.write(*id, words).unwrap());
        session.run(Phase::Forward).unwrap();
        case.outputs.iter().map(|id| session.read(*id).unwrap()).collect()
    })
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    for case in cases() {
        let one = outputs(&case, 1);
        for threads in [2, 5] {
            assert!(one == outputs(&case, threads), "{} with {threads} threads", case.name);
        }
    }
}

#[test]
fn rows_that_are_left_out_are_not_needed_by_others() {
    for case in cases().into_iter().filter(|case| case.rows > 1) {
        let fewer = case.rows / 2;
        let [all, some] = [case.rows, fewer].map(|rows| {
            let mut session = Cpu.load(Arc::new(case.program.clone()), case.rows).unwrap();
            case.inputs.iter().for_each(|(id, words)| session.write(*id, words).unwrap());
            session.run_rows(Phase::Forward, rows).unwrap();
            case.outputs.iter().map(|id| session.read(*id).unwrap()).collect::<Vec<_>>()
        });
        let bindings = case.kernel().rules().buffers();
        for ((id, all), some) in case.outputs.iter().zip(all).zip(some) {
            let kept = fewer * bindings[id.0 as usize].len.per_row;
            assert_eq!(all[..kept], some[..kept], "{}", case.name);
        }
    }
}

#[test]
fn memory_is_what_the_target_says() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    pool.install(|| {
        for case in cases() {
            let mut session = Cpu.load(Arc::new(case.program.clone()), case.rows).unwrap();
            session.run(Phase::Forward).unwrap();
            assert_eq!(session.bytes(), Cpu.bytes(&case.program, case.rows), "{}", case.name);
        }
    });
}

#[test]
fn a_buffer_that_is_read_and_written_is_refused() {
    let mut case = cases().into_iter().find(|c| c.name == "accumulate/1").unwrap();
    case.program.buffers[1].slot = 0;
    let refused = Cpu.load(Arc::new(case.program), case.rows).err().unwrap().to_string();
    assert!(refused.contains("shares memory with `b0`"), "{refused}");
}

#[test]
fn programs_without_a_memory_plan_run() {
    let mut case = cases().into_iter().find(|c| c.name == "accumulate/1").unwrap();
    let planned = outputs(&case, 1);
    case.program.slots.clear();
    assert_eq!(outputs(&case, 1), planned);
}

#[test]
fn a_write_of_the_wrong_length_is_refused() {
    let case = cases().into_iter().find(|c| c.name == "accumulate/1").unwrap();
    let mut session = Cpu.load(Arc::new(case.program), case.rows).unwrap();
    assert!(session.write(BufferId(0), &[0; 2]).is_err());
}

/// The dispatches of an update go through the elements together, to the same result as one after the other.
#[test]
fn an_update_by_blocks_of_elements_is_that_by_kernels() {
    for len in [1, 5, maps::BLOCK - 1, maps::BLOCK, maps::BLOCK + 1, 3 * maps::BLOCK + 7] {
        for momentum in [0.0, 0.9] {
            let one_by_one = [Phase::Forward, Phase::Private, Phase::Plain];
            assert_eq!(updated(len, momentum, &[Phase::Forward; 3]), updated(len, momentum, &one_by_one), "{len}");
        }
    }
}

/// What the update of `len` elements leaves in all buffers but the gradient, with its kernels in these phases.
fn updated(len: usize, momentum: f32, phases: &[Phase; 3]) -> Vec<Vec<u32>> {
    let (pairs, elements) = (Extent::fixed(2 * len), Extent::fixed(len));
    let buffers = [
        ("noise", DType::I32, pairs, Role::GridNoise("w".into())),
        ("hyper", DType::F32, Extent::fixed(hyper::LEN), Role::Input("hyper".into())),
        ("unit", DType::F32, Extent::fixed(1), Role::Input("unit".into())),
        ("sum", DType::I32, pairs, Role::GridSum("w".into())),
        ("gradient", DType::F32, elements, Role::Temporary),
        ("w", DType::F32, elements, Role::Parameter("w".into())),
        ("velocity", DType::F32, elements, Role::OptimizerState("w".into(), "momentum".into())),
        ("flags", DType::I32, Extent::fixed(2), Role::Output("flags".into())),
    ];
    let buffers = buffers.map(|(name, dtype, len, role)| Buffer { name: name.into(), dtype, len, role, slot: 0 });
    let mut program = Program { buffers: buffers.to_vec(), targets: TARGETS.ids(), ..Program::default() };
    let moving = if momentum == 0.0 { &[4, 1, 5][..] } else { &[4, 1, 5, 6] };
    let kernels: [(Kernel, &[u32]); 3] = [
        (Release { len, group: 0, groups: 1 }.into(), &[0, 1, 2, 3, 4]),
        (Sgd { len, momentum, nesterov: true, weight_decay: 0.1 }.into(), moving),
        (Nonfinite { len, buffers: 2, at: 1 }.into(), &[5, 6, 7]),
    ];
    for ((kernel, buffers), phase) in kernels.into_iter().zip(phases) {
        let buffers = buffers.iter().map(|&id| BufferId(id)).collect();
        let dispatch = Dispatch { kernel, buffers, label: String::new(), views: 1 };
        program.phases.entry(*phase).or_default().push(dispatch);
    }
    memory::plan(&mut program);
    let together = stages::plan(&program, 1).stages[&Phase::Forward].len();
    assert_eq!(together, 1, "one stage");
    let mut session = Cpu.load(Arc::new(program), 1).unwrap();
    let floats = |by: usize| -> Vec<f32> { (0..len).map(|i| (i * by % 101) as f32 - 50.0).collect() };
    let words =
        |by: usize| -> Vec<u32> { (0..2 * len).map(|i| if i % 2 == 0 { (i * by) as u32 } else { 0 }).collect() };
    session.write_f32(BufferId(1), &[0.5; hyper::LEN]).unwrap();
    session.write_f32(BufferId(2), &[0.25]).unwrap();
    session.write(BufferId(3), &words(977)).unwrap();
    session.write_f32(BufferId(5), &floats(13)).unwrap();
    // The last element is not finite.
    let velocity: Vec<f32> = floats(7).into_iter().rev().skip(1).rev().chain([f32::INFINITY]).collect();
    session.write_f32(BufferId(6), &velocity).unwrap();
    let mut ran = vec![];
    for phase in phases {
        if !ran.contains(phase) {
            session.run_lent(*phase, &[(BufferId(0), &words(31))]).unwrap();
            ran.push(*phase);
        }
    }
    [3, 5, 6, 7].map(|id| session.read(BufferId(id)).unwrap()).to_vec()
}
