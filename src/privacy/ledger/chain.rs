//! The ledger's text: one JSON object a line, chained by hashes.
//!
//! A line is an [`Entry`] with a last member `hash`, the SHA-256 of the hash of the line before (32
//! bytes; for the first line, that of `dpc ledger v2`) followed by the line without that member, byte for
//! byte.

use std::collections::{HashMap, hash_map};
use std::ops::Range;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::privacy::accountant::{Mechanism, Selection};
use crate::privacy::adjacency::Unit;
use crate::privacy::correlation::participation::participations;
use crate::privacy::correlation::{Correlation, Strategy};
use crate::privacy::keys::hex;
use crate::privacy::plan::PrivacyPlan;
use crate::privacy::sampling::Sampling;

/// One logical step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The line's number, from 0.
    pub seq: u64,
    /// The run that took the step.
    pub run: String,
    /// The step's number within its training; a resumed run may repeat one.
    pub step: u64,
    /// The noise's standard deviation as a multiple σ of the sensitivity.
    pub noise_multiplier: f64,
    /// How the step's batch was drawn.
    #[serde(flatten)]
    pub sampling: Sampling,
    /// How the noise of the steps of a stream is correlated, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noise_correlation: Option<Correlation>,
    /// The matrix of that, in the first line of each session of a stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noise_matrix: Option<Strategy>,
    /// The stream of correlated noise that the step's is of: the run that began it. A run that goes on with it takes another name and keeps the
    /// stream's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// The selection among trials that the line pays for, in place of a step. Its σ is 0, so that who does not know of selections bounds nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selection: Option<Selection>,
    /// The selection that the step's run is a trial of, which alone may be released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial_of: Option<String>,
    /// The clip rule.
    pub clip: String,
    /// The expected batch size L.
    pub expected_batch: f64,
    /// What was sampled and clipped as one.
    pub unit: Unit,
    /// Whether sampling and noise were fixed by a seed, so that the step guarantees nothing.
    pub insecure: bool,
    /// How many ranks took the step together.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub ranks: u64,
    /// Whether the line stands in for one that was found torn.
    pub recovered: bool,
}

fn one() -> u64 {
    1
}

fn is_one(ranks: &u64) -> bool {
    *ranks == 1
}

impl Entry {
    pub(super) fn new(seq: u64, run: &str, step: u64, plan: &PrivacyPlan, stream: Option<&str>) -> Entry {
        Entry {
            seq,
            run: run.to_owned(),
            step,
            noise_multiplier: plan.noise_multiplier_at(step),
            sampling: plan.sampling,
            noise_correlation: plan.correlation.as_ref().map(|strategy| strategy.correlation()),
            noise_matrix: None,
            stream: stream.map(str::to_owned),
            selection: None,
            trial_of: None,
            clip: plan.clip.to_string(),
            expected_batch: plan.expected_batch,
            unit: plan.unit,
            insecure: plan.insecure_seed.is_some(),
            ranks: 1,
            recovered: false,
        }
    }
}

/// A point in a ledger's life, to find out later whether lines before it were removed or replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// How many lines there are.
    pub entries: u64,
    /// The hash of the last one, in hexadecimal.
    pub hash: String,
}

type Hash = [u8; 32];

/// What a ledger holds.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Contents {
    entries: Vec<Entry>,
    /// The hash of each entry.
    hashes: Vec<Hash>,
    /// Whether a torn or unreadable line follows the entries. It counts as a step.
    pub torn: bool,
    /// Whether the last entry lacks nothing but the end of its line.
    pub(super) unended: bool,
}

impl Contents {
    /// Reads a ledger's text; the number of the first corrupt line, from 1, if one lies before the last.
    pub(super) fn parse(bytes: &[u8]) -> Result<Contents, usize> {
        let mut contents = Contents::default();
        let mut rest = bytes;
        while !rest.is_empty() {
            let end = rest.iter().position(|&byte| byte == b'\n');
            let (line, following) = match end {
                Some(end) => (&rest[..end], &rest[end + 1..]),
                None => (rest, &[][..]),
            };
            match contents.decode(line) {
                Some((entry, hash)) => {
                    contents.entries.push(entry);
                    contents.hashes.push(hash);
                    contents.unended = end.is_none();
                }
                None if following.is_empty() && beginnings(line) <= 1 => contents.torn = true,
                None => return Err(contents.entries.len() + 1),
            }
            rest = following;
        }
        Ok(contents)
    }

