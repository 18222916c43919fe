//! `dpc tune`: what is released, what it costs, and what is refused.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::place::{Place, files};
use dpc::privacy::ledger::Contents;
use dpc::train::checkpoint::Checkpoints;
use dpc::train::run_dir::RunDir;

/// Trials of four steps of 16 of 64 records.
const SPACE: &str = "artifact = \"m.dpc\"\ndata = \"data.npz\"\nvalid = \"data.npz\"\nbatch = 16\nsteps = 4\ndelta = 1e-3\ndevice = \"cpu\"\n";
const CHOOSE: &str = "[choose]\nlr = { from = 0.01, to = 10, values = 4 }\nema = [0.5, 0.9]\n";

fn place(space: &str) -> Place {
    let place = Place::new();
    place.tiny();
    fs::write(place.path("space.toml"), format!("{SPACE}{space}{CHOOSE}")).expect("a file");
    place
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("a file")).expect("JSON")
}

/// ln of the binomial coefficient.
fn binomial(n: u32, k: u32) -> f64 {
    (1..=k).map(|i| (f64::from(n - k + i) / f64::from(i)).ln()).sum()
}

/// Rényi divergence of Poisson sampling at a whole order: Mironov, Talwar and Zhang 2019, §3.3.
fn divergence(sigma: f64, rate: f64, order: u32) -> f64 {
    let term = |k: u32| {
        let exponent = f64::from(k * k - k) / (2.0 * sigma * sigma);
        (binomial(order, k) + f64::from(order - k) * (1.0 - rate).ln() + f64::from(k) * rate.ln() + exponent).exp()
    };
    (0..=order).map(term).sum::<f64>().ln() / (f64::from(order) - 1.0)
}

/// Papernot and Steinke, Theorem 2, for a geometric number of trials, and Canonne et al. 2020, Proposition 12, at whole orders.
fn by_the_paper(sigma: f64, rate: f64, steps: u32, mean: f64, delta: f64) -> f64 {
    let orders: Vec<(f64, f64)> =
        (2..=60).map(|order| (f64::from(order), f64::from(steps) * divergence(sigma, rate, order))).collect();
    let best =
        orders.iter().map(|(order, rdp)| (1.0 - 1.0 / order) * rdp + mean.ln() / order).fold(f64::INFINITY, f64::min);
    let epsilon = |(order, rdp): &(f64, f64)| {
        let chosen = rdp + 2.0 * best + mean.ln() / (order - 1.0);
        chosen + (1.0 - 1.0 / order).ln() - (delta * order).ln() / (order - 1.0)
    };
    orders.iter().map(epsilon).fold(f64::INFINITY, f64::min)
}

#[test]
fn the_best_is_released_with_what_the_choice_costs_and_nothing_of_the_others() {
    let place = place("noise-multiplier = 3\n");
    let output = place.run("tune space.toml --trials 20 --out chosen --json");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{error}");
    assert_eq!(error, "", "nothing that tells how many trials there were");
    let said: Value = serde_json::from_slice(&output.stdout).expect("JSON");

    let chosen = place.path("chosen");
    let names: Vec<String> = files(&chosen, |_| true)
        .iter()
        .map(|path| path.file_name().expect("a name").to_string_lossy().into_owned())
        .collect();
    assert_eq!(
        names,
        [
            "certificate.json",
            "certificate.md",
            "checkpoints",
            "config.toml",
            "ledger.jsonl",
            "ledger.jsonl.lock",
            "untrained.dpc"
        ]
    );
    assert!(!place.path("chosen.private").exists());
    assert_eq!(files(&chosen.join("checkpoints"), |_| true).len(), 1);

    let certificate = json(&chosen.join("certificate.json"));
    let epsilon = certificate["epsilon"].as_f64().expect("a number");
    let expected = by_the_paper(3.0, 0.25, 4, 20.0, 1e-3);
    assert!(epsilon <= expected * (1.0 + 1e-6) && epsilon > 0.99 * expected, "{epsilon}, not {expected}");
    assert_eq!(said["epsilon"].as_f64(), Some(epsilon));
    assert_eq!((certificate["guarantee"].as_bool(), certificate["steps"].as_u64()), (Some(true), Some(1)));
    assert!(certificate["covers"].to_string().contains("best of a random number of trials"));
    let verified = place.ok("verify-certificate chosen");
    assert!(
        verified.contains("holds for the choice of the best of a random number of trials (geometric:20)"),
        "{verified}"
    );
    assert!(!fs::read_to_string(chosen.join("certificate.md")).expect("a page").contains("steps in the ledger"));

    // One line for all of it, and nothing of how many lines the trials had.
    let ledger = Contents::read(&chosen.join("ledger.jsonl")).expect("a ledger");
    assert_eq!(ledger.steps(), 1);
    let checkpoint = Checkpoints::at(&RunDir::new(&chosen).checkpoints()).latest().expect("a checkpoint").expect("one");
    assert_eq!(checkpoint.context["ledger"]["entries"], 1);
    assert_eq!(checkpoint.step, 4);

    let exported = place.run("export chosen -o trained.onnx");
    assert!(exported.status.success() && !String::from_utf8_lossy(&exported.stderr).contains("unfinished"));
    let evaluated: Value = serde_json::from_str(&place.ok("eval chosen --data data.npz --json")).expect("JSON");
    assert_eq!(evaluated["accuracy"], said["score"]);
    place.ok("report chosen -o report.html");
    let config = fs::read_to_string(chosen.join("config.toml")).expect("a file");
    assert!(config.contains(&format!("\nlr = {}\n", said["chosen"]["lr"].as_f64().expect("a number"))), "{config}");
}

