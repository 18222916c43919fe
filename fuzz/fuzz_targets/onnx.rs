//! ONNX import and compilation: bytes to a model, its parameters, and the programs without and with a loss.
#![no_main]

use std::path::Path;

use dpc::compile::{Options, compile};
use dpc::device::TARGETS;
use dpc::lower::cost::CostModel;
use dpc::onnx::{Source, discover};
use dpc::options::{Loss, NormChoice};
use dpc::privacy::ClipRule;

libfuzzer_sys::fuzz_target!(init: dpc_fuzz::install(), |bytes: &[u8]| {
    dpc_fuzz::quietly(|| {
        let Ok(source) = Source::from_bytes(bytes.to_vec().into(), Path::new("nowhere/model.onnx")) else { return };
        let Ok(parameters) = discover(&source, &[], &[]) else { return };
        let options = |loss| Options {
            loss,
            output: source.outputs.first().map(|output| output.name.clone()),
            clip: ClipRule::flat(1.0).expect("a bound"),
            norm: NormChoice::Auto,
            optimizer: "sgd".parse().expect("an optimizer"),
            costs: CostModel::default(),
            per_sample: false,
            noise: dpc::options::NoiseKind::default(),
        };
        let _ = compile(&source, &parameters, &options(None), TARGETS);
        let _ = compile(&source, &parameters, &options(Some("mse".parse::<Loss>().expect("a loss"))), TARGETS);
    });
});
