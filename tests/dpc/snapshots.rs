//! The text of every stage and of the errors, as `snapshots/` holds them for people to read.

use std::process::Command;

use dpc::compile::{Compiled, Options};
use dpc::device::gpu;
use dpc::import::prove;
use dpc::lower::kernels::Kernel;
use dpc::lower::program::Phase;
use dpc::onnx::{Source, discover};
use dpc::options::{NormChoice, Precision};
use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme};

use crate::zoo::{compiled, models, options};

fn zoo_options(name: &str, norm: NormChoice) -> Options {
    let loss = if name == "tied_embedding" { "cross-entropy:axis=last" } else { "cross-entropy" };
    Options { per_sample: false, ..options(loss.parse().expect("a loss"), norm) }
}

/// Compiles a model of the zoo as `dpc compile --loss cross-entropy` does.
fn model(name: &str, norm: NormChoice) -> Compiled {
    let options = zoo_options(name, norm);
    let path = models(&format!("zoo/{name}.ts.onnx"));
    compiled(&path, &options).unwrap_or_else(|e| panic!("{name}: {e}")).1
}

fn snapshot(name: &str, text: impl std::fmt::Display) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text.to_string()));
}

/// An error as it is shown on a terminal of 100 columns without colours.
fn shown(error: &dyn Diagnostic) -> String {
    let mut text = String::new();
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor()).with_width(100);
    handler.render_report(&mut text, error).expect("text");
    text
}

#[test]
fn stages() {
    for name in ["mlp", "mnist_small"] {
        let compiled = model(name, NormChoice::Auto);
        snapshot(&format!("{name}.graph"), &compiled.graph);
        snapshot(&format!("{name}.gradients"), &compiled.gradients);
        snapshot(&format!("{name}.private"), &compiled.private);
        snapshot(&format!("{name}.program"), gpu::listing(&compiled.program));
    }
}

/// What is kept in 16 bits, and where floats are made of it again.
#[test]
fn sixteen_bits() {
    let options = Options { precision: Precision::F16, ..zoo_options("lstm_small", NormChoice::Auto) };
    let (_, compiled) = compiled(&models("zoo/lstm_small.ts.onnx"), &options).expect("it compiles");
    let narrowed = |text: String| -> String {
        text.lines().filter(|line| line.contains(".16")).map(|line| format!("{line}\n")).collect()
    };
    snapshot("lstm_small.f16", narrowed(compiled.private.to_string()) + "\n" + &narrowed(compiled.program.to_string()));
}

#[test]
fn private_graphs() {
    for name in ["lstm_small", "embedding_small", "tied_embedding"] {
        snapshot(&format!("{name}.private"), model(name, NormChoice::Auto).private);
    }
}

/// The lines of the private graph that a clip rule has a say in.
#[test]
fn clip_rules() {
    for (name, groups) in [("mlp", "*.weight=0.5;*.bias=1.0"), ("tied_embedding", "*=0.5")] {
        let mut text = String::new();
        let by_group = format!("per-group:{groups}");
        for rule in ["flat:1.0", "per-layer:1.0", &by_group, "auto:1.0", "per-layer:1.0,auto,gamma=0.1"] {
            let clip = rule.parse().expect("a clip rule");
            let path = models(&format!("zoo/{name}.ts.onnx"));
            let (_, compiled) = compiled(&path, &Options { clip, ..zoo_options(name, NormChoice::Auto) }).expect(rule);
            text += &format!("--clip {rule}\n\n");
            let private = compiled.private.to_string();
            let rewritten = |line: &&str| ["%bounds", "%sq", "%clip", "%g."].iter().any(|p| line.starts_with(p));
            private.lines().filter(rewritten).for_each(|line| text += &format!("{line}\n"));
            text += "\n";
        }
        snapshot(&format!("{name}.clip"), text);
    }
}

/// The lines of the private graph that a norm strategy has a say in.
#[test]
fn norm_strategies() {
    for name in ["mlp", "mnist_small", "lstm_small", "tied_embedding"] {
        let mut text = String::new();
        for norm in [NormChoice::Materialize, NormChoice::Ghost, NormChoice::Tile] {
            text += &format!("--norm {norm:?}\n\n").to_lowercase();
            let private = model(name, norm).private.to_string();
            let rewritten = |line: &&str| ["%psg.", "%sq.", "%cross.", "%g."].iter().any(|p| line.starts_with(p));
            private.lines().filter(rewritten).for_each(|line| text += &format!("{line}\n"));
            text += "\n";
        }
        snapshot(&format!("{name}.norms"), text);
    }
}

#[test]
fn refusals() {
    let mut text = String::new();
    for name in [
        "batch_norm",
        "batch_mean",
        "whole_mean",
        "batch_flip",
        "batch_attention",
        "batch_softmax",
        "batch_twice",
        "batch_reshape",
        "batch_lstm",
        "batch_conv",
        "batch_size",
        "unsupported_ops",
    ] {
        let source = Source::open(&models(&format!("refused/{name}.ts.onnx"))).expect("a model");
        let parameters = discover(&source, &[], &[]).expect("parameters");
        let refused = prove(&source, &parameters).expect_err(name);
        text += &format!("{name}\n\n{}\n", shown(&refused));
    }
    snapshot("refusals", text);
}

#[test]
fn hazards_of_exporters() {
    let mut text = String::new();
    for name in ["merged_biases", "folded_weights", "folded_layers", "untied_head"] {
        for recipe in ["ts", "dyn"] {
            let source = Source::open(&models(&format!("hazards/{name}.{recipe}.onnx"))).expect("a model");
            let mut warnings = source.notes.clone();
            warnings.extend(discover(&source, &[], &[]).expect("parameters").warnings.clone());
            assert!(!warnings.is_empty(), "{name} {recipe}");
            text += &format!("{name}.{recipe}\n");
            warnings.iter().for_each(|warning| text += &format!("  {warning}\n"));
        }
    }
    snapshot("hazards", text);
}

/// The specialised shaders of a fused chain and of the clip factors.
#[test]
fn shaders() {
    let program = model("mnist_small", NormChoice::Auto).program;
    let private = program.phase(Phase::Private);
    let first = |wanted: fn(&Kernel) -> bool| {
        let dispatch = private.iter().find(|d| wanted(&d.kernel)).expect("such a kernel");
        gpu::emit::specialise(&dispatch.kernel)
    };
    snapshot("mnist_small.elementwise.wgsl", first(|k| matches!(k, Kernel::Elementwise(_))));
    snapshot("mnist_small.clip_factor.wgsl", first(|k| matches!(k, Kernel::ClipFactor(_))));
}

/// The help of every command.
#[test]
fn help() {
    let shown = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_dpc")).args(arguments).output().expect("dpc runs");
        String::from_utf8(output.stdout).expect("text")
    };
    let mut text = shown(&["--help"]);
    for command in [
        "compile",
        "check",
        "train",
        "tune",
        "eval",
        "run",
        "grads",
        "export",
        "inspect",
        "account",
        "audit",
        "verify-certificate",
    ] {
        text += &format!("\n--- dpc {command} --help\n\n{}", shown(&[command, "--help"]));
    }
    snapshot("help", text);
}
