//! What may go wrong around a run: the disk, the files, the device. Each time an error that says what to do, nothing
//! lost, and nothing that is not paid for.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dpc::artifact::Artifact;
use dpc::device::cpu::Cpu;
use dpc::device::{Device, DeviceError, Session};
use dpc::lower::program::{BufferId, Phase, Program};
use dpc::privacy::accountant::ACCOUNTANTS;
use dpc::privacy::ledger::{Contents, LedgerError};
use dpc::privacy::plan::{PlanSpec, PrivacyPlan};
use dpc::privacy::sampling::Sampling;
use dpc::ranks::Alone;
use dpc::train::data::Dataset;
use dpc::train::lr_schedule::LrSchedule;
use dpc::train::run_dir::RunDir;
use dpc::train::trainer::{Summary, TrainError, Training, train};
use dpc::train::units::Units;

use miette::Diagnostic;

use super::place::{Place, TINY, checkpoints, files};

/// Asserts that an error has a code and a help, fits on a screen and is all that is printed.
fn assert_clear(error: &str, code: &str) {
    assert!(error.starts_with(code), "{code}\n{error}");
    assert!(error.contains("help:") && error.lines().count() <= 24, "{error}");
}

/// A place with a run of [`STEPS`] steps.
fn trained() -> (Place, RunDir) {
    let place = Place::new();
    place.tiny();
    place.ok(&run("run", ""));
    let directory = RunDir::new(&place.path("run"));
    (place, directory)
}

const STEPS: u64 = 6;

/// The command that takes [`STEPS`] steps into the directory `name`.
fn run(name: &str, flags: &str) -> String {
    format!("{TINY} --steps {STEPS} --out {name} {flags}")
}

/// Resumes the run in `name`, or begins it where it failed before it was one. It completes, and its certificate is verified;
/// returns the ledger.
fn completes(place: &Place, name: &str) -> Contents {
    let begun = RunDir::new(&place.path(name)).artifact().exists();
    place.ok(&run(name, if begun { "--resume" } else { "" }));
    place.ok(&format!("verify-certificate {name}"));
    let ledger = place.paid(name).expect("a ledger");
    assert!(ledger.steps() >= STEPS);
    ledger
}

/// A shell that runs `script` with the command of `line` as its arguments.
fn shell(place: &Place, script: &str, line: &str) -> Command {
    let command = place.command(line);
    let mut shell = Command::new("sh");
    shell.current_dir(place.path(".")).env("NO_COLOR", "1").args(["-c", script, "sh"]);
    shell.arg(command.get_program()).args(command.get_args());
    shell
}

/// As [`shell`], in a mount namespace of its own; `None` where the system gives none, which is said on the terminal.
fn namespace(place: &Place, script: &str, line: &str) -> Option<Output> {
    const UNSHARE: [&str; 2] = ["unshare", "-Urm"];
    let allowed = Command::new(UNSHARE[0]).args([UNSHARE[1], "true"]).output().is_ok_and(|o| o.status.success());
    if !allowed {
        // Not by a macro, whose text is kept back from whoever runs the tests while they pass.
        let said = writeln!(std::io::stderr(), "NOT TESTED: full disks, as this system gives no mount namespaces");
        said.expect("a terminal");
        return None;
    }
    let shell = shell(place, script, line);
    let mut command = Command::new(UNSHARE[0]);
    command.arg(UNSHARE[1]).current_dir(place.path(".")).env("NO_COLOR", "1");
    Some(command.arg(shell.get_program()).args(shell.get_args()).output().expect("unshare runs"))
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).expect("text")
}

/// Files may not pass a size, smaller ones first: whatever the run is writing when it fails, it goes on from there.
#[cfg(unix)]
#[test]
fn a_file_that_cannot_grow_stops_a_run_that_can_go_on() {
    let place = Place::new();
    place.tiny();
    let mut failed = 0;
    for blocks in (0..).map(|doubling| 1 << doubling) {
        let name = format!("run{blocks}");
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"");
        let output = shell(&place, &script, &run(&name, "")).output().expect("a shell");
        if output.status.success() {
            break;
        }
        failed += 1;
        assert_clear(text(&output.stderr), "dpc::file::write");
        place.paid(&name);
        completes(&place, &name);
    }
    assert!(failed > 3);
}

