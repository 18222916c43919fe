//! Directories in which the tests run commands, and what may be found in a run's directory at any moment.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use dpc::privacy::accountant::{Mechanism, by_name};
use dpc::privacy::ledger::{Contents, Head};
use dpc::privacy::plan::PrivacyPlan;
use dpc::train::checkpoint::Checkpoint;
use dpc::train::data::{Array, npz};
use dpc::train::run_dir::RunDir;

/// The path of a file of `models/`.
pub fn models(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(name);
    path.display().to_string()
}

/// A directory to run commands in.
pub struct Place(tempfile::TempDir);

impl Place {
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// `dpc`, on the words of `line`.
    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dpc"));
        command.current_dir(self.0.path()).env("NO_COLOR", "1").args(line.split_whitespace());
        command
    }

    pub fn run(&self, line: &str) -> Output {
        self.command(line).output().expect("dpc runs")
    }

    /// Runs a command that succeeds; returns its standard output.
    pub fn ok(&self, line: &str) -> String {
        let output = self.run(line);
        assert!(output.status.success(), "dpc {line}\n{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    /// Runs a command that fails with `code`; returns its standard error.
    pub fn fails(&self, line: &str, code: i32) -> String {
        let output = self.run(line);
        assert_eq!(output.status.code(), Some(code), "dpc {line}");
        String::from_utf8(output.stderr).expect("text")
    }

    /// Compiles a model of 113 parameters and writes 64 records for it, to train with [`TINY`].
    pub fn tiny(&self) {
        self.ok(&format!("compile {} --loss cross-entropy -o m.dpc", models("zoo/gemm_alpha_beta.ts.onnx")));
        const RECORDS: usize = 64;
        const WIDTH: usize = 7;
        let inputs: Vec<f32> = (0..RECORDS * WIDTH).map(|i| (i as f32).sin()).collect();
        let labels: Vec<i64> = (0..RECORDS as i64).map(|record| record % 3).collect();
        let arrays = [
            ("input".to_owned(), Array::from_f32(vec![RECORDS, WIDTH], &inputs)),
            ("label".to_owned(), Array::from_i64(vec![RECORDS], &labels)),
        ];
        npz::write(&self.path("data.npz"), &arrays.into()).expect("a file");
    }

    /// Checks that the run in the directory `name` has paid for everything in it; returns its ledger, unless there is
    /// none yet.
    pub fn paid(&self, name: &str) -> Option<Contents> {
        let directory = RunDir::new(&self.path(name));
        let checkpoints = checkpoints(&directory);
        if !directory.ledger().exists() {
            assert_eq!(checkpoints, Vec::<PathBuf>::new());
            return None;
        }
        let ledger = Contents::read(&directory.ledger()).expect("a ledger");
        for path in &checkpoints {
            let checkpoint = Checkpoint::load(path).expect("a whole checkpoint");
            let head: Head = serde_json::from_value(checkpoint.context["ledger"].clone()).expect("a head");
            assert!(head.entries >= checkpoint.step);
            ledger.check_continues(path, &head).expect("the lines that the checkpoint knew");
            if Some(path) == checkpoints.last() {
                let plan = serde_json::from_value(checkpoint.context["plan"].clone()).expect("a plan");
                assert!(epsilon(&ledger.history(&plan), &plan) >= epsilon(&taken(&plan, checkpoint.step), &plan));
            }
        }
        Some(ledger)
    }
}

fn taken(plan: &PrivacyPlan, steps: u64) -> Vec<Mechanism> {
    plan.planned(0..steps)
}

fn epsilon(history: &[Mechanism], plan: &PrivacyPlan) -> f64 {
    let accountant = by_name("rdp").expect("an accountant");
    accountant.epsilon(history, plan.adjacency, 1e-3).expect("a history")
}

/// Trains what [`Place::tiny`] made, with a checkpoint after every step; the directory and the number of steps are to
/// follow.
pub const TINY: &str = "train m.dpc --data data.npz --lr 0.1 --noise-multiplier 1 --delta 1e-3 --batch 16 --device cpu \
                        --json --checkpoint-interval 0";

/// The checkpoint files of a run, the oldest first.
pub fn checkpoints(directory: &RunDir) -> Vec<PathBuf> {
    files(&directory.checkpoints(), |name| name.starts_with("step-"))
}

/// The files in `directory` whose names are `wanted`, sorted; none where there is no directory.
pub fn files(directory: &Path, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut paths: Vec<PathBuf> =
        paths.filter(|path| path.file_name().is_some_and(|name| wanted(&name.to_string_lossy()))).collect();
    paths.sort();
    paths
}
