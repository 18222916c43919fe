//! Ledgers: reading one, its steps as an accountant takes them, and its head.
//!
//! Half of the mutations are of one line, and the chain of hashes is made to agree with it again.
#![no_main]

use dpc::privacy::ledger::Contents;
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

fuzz_target!(init: dpc_fuzz::install(), |bytes: &[u8]| {
    dpc_fuzz::quietly(|| {
        let path = dpc_fuzz::on_disk("ledger.jsonl", bytes);
        let Ok(contents) = Contents::read(&path) else { return };
        assert!(contents.steps() >= bytes.iter().filter(|&&byte| byte == b'\n').count() as u64);
        contents.check_continues(&path, &contents.head()).expect("a ledger continues itself");
    });
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    dpc_fuzz::mutate_line(data, size, max_size, seed).unwrap_or_else(|| fuzzer_mutate(data, size, max_size))
});
