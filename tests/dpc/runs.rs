//! What a run's directory holds and says of itself: trained and untrained parameters, its ledger, its end.

use std::path::Path;

use dpc::onnx::Source;
use dpc::privacy::ledger::Contents;
use dpc::tensors::from_safetensors;
use dpc::train::checkpoint::Checkpoint;
use dpc::train::data::{Array, npz};
use dpc::train::metrics::StepMetrics;
use dpc::train::run_dir::RunDir;
use prost::Message;

use super::place::{Place, TINY, checkpoints, models};

/// The metadata of an exported ONNX file, by key.
fn metadata(path: &Path, key: &str) -> Option<String> {
    let source = Source::open(path).expect("a model");
    let found = source.model.metadata_props.iter().find(|entry| entry.key() == key);
    found.map(|entry| entry.value().to_owned())
}

fn stderr(place: &Place, line: &str) -> String {
    let output = place.run(line);
    assert!(output.status.success(), "dpc {line}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stderr).expect("text")
}

/// Data for [`Place::tiny`]'s model with one value that is not finite, as `nan.npz`.
fn spoiled(place: &Place) {
    let mut data = npz::Npz::open(&place.path("data.npz")).expect("data");
    let (input, label) = (data.read("input").expect("an array"), data.read("label").expect("an array"));
    let mut values = input.to_f32();
    values[9] = f32::NAN;
    let input = Array::from_f32(input.dims().to_vec(), &values);
    npz::write(&place.path("nan.npz"), &[("input".to_owned(), input), ("label".to_owned(), label)].into())
        .expect("a file");
}

#[test]
fn a_run_without_privacy_ends_at_the_record_that_spoils_it() {
    let place = Place::new();
    place.tiny();
    for optimizer in ["sgd", "sgd:momentum=0.9", "adam"] {
        let model = models("zoo/gemm_alpha_beta.ts.onnx");
        place.ok(&format!("compile {model} --loss cross-entropy -o m.dpc --optimizer {optimizer}"));
        spoiled(&place);
        for device in ["cpu", "gpu"] {
            let out = format!("{optimizer}.{device}").replace([':', '='], "-");
            let line = format!(
                "train m.dpc --data nan.npz --non-private --batch 64 --steps 20 --lr 0.1 --device {device} --out {out}"
            );
            let error = place.fails(&line, 1);
            assert!(error.contains("after step 1 what is trained is not finite"), "{error}");
            assert!(error.contains("holds 1 values that are NaN"), "{error}");
            assert_eq!(error.contains("exp_avg"), optimizer == "adam", "{error}");
            let directory = RunDir::new(&place.path(&out));
            assert_eq!(Contents::read(&directory.ledger()).expect("a ledger").steps(), 1);
            let metrics = std::fs::read_to_string(directory.metrics()).expect("metrics");
            let last: StepMetrics = serde_json::from_str(metrics.lines().last().expect("a line")).expect("metrics");
            let observed = last.not_private.expect("figures");
            // The Relu of a device may take the NaN for 0, so that the loss is finite and the gradient is not.
            let known = (observed.nonfinite_losses, observed.nonfinite_units);
            assert!([(1, Some(1)), (0, None)].contains(&known), "{known:?}");
            let [only] = &checkpoints(&directory)[..] else { panic!("not one checkpoint") };
            let checkpoint = Checkpoint::load(only).expect("a checkpoint");
            let tensors = checkpoint.parameters.values().chain(checkpoint.states.values());
            assert!(tensors.flat_map(|tensor| &tensor.data).all(|value| value.is_finite()));
            // What is exported is the last good state, and says so.
            let said = stderr(&place, &format!("export {out} -o t.onnx"));
            assert!(said.contains("unfinished: step 0 of 20"), "{said}");
        }
    }
    let said = stderr(&place, "eval m.dpc --data nan.npz");
    assert!(
        said.contains("holds 1 values that are NaN") && said.contains("the loss of 1 of 64 records is not finite"),
        "{said}"
    );
}

#[test]
fn a_private_run_whose_parameters_overflow_ends() {
    let place = Place::new();
    place.tiny();
    for device in ["cpu", "gpu"] {
        let line = TINY.replace("--device cpu", &format!("--device {device}")).replace("--lr 0.1", "--lr 1e39");
        let error = place.fails(&format!("{line} --steps 3 --out {device}"), 1);
        assert!(error.contains("dpc::train::not_finite") && error.contains("is of step 0"), "{error}");
        assert_eq!(place.paid(device).expect("a ledger").steps(), 1);
    }
}

#[test]
fn what_is_not_finite_is_not_exported() {
    let place = Place::new();
    place.tiny();
    place.ok(&format!("{TINY} --steps 2 --out run"));
    let last = checkpoints(&RunDir::new(&place.path("run"))).pop().expect("a checkpoint");
    let mut checkpoint = Checkpoint::load(&last).expect("a checkpoint");
    let name = checkpoint.parameters.keys().next().expect("a parameter").clone();
    checkpoint.parameters.get_mut(&name).expect("a parameter").data[0] = f32::INFINITY;
    let directory = RunDir::new(&place.path("run")).checkpoints();
    dpc::train::checkpoint::Checkpoints::at(&directory).save(&checkpoint).expect("a file");
    let error = place.fails("export run -o t.onnx", 1);
    assert!(error.contains("dpc::export::not_finite") && error.contains(&format!("`{name}`")), "{error}");
    assert!(!place.path("t.onnx").exists());
}

#[test]
fn a_directory_stands_for_its_trained_parameters() {
    let place = Place::new();
    place.tiny();
    place.ok(&format!("{TINY} --steps 8 --out run"));
    place.ok("export run -o t.onnx");
    let eval = |model: &str| place.ok(&format!("eval {model} --data data.npz --device cpu"));
    let trained = eval("run");
    assert_eq!(trained, eval("t.onnx --loss cross-entropy"));
    assert_ne!(trained, eval("m.dpc"));
    assert!(!place.path("run/model.dpc").exists());
    assert_eq!(eval("run/untrained.dpc"), eval("m.dpc"));
    let said = stderr(&place, "eval run --data data.npz");
    assert!(said.contains("run: the parameters of step 8 of 8"), "{said}");
    let said = stderr(&place, "eval run/untrained.dpc --data data.npz");
    assert!(said.contains("the parameters before training"), "{said}");
    for (model, out) in [("run", "a.npz"), ("t.onnx", "b.npz")] {
        place.ok(&format!("run {model} --data data.npz --out {out} --device cpu"));
    }
    let read = |name: &str| {
        let mut file = npz::Npz::open(&place.path(name)).expect("outputs");
        let names = file.names();
        names.into_iter().map(|name| file.read(&name).expect("an array").to_f32()).collect::<Vec<_>>()
    };
    assert_eq!(read("a.npz"), read("b.npz"));
    assert!(place.ok("inspect run").contains("phases"));
    let error = place.fails("eval . --data data.npz", 1);
    assert!(error.contains("dpc::run_directory"), "{error}");
    // A run of an earlier version.
    std::fs::rename(place.path("run/untrained.dpc"), place.path("run/model.dpc")).expect("a file");
    assert_eq!(eval("run"), trained);
    place.ok("verify-certificate run");
    place.ok(&format!("{TINY} --steps 8 --out run --resume"));
}

#[test]
fn an_export_says_whether_the_run_has_ended() {
    let place = Place::new();
    place.tiny();
    place.ok(&format!("{TINY} --steps 4 --out run"));
    let said = stderr(&place, "export run -o t.onnx");
    assert!(!said.contains("unfinished"), "{said}");
    let statement = metadata(&place.path("t.onnx"), "dpc.privacy").expect("a statement");
    assert!(statement.contains("differentially private") && !statement.contains("unfinished"), "{statement}");

    // As after a crash.
    let directory = RunDir::new(&place.path("run"));
    std::fs::remove_file(checkpoints(&directory).pop().expect("a checkpoint")).expect("a file");
    std::fs::remove_file(directory.certificate()).expect("a file");
    let said = stderr(&place, "export run -o t.onnx");
    assert!(said.contains("warning: the run is unfinished: step 3 of 4"), "{said}");
    let statement = metadata(&place.path("t.onnx"), "dpc.privacy").expect("a statement");
    assert!(statement.contains("unfinished: step 3 of 4, without a certificate"), "{statement}");
    place.ok("export run -o t.safetensors");
    let (_, metadata) =
        from_safetensors(&std::fs::read(place.path("t.safetensors")).expect("a file")).expect("tensors");
    assert_eq!(metadata["dpc.privacy"], statement);
}

#[test]
fn a_shared_ledger_is_found_and_what_came_after_is_said() {
    let place = Place::new();
    place.tiny();
    std::fs::create_dir(place.path("runs")).expect("a directory");
    for run in ["runs/a", "runs/b"] {
        place.ok(&format!("{TINY} --steps 5 --ledger all.ledger --out {run}"));
    }
    let last = place.ok("verify-certificate runs/b");
    assert!(last.starts_with("the certificate holds for the 10 steps"), "{last}");
    let output = place.run("verify-certificate runs/a");
    let (said, warned) = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).expect("text")).into();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.starts_with("the certificate held when it was written, for the 5 steps"), "{said}");
    let runs: Vec<String> = {
        let contents = Contents::read(&place.path("all.ledger")).expect("a ledger");
        contents.entries().iter().map(|entry| entry.run.clone()).collect()
    };
    assert!(said.contains(&format!("5 more steps are counted in the ledger since: 5 of run {}", runs[9])), "{said}");
    // The joint claim is that of the last certificate.
    let of = |name: &str| {
        let text = std::fs::read_to_string(place.path(name)).expect("a certificate");
        serde_json::from_str::<serde_json::Value>(&text).expect("JSON")["statement"].as_str().expect("text").to_owned()
    };
    assert!(said.contains(&of("runs/b/certificate.json")) && said.contains(&of("runs/a/certificate.json")), "{said}");
    assert!(warned.contains("dpc::certificate::grown") && warned.contains("no forgery"), "{warned}");

    // A resumed run finds it, too.
    let directory = RunDir::new(&place.path("runs/b"));
    std::fs::remove_file(checkpoints(&directory).pop().expect("a checkpoint")).expect("a file");
    place.ok(&format!("{TINY} --steps 5 --resume --out runs/b"));
    assert_eq!(Contents::read(&place.path("all.ledger")).expect("a ledger").steps(), 11);
    place.ok("verify-certificate runs/b");

    // A certificate of an earlier state of the run itself does not hold.
    std::fs::copy(place.path("runs/a/certificate.json"), place.path("runs/b/certificate.json")).expect("a file");
    let error = place.fails("verify-certificate runs/b", 1);
    assert!(error.contains("goes on after its certificate"), "{error}");

    std::fs::rename(place.path("all.ledger"), place.path("elsewhere")).expect("a file");
    let error = place.fails("verify-certificate runs/a", 1);
    assert!(error.contains("all.ledger") && error.contains("--ledger FILE"), "{error}");
    let error = place.fails("verify-certificate runs/a --ledger elsewhere", 1);
    assert!(error.contains("dpc::certificate::grown") && error.contains("6 more steps"), "{error}");
}

