//! What one line of the ledger says.

use serde::{Deserialize, Serialize};

use crate::privacy::accountant::Selection;
use crate::privacy::adjacency::Unit;
use crate::privacy::correlation::{Correlation, Strategy};
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
