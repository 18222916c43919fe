//! What a certificate says in words.

use super::InitialValues;
use crate::privacy::accountant::Selection;
use crate::privacy::adjacency::{Adjacency, Unit};
use crate::privacy::plan::PrivacyPlan;

/// What a run may say of itself.
pub(super) enum Claim {
    Private { epsilon: f64, delta: f64 },
    NonPrivate,
    InsecureSeed,
    NoNoise,
}

impl Claim {
    /// What a run of `plan` with this ε may say, whose ledger has `insecure` steps or not.
    pub(super) fn new(plan: &PrivacyPlan, insecure: bool, epsilon: Option<f64>) -> Claim {
        match (plan.delta, epsilon) {
            _ if plan.non_private => Claim::NonPrivate,
            _ if insecure || plan.insecure_seed.is_some() => Claim::InsecureSeed,
            (Some(delta), Some(epsilon)) => Claim::Private { epsilon, delta },
            _ => Claim::NoNoise,
        }
    }

    pub(super) fn covers(&self, plan: &PrivacyPlan, selection: Option<&Selection>) -> Vec<String> {
        if !matches!(self, Claim::Private { .. }) {
            return vec![];
        }
        let mut items = vec!["the trained parameters, every checkpoint of them, and anything computed from them alone"];
        let paid: &[&str] = match selection {
            Some(_) => &[
                "the choice of the released run, with its hyper-parameters, as the best of a random number of trials",
                "every step of all trials, interrupted ones included",
            ],
            None => &["every step in the ledger, of all runs that share it, repeated and torn ones included"],
        };
        items.extend(paid);
        if plan.clip.adaptive().is_some() {
            items.push("the clip bounds of every step, which follow noisy counts that are paid for");
        }
        if plan.views > 1 {
            items.push("all random views of a record, the mean of whose gradients is clipped as one");
        }
        if plan.estimates.is_some() {
            items.push("the estimates of batch size and loss in the metrics, which are noisy and paid for");
        }
        if plan.correlation.is_some() {
            items.push("the correlation of the noise of steps, which is public: σ is the noise over what one participation of a unit moves");
        }
        items.into_iter().map(str::to_owned).collect()
    }

    pub(super) fn does_not_cover(
        &self,
        plan: &PrivacyPlan,
        selection: Option<&Selection>,
        initial: Option<&InitialValues>,
    ) -> Vec<String> {
        if !matches!(self, Claim::Private { .. }) {
            return vec!["anything: no guarantee is given".to_owned()];
        }
        let mut items = vec![
            "training loss, accuracy and batch sizes worked out on the private data and shown, or stored on request",
            match selection {
                Some(_) => {
                    "other choices made by looking at the private data: of what is tried, whether the trials go on, other runs on the same data"
                }
                None => {
                    "choices made by looking at the private data: hyper-parameters, architecture, early stopping, other runs on the same data"
                }
            },
            "pre-processing fitted on the private data, such as vocabularies and normalisation constants",
            "data used for pre-training, and validation and test data",
            match plan.unit {
                Unit::Record => "several records of one person: the unit is one record",
                Unit::Group => {
                    "a person whose records are in several groups: the unit is one group of the array `group`"
                }
            },
            "observation of the computation itself: its memory and its timing",
        ];
        if selection.is_some() {
            items.push("the trials that are not released, what was seen of them, and how many there were: they must stay secret, and how long they took with them");
            items.push("the data that the trials were scored on, which are taken to be public");
        }
        if plan.correlation.is_some() {
            items.push("the files of noise beside checkpoints, which exist while a run goes on, and which only its owner may read");
        }
        if plan.grid.is_none() {
            items.push("the finite precision of floating-point noise and sums");
        }
        if plan.adjacency == Adjacency::ReplaceOne {
            items.push("the number of units, which is the same in neighbouring data sets");
        } else if plan.public_units.is_some() {
            items.push("the number of units, which is public: the sample rate was worked out from it");
        }
        let initial = initial.map(|values| {
            format!("what the initial values were learned from: they come from {values}, and are taken to be public")
        });
        items.into_iter().map(str::to_owned).chain(initial).collect()
    }

    /// The guarantee in words, or why there is none.
    pub(super) fn statement(&self, plan: &PrivacyPlan) -> String {
        let change = match plan.adjacency {
            Adjacency::AddRemove => "adding or removing",
            Adjacency::ReplaceOne => "replacing",
        };
        match self {
            Claim::Private { epsilon, delta } => format!(
                "The released parameters are ({epsilon}, {delta})-differentially private for {change} one {}.",
                plan.unit
            ),
            Claim::NonPrivate => "Nothing is guaranteed: training was not private.".to_owned(),
            Claim::InsecureSeed => {
                "Nothing is guaranteed: sampling and noise of some steps were fixed by a seed, so anyone can subtract the noise."
                    .to_owned()
            }
            Claim::NoNoise => {
                "Nothing is guaranteed: no finite epsilon bounds the privacy loss, the noise is too small or absent."
                    .to_owned()
            }
        }
    }
}