#[test]
fn the_noise_of_trials_is_for_the_epsilon_of_the_choice() {
    let place = place("epsilon = 4\n");
    place.ok("tune space.toml --trials 3 --out chosen --json");
    let certificate = json(&place.path("chosen/certificate.json"));
    let epsilon = certificate["epsilon"].as_f64().expect("a number");
    assert!(epsilon <= 4.0 && epsilon > 3.95, "{epsilon}");
    let sigma = certificate["noise_multiplier"].as_f64().expect("a number");
    let expected = by_the_paper(sigma, 0.25, 4, 3.0, 1e-3);
    assert!(epsilon <= expected * (1.0 + 1e-6) && epsilon > 0.97 * expected, "{epsilon}, not {expected}");
}

#[test]
fn choosing_without_paying_is_refused() {
    let place = place("noise-multiplier = 3\n");
    place.ok("tune space.toml --trials 2 --out chosen --json");

    // A certificate of the released run alone.
    let path = place.path("chosen/certificate.json");
    let whole = fs::read_to_string(&path).expect("a file");
    let mut lie: Value = serde_json::from_str(&whole).expect("JSON");
    let honest = lie.as_object_mut().expect("an object").remove("selection").expect("a selection");
    fs::write(&path, lie.to_string()).expect("a file");
    assert!(place.fails("verify-certificate chosen", 1).contains("selection: stated none"));
    // Fewer trials, or other steps.
    lie["selection"] = honest.clone();
    lie["selection"]["gamma"] = Value::from(0.9);
    fs::write(&path, lie.to_string()).expect("a file");
    assert!(place.fails("verify-certificate chosen", 1).contains("selection: stated"));
    lie["selection"] = honest;
    lie["noise_multiplier"] = Value::from(4.0);
    fs::write(&path, lie.to_string()).expect("a file");
    assert!(place.fails("verify-certificate chosen", 1).contains("trial: stated"));
    fs::write(&path, whole).expect("a file");
    place.ok("verify-certificate chosen");

    // Steps beside the choice, whose cost nothing adds up.
    let train =
        "train m.dpc --data data.npz --lr 0.1 --noise-multiplier 1 --delta 1e-3 --batch 16 --steps 2 --device cpu";
    let refused = place.fails(&format!("{train} --ledger chosen/ledger.jsonl --out other"), 1);
    assert!(refused.contains("dpc::privacy::ledger::selection"), "{refused}");

    // Scores of the private data, and no privacy at all.
    let space = |text: String| fs::write(place.path("space.toml"), text).expect("a file");
    space(format!("{}noise-multiplier = 3\n{CHOOSE}", SPACE.replace("valid = \"data.npz\"\n", "")));
    assert!(place.fails("tune space.toml --out other", 1).contains("dpc::tune::valid"));
    space(format!("{}non-private = true\n{CHOOSE}", SPACE.replace("delta = 1e-3\n", "")));
    assert!(place.fails("tune space.toml --out other", 1).contains("dpc::tune::non_private"));
    space(format!("{SPACE}noise-multiplier = 3\naccountant = \"pld\"\n{CHOOSE}"));
    assert!(place.fails("tune space.toml --out other", 1).contains("dpc::tune::accountant"));
    space(format!("{SPACE}noise-multiplier = 3\n{CHOOSE}"));
    assert!(place.fails("tune space.toml --out other --score rmse", 1).contains("dpc::tune::score"));
    assert!(place.fails("tune space.toml --out chosen", 1).contains("dpc::tune::exists"));
    assert!(place.fails("tune space.toml --out other --resume", 1).contains("dpc::tune::nothing"));
    assert!(!place.path("other").exists() && !place.path("other.private").exists());
}

/// Waits for a trial of the choice in `out` to have taken a step, and kills the choice; the trial's directory.
fn killed_in_a_trial(place: &Place, line: &str, out: &str) -> std::path::PathBuf {
    let folder = place.path(&format!("{out}.private"));
    let mut child = place.command(line).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("dpc runs");
    let started = Instant::now();
    loop {
        let trials = files(&folder, |name| name.starts_with("trial-"));
        let begun = trials.into_iter().find(|trial| trial.join("untrained.dpc").exists());
        let stepped = || fs::read(folder.join("ledger.jsonl")).is_ok_and(|ledger| ledger.contains(&b'\n'));
        if let Some(trial) = begun.filter(|_| stepped()) {
            child.kill().expect("a child");
            child.wait().expect("a child");
            return trial;
        }
        assert!(started.elapsed() < Duration::from_secs(60) && child.try_wait().expect("a child").is_none());
        std::thread::yield_now();
    }
}

