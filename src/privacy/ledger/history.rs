//! What a ledger's steps are to an accountant.

use std::collections::{HashMap, hash_map};
use std::ops::Range;

use super::chain::Contents;
use super::entry::Entry;
use crate::privacy::accountant::Mechanism;
use crate::privacy::correlation::participation::participations;
use crate::privacy::correlation::{Correlation, Strategy};
use crate::privacy::plan::PrivacyPlan;
use crate::privacy::sampling::Sampling;

impl Contents {
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
        for entry in self.entries() {
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
        for entry in self.entries().iter().filter(|entry| entry.stream.is_none()) {
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

    /// The most that a torn line can have been.
    pub(super) fn torn_charge(&self, plan: &PrivacyPlan) -> Mechanism {
        let step = self.entries().last().map_or(0, |last| last.step.saturating_add(1));
        let worst = |worst: Mechanism, step: Mechanism| Mechanism {
            noise_multiplier: worst.noise_multiplier.min(step.noise_multiplier),
            sampling: most_revealing(worst.sampling, step.sampling),
            steps: 1,
        };
        let possible = [plan.mechanism(0), plan.mechanism(step)];
        self.entries().iter().map(charge).chain(possible).fold(plan.mechanism(step), worst)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::privacy::plan;

    /// In seconds rather than hours, where no two steps have the same noise.
    #[test]
    fn a_long_history_of_different_steps_is_soon_told() {
        let plan = PrivacyPlan::new(plan::example()).unwrap();
        let mut contents = Contents::default();
        for step in 0..100_000 {
            let noise_multiplier = 1.0 + step as f64;
            contents.push(Entry { noise_multiplier, ..Entry::new(step, "run", step, &plan, None) });
        }
        let started = std::time::Instant::now();
        assert_eq!(contents.history(&plan).len(), 100_000);
        assert!(started.elapsed().as_secs() < 5);
    }
}
