//! `.dpc` files: reading one, its digests, and its program put on the CPU.
//!
//! Half of the mutations are of one member, and the hashes of the whole are made to agree with it again.
#![no_main]

use std::sync::Arc;

use dpc::artifact::Artifact;
use dpc::device::cpu::Cpu;
use dpc::lower::program::Phase;
use dpc::train::engine::Engine;
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

fuzz_target!(init: dpc_fuzz::install(), |bytes: &[u8]| {
    dpc_fuzz::quietly(|| {
        let Ok(artifact) = Artifact::load(&dpc_fuzz::on_disk("m.dpc", bytes)) else { return };
        let _ = artifact.provenance();
        let Artifact { program, weights, .. } = artifact;
        let phases: Vec<Phase> = program.phases.keys().copied().collect();
        let _ = Engine::new(&Cpu, Arc::new(program), &weights, 2, &phases);
    });
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    dpc_fuzz::mutate_member(data, size, max_size, seed, |members| dpc_fuzz::rehash(members))
        .unwrap_or_else(|| fuzzer_mutate(data, size, max_size))
});
