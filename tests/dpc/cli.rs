//! The commands, run as a person would.

use dpc::privacy::ledger::Contents;
use dpc::tensors::{Tensors, from_safetensors};
use dpc::train::data::npz::Npz;
use dpc::train::run_dir::RunDir;

use super::place::{Place, files, models};

impl Place {
    pub fn compile(&self, flags: &str) {
        self.ok(&format!("compile {} --loss cross-entropy -o m.dpc {flags}", models("digits_cnn.onnx")));
    }

    /// Trains the digits network with a fixed seed, and returns its parameters.
    fn train(&self, flags: &str) -> Tensors {
        let data = models("digits_train.npz");
        self.ok(&format!("train m.dpc --data {data} --lr 1 --insecure-seed 7 --json --out run {flags}"));
        self.ok("export run -o trained.safetensors");
        std::fs::remove_dir_all(self.path("run")).expect("the run is there");
        from_safetensors(&std::fs::read(self.path("trained.safetensors")).expect("a file")).expect("tensors").0
    }
}

/// The distance of two sets of parameters over the length of the first, in L2.
pub fn distance(a: &Tensors, b: &Tensors) -> f64 {
    assert!(a.keys().eq(b.keys()));
    let pairs = || a.iter().flat_map(|(name, tensor)| tensor.data.iter().zip(&b[name].data));
    let apart: f64 = pairs().map(|(x, y)| f64::from(x - y).powi(2)).sum();
    let length: f64 = pairs().map(|(x, _)| f64::from(*x).powi(2)).sum();
    (apart / length).sqrt()
}

const SHORT: &str = "--noise-multiplier 1 --delta 1e-4 --batch 100 --steps 4 --device cpu";

#[test]
fn the_demo_trains_to_its_promise() {
    let place = Place::new();
    let text = place.ok("demo --device cpu");
    let accuracy = text.lines().find_map(|line| line.strip_prefix("test accuracy ")?.strip_suffix(" %"));
    let accuracy: f64 = accuracy.expect("the accuracy is printed").parse().expect("a number");
    assert!(accuracy >= 94.0, "{text}");
    assert!(place.ok("verify-certificate dpc-demo/run").contains("the certificate holds"));
}

#[test]
fn neither_the_physical_batch_nor_the_norms_change_a_step() {
    let place = Place::new();
    place.compile("--norm materialize --clip flat:0.5");
    let expected = place.train(SHORT);
    assert_eq!(distance(&expected, &place.train(&format!("{SHORT} --physical-batch 7"))), 0.0);
    for norm in ["ghost", "tile"] {
        place.compile(&format!("--norm {norm} --clip flat:0.5"));
        assert!(distance(&expected, &place.train(&format!("{SHORT} --physical-batch 64"))) < 1e-5, "{norm}");
    }
}

#[test]
fn both_devices_take_the_same_steps() {
    let place = Place::new();
    place.compile("--optimizer adamw");
    let cpu = place.train(SHORT);
    let gpu = place.train(&SHORT.replace("cpu", "gpu"));
    assert!(distance(&cpu, &gpu) < 1e-3);
}

#[test]
fn without_noise_and_with_a_huge_bound_training_is_not_private_sgd() {
    let place = Place::new();
    // On a grid of a billionth of a billion nothing would be left of gradients.
    place.compile("--clip flat:1e9 --noise float --optimizer sgd:momentum=0.9");
    let loose = place.train("--noise-multiplier 0 --delta 1e-4 --batch 100 --steps 4 --device cpu");
    let plain = place.train("--non-private --batch 100 --steps 4 --device cpu");
    assert!(distance(&loose, &plain) < 1e-5);
}