#[test]
fn a_certificate_that_does_not_hold_says_so_in_words() {
    let place = Place::new();
    place.tiny();
    for (run, steps) in [("a", 3), ("b", 4)] {
        place.ok(&format!("{TINY} --steps {steps} --out {run}"));
    }
    let error = place.fails("verify-certificate a --ledger b/ledger.jsonl", 1);
    assert!(error.contains("steps of noise multiplier 1 with poisson sampling"), "{error}");
    for debug in ["Some(", "None", "Mechanism", "Head {", "{"] {
        assert!(!error.contains(debug), "{error}");
    }
}

#[test]
fn a_run_is_resumed_with_its_schedule_and_every_difference_is_named() {
    let place = Place::new();
    place.tiny();
    let line = |flags: &str| format!("{} --steps 6 --out run {flags}", TINY.replace("--json", ""));
    let said = stderr(&place, &line("--lr-schedule cosine:to=0.1,warmup=2"));
    assert!(said.contains("learning rate 0.1 (cosine:to=0.1,warmup=2)"), "{said}");
    let error = place.fails(&line("--resume"), 1);
    let error = error.replace("\n  │ ", " ");
    assert!(error.contains("learning rate schedule cosine:to=0.1,warmup=2, now constant"), "{error}");
    let other =
        line("--resume --lr-schedule cosine:to=0.1,warmup=2 --sample-rate 0.5").replace("--batch 16", "--batch 8");
    let error = place.fails(&other, 1).replace("\n  │ ", " ");
    for said in ["sample rate 0.25, now 0.5", "expected batch 16.0, now 8.0", "public units 64, now none"] {
        assert!(error.contains(said), "{error}");
    }
    place.ok(&line("--resume --lr-schedule cosine:warmup=2,to=0.1"));
    let error = place.fails(&line("--lr-schedule sine"), 2);
    assert!(error.contains("warmup=100"), "{error}");
}