/// Disks of growing sizes, so that each kind of file is the one that finds it full.
#[test]
fn a_full_disk_stops_a_run_that_can_go_on() {
    let place = Place::new();
    place.tiny();
    let mut on_disk = std::collections::BTreeSet::new();
    for kilobytes in (4..).step_by(4) {
        let (disk, name) = (format!("disk{kilobytes}"), format!("run{kilobytes}"));
        std::fs::create_dir(place.path(&disk)).expect("a directory");
        let script = format!(
            "mount -t tmpfs -o size={kilobytes}k none {disk} || exit 99; \"$@\"; code=$?; \
             test ! -e {disk}/run || cp -r {disk}/run {name}; exit $code"
        );
        let Some(output) = namespace(&place, &script, &run(&format!("{disk}/run"), "")) else { return };
        if output.status.success() {
            break;
        }
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
        assert_clear(text(&output.stderr), "dpc::file::write");
        assert!(text(&output.stderr).contains("No space left on device"));
        place.paid(&name);
        on_disk.insert(files(&place.path(&name), |_| true).len() + checkpoints(&RunDir::new(&place.path(&name))).len());
        completes(&place, &name);
    }
    // Full before the first checkpoint, after it, …
    assert!(on_disk.len() > 2, "{on_disk:?}");
}

#[test]
fn a_directory_that_cannot_be_written_is_named_and_left_alone() {
    let (place, directory) = trained();
    std::fs::write(place.path("file"), "").expect("a file");
    assert_clear(&place.fails(&run("file/run", ""), 1), "dpc::file::write");
    assert_clear(&place.fails(&run("file", ""), 1), "dpc::file::");

    let before = snapshot(&directory);
    for flags in ["--resume", ""] {
        let out = if flags.is_empty() { "run/below" } else { "run" };
        let script = "mount --bind run run && mount -o remount,ro,bind run || exit 99; exec \"$@\"";
        let Some(output) = namespace(&place, script, &run(out, flags)) else { return };
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
        assert_clear(text(&output.stderr), "dpc::file::write");
        assert!(text(&output.stderr).contains("Read-only file system"));
    }
    assert_eq!(snapshot(&directory), before);
    assert_eq!(completes(&place, "run").steps(), STEPS);
}

/// The files of a run and what they hold.
fn snapshot(directory: &RunDir) -> Vec<(PathBuf, Vec<u8>)> {
    let mut paths = checkpoints(directory);
    paths.extend(files(directory.path(), |name| name.contains('.')));
    paths.into_iter().map(|path| (path.clone(), std::fs::read(path).expect("a file"))).collect()
}

/// `bytes` cut short, and with a bit flipped, at the beginning, in the middle and at the end.
fn damaged(bytes: &[u8]) -> Vec<Vec<u8>> {
    let places = [0, 9, bytes.len() / 2, bytes.len() - 2];
    let flipped = places.map(|at| {
        let mut flipped = bytes.to_vec();
        flipped[at] ^= 4;
        flipped
    });
    let cut = places.map(|at| bytes[..at].to_vec());
    [flipped, cut].concat()
}

#[test]
fn a_damaged_checkpoint_is_named_and_the_run_goes_on_from_the_one_before() {
    let (place, directory) = trained();
    let newest = checkpoints(&directory).pop().expect("a checkpoint");
    let whole = std::fs::read(&newest).expect("a file");
    let ledger = std::fs::read(directory.ledger()).expect("a file");
    for bytes in damaged(&whole) {
        std::fs::write(&newest, bytes).expect("a file");
        let error = place.fails(&run("run", "--resume"), 1);
        assert_clear(&error, "dpc::checkpoint::damaged");
        assert!(error.contains("remove this file to go on from the checkpoint before it"), "{error}");
        assert_clear(&place.fails("export run -o trained.onnx", 1), "dpc::checkpoint::damaged");
        assert_eq!(std::fs::read(directory.ledger()).expect("a file"), ledger);
    }
    // As the help says; and then without any.
    std::fs::remove_file(&newest).expect("a file");
    assert_eq!(completes(&place, "run").steps(), STEPS + 1);
    for path in checkpoints(&directory) {
        std::fs::remove_file(path).expect("a file");
    }
    assert_eq!(completes(&place, "run").steps(), STEPS + 1 + STEPS);
    place.ok("export run -o trained.onnx");
}