#[test]
fn a_killed_run_is_resumed_and_every_step_is_counted() {
    let place = Place::new();
    place.compile("");
    let data = models("digits_train.npz");
    let line = format!(
        "train m.dpc --data {data} --lr 1 --noise-multiplier 2 --delta 1e-4 --batch 64 --steps 40 --device cpu --out run --json"
    );
    let mut child = place.command(&line).spawn().expect("dpc runs");
    let ledger = RunDir::new(&place.path("run")).ledger();
    while Contents::read(&ledger).map_or(0, |contents| contents.steps()) < 3 {
        assert!(child.try_wait().expect("a child").is_none(), "the run ended before it could be killed");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    child.kill().expect("a child");
    child.wait().expect("a child");
    let before = Contents::read(&ledger).expect("a ledger").steps();

    assert!(place.fails(&line, 1).contains("--resume"));
    let summary: serde_json::Value = serde_json::from_str(&place.ok(&format!("{line} --resume"))).expect("JSON");
    assert_eq!(summary["steps"], 40);
    let after = Contents::read(&ledger).expect("a ledger").steps();
    assert!((40 + 1..=40 + before).contains(&after), "{before} steps before, {after} after");
    place.ok("verify-certificate run");
}

#[test]
fn an_artifact_is_the_same_every_time() {
    let place = Place::new();
    place.compile("");
    let first = std::fs::read(place.path("m.dpc")).expect("an artifact");
    place.compile("");
    assert!(first == std::fs::read(place.path("m.dpc")).expect("an artifact"));
}

#[test]
fn failures_say_where_and_what_to_do_and_leave_nothing() {
    let place = Place::new();
    let model = models("digits_cnn.onnx");
    let train = models("digits_train.npz");
    let truncated = std::fs::read(&model).expect("a model");
    std::fs::write(place.path("cut.onnx"), &truncated[..truncated.len() / 2]).expect("a file");
    for (line, said) in [
        ("compile cut.onnx --loss mse -o m.dpc".to_owned(), "cut.onnx"),
        (format!("compile {model} --loss cross-entropy -o absent/m.dpc"), "check that the directory exists"),
        (format!("compile {model} --loss mse --train nothing* -o m.dpc"), "nothing*"),
        (format!("compile {model} --loss cross-entropy --clip per-group:conv*=1 -o m.dpc"), "`fc.weight`"),
        ("eval m.dpc --data d.npz".to_owned(), "cannot read m.dpc"),
        (format!("grads {model} --data {model} --loss mse --out g.npz"), "FILE.npz"),
        (format!("run {model} --data {train} --out absent/o.npz"), "absent"),
        (format!("check {}", models("refused/batch_mean.ts.onnx")), "mixes_records"),
    ] {
        let error = place.fails(&line, 1);
        assert!(error.contains(said), "dpc {line}\n{error}");
        assert!(error.contains("help:"), "dpc {line}\n{error}");
    }
    for (line, said) in [
        (format!("compile {model} --loss hinge -o m.dpc"), "cross-entropy"),
        (format!("compile {model} --loss mse --clip flat:0 -o m.dpc"), "flat:C"),
        (format!("compile {model} --loss mse --optimizer sgd:beta1=1 -o m.dpc"), "momentum"),
        ("train m.dpc --data d --epsilon -1 --delta 0.1 --batch 1 --steps 1 --lr 1".to_owned(), "above 0"),
        ("train m.dpc --data d --delta 0.1 --batch 1 --steps 1 --lr 1".to_owned(), "--non-private"),
        ("account --noise-multiplier 1 --sample-rate 2 --steps 1 --delta 0.1".to_owned(), "at most 1"),
    ] {
        let error = place.fails(&line, 2);
        assert!(error.contains(said), "dpc {line}\n{error}");
    }
    let left = files(&place.path("."), |_| true);
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn gradients_are_written_for_every_clip_rule() {
    let place = Place::new();
    let (model, data) = (models("digits_cnn.onnx"), models("digits_test.npz"));
    for (rule, groups) in [("flat:0.5", 0), ("per-layer:0.5", 3), ("per-group:fc.*=0.3;conv*=0.4,auto", 2)] {
        place.ok(&format!(
            "grads {model} --data {data} --loss cross-entropy --clip {rule} --out g.npz --per-sample --device cpu"
        ));
        let mut written = Npz::open(&place.path("g.npz")).expect("an archive");
        let names = written.names();
        let mut floats = |name: &str| written.read(name).expect("an array").to_f32();
        let norms: Vec<Vec<f32>> = names.iter().filter(|n| n.starts_with("norm/")).map(|n| floats(n)).collect();
        assert_eq!(norms.len(), groups, "{rule}: {names:?}");
        let norm = floats("norm");
        let per_sample = floats("per_sample/fc.weight");
        let width = floats("sum/fc.weight").len();
        assert_eq!(per_sample.len(), norm.len() * width);
        assert!(floats("sum/fc.weight").iter().any(|g| *g != 0.0), "{rule}");
        for (n, norm) in norm.iter().enumerate().filter(|_| groups > 0) {
            let total = norms.iter().map(|norms| norms[n].powi(2)).sum::<f32>().sqrt();
            assert!((total - norm).abs() <= 1e-5 * norm, "{rule}: record {n} has norm {norm} and not {total}");
        }
    }
}

/// Of the five numbers any one is worked out from the others, and the answers agree.
#[test]
fn account_works_out_what_is_left_out() {
    let place = Place::new();
    let number = |line: &str, key: &str| -> f64 {
        let text = place.ok(&format!("account --accountant rdp --json {line}"));
        let answer: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(answer.as_object().expect("an object").len(), 1, "{text}");
        answer[key].as_f64().expect("a number")
    };
    let close = |found: f64, expected: f64| assert!((found / expected - 1.0).abs() < 5e-3, "{found}, not {expected}");
    close(number("--noise-multiplier 1 --sample-rate 0.01 --steps 1000 --delta 1e-5", "epsilon"), 2.10136653);
    close(number("--epsilon 2.1 --sample-rate 0.01 --steps 1000 --delta 1e-5", "noise_multiplier"), 1.0);
    close(number("--noise-multiplier 1 --sample-rate 0.01 --epsilon 2.1 --delta 1e-5", "steps"), 1000.0);
    close(number("--noise-multiplier 1 --epsilon 2.1 --steps 1000 --delta 1e-5", "sample_rate"), 0.01);
    close(number("--noise-multiplier 1 --batch 10 --records 1000 --steps 1000 --epsilon 2.10136653", "delta"), 1e-5);
    let halves = "--noise-multiplier 1 --sample-rate 0.01 --steps 500 --delta 1e-5 --then 1,0.01,300 --then 1,0.01,200";
    close(number(halves, "epsilon"), 2.10136653);
    let replaced = "--adjacency replace-one --noise-multiplier 2.2 --batch 256 --records 60000 --delta 1e-5";
    close(number(&format!("{replaced} --sampling fixed-size --steps 14062"), "epsilon"), 5.243254);
    close(number(&format!("{replaced} --sampling shuffle --steps 234"), "epsilon"), 4.239641);

    let approximate = "account --accountant gdp --noise-multiplier 1 --sample-rate 0.01 --steps 1000 --delta 1e-5";
    assert!(place.ok(approximate).contains("an approximation, not a bound"));
    assert!(place.ok(&format!("{approximate} --json")).contains("\"approximation\":true"));
    for (line, said) in [
        ("--noise-multiplier 1 --delta 1e-5", "--sample-rate and --steps and --epsilon are missing"),
        ("--noise-multiplier 1 --sample-rate 0.01 --steps 9 --delta 1e-5 --epsilon 1", "nothing is left"),
        ("--noise-multiplier 1 --sampling shuffle --steps 9 --delta 1e-5", "needs --batch and --records"),
        ("--noise-multiplier 1 --batch 2 --records 9 --sampling shuffle --steps 9 --delta 1e-5", "replace-one"),
    ] {
        let error = place.fails(&format!("account {line}"), 1);
        assert!(error.contains(said) && error.contains("help:"), "dpc account {line}\n{error}");
    }
}

#[test]
fn emitted_stages_are_text() {
    let place = Place::new();
    let model = models("digits_cnn.onnx");
    for (stage, said) in [
        ("graph", "return dpc.loss = %loss"),
        ("gradients", "return grad/fc.weight"),
        ("private", "clip_factor grid flat %sq, %weight, %bounds"),
        ("program", "release {"),
        ("wgsl", "@compute"),
    ] {
        let text = place.ok(&format!("compile {model} --loss cross-entropy --emit {stage}"));
        assert!(text.contains(said), "{stage}\n{text}");
    }
    place.ok(&format!("compile {model} --loss cross-entropy --emit wgsl --emit-dir out"));
    assert!(std::fs::read_dir(place.path("out")).expect("a directory").count() > 5);
}