#[test]
fn words_are_true() {
    let place = Place::new();
    place.tiny();
    let line = |flags: &str, out: &str| format!("{} --steps 1 --out {out} {flags}", TINY.replace("--json", ""));
    let said = stderr(&place, &line("--sample-rate 0.75", "rate"));
    assert!(
        said.contains("1 steps of 48.0 records expected (sample rate 0.750000), their sum divided by 16"),
        "{said}"
    );
    let error = place.fails(&line("", "x").replace("--noise-multiplier 1", "--epsilon inf"), 2);
    assert!(error.contains("--non-private"), "{error}");

    let mut data = npz::Npz::open(&place.path("data.npz")).expect("data");
    let (input, label) = (data.read("input").expect("an array"), data.read("label").expect("an array"));
    let group = Array::from_i64(vec![64], &(0..64).map(|record| record / 2).collect::<Vec<i64>>());
    let arrays = [("input", input), ("label", label), ("group", group)].map(|(name, array)| (name.to_owned(), array));
    npz::write(&place.path("data.npz"), &arrays.into()).expect("a file");
    let said = stderr(&place, &line("", "groups"));
    assert!(said.contains("16 groups expected (sample rate 0.500000)") && said.contains("groups/s"), "{said}");
}

#[test]
fn what_is_read_or_written_otherwise_than_in_the_source_is_said() {
    let place = Place::new();
    let source = Source::open(models("zoo/gemm_alpha_beta.ts.onnx").as_ref()).expect("a model");
    let mut model = source.model;
    for tensor in &mut model.graph.as_mut().expect("a graph").initializer {
        let Some(floats) = source.initializers[tensor.name()].floats() else { continue };
        tensor.data_type = Some(11);
        tensor.float_data.clear();
        tensor.raw_data =
            Some(floats.iter().flat_map(|&float| f64::from(float).to_le_bytes()).collect::<Vec<_>>().into());
    }
    std::fs::write(place.path("double.onnx"), model.encode_to_vec()).expect("a file");
    let said = stderr(&place, "check double.onnx --loss cross-entropy");
    assert_eq!(said.matches("numbers of float64: dpc computes and trains in float32").count(), 1, "{said}");

    for (name, drops) in [("zoo/mlp_dropout.ts.onnx", true), ("zoo/gemm_alpha_beta.ts.onnx", false)] {
        place.ok(&format!("compile {} --loss mse -o d.dpc", models(name)));
        let said = stderr(&place, "export d.dpc -o d.onnx");
        assert_eq!(said.contains("Dropout is switched off in the file"), drops, "{said}");
    }
}

/// Records in files are drawn and read ahead of their step, by another thread; those in memory are not.
#[test]
fn records_in_files_are_trained_on_as_those_in_memory() {
    let place = Place::new();
    place.tiny();
    for (kind, flags) in
        [("poisson", ""), ("shuffle", "--sampling shuffle --adjacency replace-one"), ("views", "--augment 2:noise=0.1")]
    {
        let trained = |at: &str, more: &str| {
            let out = format!("{kind}-{at}");
            place.ok(&format!("{TINY} --steps 12 --insecure-seed 5 {flags} {more} --out {out}"));
            place.ok(&format!("export {out} -o {out}.safetensors"));
            std::fs::read(place.path(&format!("{out}.safetensors"))).expect("a file")
        };
        assert!(trained("memory", "") == trained("files", "--in-memory 0"), "{kind}");
    }
}