#[test]
fn a_damaged_ledger_stops_the_run_before_it_changes_anything() {
    let (place, directory) = trained();
    let whole = std::fs::read(directory.ledger()).expect("a file");
    for bytes in damaged(&whole) {
        std::fs::write(directory.ledger(), &bytes).expect("a file");
        let before = snapshot(&directory);
        assert_clear(&place.fails(&run("run", "--resume"), 1), "dpc::privacy::ledger::");
        assert_clear(&place.fails("verify-certificate run", 1), "dpc::");
        assert_eq!(snapshot(&directory), before);
    }
    std::fs::remove_file(directory.ledger()).expect("a file");
    assert_clear(&place.fails(&run("run", "--resume"), 1), "dpc::privacy::ledger::rewound");
    assert_clear(&place.fails(&run("run", ""), 1), "dpc::train::exists");
    std::fs::write(directory.ledger(), &whole).expect("a file");
    assert_eq!(completes(&place, "run").steps(), STEPS);
}

/// The last line, which no checkpoint knows of yet, is torn: it counts, and the run goes on. One that lacks its end alone is
/// whole.
#[test]
fn a_torn_line_counts_as_a_step() {
    let (place, directory) = trained();
    std::fs::remove_file(checkpoints(&directory).pop().expect("a checkpoint")).expect("a file");
    let whole = std::fs::read(directory.ledger()).expect("a file");
    let last = whole[..whole.len() - 1].iter().rposition(|&byte| byte == b'\n').expect("two lines") + 1;
    let ended = &whole[..whole.len() - 1];
    for (bytes, flipped, torn) in [(&whole[..last + 1], None, 1), (ended, None, 0), (&whole, Some(last + 20), 1)] {
        let mut bytes = bytes.to_vec();
        if let Some(at) = flipped {
            bytes[at] ^= 4;
        }
        std::fs::write(directory.ledger(), bytes).expect("a file");
        let ledger = completes(&place, "run");
        assert_eq!(ledger.steps(), STEPS + 1);
        assert_eq!(ledger.entries().iter().filter(|entry| entry.recovered).count(), torn);
        std::fs::remove_file(checkpoints(&directory).pop().expect("a checkpoint")).expect("a file");
    }
}

#[test]
fn an_altered_certificate_does_not_hold_and_is_written_again() {
    let (place, directory) = trained();
    let whole = std::fs::read_to_string(directory.certificate()).expect("a file");
    let fewer = whole.replace(&format!("\"steps\": {STEPS}"), &format!("\"steps\": {}", STEPS - 1));
    assert_ne!(fewer, whole);
    for (text, code) in [
        (fewer.as_str(), "dpc::certificate::mismatch"),
        (&whole[..whole.len() / 2], "dpc::privacy::certificate::parse"),
        ("", "dpc::privacy::certificate::parse"),
    ] {
        std::fs::write(directory.certificate(), text).expect("a file");
        assert_clear(&place.fails("verify-certificate run", 1), code);
        assert_eq!(completes(&place, "run").steps(), STEPS);
        assert_eq!(std::fs::read_to_string(directory.certificate()).expect("a file"), whole);
    }
}

/// A processor that is lost after a number of calls to it.
pub struct Fragile {
    /// Those that are left.
    pub calls: Arc<AtomicU64>,
}

impl Fragile {
    pub fn lost_after(calls: u64) -> Self {
        Self { calls: Arc::new(AtomicU64::new(calls)) }
    }

    fn call(calls: &AtomicU64) -> Result<(), DeviceError> {
        let left = calls.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        left.map(|_| ()).map_err(|_| DeviceError::Lost { device: "fragile".to_owned(), what: "unplugged".to_owned() })
    }
}

impl Device for Fragile {
    fn name(&self) -> String {
        "fragile".to_owned()
    }

