//! How logical batches are drawn: the description that the sampler follows and the accountant charges for.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How the units (records, or groups of them) of a logical batch are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "sampling", rename_all = "kebab-case")]
pub enum Sampling {
    /// Each unit independently with probability `rate` (q).
    Poisson {
        /// The probability, in `[0, 1]`.
        #[serde(rename = "sample_rate")]
        rate: f64,
    },
    /// As [`Sampling::Poisson`], and of more than `max_batch` units a uniform subset of `max_batch` stays
    /// (Chua et al., <https://arxiv.org/abs/2411.04205>).
    TruncatedPoisson {
        /// The probability, in `[0, 1]`.
        #[serde(rename = "sample_rate")]
        rate: f64,
        /// The number of units in the dataset, which is public.
        units: u64,
        /// The most units of a batch, at least 1.
        max_batch: u64,
    },
    /// Exactly `batch` units, uniformly without replacement, afresh for each step.
    FixedSize {
        /// The number of units in the dataset, which is public.
        units: u64,
        /// The units of a batch, at least 1 and at most `units`.
        batch: u64,
    },
    /// A permutation for each epoch, cut into batches of `batch` units; what is left over is dropped. A
    /// unit enters at most one batch of an epoch, and nothing more than that is charged for.
    Shuffle {
        /// The number of units in the dataset, which is public.
        units: u64,
        /// The units of a batch, at least 1 and at most `units`.
        batch: u64,
    },
    /// Each unit is in one of `parts` parts, at random and for the whole run, and step t draws each unit of part t mod `parts`
    /// independently with probability `rate`. For correlated noise, see [`super::correlation`].
    Cyclic {
        /// The probability, in `[0, 1]`, for units of the part.
        #[serde(rename = "sample_rate")]
        rate: f64,
        /// The number of parts, at least 1.
        parts: u64,
    },
}

impl Sampling {
    /// Poisson sampling truncated to `most` units, by default to three times the expected batch, which
    /// hardly ever truncates.
    pub fn truncated(rate: f64, units: u64, most: Option<u64>) -> Sampling {
        let max_batch = most.unwrap_or((3.0 * rate * units as f64).ceil().max(1.0) as u64);
        Sampling::TruncatedPoisson { rate, units, max_batch }
    }

    /// Cycles of `parts` parts with batches that are on average the share `share` of the dataset.
    pub fn cyclic(share: f64, parts: u64) -> Sampling {
        let rate = share * parts as f64;
        // Whole parts are whole, however the share was rounded.
        let rate = if (rate - 1.0).abs() < 1e-12 { 1.0 } else { rate };
        Sampling::Cyclic { rate, parts }
    }

    /// What one participation under this sampling is to an accountant: of cyclic sampling, Poisson sampling at the rate of a part
    /// (theorem 3 of [`super::correlation`]).
    pub fn participation(&self) -> Sampling {
        match *self {
            Sampling::Cyclic { rate, .. } => Sampling::Poisson { rate },
            other => other,
        }
    }

    /// The expected share of the dataset in a batch, truncation left aside.
    pub fn rate(&self) -> f64 {
        match *self {
            Sampling::Poisson { rate } | Sampling::TruncatedPoisson { rate, .. } => rate,
            Sampling::FixedSize { units, batch } | Sampling::Shuffle { units, batch } => batch as f64 / units as f64,
            Sampling::Cyclic { rate, parts } => rate / parts as f64,
        }
    }

    /// The number of units that this sampling is for, where it depends on it.
    pub fn units(&self) -> Option<u64> {
        match *self {
            Sampling::Poisson { .. } | Sampling::Cyclic { .. } => None,
            Sampling::TruncatedPoisson { units, .. }
            | Sampling::FixedSize { units, .. }
            | Sampling::Shuffle { units, .. } => Some(units),
        }
    }

    /// The name on the command line.
    pub fn name(&self) -> &'static str {
        match self {
            Sampling::Poisson { .. } => "poisson",
            Sampling::TruncatedPoisson { .. } => "truncated-poisson",
            Sampling::FixedSize { .. } => "fixed-size",
            Sampling::Shuffle { .. } => "shuffle",
            Sampling::Cyclic { .. } => "cyclic",
        }
    }

    /// Whether every number is in its range.
    pub fn is_valid(&self) -> bool {
        let fits = |batch: u64, units: u64| batch >= 1 && batch <= units;
        match *self {
            Sampling::Poisson { rate } => (0.0..=1.0).contains(&rate),
            Sampling::TruncatedPoisson { rate, units, max_batch } => {
                (0.0..=1.0).contains(&rate) && units >= 1 && max_batch >= 1
            }
            Sampling::FixedSize { units, batch } | Sampling::Shuffle { units, batch } => fits(batch, units),
            Sampling::Cyclic { rate, parts } => (0.0..=1.0).contains(&rate) && parts >= 1,
        }
    }

    /// Steps of an epoch: of how many a unit enters at most one. Only shuffling has such a bound.
    pub fn epoch(&self) -> Option<u64> {
        match *self {
            Sampling::Shuffle { units, batch } => Some((units / batch.max(1)).max(1)),
            _ => None,
        }
    }
}

impl fmt::Display for Sampling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sampling::Poisson { rate } => write!(f, "poisson sampling at rate {rate}"),
            Sampling::TruncatedPoisson { rate, units, max_batch } => {
                write!(f, "poisson sampling at rate {rate} of {units}, truncated to {max_batch}")
            }
            Sampling::FixedSize { units, batch } => write!(f, "{batch} of {units} without replacement"),
            Sampling::Shuffle { units, batch } => write!(f, "shuffled batches of {batch} of {units}"),
            Sampling::Cyclic { rate, parts } => write!(f, "cyclic sampling at rate {rate} of each of {parts} parts"),
        }
    }
}
