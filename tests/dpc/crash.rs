//! `kill -9` at any moment of a run: what reached the disk has been paid for, and the run goes on.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::place::{Place, TINY, checkpoints, files};
use dpc::train::checkpoint::Checkpoint;
use dpc::train::evaluate::Evaluation;
use dpc::train::metrics::MetricsLog;
use dpc::train::run_dir::RunDir;

/// How many kills; the environment variable `DPC_KILLS` gives another number.
const KILLS: u64 = 200;
const STEPS: u64 = 20;

/// What the runs of one thread met.
#[derive(Debug, Default)]
struct Met {
    kills: u64,
    before_the_ledger: u64,
    torn_lines: u64,
    half_written_files: usize,
    steps_repeated: u64,
    completed: u64,
}

#[test]
fn a_run_that_is_killed_at_any_moment_has_paid_for_what_it_stored_and_completes() {
    kill_all(KILLS, "");
}

/// What runs keep beside the parameters: the views of records are a function of step and record.
#[test]
fn a_run_that_is_killed_ends_as_one_that_is_not() {
    kill_all(KILLS / 4, "--insecure-seed 7 --augment 3:noise=0.2");
}

/// The noise of the steps before, and the parts of the cycle.
#[test]
fn a_run_with_correlated_noise_that_is_killed_ends_as_one_that_is_not() {
    kill_all(KILLS / 4, "--insecure-seed 7 --noise-correlation banded:3 --sampling cyclic");
    kill_all(KILLS / 16, "--insecure-seed 7 --noise-correlation tree");
}

/// Records that stay in their files, averages of the parameters, views, learning rates by name, and what is written to be watched.
#[test]
fn a_run_with_all_that_people_add_that_is_killed_ends_as_one_that_is_not() {
    let watched = "--valid data.npz --valid-every 3 --tensorboard board --lr-for *bias=0.5";
    kill_all(KILLS / 4, &format!("--insecure-seed 7 --in-memory 0 --ema 0.9 --augment 3:noise=0.2 {watched}"));
    kill_all(
        KILLS / 16,
        &format!("--insecure-seed 7 --in-memory 0 --ema 0.9 --noise-correlation banded:3 --sampling cyclic {watched}"),
    );
}

fn kill_all(kills: u64, flags: &str) {
    const THREADS: u64 = 4;
    let kills = std::env::var("DPC_KILLS").map_or(kills, |text| text.parse().expect("a number of kills"));
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(|| kill(kills.div_ceil(THREADS), flags))).collect();
        threads.into_iter().for_each(|thread| eprintln!("{:?}", thread.join().expect("every check holds")));
    });
}

/// Kills runs, one after the other, `kills` times in all; each goes on after its kills until it completes.
fn kill(kills: u64, flags: &str) -> Met {
    let place = Place::new();
    place.tiny();
    let started = Instant::now();
    place.ok(&format!("{TINY} --steps {STEPS} {flags} --out whole"));
    let life = started.elapsed();
    let whole = trained(&place, "whole");

    let mut met = Met::default();
    while met.kills < kills {
        let mut paid = 0;
        loop {
            let mut child = command(&place, flags).stdout(Stdio::null()).spawn().expect("dpc runs");
            if met.kills < kills {
                // Every second time in the beginning, where a run opens its files.
                let part = [1.0, 0.2][(met.kills % 2) as usize];
                std::thread::sleep(before(life.mul_f64(part)));
                if child.try_wait().expect("a child").is_none() {
                    child.kill().expect("a child");
                    met.kills += 1;
                }
            }
            let status = child.wait().expect("a child");
            let Some(ledger) = place.paid("run") else {
                met.before_the_ledger += 1;
                continue;
            };
            assert!(ledger.steps() >= paid, "{} steps after {paid}", ledger.steps());
            paid = ledger.steps();
            if status.success() {
                break;
            }
            assert_eq!(status.code(), None);
            met.torn_lines += u64::from(ledger.torn);
            met.half_written_files += half_written(&place);
        }
        assert!(paid >= STEPS);
        if flags.contains("--insecure-seed") {
            assert_eq!(trained(&place, "run"), whole);
            let all = evaluations(&place, "whole");
            assert!(evaluations(&place, "run").iter().all(|evaluated| all.contains(evaluated)));
        }
        if flags.contains("--tensorboard") {
            files(&place.path("board"), |_| true).iter().for_each(|path| whole_events(path));
        }
        place.ok("verify-certificate run");
        assert_eq!(half_written(&place), 0);
        std::fs::remove_dir_all(place.path("run")).expect("a directory");
        met.steps_repeated += paid - STEPS;
        met.completed += 1;
    }
    met
}

/// The command that begins the run, or goes on with it.
fn command(place: &Place, flags: &str) -> std::process::Command {
    let begun = RunDir::new(&place.path("run")).artifact().exists();
    place.command(&format!("{TINY} --steps {STEPS} {flags} --out run {}", if begun { "--resume" } else { "" }))
}

/// The bits of the parameters that a run ended with.
fn trained(place: &Place, name: &str) -> Vec<Vec<u32>> {
    let last = checkpoints(&RunDir::new(&place.path(name))).pop().expect("a checkpoint");
    let Checkpoint { parameters, averages, states, .. } = Checkpoint::load(&last).expect("a whole checkpoint");
    let all = [parameters, averages, states];
    let tensors = all.iter().flat_map(|tensors| tensors.values());
    tensors.map(|tensor| tensor.data.iter().map(|value| value.to_bits()).collect()).collect()
}

/// The steps after which a run was evaluated, each with what came of it.
fn evaluations(place: &Place, name: &str) -> Vec<(u64, Evaluation)> {
    let lines = MetricsLog::read(&RunDir::new(&place.path(name)).metrics()).expect("metrics");
    lines.into_iter().filter_map(|line| Some((line.step, line.valid?))).collect()
}

/// Checks that an event file is records after records, of which a kill may have cut the last.
fn whole_events(path: &Path) {
    let bytes = std::fs::read(path).expect("a file");
    let mut rest = &bytes[..];
    while let Some((length, after)) = rest.split_first_chunk::<8>() {
        let length = u64::from_le_bytes(*length) as usize;
        assert!(length < 1 << 20, "{}: a record of {length} bytes", path.display());
        // Two checksums.
        rest = after.get(4 + length + 4..).unwrap_or_default();
    }
}

fn half_written(place: &Place) -> usize {
    let directory = RunDir::new(&place.path("run"));
    let half = |name: &str| name.starts_with(".dpc-");
    files(directory.path(), half).len() + files(&directory.checkpoints(), half).len()
}

/// A moment before `end`, from the system's entropy.
fn before(end: Duration) -> Duration {
    end.mul_f64(getrandom::u64().expect("entropy") as f64 / 2f64.powi(64))
}
