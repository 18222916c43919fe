//! How many trials a selection makes: a random number, drawn independently of the data.
//!
//! A fixed number of trials would cost as much as all of them. A random one costs little more than a single trial, if it stays secret
//! (Liu and Talwar 2019; Papernot and Steinke 2022, <https://arxiv.org/abs/2110.03620>): then nobody can tell how many worse trials there
//! were beside the one that is released. The distributions are those of Papernot and Steinke, Definition 1 and Theorem 6:
//!
//! | distribution | `Pr[K = k+1] / Pr[K = k]` | least K |
//! |---|---|---|
//! | truncated negative binomial of shape η > -1 and 0 < γ < 1 | `(1-γ)(k+η)/(k+1)` | 1 |
//! | Poisson of mean μ | `μ/(k+1)` | 0 |
//!
//! η = 1 is the geometric distribution, η = 0 the logarithmic one.
//!
//! **Drawing.** Going up from the least k, the number is k with the probability `h = Pr[K = k] / Pr[K ≥ k]`, which is
//! `1/(1 + r(k) + r(k) r(k+1) + …)` for ratios r as in the table: a sum of positive terms. That is worked out in `f64` with a relative error far
//! below 10⁻¹⁰, and a bit of this very probability is drawn without any error. The probabilities of K are thereby right to a relative
//! [`Trials::ROUNDING`], which whoever accounts for the selection adds to ε.

use std::fmt;
use std::str::FromStr;

use miette::Diagnostic;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::keys::{Domain, RunKey, Stream};
use super::sampler::uniform::Uniform;

/// The distribution of a number of trials.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "distribution", rename_all = "kebab-case")]
pub enum Trials {
    /// Truncated negative binomial: at least one trial.
    NegativeBinomial {
        /// η > -1: the smaller, the cheaper, and the more the number varies.
        shape: f64,
        /// γ in (0, 1): the smaller, the more trials.
        gamma: f64,
    },
    /// Poisson: perhaps no trial at all.
    Poisson {
        /// The expected number, at least 1.
        mean: f64,
    },
}

/// The least γ: below it sums would take too long, and their rounding grow.
const LEAST_GAMMA: f64 = 1e-4;
/// The largest shape, beyond which the number varies no less than by Poisson's distribution, and costs more.
const LARGEST_SHAPE: f64 = 100.0;
/// The largest mean of Poisson's distribution.
const LARGEST_MEAN: f64 = 1e4;

impl Trials {
    /// What the logarithm of each probability of a drawn number may be off by.
    pub const ROUNDING: f64 = 1e-9;

    /// The geometric distribution of this mean, above 1.
    ///
    /// # Errors
    /// When the mean is out of range.
    pub fn geometric(mean: f64) -> Result<Trials, InvalidTrials> {
        Trials::negative_binomial(1.0, mean)
    }

    /// The truncated negative binomial distribution of this shape and mean, above 1.
    ///
    /// # Errors
    /// When one of them is out of range.
    pub fn negative_binomial(shape: f64, mean: f64) -> Result<Trials, InvalidTrials> {
        if !(shape > -1.0 && shape <= LARGEST_SHAPE) {
            return Err(InvalidTrials::Shape { shape });
        }
        let most = mean_of(shape, LEAST_GAMMA);
        if !(mean > 1.0 && mean <= most) {
            return Err(InvalidTrials::Mean { mean, least: "above 1", most });
        }
        if shape == 1.0 {
            return Ok(Trials::NegativeBinomial { shape, gamma: 1.0 / mean });
        }
        // The mean falls as γ grows, from the most to 1.
        let (mut low, mut high) = (libm::log(LEAST_GAMMA), 0.0);
        while high - low > 1e-14 * (1.0 - low) {
            let middle = 0.5 * (low + high);
            if middle >= high || middle <= low {
                break;
            }
            if mean_of(shape, libm::exp(middle)) > mean { low = middle } else { high = middle }
        }
        Ok(Trials::NegativeBinomial { shape, gamma: libm::exp(low) })
    }

    /// Poisson's distribution of this mean, at least 1.
    ///
    /// # Errors
    /// When the mean is out of range.
    pub fn poisson(mean: f64) -> Result<Trials, InvalidTrials> {
        match (1.0..=LARGEST_MEAN).contains(&mean) {
            true => Ok(Trials::Poisson { mean }),
            false => Err(InvalidTrials::Mean { mean, least: "at least 1", most: LARGEST_MEAN }),
        }
    }

    /// The expected number of trials.
    pub fn mean(&self) -> f64 {
        match *self {
            Trials::NegativeBinomial { shape, gamma } => mean_of(shape, gamma),
            Trials::Poisson { mean } => mean,
        }
    }

