//! What is said where one of several ranks is killed.

use std::fs::{self, File};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{TRAIN, Trial, descendants, ended, long, runs};

/// Where launchers tell a process its rank: Open MPI's, and those of MPICH and its relatives.
const RANKS: [&str; 2] = ["OMPI_COMM_WORLD_RANK=", "PMI_RANK="];
const COUNT: usize = 3;
/// How often each is killed at most: a launcher kills whoever takes too long to speak, as on a machine that is busy.
const TRIES: usize = 4;

impl Trial {
    /// Each rank in turn is killed while all train: the others say that they were ended, and what to do.
    pub(super) fn told_of_a_kill(&self) -> Result<(), String> {
        for victim in 0..COUNT {
            let silent = (0..TRIES).map(|turn| self.told(victim, &format!("told{victim}-{turn}")));
            let silent =
                silent.take_while(|told| told.as_ref().map_or(true, Option::is_some)).collect::<Result<Vec<_>, _>>()?;
            if let Some(Some(said)) = silent.get(TRIES - 1) {
                return Err(said.clone());
            }
            println!("xtask: rank {victim} killed: the others say that they were ended, at try {}", silent.len() + 1);
        }
        Ok(())
    }

    /// Kills rank `victim` of `run` after its first step. What was said where another rank did not say that it was ended.
    fn told(&self, victim: usize, run: &str) -> Result<Option<String>, String> {
        let said = self.place.join(format!("{run}.txt"));
        let words = self.on(COUNT, &format!("{TRAIN} {} --out {run}", long()));
        let told = File::create(&said).map_err(|e| format!("{}: {e}", said.display()))?;
        let mut command = self.command(&words);
        let mut child = command.stdout(Stdio::null()).stderr(told).spawn().map_err(|e| e.to_string())?;
        let (ledger, begun) = (self.place.join(run).join("ledger.jsonl"), Instant::now());
        while fs::metadata(&ledger).map_or(0, |file| file.len()) == 0 {
            if begun.elapsed() > Duration::from_secs(60) || child.try_wait().is_ok_and(|ended| ended.is_some()) {
                let _ = child.kill();
                return Err(format!("{run}: no step was taken: {}", fs::read_to_string(&said).unwrap_or_default()));
            }
            sleep(Duration::from_millis(10));
        }
        let pid = descendants(child.id(), &self.name()).into_iter().find(|&pid| rank_of(pid) == Some(victim));
        let pid = pid.ok_or_else(|| format!("{run}: rank {victim} is not to be found"))?;
        runs(Command::new("kill").args(["-9", &pid.to_string()]));
        if ended(&mut child, run)?.success() {
            return Err(format!("{run}: the job ended well though rank {victim} was killed"));
        }
        let said = fs::read_to_string(&said).map_err(|e| e.to_string())?;
        let told = |rank: &usize| said.contains(&format!("rank {rank} of {COUNT} was ended from outside"));
        let silent = (0..COUNT).find(|rank| *rank != victim && !told(rank));
        Ok(silent.map(|rank| format!("{run}: rank {rank} said nothing:\n{said}")))
    }
}

/// The rank that a process was started as.
fn rank_of(pid: u32) -> Option<usize> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let said = environment.split(|&byte| byte == 0).filter_map(|variable| std::str::from_utf8(variable).ok());
    said.filter_map(|variable| RANKS.iter().find_map(|name| variable.strip_prefix(name)))
        .find_map(|rank| rank.parse().ok())
}
