//! What a run leaves to be looked at, and to be repeated by: evaluations, event files, its configuration, a report.

use std::path::Path;

use dpc::tensors::from_safetensors;
use dpc::train::metrics::StepMetrics;

use super::place::{Place, TINY, models};

fn metrics(path: &Path) -> Vec<StepMetrics> {
    let text = std::fs::read_to_string(path.join("metrics.jsonl")).expect("metrics");
    text.lines().map(|line| serde_json::from_str(line).expect("a line of metrics")).collect()
}

/// What a command that fails says, on one line.
fn failure(place: &Place, line: &str) -> String {
    let said = place.fails(line, 1).replace('│', " ");
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_run_is_watched_repeated_and_reported() {
    let place = Place::new();
    place.tiny();
    let line = format!(
        "{TINY} --steps 6 --valid data.npz --valid-every 2 --insecure-seed 3 --lr-for *bias=0.5 --tensorboard board --out run"
    );
    let line = line.replace(" --json", "");
    let said = place.ok(&line);
    let table: Vec<&str> = said.lines().filter(|line| line.starts_with("  ")).collect();
    assert!(table.len() == 4 && table[0].contains("accuracy") && table[0].contains("macro F1"), "{said}");
    let lines = metrics(&place.path("run"));
    let evaluated: Vec<u64> = lines.iter().filter(|line| line.valid.is_some()).map(|line| line.step).collect();
    assert_eq!(evaluated, [2, 4, 6]);
    assert!(lines.iter().all(|line| line.not_private.is_none()));
    let events = std::fs::read_dir(place.path("board")).expect("a directory").count();
    assert_eq!(events, 1);

    // The same parameters by the file that the run left, and others by other flags.
    let bytes = |run: &str| {
        place.ok(&format!("export {run} -o {run}.safetensors"));
        std::fs::read(place.path(&format!("{run}.safetensors"))).expect("a file")
    };
    place.ok("train --config run/config.toml --out again");
    assert_eq!(bytes("again"), bytes("run"));
    place.ok("train --config run/config.toml --out other --lr 0.2");
    assert_ne!(bytes("other"), bytes("run"));
    // A number is read as its value, and written again as the shortest text of it.
    let kept = |run: &str| {
        let text = std::fs::read_to_string(place.path(run).join("config.toml")).expect("a file");
        text.replace("= 1e-3\n", "= 0.001\n")
    };
    assert_eq!(kept("again"), kept("run"));
    assert!(kept("other").contains("lr = 0.2\n"), "{}", kept("other"));

    // What is resumed must have the same rates.
    let error = failure(&place, &format!("{} --resume", line.replace(" --lr-for *bias=0.5", "")));
    assert!(error.contains("learning rates of their own *bias=0.5, now none"), "{error}");
    let error = failure(&place, &line.replace("*bias=0.5", "nothing.*=1").replace("--out run", "--out none"));
    assert!(error.contains("no trained parameter fits `nothing.*`") && !place.path("none").exists(), "{error}");

    std::fs::write(place.path("wrong.toml"), "learning-rate = 1\nbatches = 3\n").expect("a file");
    let error = failure(&place, "train --config wrong.toml");
    assert!(error.contains("`batches` is no flag; `learning-rate` is no flag"), "{error}");

    place.ok("report run other -o report.html");
    let page = std::fs::read_to_string(place.path("report.html")).expect("a page");
    assert!(
        page.contains("Validation accuracy") && page.contains("No guarantee holds for these runs together"),
        "{page}"
    );
    let error = failure(&place, "report run board nowhere -o none.html");
    assert!(error.contains("board") && error.contains("nowhere") && !place.path("none.html").exists(), "{error}");

    assert!(place.ok("completions bash").contains("complete -F"));
    place.ok("man pages");
    assert!(place.path("pages/dpc-train.1").exists());
}

/// The parameters of the run `run`, by name.
fn exported(place: &Place, run: &str) -> dpc::tensors::Tensors {
    place.ok(&format!("export {run} -o {run}.safetensors"));
    from_safetensors(&std::fs::read(place.path(&format!("{run}.safetensors"))).expect("a file")).expect("tensors").0
}

#[test]
fn a_rate_of_its_own_moves_a_parameter_alone() {
    let place = Place::new();
    place.tiny();
    let model = models("zoo/gemm_alpha_beta.ts.onnx");
    for optimizer in ["sgd", "adam"] {
        place.ok(&format!("compile {model} --loss cross-entropy -o m.dpc --optimizer {optimizer}"));
        for device in ["cpu", "gpu"] {
            let run = |name: &str, more: &str| {
                let line = TINY.replace("--device cpu", &format!("--device {device}"));
                let out = format!("{optimizer}-{device}-{name}");
                place.ok(&format!(
                    "{line} --steps 1 --insecure-seed 5 --lr-schedule constant:warmup=2 --out {out} {more}"
                ));
                exported(&place, &out)
            };
            let (usual, own) = (run("usual", ""), run("own", "--lr-for *bias=0.5"));
            let begun = exported_start(&place, &format!("{optimizer}-{device}-own"));
            for (name, start) in &begun {
                for ((start, usual), own) in start.data.iter().zip(&usual[name].data).zip(&own[name].data) {
                    // The first update of both optimizers is in proportion to the rate.
                    let times = if name.ends_with("bias") { 5.0 } else { 1.0 };
                    let (usual, own) = (usual - start, own - start);
                    assert!(
                        (own - times * usual).abs() <= 2e-6 * (1.0 + start.abs()),
                        "{optimizer} {device} {name}: {own} is not {times} × {usual}"
                    );
                    assert!(usual != 0.0 || own == 0.0);
                }
            }
            assert!(begun.keys().any(|name| name.ends_with("bias") && own[name] != usual[name]), "{:?}", begun.keys());
        }
    }
}

/// What the run began with.
fn exported_start(place: &Place, run: &str) -> dpc::tensors::Tensors {
    place.ok(&format!("export {run}/untrained.dpc -o start.safetensors"));
    from_safetensors(&std::fs::read(place.path("start.safetensors")).expect("a file")).expect("tensors").0
}
