//! What a certificate says in words.

use std::fmt;

use crate::privacy::plan::PrivacyPlan;

/// What a run may say of itself.
pub(super) enum Claim {
    Private { epsilon: f64, delta: f64 },
    NonPrivate,
    InsecureSeed,
    NoNoise,
}

impl Claim {
    pub(super) fn new(plan: &PrivacyPlan, epsilon: Option<f64>) -> Claim {
        match (plan.delta, epsilon) {
            _ if plan.non_private => Claim::NonPrivate,
            _ if plan.insecure_seed.is_some() => Claim::InsecureSeed,
            (Some(delta), Some(epsilon)) => Claim::Private { epsilon, delta },
            _ => Claim::NoNoise,
        }
    }

    pub(super) fn covers(&self) -> Vec<String> {
        match self {
            Claim::Private { .. } => vec![
                "the trained parameters, every checkpoint of them, and anything computed from them alone".to_owned(),
                "every step in the ledger, of all runs that share it, repeated and torn ones included".to_owned(),
            ],
            Claim::NonPrivate | Claim::InsecureSeed | Claim::NoNoise => vec![],
        }
    }

    pub(super) fn does_not_cover(&self, plan: &PrivacyPlan) -> Vec<String> {
        if !matches!(self, Claim::Private { .. }) {
            return vec!["anything: no guarantee is given".to_owned()];
        }
        let mut items = vec![
            "training loss, accuracy and batch sizes worked out on the private data and shown or stored",
            "choices made by looking at the private data: hyper-parameters, architecture, early stopping, other runs on the same data",
            "pre-processing fitted on the private data, such as vocabularies and normalisation constants",
            "data used for pre-training, and validation and test data",
            "several records of one person: the unit is one record",
            "the finite precision of floating-point noise and sums",
            "observation of the computation itself: its memory and its timing",
        ];
        if plan.public_units.is_some() {
            items.push("the number of units, which is public: the sample rate was worked out from it");
        }
        items.into_iter().map(str::to_owned).collect()
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Claim::Private { epsilon, delta } => write!(
                f,
                "The released parameters are ({epsilon}, {delta})-differentially private for adding or removing one record."
            ),
            Claim::NonPrivate => f.write_str("Nothing is guaranteed: training was not private."),
            Claim::InsecureSeed => f.write_str(
                "Nothing is guaranteed: sampling and noise were fixed by a seed, so anyone can subtract the noise.",
            ),
            Claim::NoNoise => f.write_str(
                "Nothing is guaranteed: no finite epsilon bounds the privacy loss, the noise is too small or absent.",
            ),
        }
    }
}
