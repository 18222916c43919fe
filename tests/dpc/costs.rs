//! What kernels cost, measured by the commands that choose norms by it and show it.

use super::place::{Place, models};

/// `dpc` with its cache in the directory of the test.
fn ok(place: &Place, line: &str) -> String {
    let cache = place.path("cache");
    let mut command = place.command(line);
    command.env("XDG_CACHE_HOME", &cache).env("HOME", &cache).env("LOCALAPPDATA", &cache);
    let output = command.output().expect("dpc runs");
    assert!(output.status.success(), "dpc {line}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn costs_on(device: &str) {
    let place = Place::new();
    let model = models("digits_cnn.onnx");
    ok(&place, &format!("compile {model} --loss cross-entropy -o m.dpc --max-batch 13 --tune {device}"));
    let text = ok(&place, &format!("inspect m.dpc --device {device} --batch 13 --measure"));
    // Every kernel of a step is there with what was predicted and what it took.
    let line = text.lines().find(|line| line.contains("ms measured") || line.contains("µs measured"));
    assert!(line.is_some_and(|line| line.starts_with("private: ")), "{text}");
    for part in ["gemm", "clip_factor", "release", "sgd", "materialize", "tile", "chosen"] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    assert!(!text.contains("inf "), "{text}");
    // What is known is not measured again.
    let predicted = |text: &str| text.lines().filter(|line| line.contains("predicted")).map(str::to_owned).next();
    let first = ok(&place, &format!("inspect m.dpc --device {device} --batch 13"));
    assert_eq!(predicted(&first), predicted(&ok(&place, &format!("inspect m.dpc --device {device} --batch 13"))));
}

#[test]
fn a_model_is_tuned_for_the_cpu() {
    costs_on("cpu");
}

#[test]
fn a_model_is_tuned_for_a_gpu() {
    costs_on("gpu");
}

/// How the norm of a parameter's gradient is computed, as `dpc inspect` shows it.
fn strategy(place: &Place, memory: &str) -> String {
    let model = models("zoo/mnist_small.ts.onnx");
    place.ok(&format!("compile {model} --loss cross-entropy -o m.dpc --max-batch 64 {memory}"));
    let text = place.ok("inspect m.dpc");
    let norms = text.split("norms of per-sample gradients").nth(1).expect("norms");
    let line = norms.lines().find(|line| line.trim_start().starts_with("conv1.weight")).expect("a parameter");
    line.split_whitespace().nth(1).expect("a strategy").to_owned()
}

#[test]
fn stored_gradients_keep_to_their_memory() {
    let place = Place::new();
    // 48 elements a record.
    let bytes = 48 * 4 * 64;
    assert_eq!(strategy(&place, ""), "materialize");
    assert_eq!(strategy(&place, &format!("--memory {bytes}")), "materialize");
    assert_ne!(strategy(&place, &format!("--memory {}", bytes - 64)), "materialize");
    assert_ne!(strategy(&place, "--memory 0"), "materialize");
    let error = place.fails("compile m.onnx --loss mse -o m.dpc --memory lots", 2);
    assert!(error.contains("512MiB"), "{error}");
}