    /// Whether every number is in its range.
    pub fn is_valid(&self) -> bool {
        match *self {
            Trials::NegativeBinomial { shape, gamma } => {
                let usual = LEAST_GAMMA * (1.0 - 1e-9)..1.0;
                shape > -1.0 && shape <= LARGEST_SHAPE && usual.contains(&gamma)
            }
            Trials::Poisson { mean } => (1.0..=LARGEST_MEAN).contains(&mean),
        }
    }

    /// A number of trials, and for each which of `candidates` candidates, at least one, it tries, uniformly. Both are as secret as `key`.
    pub fn draw(&self, key: &RunKey, candidates: usize) -> Vec<usize> {
        let mut uniform = Uniform::new(Stream::at(&key.derive(Domain::Trials), 0, 0));
        let number = self.number(&mut uniform);
        (0..number).map(|_| uniform.below(candidates as u64) as usize).collect()
    }

    fn number(&self, uniform: &mut Uniform) -> u64 {
        let mut number = self.least();
        while !uniform.chance(self.hazard(number)) {
            number += 1;
        }
        number
    }

    /// The least number of trials.
    fn least(&self) -> u64 {
        match self {
            Trials::NegativeBinomial { .. } => 1,
            Trials::Poisson { .. } => 0,
        }
    }

    /// `Pr[K = k+1] / Pr[K = k]`.
    fn ratio(&self, k: u64) -> f64 {
        let k = k as f64;
        match *self {
            Trials::NegativeBinomial { shape, gamma } => (1.0 - gamma) * (k + shape) / (k + 1.0),
            Trials::Poisson { mean } => mean / (k + 1.0),
        }
    }

    /// `Pr[K = k] / Pr[K ≥ k]`.
    fn hazard(&self, k: u64) -> f64 {
        // What the ratios tend to.
        let limit = match *self {
            Trials::NegativeBinomial { shape: 1.0, gamma } => return gamma,
            Trials::NegativeBinomial { gamma, .. } => 1.0 - gamma,
            Trials::Poisson { .. } => 0.0,
        };
        let (mut sum, mut term, mut at) = (1.0, 1.0, k);
        loop {
            let ratio = self.ratio(at);
            term *= ratio;
            sum += term;
            at += 1;
            // Ratios go from this one to the limit without a turn.
            let most = self.ratio(at).max(limit);
            if most < 1.0 && term * most <= 1e-18 * sum * (1.0 - most) {
                return 1.0 / sum;
            }
        }
    }
}

/// The mean of a truncated negative binomial distribution: `η(1-γ)/(γ(1-γ^η))`, and `(1-γ)/(γ ln(1/γ))` for η = 0.
fn mean_of(shape: f64, gamma: f64) -> f64 {
    let log = libm::log(gamma);
    let spread = if shape == 0.0 { -log } else { -libm::expm1(shape * log) / shape };
    (1.0 - gamma) / (gamma * spread)
}

impl fmt::Display for Trials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A mean that was asked for is found again to a dozen digits.
        let mean = (self.mean() * 1e6).round() / 1e6;
        match *self {
            Trials::NegativeBinomial { shape: 1.0, .. } => write!(f, "geometric:{mean}"),
            Trials::NegativeBinomial { shape: 0.0, .. } => write!(f, "logarithmic:{mean}"),
            Trials::NegativeBinomial { shape, .. } => write!(f, "negative-binomial:{mean},shape={shape}"),
            Trials::Poisson { .. } => write!(f, "poisson:{mean}"),
        }
    }
}

impl FromStr for Trials {
    type Err = InvalidTrials;

    fn from_str(text: &str) -> Result<Trials, InvalidTrials> {
        let unknown = || InvalidTrials::Text { text: text.to_owned() };
        let (kind, rest) = text.split_once(':').unwrap_or(("geometric", text));
        let (mean, shape) = match rest.split_once(",shape=") {
            Some((mean, shape)) => (mean, Some(shape.parse().map_err(|_| unknown())?)),
            None => (rest, None),
        };
        let mean: f64 = mean.parse().map_err(|_| unknown())?;
        match (kind, shape) {
            ("geometric", None) => Trials::geometric(mean),
            ("logarithmic", None) => Trials::negative_binomial(0.0, mean),
            ("negative-binomial", Some(shape)) => Trials::negative_binomial(shape, mean),
            ("poisson", None) => Trials::poisson(mean),
            _ => Err(unknown()),
        }
    }
}

