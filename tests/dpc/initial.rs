//! `dpc compile --init`: training that begins with the values of another file.

use dpc::onnx::Source;
use dpc::privacy::certificate::Certificate;
use dpc::tensors::{Tensor, Tensors, from_safetensors, to_safetensors};
use dpc::train::run_dir::RunDir;

use super::place::{Place, TINY, checkpoints, models};

const MODEL: &str = "zoo/gemm_alpha_beta.ts.onnx";

/// A place with a run of ten steps, whose parameters are in `run.safetensors` and `run.onnx`.
fn trained() -> Place {
    let place = Place::new();
    place.tiny();
    place.ok(&format!("{TINY} --steps 10 --out run"));
    place.ok("export run -o run.onnx");
    place.ok("export run -o run.safetensors");
    place
}

fn tensors(place: &Place, name: &str) -> Tensors {
    from_safetensors(&std::fs::read(place.path(name)).expect("a file")).expect("tensors").0
}

/// Compiles the model with the values of a file; what is said of it, in one line.
fn compiled(place: &Place, flags: &str) -> String {
    let line = format!("compile {} --loss cross-entropy -o n.dpc {flags}", models(MODEL));
    let output = place.run(&line);
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(output.status.success(), "{said}");
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_model_begins_with_the_values_of_either_kind_of_file() {
    let place = trained();
    let expected = place.ok("eval run --data data.npz --device cpu --json");
    assert_ne!(place.ok("eval m.dpc --data data.npz --device cpu --json"), expected);
    let count = tensors(&place, "run.safetensors").len();
    for file in ["run.safetensors", "run.onnx"] {
        let said = compiled(&place, &format!("--init {file}"));
        assert!(said.contains(&format!("{count} of {count} tensors begin with the values of {file}")), "{said}");
        assert_eq!(place.ok("eval n.dpc --data data.npz --device cpu --json"), expected, "{file}");
    }
}

#[test]
fn frozen_parameters_begin_so_too_and_stay() {
    let place = trained();
    let before = tensors(&place, "run.safetensors");
    let names: Vec<&String> = before.keys().collect();
    let frozen = names[0];
    compiled(&place, &format!("--init run.safetensors --freeze {frozen}"));
    let line = TINY.replace("m.dpc", "n.dpc");
    place.ok(&format!("{line} --steps 3 --out fine"));
    place.ok("export fine -o fine.onnx");
    let fine = Source::open(&place.path("fine.onnx")).expect("a model");
    for (name, tensor) in &before {
        let same = fine.initializers[name].floats().expect("floats") == tensor.data;
        assert_eq!(same, name == frozen, "{name}");
    }
}

#[test]
fn a_certificate_says_where_values_came_from_and_runs_go_on_with_them() {
    let place = trained();
    compiled(&place, "--init run.safetensors");
    let line = TINY.replace("m.dpc", "n.dpc");
    let seeded = format!("{line} --insecure-seed 3");
    place.ok(&format!("{seeded} --steps 6 --out whole"));
    place.ok(&format!("{seeded} --steps 6 --out parts"));
    // As if it had been killed before its last step was stored.
    let stored = checkpoints(&RunDir::new(&place.path("parts")));
    std::fs::remove_file(stored.last().expect("a checkpoint")).expect("it goes");
    place.ok(&format!("{seeded} --steps 6 --out parts --resume"));
    for run in ["whole", "parts"] {
        place.ok(&format!("export {run} -o {run}.safetensors"));
    }
    assert_eq!(tensors(&place, "whole.safetensors"), tensors(&place, "parts.safetensors"));

    place.ok(&format!("{line} --steps 3 --out fine"));
    place.ok("verify-certificate fine");
    let path = place.path("fine/certificate.json");
    let certificate = Certificate::read(&path).expect("a certificate");
    let values = certificate.provenance.initial_values.clone().expect("initial values");
    assert_eq!(values.file, "run.safetensors");
    let said = certificate.does_not_cover.last().expect("some");
    assert!(said.contains(&values.sha256) && said.ends_with("are taken to be public"), "{said}");
    let page = std::fs::read_to_string(place.path("fine/certificate.md")).expect("a page");
    assert!(page.contains(&format!("| initial values, taken to be public | {values} |")), "{page}");
    // Another file is another run.
    compiled(&place, "--init whole.safetensors");
    let error = place.fails(&format!("{line} --steps 3 --out fine --resume"), 1);
    assert!(error.contains("dpc::train::resume") && error.contains("model"), "{error}");
    // A certificate that hides it does not hold.
    let text = std::fs::read_to_string(&path).expect("text").replace(&values.sha256, &"0".repeat(64));
    std::fs::write(&path, text).expect("a file");
    let error = place.fails("verify-certificate fine", 1);
    assert!(error.contains("initial_values"), "{error}");
}

#[test]
fn what_does_not_match_is_told() {
    let place = trained();
    let mut given = tensors(&place, "run.safetensors");
    let names: Vec<String> = given.keys().cloned().collect();
    let write = |tensors: &Tensors| {
        std::fs::write(place.path("g.safetensors"), to_safetensors(tensors, None).expect("tensors")).expect("a file");
    };
    let other = Tensor { dims: vec![5], data: vec![0.5; 5] };
    given.insert(names[0].clone(), other.clone());
    given.remove(&names[1]);
    given.insert("head.weight".to_owned(), other.clone());
    write(&given);
    let said = compiled(&place, "--init g.safetensors");
    for part in [
        "no, it has the shape [5] there".to_owned(),
        "no, it is not there".to_owned(),
        format!("{} of {} tensors begin with", names.len() - 2, names.len()),
        "it has 1 that are not in the model: head.weight".to_owned(),
    ] {
        assert!(said.contains(&part), "{part}: {said}");
    }
    let fails = |code: &str| {
        let line = format!("compile {} --loss cross-entropy -o none.dpc --init g.safetensors", models(MODEL));
        let error = place.fails(&line, 1);
        assert!(error.contains(code), "{error}");
        assert!(!place.path("none.dpc").exists());
    };
    write(&Tensors::from([("head.weight".to_owned(), other)]));
    fails("dpc::onnx::initial_unmatched");
    let mut nonfinite = tensors(&place, "run.safetensors");
    nonfinite.get_mut(&names[2]).expect("a tensor").data[0] = f32::NAN;
    write(&nonfinite);
    fails("dpc::onnx::initial_nonfinite");
    std::fs::write(place.path("g.safetensors"), "hello").expect("a file");
    fails("dpc::onnx::not_a_model");
}