    fn load(&self, program: Arc<Program>, rows: usize) -> Result<Box<dyn Session>, DeviceError> {
        Fragile::call(&self.calls)?;
        let session = Cpu.load(program, rows)?;
        Ok(Box::new(FragileSession { session, calls: self.calls.clone() }))
    }
}

struct FragileSession {
    session: Box<dyn Session>,
    calls: Arc<AtomicU64>,
}

impl Session for FragileSession {
    fn rows(&self) -> usize {
        self.session.rows()
    }

    fn write(&mut self, buffer: BufferId, words: &[u32]) -> Result<(), DeviceError> {
        Fragile::call(&self.calls)?;
        self.session.write(buffer, words)
    }

    fn read(&mut self, buffer: BufferId) -> Result<Vec<u32>, DeviceError> {
        Fragile::call(&self.calls)?;
        self.session.read(buffer)
    }

    fn run(&mut self, phase: Phase) -> Result<(), DeviceError> {
        Fragile::call(&self.calls)?;
        self.session.run(phase)
    }

    fn bytes(&self) -> usize {
        self.session.bytes()
    }
}

#[test]
fn a_device_that_is_lost_at_any_call_loses_no_step_that_was_stored() {
    let place = Place::new();
    place.tiny();
    let artifact = Artifact::load(&place.path("m.dpc")).expect("an artifact");
    let data = Dataset::load(&place.path("data.npz").display().to_string(), &artifact.manifest.schema).expect("data");
    let plan = PrivacyPlan::new(PlanSpec {
        noise_multiplier: 1.0,
        delta: Some(1e-3),
        planned_steps: 3,
        insecure_seed: Some(7),
        ..PlanSpec::new(Sampling::Poisson { rate: 0.25 }, 16.0, artifact.manifest.clip.clone())
    });
    let plan = plan.expect("a plan");
    let units = Units::single(data.records());
    let once = |name: &str, device: &Fragile, resume| -> Result<Summary, TrainError> {
        train(&Training {
            artifact: &artifact,
            device,
            data: &data,
            units: &units,
            augment: None,
            valid: None,
            valid_every: None,
            plan: &plan,
            accountant: ACCOUNTANTS[0],
            learning_rate: 0.1,
            lr_for: vec![],
            lr_schedule: LrSchedule::CONSTANT,
            ema: None,
            physical_batch: 16,
            ledger: RunDir::new(&place.path(name)).ledger(),
            directory: RunDir::new(&place.path(name)),
            resume,
            checkpoint_interval: Duration::ZERO,
            progress: false,
            record_private_metrics: false,
            tensorboard: None,
            trial_of: None,
            shard_noise: false,
            config: None,
            ranks: Arc::new(Alone),
        })
    };
    // A process that another test is starting has this one's files, and so its locks, until it runs.
    let attempt = |name: &str, device: &Fragile, resume| loop {
        match once(name, device, resume) {
            Err(TrainError::Ledger(LedgerError::Locked { .. }) | TrainError::InUse { .. }) => std::thread::yield_now(),
            ended => break ended,
        }
    };
    let device = Fragile::lost_after(u64::MAX);
    attempt("whole", &device, false).expect("a run");
    let calls = u64::MAX - device.calls.load(Ordering::Relaxed);
    for lost_after in 0..calls {
        let name = format!("run{lost_after}");
        let error = attempt(&name, &Fragile::lost_after(lost_after), false).expect_err("a lost device");
        let code = error.code().map(|code| code.to_string());
        assert_eq!(code.as_deref(), Some("dpc::device::lost"), "{error}");
        let stored = place.paid(&name).map_or(0, |ledger| ledger.steps());
        let begun = RunDir::new(&place.path(&name)).artifact().exists();
        assert_eq!(attempt(&name, &Fragile::lost_after(u64::MAX), begun).expect("a run").steps, 3);
        let paid = place.paid(&name).expect("a ledger").steps();
        assert!((3.max(stored)..=4).contains(&paid), "{stored} steps before, {paid} after");
        std::fs::remove_dir_all(place.path(&name)).expect("a directory");
    }
}
