//! The device against the contracts.

use std::sync::Arc;

use super::*;
use crate::device::cases::{Case, apart, cases, check, rounding};
use crate::lower::program::{BufferId, Phase};

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
