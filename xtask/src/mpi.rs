//! `cargo xtask mpi`: dpc built with its feature `mpi`, and `mpirun` with 1, 2, 3 and 4 ranks on the digits: the same bits and the same
//! ε for all, noise in parts, data of each rank's own, times, refusals, and ranks that are killed. `cargo xtask mpi N` kills N times;
//! the tests of every day do as much with threads for ranks.

mod killed;
mod shards;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{cargo, install, runs};

/// What apt brings: an MPI, and what its headers are read with.
const PACKAGES: &[&str] = &["libopenmpi-dev", "openmpi-bin", "libclang-dev"];
/// Names a dpc that was built with MPI, to be tried in place of a new one.
const VARIABLE: &str = "DPC_MPI";
/// Kills, where nobody says how many.
const KILLS: u64 = 10;

const TRAIN: &str = "train m.dpc --data digits_train.npz --device cpu --lr 0.5 --batch 128 --delta 1e-4 --json \
                     --checkpoint-interval 0";
const FIXED: &str = "--noise-multiplier 1 --steps 12 --insecure-seed 7";
/// Steps of a run that is killed, so many that it lasts a while.
const STEPS: usize = 400;

/// Builds dpc with MPI and tries it.
pub fn run(kills: Option<u64>) -> Result<(), String> {
    if !runs(Command::new("mpicc").arg("--version")) || !runs(Command::new("mpirun").arg("--version")) {
        println!("xtask: no MPI answers; installing {}", PACKAGES.join(", "));
        install(PACKAGES)?;
    }
    let program = match std::env::var_os(VARIABLE) {
        Some(program) => program.into(),
        None => built()?,
    };
    let place = std::env::temp_dir().join(format!("dpc-mpi-{}", std::process::id()));
    fs::create_dir_all(&place).map_err(|e| format!("{}: {e}", place.display()))?;
    let tried = Trial { program, place: place.clone() }.all(kills.unwrap_or(KILLS));
    let _ = fs::remove_dir_all(&place);
    tried
}

/// Builds dpc with MPI, beside all that the tests take, with the dependencies that they were built with.
fn built() -> Result<PathBuf, String> {
    println!("xtask: building dpc with MPI");
    cargo(&["test", "--workspace", "--no-run", "--test", "dpc", "--features", "dpc/mpi"])?;
    let target = std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".into());
    std::path::absolute(Path::new(&target).join("debug/dpc")).map_err(|e| e.to_string())
}

struct Trial {
    program: PathBuf,
    place: PathBuf,
}

impl Trial {
    fn all(&self, kills: u64) -> Result<(), String> {
        for name in ["digits_cnn.onnx", "digits_train.npz"] {
            fs::copy(Path::new("models").join(name), self.place.join(name)).map_err(|e| format!("{name}: {e}"))?;
        }
        self.ok(&self.alone("compile digits_cnn.onnx -o m.dpc --loss cross-entropy --clip flat:0.1"))?;
        self.same_bits()?;
        self.own_data()?;
        self.times()?;
        self.refusals()?;
        self.told_of_a_kill()?;
        let begun = Instant::now();
        self.ok(&self.on(1, &format!("{TRAIN} {} --out whole", long())))?;
        let (took, mut killed) = (begun.elapsed(), 0);
        for turn in 0.. {
            if killed >= kills {
                break;
            }
            killed += self.killed(turn, took)?;
        }
        println!("xtask: all of it passed, {killed} kills too");
        Ok(())
    }

    /// What the system calls the processes of dpc.
    fn name(&self) -> String {
        let name = self.program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.chars().take(15).collect()
    }

    /// `dpc` by itself.
    fn alone(&self, line: &str) -> Vec<String> {
        let program = self.program.display().to_string();
        [program].into_iter().chain(line.split_whitespace().map(str::to_owned)).collect()
    }

    /// `dpc` on so many ranks.
    fn on(&self, ranks: usize, line: &str) -> Vec<String> {
        let start = ["mpirun", "-n", &ranks.to_string()].map(str::to_owned);
        start.into_iter().chain(self.alone(line)).collect()
    }