    /// Appends `entry` and returns its line.
    pub(super) fn push(&mut self, entry: Entry) -> String {
        let (line, hash) = encode(&self.last_hash(), &entry);
        self.entries.push(entry);
        self.hashes.push(hash);
        line
    }

    /// These contents with an entry of `run` in place of the torn line.
    pub(super) fn repaired(mut self, run: &str, plan: &PrivacyPlan) -> Contents {
        let charge = self.torn_charge(plan);
        let step = self.entries.last().map_or(0, |last| last.step.saturating_add(1));
        let entry = Entry {
            noise_multiplier: charge.noise_multiplier,
            sampling: charge.sampling,
            recovered: true,
            ..Entry::new(self.len(), run, step, plan, None)
        };
        self.push(entry);
        self.torn = false;
        self
    }

    /// Whether a text is that of the format before this one.
    pub(super) fn is_v1(bytes: &[u8]) -> bool {
        let first = bytes.split(|&byte| byte == b'\n').next().unwrap_or_default();
        let before = Sha256::digest(b"dpc ledger v1").into();
        str::from_utf8(first).is_ok_and(|line| chained(&before, line).is_some())
    }

    /// The text of the entries.
    pub(super) fn to_text(&self) -> String {
        let mut previous = genesis();
        let mut text = String::new();
        for (entry, hash) in self.entries.iter().zip(&self.hashes) {
            text.push_str(&encode(&previous, entry).0);
            previous = *hash;
        }
        text
    }

    /// The whole lines, in order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// How many whole lines there are.
    pub fn len(&self) -> u64 {
        self.entries.len() as u64
    }

    /// The selection among trials that the ledger counts, if it does. It is then alone there.
    pub fn selection(&self) -> Option<&Selection> {
        self.entries.iter().find_map(|entry| entry.selection.as_ref())
    }

    /// Whether there are steps of trials, which are paid for by the selection among them.
    pub fn has_trials(&self) -> bool {
        self.entries.iter().any(|entry| entry.trial_of.is_some())
    }

    /// The kind of unit that the steps are for; `None` where there is no step.
    pub fn unit(&self) -> Option<Unit> {
        self.entries.first().map(|entry| entry.unit)
    }

    /// Whether sampling and noise of any step were fixed by a seed.
    pub fn insecure(&self) -> bool {
        self.entries.iter().any(|entry| entry.insecure)
    }

    /// How many ranks took the steps, and after them how many others, in their order.
    pub fn ranks(&self) -> Vec<u64> {
        let mut ranks: Vec<u64> =
            self.entries.iter().filter(|entry| !entry.recovered).map(|entry| entry.ranks).collect();
        ranks.dedup();
        ranks
    }

