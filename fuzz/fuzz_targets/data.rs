//! Data sets: a file of any format against a schema of images and class ids, and one of ids and real targets.
//!
//! Half of the mutations of a zip are of one member, and its checksum is made to agree again.
#![no_main]

use dpc::schema::{InputKind, InputSchema, Schema, TargetKind, TargetSchema};
use dpc::train::data::{Batch, Dataset};
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

fn schemas() -> [Schema; 2] {
    let input = |dims: &[usize], kind| vec![InputSchema { name: "x".to_owned(), dims: dims.to_vec(), kind }];
    let class = TargetKind::Class { classes: 10, ignore_index: Some(-100) };
    [
        Schema { inputs: input(&[1, 2, 2], InputKind::F32), targets: vec![TargetSchema::new("label", &[], class)] },
        Schema {
            inputs: input(&[4], InputKind::I32 { table: Some(50) }),
            targets: vec![TargetSchema::new("label", &[1], TargetKind::Real { within: Some([0.0, 1.0]) })],
        },
    ]
}

fuzz_target!(init: dpc_fuzz::install(), |bytes: &[u8]| {
    dpc_fuzz::quietly(|| {
        let file = dpc_fuzz::on_disk("data", bytes);
        let file = file.display();
        for (spec, schema) in [file.to_string(), format!("{file},{file}")].iter().flat_map(|spec| schemas().map(|s| (spec, s))) {
            let Ok(data) = Dataset::load(spec, &schema) else { continue };
            let _ = data.nonfinite();
            data.fill(&[data.records() - 1, 0], 3, &mut Batch::default());
        }
    });
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    dpc_fuzz::mutate_member(data, size, max_size, seed, |_| ()).unwrap_or_else(|| fuzzer_mutate(data, size, max_size))
});
