//! Ledgers: reading one, its steps as an accountant takes them, and its head.
//!
//! Half of the mutations are of one line, and the chain of hashes is made to agree with it again.
#![no_main]

use dpc::privacy::ledger::Contents;
use dpc::privacy::plan::{PlanSpec, PrivacyPlan};
use dpc::privacy::sampling::Sampling;
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

fuzz_target!(init: dpc_fuzz::install(), |bytes: &[u8]| {
    dpc_fuzz::quietly(|| {
        let path = dpc_fuzz::on_disk("ledger.jsonl", bytes);
        let Ok(contents) = Contents::read(&path) else { return };
        assert!(contents.steps() >= bytes.iter().filter(|&&byte| byte == b'\n').count() as u64);
        let clip = "flat:1".parse().expect("a clip rule");
        let spec = PlanSpec::new(Sampling::Poisson { rate: 0.25 }, 16.0, clip);
        let plan = PrivacyPlan::new(PlanSpec { noise_multiplier: 1.0, delta: Some(1e-5), ..spec }).expect("a plan");
        assert_eq!(contents.history(&plan).is_empty(), contents.is_empty());
        contents.check_continues(&path, &contents.head()).expect("a ledger continues itself");
    });
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    dpc_fuzz::mutate_line(data, size, max_size, seed).unwrap_or_else(|| fuzzer_mutate(data, size, max_size))
});