/// No distribution of a number of trials.
#[derive(Clone, Debug, PartialEq, Error, Diagnostic)]
#[allow(missing_docs)]
pub enum InvalidTrials {
    #[error("`{text}` is no number of trials")]
    #[diagnostic(
        code(dpc::privacy::trials),
        help(
            "give how many are expected, as in 20, or geometric:20, logarithmic:20, poisson:20 or negative-binomial:20,shape=0.5"
        )
    )]
    Text { text: String },
    #[error("{mean} trials cannot be expected by this distribution")]
    #[diagnostic(code(dpc::privacy::trials::mean), help("give a number {least}, up to {most:.0}"))]
    Mean { mean: f64, least: &'static str, most: f64 },
    #[error("{shape} is no shape of a negative binomial distribution")]
    #[diagnostic(code(dpc::privacy::trials::shape), help("give a number above -1, up to 100"))]
    Shape { shape: f64 },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Trials> {
        let texts =
            ["20", "geometric:1.5", "logarithmic:20", "poisson:20", "poisson:1", "negative-binomial:20,shape=0.5"];
        let more = ["negative-binomial:5,shape=-0.5", "negative-binomial:20,shape=7", "logarithmic:1000"];
        texts.iter().chain(&more).map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn texts_are_read_and_written() {
        for trials in all() {
            assert_eq!(trials.to_string().parse::<Trials>().unwrap().to_string(), trials.to_string());
            assert!(trials.is_valid());
            let json = serde_json::to_string(&trials).unwrap();
            assert_eq!(serde_json::from_str::<Trials>(&json).unwrap(), trials);
        }
        assert_eq!("20".parse(), Trials::geometric(20.0));
        assert_eq!("geometric:20".parse::<Trials>().unwrap().to_string(), "geometric:20");
        for wrong in [
            "",
            "x",
            "1",
            "geometric:1",
            "poisson:0.5",
            "poisson:20,shape=1",
            "negative-binomial:20",
            "geometric:1e9",
            "negative-binomial:20,shape=-1",
            "logarithmic:nan",
            "geometric:inf",
            "uniform:3",
        ] {
            assert!(wrong.parse::<Trials>().is_err(), "{wrong}");
        }
    }

    /// The probabilities by the definition in the paper, from one to the next.
    fn probabilities(trials: Trials) -> Vec<f64> {
        match trials {
            Trials::NegativeBinomial { shape, gamma } => {
                let first = if shape == 0.0 {
                    (1.0 - gamma) / (1.0 / gamma).ln()
                } else {
                    (1.0 - gamma) * shape / (gamma.powf(-shape) - 1.0)
                };
                let next = |p: &f64, k: f64| p * (1.0 - gamma) * (k + shape) / (k + 1.0);
                let mut all = vec![0.0, first];
                (1..400_000).for_each(|k| all.push(next(&all[k], k as f64)));
                all
            }
            Trials::Poisson { mean } => {
                let mut all = vec![(-mean).exp()];
                (0..1000).for_each(|k| all.push(all[k] * mean / (k as f64 + 1.0)));
                all
            }
        }
    }

    #[test]
    fn the_mean_and_the_chances_are_those_of_the_definition() {
        for trials in all() {
            let all = probabilities(trials);
            assert!((all.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{trials}");
            let mean: f64 = all.iter().enumerate().map(|(k, p)| k as f64 * p).sum();
            assert!((mean / trials.mean() - 1.0).abs() < 1e-9, "{trials}: {mean}");
            for (k, p) in all.iter().enumerate().skip(trials.least() as usize).take(20) {
                let left: f64 = all[k..].iter().rev().sum();
                assert!((trials.hazard(k as u64) * left / p - 1.0).abs() < 1e-9, "{trials} at {k}");
            }
        }
    }

    /// Pearson's statistic of 4,000 drawn numbers, in classes that 20 or more are expected of.
    #[test]
    fn numbers_are_drawn_by_their_probabilities() {
        const DRAWS: usize = 4000;
        for trials in all().into_iter().filter(|trials| trials.mean() < 100.0) {
            let expected = probabilities(trials);
            let mut drawn = vec![0.0; expected.len()];
            for seed in 0..DRAWS {
                drawn[trials.draw(&RunKey::insecure(seed as u64), 3).len()] += 1.0;
            }
            let (mut statistic, mut classes, mut found, mut wanted) = (0.0, 0.0, 0.0, 0.0);
            for (p, count) in expected.iter().zip(&drawn) {
                (found, wanted) = (found + count, wanted + p * DRAWS as f64);
                if wanted >= 20.0 {
                    statistic += (found - wanted) * (found - wanted) / wanted;
                    (classes, found, wanted) = (classes + 1.0, 0.0, 0.0);
                }
            }
            let deviation = f64::sqrt(2.0 * (classes - 1.0f64).max(1.0));
            assert!(statistic < classes + 6.0 * deviation, "{trials}: {statistic} of {classes} classes");
        }
    }

    #[test]
    fn candidates_are_drawn_uniformly() {
        let trials = Trials::geometric(20.0).unwrap();
        let mut counts = [0.0; 3];
        (0..500)
            .flat_map(|seed| trials.draw(&RunKey::insecure(seed), 3))
            .for_each(|candidate| counts[candidate] += 1.0);
        let mean = counts.iter().sum::<f64>() / 3.0;
        assert!(counts.iter().all(|count: &f64| (count - mean).abs() < 6.0 * mean.sqrt()), "{counts:?}");
    }
}