#[test]
fn a_trial_alone_gets_no_certificate() {
    let place = place("noise-multiplier = 3\n");
    let space = fs::read_to_string(place.path("space.toml")).expect("a file").replace("steps = 4", "steps = 300");
    fs::write(place.path("space.toml"), space).expect("a file");
    let trial = killed_in_a_trial(&place, "tune space.toml --trials 5 --out chosen --json", "chosen");
    let number: usize =
        trial.display().to_string().rsplit('-').next().and_then(|number| number.parse().ok()).expect("a number");
    let state = json(&place.path("chosen.private/state.json"));
    let candidate = state["trials"][number].as_u64().expect("a number");
    let lr = ["0.01", "0.1", "1", "10"][(candidate % 4) as usize];
    let ema = ["0.5", "0.9"][(candidate / 4) as usize];
    let line = format!(
        "train m.dpc --data data.npz --lr {lr} --ema {ema} --noise-multiplier 3 --delta 1e-3 --batch 16 --steps 300 --device cpu --json"
    );
    let refused = place.fails(&format!("{line} --resume --out {}", trial.display()), 1);
    assert!(refused.contains("dpc::privacy::certificate::trial"), "{refused}");
    assert!(!trial.join("certificate.json").exists());
}

fn trained(place: &Place, out: &str) -> (Vec<u32>, Value, String) {
    let checkpoint =
        Checkpoints::at(&RunDir::new(&place.path(out)).checkpoints()).latest().expect("readable").expect("one");
    let tensors = checkpoint.parameters.values().chain(checkpoint.averages.values());
    let bits = tensors.flat_map(|tensor| tensor.data.iter().map(|value| value.to_bits())).collect();
    let mut certificate = json(&place.path(out).join("certificate.json"));
    // The name of the choice is drawn anew.
    certificate.as_object_mut().expect("an object").remove("ledger");
    (bits, certificate, fs::read_to_string(place.path(out).join("config.toml")).expect("a file"))
}

/// `kill -9` at many moments of a choice with a seed: what is released is what an uninterrupted one releases, and it is paid for
/// once, before the first trial.
#[test]
fn a_choice_that_is_killed_ends_as_one_that_is_not() {
    let kills = std::env::var("DPC_KILLS").map_or(50, |text| text.parse().expect("a number of kills"));
    let place = place("noise-multiplier = 3\ninsecure-seed = 11\n");
    let line = "tune space.toml --trials 6 --json --out";
    let started = Instant::now();
    place.ok(&format!("{line} whole"));
    let life = started.elapsed();
    let whole = trained(&place, "whole");
    let (mut killed, mut completed) = (0, 0);
    let folder = place.path("chosen.private");
    while killed < kills {
        let begun = folder.join("state.json").exists();
        if !begun {
            // Killed before it was one.
            let _ = fs::remove_dir_all(&folder);
        }
        let resume = if begun { "--resume" } else { "" };
        let mut child =
            place.command(&format!("{line} chosen {resume}")).stdout(Stdio::null()).spawn().expect("dpc runs");
        let part = f64::from(killed as u32 * 37 % 100) / 100.0;
        std::thread::sleep(life.mul_f64(part));
        if child.try_wait().expect("a child").is_none() {
            child.kill().expect("a child");
            killed += 1;
        }
        child.wait().expect("a child");
        let trials = files(&folder, |name| name.starts_with("trial-"));
        let paid = Contents::read_if_any(&place.path("chosen/ledger.jsonl")).expect("a ledger");
        assert!(trials.is_empty() || paid.steps() == 1 && paid.selection().is_some());
        if place.path("chosen/certificate.json").exists() {
            completed += 1;
            assert_eq!(trained(&place, "chosen"), whole);
            place.ok("verify-certificate chosen");
            if folder.exists() {
                // Killed while the trials were removed.
                assert!(place.fails(&format!("{line} chosen --resume"), 1).contains("dpc::tune::ended"));
                assert!(!folder.exists());
            }
            fs::remove_dir_all(place.path("chosen")).expect("a directory");
        }
    }
    eprintln!("{killed} kills, {completed} completed");
}

#[test]
fn on_public_data_everything_is_kept_and_nothing_guaranteed() {
    let place = place("epsilon = 2\n");
    let said: Value = serde_json::from_str(&place.ok("tune space.toml --public --out tried --json")).expect("JSON");
    assert_eq!(said["epsilon"], Value::Null);
    let lines = fs::read_to_string(place.path("tried/trials.jsonl")).expect("a file");
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 8);
    let accuracies = lines.iter().filter_map(|line| line["valid"]["accuracy"].as_f64());
    assert_eq!(said["score"].as_f64(), accuracies.reduce(f64::max));
    assert_eq!(files(&place.path("tried/trials"), |_| true).len(), 8);
    place.ok("tune space.toml --public --out tried --json --resume");
    place.ok("train --config tried/best.toml --out final --json");
    assert!(place.fails("tune space.toml --public --trials 5 --out more", 2).contains("--trials"));
}