    /// Whether not one step has been recorded.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && !self.torn
    }

    /// How many steps count, a torn one included.
    pub fn steps(&self) -> u64 {
        self.len() + u64::from(self.torn)
    }

    /// The steps for an accountant, those of equal σ and sampling together. A torn step is charged at the
    /// smallest σ and the most revealing sampling of all entries and of `plan`, the plan that may have been
    /// recording it.
    pub fn history(&self, plan: &PrivacyPlan) -> Vec<Mechanism> {
        let mut history = self.recorded();
        if self.torn {
            let step = self.torn_charge(plan);
            let alike = |other: &&mut Mechanism| Mechanism { steps: 1, ..**other } == step;
            match history.iter_mut().find(alike) {
                Some(other) => other.steps += 1,
                None => history.push(step),
            }
        }
        history
    }

    /// As [`Contents::history`], with the steps `steps` of `plan` to come, in the stream `stream` if it goes on with one.
    pub fn history_then(&self, plan: &PrivacyPlan, steps: Range<u64>, stream: Option<&str>) -> Vec<Mechanism> {
        if plan.correlation.is_none() || steps.is_empty() {
            return [self.history(plan), plan.planned(steps)].concat();
        }
        let torn = if self.torn { vec![self.torn_charge(plan)] } else { Vec::new() };
        let mut streams = self.streams();
        match streams.iter_mut().find(|found| Some(found.name) == stream && found.sampling == plan.sampling) {
            Some(found) => {
                found.noise_multiplier = found.noise_multiplier.min(plan.noise_multiplier);
                found.sessions.push(("", steps));
            }
            None => return [self.history(plan), plan.planned(steps)].concat(),
        }
        let correlated = streams.iter().flat_map(StreamSteps::mechanisms);
        self.uncorrelated().into_iter().chain(correlated).chain(torn).collect()
    }

    /// As [`Contents::history`], without a torn step.
    ///
    /// Of shuffled steps, those of one run and epoch are charged as one, at their smallest σ: a run draws
    /// one permutation an epoch, and a resumed run is another run. Steps of correlated noise are charged by stream, as many as its participations.
    pub fn recorded(&self) -> Vec<Mechanism> {
        let mut history = self.uncorrelated();
        for mechanism in self.streams().iter().flat_map(StreamSteps::mechanisms) {
            let alike = |other: &&mut Mechanism| Mechanism { steps: mechanism.steps, ..**other } == mechanism;
            match history.iter_mut().find(alike) {
                Some(other) => other.steps += mechanism.steps,
                None => history.push(mechanism),
            }
        }
        history
    }

    /// The streams of correlated noise, with the steps that each session of each took.
    fn streams(&self) -> Vec<StreamSteps<'_>> {
        let mut streams: Vec<StreamSteps<'_>> = Vec::new();
        // The stream and the session of the line before.
        let mut before: Option<(usize, u64)> = None;
        for entry in &self.entries {
            let of = entry.stream.as_deref().zip(entry.noise_correlation);
            let Some((name, correlation)) = of else {
                // A torn line stands for a step of whatever was before it, too.
                if let (Some((at, step)), true) = (before.take(), entry.recovered)
                    && step.checked_add(1) == Some(entry.step)
                    && let Some((_, steps)) = streams[at].sessions.last_mut()
                {
                    steps.end = steps.end.max(entry.step + 1);
                }
                continue;
            };
            let known = streams.iter().position(|stream| {
                (stream.name, stream.sampling, stream.correlation) == (name, entry.sampling, correlation)
                    && (entry.noise_matrix.is_none() || stream.matrix == entry.noise_matrix.as_ref())
            });
            let at = known.unwrap_or_else(|| {
                let (noise_multiplier, sampling) = (entry.noise_multiplier, entry.sampling);
                let (matrix, sessions) = (entry.noise_matrix.as_ref(), Vec::new());
                streams.push(StreamSteps { name, noise_multiplier, sampling, correlation, matrix, sessions });
                streams.len() - 1
            });
            let stream = &mut streams[at];
            stream.noise_multiplier = stream.noise_multiplier.min(entry.noise_multiplier);
            match stream.sessions.last_mut() {
                Some((run, steps)) if *run == entry.run && steps.end == entry.step => steps.end += 1,
                _ => stream.sessions.push((&entry.run, entry.step..entry.step + 1)),
            }
            before = Some((at, entry.step));
        }
        streams
    }

    /// The steps of independent noise, and torn lines.
    fn uncorrelated(&self) -> Vec<Mechanism> {
        let mut history: Vec<Mechanism> = Vec::new();
        let mut groups: HashMap<(u64, String), usize> = HashMap::new();
        let mut add = |step: Mechanism| {
            let alike = (step.noise_multiplier.to_bits(), format!("{:?}", step.sampling));
            match groups.entry(alike) {
                hash_map::Entry::Occupied(group) => history[*group.get()].steps += 1,
                hash_map::Entry::Vacant(group) => {
                    group.insert(history.len());
                    history.push(step);
                }
            }
        };
        let mut epochs: Vec<Mechanism> = Vec::new();
        let mut charged: HashMap<(&str, u64, String), usize> = HashMap::new();
        for entry in self.entries.iter().filter(|entry| entry.stream.is_none()) {
            let step = charge(entry);
            let Some(length) = entry.sampling.epoch().filter(|_| !entry.recovered) else {
                add(step);
                continue;
            };
            let epoch = (entry.run.as_str(), entry.step / length, format!("{:?}", entry.sampling));
            match charged.entry(epoch) {
                hash_map::Entry::Occupied(epoch) => {
                    let epoch = &mut epochs[*epoch.get()];
                    epoch.noise_multiplier = epoch.noise_multiplier.min(step.noise_multiplier);
                }
                hash_map::Entry::Vacant(epoch) => {
                    epoch.insert(epochs.len());
                    epochs.push(step);
                }
            }
        }
        epochs.into_iter().for_each(&mut add);
        history
    }

    /// The point reached.
    pub fn head(&self) -> Head {
        Head { entries: self.len(), hash: hex(&self.last_hash()) }
    }

    /// The first `entries` lines alone, if there are so many: what the ledger held then.
    pub fn until(&self, entries: u64) -> Option<Contents> {
        let entries = usize::try_from(entries).ok().filter(|&entries| entries <= self.entries.len())?;
        let (entries, hashes) = (self.entries[..entries].to_vec(), self.hashes[..entries].to_vec());
        Some(Contents { entries, hashes, torn: false, unended: false })
    }

    /// The point after the first `entries` lines, if there are so many.
    pub(super) fn head_at(&self, entries: u64) -> Option<Head> {
        let hash = match usize::try_from(entries).ok()?.checked_sub(1) {
            None => genesis(),
            Some(last) => *self.hashes.get(last)?,
        };
        Some(Head { entries, hash: hex(&hash) })
    }

    fn last_hash(&self) -> Hash {
        self.hashes.last().copied().unwrap_or_else(genesis)
    }

    fn torn_charge(&self, plan: &PrivacyPlan) -> Mechanism {
        let step = self.entries.last().map_or(0, |last| last.step.saturating_add(1));
        let worst = |worst: Mechanism, step: Mechanism| Mechanism {
            noise_multiplier: worst.noise_multiplier.min(step.noise_multiplier),
            sampling: most_revealing(worst.sampling, step.sampling),
            steps: 1,
        };
        let possible = [plan.mechanism(0), plan.mechanism(step)];
        self.entries.iter().map(charge).chain(possible).fold(plan.mechanism(step), worst)
    }

    /// The entry of a line that is to follow these contents.
    fn decode(&self, line: &[u8]) -> Option<(Entry, Hash)> {
        let (content, hash) = chained(&self.last_hash(), str::from_utf8(line).ok()?)?;
        let entry: Entry = serde_json::from_str(&content).ok()?;
        let unit = self.unit().unwrap_or(entry.unit);
        (entry.seq == self.len() && entry.unit == unit).then_some((entry, hash))
    }
}