    fn command(&self, words: &[String]) -> Command {
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).current_dir(&self.place).env("NO_COLOR", "1");
        // More ranks than cores, as root, as in a container.
        for name in ["OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "OMPI_MCA_rmaps_base_oversubscribe"] {
            command.env(name, "1");
        }
        command.env("OMPI_MCA_mpi_yield_when_idle", "1");
        command
    }

    fn output(&self, words: &[String]) -> Result<Output, String> {
        self.command(words).output().map_err(|e| format!("{} does not run: {e}", words[0]))
    }

    fn ok(&self, words: &[String]) -> Result<String, String> {
        let output = self.output(words)?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(format!("{}\n{}", words.join(" "), String::from_utf8_lossy(&output.stderr))),
        }
    }

    /// The bytes of what a run has trained.
    fn trained(&self, run: &str) -> Result<Vec<u8>, String> {
        self.ok(&self.alone(&format!("export {run} -o {run}.onnx")))?;
        fs::read(self.place.join(format!("{run}.onnx"))).map_err(|e| format!("{run}: {e}"))
    }

    fn same_bits(&self) -> Result<(), String> {
        self.ok(&self.alone(&format!("{TRAIN} {FIXED} --out alone")))?;
        let expected = self.trained("alone")?;
        let mut epsilons = Vec::new();
        for ranks in 1..=4 {
            self.ok(&self.on(ranks, &format!("{TRAIN} {FIXED} --out fixed{ranks}")))?;
            if self.trained(&format!("fixed{ranks}"))? != expected {
                return Err(format!("{ranks} ranks train other parameters than one process"));
            }
            self.ok(&self.on(ranks, &format!("{TRAIN} {FIXED} --shard-noise --out parts{ranks}")))?;
            if self.trained(&format!("parts{ranks}"))? != expected {
                return Err(format!("{ranks} ranks with parts of the noise train other parameters than one process"));
            }
            let run = format!("private{ranks}");
            let said = self.ok(&self.on(ranks, &format!("{TRAIN} --epsilon 3 --epochs 2 --out {run}")))?;
            self.ok(&self.alone(&format!("verify-certificate {run}")))?;
            let certificate = fs::read_to_string(self.place.join(&run).join("certificate.json"));
            let certificate = certificate.map_err(|e| format!("{run}: {e}"))?;
            let line = |name: &str| certificate.lines().find(|line| line.contains(name)).map(str::to_owned);
            epsilons.push(line("\"epsilon\""));
            if certificate.contains("\"ranks\"") != (ranks > 1) {
                return Err(format!("{run}: the certificate does not say by how many ranks: {certificate}"));
            }
            if said.lines().count() != 1 {
                return Err(format!("{run}: not one rank alone says how it ended: {said}"));
            }
            println!(
                "xtask: {ranks} ranks: the bits of one process; {}",
                epsilons[0].as_deref().unwrap_or("no ε").trim()
            );
        }
        match epsilons.iter().all(|epsilon| epsilon.is_some() && *epsilon == epsilons[0]) {
            true => Ok(()),
            false => Err(format!("ε depends on the number of ranks: {epsilons:?}")),
        }
    }

    /// What a step takes on each of two ranks, part by part.
    fn times(&self) -> Result<(), String> {
        let said = self.ok(&self.on(2, "bench step m.dpc --batch 128 --device cpu --json"))?;
        let of_ranks = |part: &str| said.matches(&format!("\"{part}\"")).count();
        if said.lines().count() != 1 || ["compute", "wait", "reduce", "update"].iter().any(|part| of_ranks(part) != 2) {
            return Err(format!("the parts of a step are not told for each of two ranks: {said}"));
        }
        println!("xtask: two ranks tell what each part of a step takes");
        Ok(())
    }

    /// Ranks that were started otherwise, and one that cannot go on: all end, and all say why.
    fn refusals(&self) -> Result<(), String> {
        for (other, told) in [
            ("--lr 0.25", "rank 1 was started with lr = 0.25, rank 0 with lr = 0.5"),
            (
                "--lr 0.5 --device gpu:nowhere",
                "rank 1 has left: no GPU adapter was found whose name contains `nowhere`",
            ),
            ("--lr 0.5 --data nowhere.npz", "rank 1 has left: cannot read nowhere.npz"),
        ] {
            let line = format!("{TRAIN} {FIXED} --out refused");
            let mut words = self.on(1, &line);
            let plain = ["--lr 0.5", "--device cpu", "--data digits_train.npz"];
            let flags: Vec<&str> = plain.into_iter().filter(|flag| !other.contains(&flag[..6])).collect();
            let rest = plain.iter().fold(line.clone(), |line, flag| line.replace(flag, ""));
            words.extend([":", "-n", "1"].map(str::to_owned));
            words.extend(self.alone(&format!("{rest} {} {other}", flags.join(" "))));
            let output = self.output(&words)?;
            let said = String::from_utf8_lossy(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
            let said = said.replace("│ ", "");
            if output.status.success() || !said.contains(told) {
                return Err(format!("{other}: not told `{told}`:\n{}", String::from_utf8_lossy(&output.stderr)));
            }
            if self.place.join("refused").exists() {
                return Err(format!("{other}: a run was begun"));
            }
            println!("xtask: refused: {told}");
        }
        Ok(())
    }

    /// Kills a rank somewhere, again and again with another number of ranks, until the run is whole, which takes about as long as
    /// is said where nothing is killed. How often that was.
    fn killed(&self, turn: u64, took: Duration) -> Result<u64, String> {
        let expected = self.trained("whole")?;
        let run = format!("killed{turn}");
        let mut random = turn.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(std::process::id());
        let mut next = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        let mut kills = 0;
        loop {
            let ranks = 1 + next(3) as usize;
            let resume = if self.place.join(&run).join("untrained.dpc").exists() { "--resume" } else { "" };
            let words = self.on(ranks, &format!("{TRAIN} {} --out {run} {resume}", long()));
            let mut child = self.command(&words);
            let mut child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().map_err(|e| e.to_string())?;
            let wait = Duration::from_millis(next(took.as_millis() as u64 + 1));
            if kills < 3 {
                sleep(wait);
                let mine = descendants(child.id(), &self.name());
                if !mine.is_empty() {
                    let victim = mine[next(mine.len() as u64) as usize];
                    runs(Command::new("kill").args(["-9", &victim.to_string()]));
                    kills += 1;
                }
            }
            let status = ended(&mut child, &format!("{run} of {ranks} ranks"))?;
            if status.success() {
                break;
            }
        }
        if self.trained(&run)? != expected {
            return Err(format!("{run}: other parameters than a run that nobody killed"));
        }
        self.ok(&self.alone(&format!("verify-certificate {run}")))?;
        let ledger = fs::read_to_string(self.place.join(&run).join("ledger.jsonl")).map_err(|e| e.to_string())?;
        println!("xtask: {run}: {kills} kills, {} steps in the ledger for {STEPS}", ledger.lines().count());
        if ledger.lines().count() < STEPS { Err(format!("{run}: steps are missing in the ledger")) } else { Ok(kills) }
    }
}

