//! Recurrent nodes in forms that PyTorch's exporters do not write: values against ONNX Runtime's, and gradients of sequences
//! of several lengths against PyTorch's, one sample at a time.

use std::collections::BTreeMap;
use std::path::Path;

use dpc::train::data::npz::{self, Npz};

use crate::place::{Place, models};

const DEVICES: [&str; 2] = ["cpu", "gpu"];

/// A golden file, and a place with those arrays of it that are data.
fn golden(name: &str, data: &[&str]) -> (Npz, Place) {
    let (mut golden, place) = (Npz::open(Path::new(&models(name))).expect("a golden file"), Place::new());
    let arrays = data.iter().map(|name| (name.to_string(), golden.read(name).expect("an array")));
    let arrays: BTreeMap<_, _> = arrays.collect();
    npz::write(&place.path("data.npz"), &arrays).expect("a file");
    (golden, place)
}

/// Holds arrays to those that are expected, relative to the largest entry.
fn hold(name: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{name}");
    let largest = expected.iter().fold(1e-6f32, |most, x| most.max(x.abs()));
    let off = found
        .iter()
        .zip(expected)
        .map(|(f, e)| (f - e).abs())
        .fold(0.0f32, |a, b| if b > a || b.is_nan() { b } else { a });
    assert!(off <= 1e-5 * largest, "{name} is off by {off:.1e} of {largest:.1e}");
}

#[test]
fn every_form_of_node_has_onnx_runtimes_values() {
    let inputs = ["x", "lengths", "h1", "h2", "c1", "c2"];
    let (mut golden, place) = golden("recurrences/nodes.npz", &inputs);
    let file = models("recurrences/nodes.onnx");
    let names: Vec<String> = golden.names().into_iter().filter(|name| !inputs.contains(&name.as_str())).collect();
    assert_eq!(names.len(), 32);
    for device in DEVICES {
        place.ok(&format!("run {file} --data data.npz --out out.npz --device {device}"));
        let mut found = Npz::open(&place.path("out.npz")).expect("outputs");
        for name in &names {
            let expected = golden.read(name).expect("an array").to_f32();
            hold(&format!("{device} {name}"), &found.read(name).expect("an output").to_f32(), &expected);
        }
    }
}

#[test]
fn packed_sequences_have_pytorchs_gradients() {
    let (mut golden, place) = golden("recurrences/packed.npz", &["input", "lengths", "label"]);
    let file = models("recurrences/packed.onnx");
    let names: Vec<String> =
        golden.names().into_iter().filter(|name| name == "loss" || name.starts_with("per_sample/")).collect();
    assert_eq!(names.len(), 19);
    for device in DEVICES {
        let line = "--data data.npz --loss cross-entropy --per-sample --out out.npz";
        place.ok(&format!("grads {file} {line} --device {device}"));
        let mut found = Npz::open(&place.path("out.npz")).expect("gradients");
        for name in &names {
            let expected = golden.read(name).expect("an array").to_f32();
            hold(&format!("{device} {name}"), &found.read(name).expect("a gradient").to_f32(), &expected);
        }
    }
}