/// What the ledger holds of one stream of correlated noise.
struct StreamSteps<'a> {
    name: &'a str,
    /// The least σ.
    noise_multiplier: f64,
    sampling: Sampling,
    correlation: Correlation,
    matrix: Option<&'a Strategy>,
    /// The steps that each run took without interruption.
    sessions: Vec<(&'a str, Range<u64>)>,
}

impl StreamSteps<'_> {
    fn mechanisms(&self) -> Vec<Mechanism> {
        let (Sampling::Cyclic { rate, parts }, Some(matrix)) = (self.sampling, self.matrix) else {
            // No plan is like that, and nothing is known of it.
            return vec![Mechanism { noise_multiplier: 0.0, sampling: Sampling::Poisson { rate: 1.0 }, steps: 1 }];
        };
        let sessions: Vec<Range<u64>> = self.sessions.iter().map(|(_, steps)| steps.clone()).collect();
        let all = participations(&sessions, (rate, parts), matrix);
        all.iter().map(|found| found.mechanism(self.noise_multiplier, self.sampling)).collect()
    }
}

/// The content of a line and its hash, if the line follows one of hash `previous`.
fn chained(previous: &Hash, line: &str) -> Option<(String, Hash)> {
    let (content, tail) = line.split_at_checked(line.len().checked_sub(TAIL_LEN)?)?;
    let content = format!("{content}}}");
    let hash = link(previous, &content);
    (tail == tail_of(&hash)).then_some((content, hash))
}