/// How the processes of `child` end, which they must soon.
fn ended(child: &mut Child, what: &str) -> Result<ExitStatus, String> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().map_err(|e| e.to_string())? {
            return Ok(status);
        }
        if started.elapsed() > Duration::from_secs(120) {
            let _ = child.kill();
            return Err(format!("{what}: ranks hang after a kill"));
        }
        sleep(Duration::from_millis(20));
    }
}

/// A run that lasts a while, the same whenever it is made.
fn long() -> String {
    format!("--noise-multiplier 1 --steps {STEPS} --insecure-seed 7")
}

/// The processes of this name that `parent` has started, itself or through others.
fn descendants(parent: u32, name: &str) -> Vec<u32> {
    let stat = |pid: u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (head, rest) = text.rsplit_once(") ")?;
        let comm = head.split_once('(')?.1.to_owned();
        let above: u32 = rest.split_whitespace().nth(1)?.parse().ok()?;
        Some((comm, above))
    };
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_string_lossy().parse::<u32>().ok());
    pids.filter(|&pid| {
        let Some((comm, mut above)) = stat(pid).filter(|(comm, _)| comm == name) else { return false };
        let _ = comm;
        while above > 1 && above != parent {
            above = stat(above).map_or(0, |(_, above)| above);
        }
        above == parent
    })
    .collect()
}