fn charge(entry: &Entry) -> Mechanism {
    Mechanism { noise_multiplier: entry.noise_multiplier, sampling: entry.sampling.participation(), steps: 1 }
}

/// A sampling that reveals at least as much as either: without any, every unit is in the batch.
fn most_revealing(a: Sampling, b: Sampling) -> Sampling {
    match (a, b) {
        (a, b) if a == b => a,
        (Sampling::Poisson { rate: p }, Sampling::Poisson { rate: q }) => Sampling::Poisson { rate: p.max(q) },
        _ => Sampling::Poisson { rate: 1.0 },
    }
}

/// How many lines begin in `line`: more than one where the end between two was damaged.
fn beginnings(line: &[u8]) -> usize {
    let beginning = br#"{"seq":"#;
    line.windows(beginning.len()).filter(|window| window == beginning).count()
}

fn genesis() -> Hash {
    Sha256::digest(b"dpc ledger v2").into()
}

fn link(previous: &Hash, content: &str) -> Hash {
    Sha256::new().chain_update(previous).chain_update(content).finalize().into()
}

/// The length of what [`tail_of`] gives.
const TAIL_LEN: usize = r#","hash":""#.len() + 64 + r#""}"#.len();

fn tail_of(hash: &Hash) -> String {
    format!(r#","hash":"{}"}}"#, hex(hash))
}

fn encode(previous: &Hash, entry: &Entry) -> (String, Hash) {
    let content = serde_json::to_string(entry).expect("strings and numbers are always JSON");
    let hash = link(previous, &content);
    let open = content.strip_suffix('}').unwrap_or(&content);
    (format!("{open}{}\n", tail_of(&hash)), hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::privacy::plan;
    use proptest::prelude::*;

    /// The hash is Python's `hashlib`'s.
    #[test]
    fn a_line_can_be_checked_by_hand() {
        let plan = PrivacyPlan::new(plan::example()).unwrap();
        let mut contents = Contents::default();
        let line = contents.push(Entry::new(0, "0123456789abcdef", 0, &plan, None));
        assert_eq!(
            line,
            concat!(
                r#"{"seq":0,"run":"0123456789abcdef","step":0,"noise_multiplier":1.5,"sampling":"poisson","#,
                r#""sample_rate":0.25,"#,
                r#""clip":"flat:2.0","expected_batch":64.0,"unit":"record","insecure":true,"recovered":false,"#,
                r#""hash":"ceca12fd8daa657c7b86614e56d6af75a12797e62301f7e14c81a502dc2220c7"}"#,
                "\n"
            )
        );
    }

    /// In seconds rather than hours, where no two steps have the same noise.
    #[test]
    fn a_long_history_of_different_steps_is_soon_told() {
        let plan = PrivacyPlan::new(plan::example()).unwrap();
        let mut contents = Contents::default();
        for step in 0..100_000 {
            let noise_multiplier = 1.0 + step as f64;
            contents.entries.push(Entry { noise_multiplier, ..Entry::new(step, "run", step, &plan, None) });
        }
        let started = std::time::Instant::now();
        assert_eq!(contents.history(&plan).len(), 100_000);
        assert!(started.elapsed().as_secs() < 5);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let read = Contents::parse(&bytes);
            prop_assert!(read.is_err() || read.unwrap().steps() == u64::from(!bytes.is_empty()));
        }

        #[test]
        fn every_finite_number_is_kept(sigma in 0.0..1e300_f64, q in 0.0..1.0_f64, batch in 0.0..1e9_f64) {
            let plan = PrivacyPlan::new(plan::example()).unwrap();
            let entry = Entry {
                noise_multiplier: sigma,
                sampling: Sampling::Poisson { rate: q },
                expected_batch: batch,
                ..Entry::new(0, "a \"run\"\n", 7, &plan, None)
            };
            let mut contents = Contents::default();
            let line = contents.push(entry);
            prop_assert_eq!(Contents::parse(line.as_bytes()).unwrap(), contents);
        }
    }
}
