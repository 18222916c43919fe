//! What it costs to release the best of a random number of trials, and nothing of the others.
//!
//! **Mechanism.** A trial draws one of finitely many candidates uniformly, trains by it with randomness of its own, and gives what it
//! trained a score, which is a function of that alone. K trials are made, independently of one another, with K drawn by [`Trials`] without
//! looking at the data. What is released is the trial of the largest score, with its candidate; neither the others nor K nor scores.
//!
//! **Theorem** (Papernot and Steinke 2022, <https://arxiv.org/abs/2110.03620>, Theorems 2 and 6). Let `ε(α)` bound the Rényi divergence of order α
//! of a trial. That of what is released is for every α > 1 at most
//! - `ε(α) + (1+η) min_β ((1-1/β) ε(β) + ln(1/γ)/β) + ln E[K]/(α-1)`, over β ≥ 1, where K is truncated negative binomial;
//! - `ε(α) + μ δ(ln(1 + 1/(α-1))) + ln μ/(α-1)` where K is Poisson, and a trial is `(e, δ(e))`-private for every e ≥ 0.
//!
//! The rest is what this project adds to it.
//!
//! **Candidates.** A trial shows its candidate, which was drawn without the data: `exp((α-1) D)` is the mean of the candidates', so that D is at most
//! the largest of their divergences. ε(α) is that largest one, order by order.
//!
//! **Ties.** The theorem takes scores in a total order. Among equal ones the first trial is taken: since trials are exchangeable that is
//! any of them with equal chance, as if each had a uniform number beside its score. A trial that ends without finite parameters is a result like any other, of the least score.
//!
//! **Integers.** A trial of T steps that each release d numbers by the discrete Gaussian has an outcome whose probabilities are within `e^(±E)`
//! of those of the continuous mechanism, mapped as the proof of [`discrete::accounting`](crate::privacy::discrete::accounting) has it. As
//! `∫ P^α P'^(1-α) ≤ e^(αE + (α-1)E) ∫ Q^α Q'^(1-α)`, its divergence is at most `(2α-1)/(α-1) E` larger, for which `α/(α-1) · 2E` is added.
//!
//! **The number.** Probabilities of K are right to a factor `e^(±ρ)`, with ρ = [`Trials::ROUNDING`]. So are those of what is released, for either data set: `(ε + 2ρ, e^ρ δ)`.
//!
//! **Interruptions.** A trial that was interrupted is thrown away unseen and made again, with fresh randomness. That is one trial still, as long as
//! what interrupts does not depend on what the trial has shown.

use serde::{Deserialize, Serialize};

use super::gaussian::ROUNDING;
use super::rdp::{self, Rdp};
use super::{Accountant, InputProblem, InvalidInput, Mechanism, check, delta_problem, epsilon_problem};
use crate::privacy::adjacency::Adjacency;
use crate::privacy::discrete::Smoothing;
use crate::privacy::plan::PrivacyPlan;
use crate::privacy::sampling::Sampling;
use crate::privacy::trials::Trials;

/// The release of the best of a random number of trials.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Selection {
    /// How many trials there are.
    #[serde(flatten)]
    pub trials: Trials,
    /// What a trial may do, each alike; equal ones once.
    pub candidates: Vec<Candidate>,
}

/// What one trial releases, were it released alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Its steps.
    pub history: Vec<Mechanism>,
    /// How many of them release something.
    pub steps: u64,
    /// The integers that each of these releases; none where sums and noise are of floats.
    pub numbers: Option<u64>,
}

impl Candidate {
    /// All steps of `plan`.
    pub fn of(plan: &PrivacyPlan) -> Candidate {
        let history = plan.planned(0..plan.planned_steps);
        Candidate { history, steps: plan.planned_steps, numbers: plan.released_numbers() }
    }

    /// The same with all noise multiplied by `factor`.
    #[must_use]
    pub fn scaled(&self, factor: f64) -> Candidate {
        let scale = |entry: &Mechanism| Mechanism { noise_multiplier: entry.noise_multiplier * factor, ..*entry };
        Candidate { history: self.history.iter().map(scale).collect(), ..self.clone() }
    }
}

impl Selection {
    /// A selection among `candidates`.
    pub fn new(trials: Trials, candidates: impl IntoIterator<Item = Candidate>) -> Selection {
        let mut different: Vec<Candidate> = Vec::new();
        for candidate in candidates {
            if !different.contains(&candidate) {
                different.push(candidate);
            }
        }
        Selection { trials, candidates: different }
    }

    /// An upper bound on the ε for which the selection is (ε, δ)-private, by Rényi divergences; infinite where there is none.
    ///
    /// # Errors
    /// As [`Accountant::epsilon`], and where the distribution of the number of trials is none.
    pub fn epsilon(&self, adjacency: Adjacency, delta: f64) -> Result<f64, InvalidInput> {
        self.check(adjacency, delta_problem(delta))?;
        let curve = self.curve(adjacency);
        let delta = delta * (1.0 - 2.0 * Trials::ROUNDING);
        let mut least = f64::INFINITY;
        for &(order, trial) in &curve {
            // Without the rest it is no more, and of Poisson's the rest takes long.
            let floor = trial + libm::log(self.trials.mean()) / (order - 1.0);
            if rdp::epsilon_at(order, floor, delta) < least {
                least = least.min(rdp::epsilon_at(order, self.selected(&curve, order, trial), delta));
            }
        }
        Ok(least * (1.0 + ROUNDING) + 2.0 * Trials::ROUNDING)
    }

    /// An upper bound on the δ for which the selection is (ε, δ)-private, at most 1.
    ///
    /// # Errors
    /// As [`Selection::epsilon`].
    pub fn delta(&self, adjacency: Adjacency, epsilon: f64) -> Result<f64, InvalidInput> {
        self.check(adjacency, epsilon_problem(epsilon))?;
        let curve = self.curve(adjacency);
        let inner = (epsilon - 2.0 * Trials::ROUNDING) * (1.0 - ROUNDING);
        if inner <= 0.0 {
            return Ok(1.0);
        }
        let all = curve.iter().map(|&(order, trial)| rdp::delta_at(order, self.selected(&curve, order, trial), inner));
        Ok((all.fold(1.0, f64::min) * (1.0 + 2.0 * Trials::ROUNDING)).min(1.0))
    }

    fn check(&self, adjacency: Adjacency, problem: Option<InputProblem>) -> Result<(), InvalidInput> {
        let history: Vec<Mechanism> = self.candidates.iter().flat_map(|candidate| candidate.history.clone()).collect();
        let trials = (!self.trials.is_valid()).then_some(InputProblem::Trials);
        let candidates = self.candidates.is_empty().then_some(InputProblem::NoCandidate);
        let problem = problem.into_iter().chain(trials).chain(candidates);
        check(&Rdp, &history, adjacency, problem)
    }

    /// The orders at which a trial's divergence is known, with it.
    fn curve(&self, adjacency: Adjacency) -> Vec<(f64, f64)> {
        let mut curves = self.candidates.iter().map(|candidate| candidate.curve(adjacency));
        let first = curves.next().unwrap_or_default();
        let larger = |all: Vec<(f64, Option<f64>)>, one: Vec<(f64, Option<f64>)>| {
            let worst = |(a, b): ((f64, Option<f64>), (f64, Option<f64>))| (a.0, a.1.zip(b.1).map(|(a, b)| a.max(b)));
            all.into_iter().zip(one).map(worst).collect()
        };
        curves.fold(first, larger).into_iter().filter_map(|(order, rdp)| Some((order, rdp?))).collect()
    }

    /// The divergence at `order` of what is released, where a trial's is `trial`, and `curve` at all orders.
    fn selected(&self, curve: &[(f64, f64)], order: f64, trial: f64) -> f64 {
        let number = libm::log(self.trials.mean()) / (order - 1.0);
        match self.trials {
            Trials::NegativeBinomial { shape, gamma } => {
                let log = -libm::log(gamma);
                let at = |&(beta, rdp): &(f64, f64)| (1.0 - 1.0 / beta) * rdp + log / beta;
                trial + (1.0 + shape) * curve.iter().map(at).fold(f64::INFINITY, f64::min) + number
            }
            Trials::Poisson { mean } => {
                // Rounded down: a smaller e is allowed.
                let e = libm::log1p(1.0 / (order - 1.0)) * (1.0 - ROUNDING);
                let delta = curve.iter().map(|&(beta, rdp)| rdp::delta_at(beta, rdp, e)).fold(1.0, f64::min);
                trial + mean * delta * (1.0 + ROUNDING) + number
            }
        }
    }
}

impl Candidate {
    fn curve(&self, adjacency: Adjacency) -> Vec<(f64, Option<f64>)> {
        let excess = self.numbers.map_or(0.0, |numbers| Smoothing::USUAL.excess(self.steps, numbers).epsilon);
        let curve = rdp::curve(&self.history, adjacency).into_iter();
        curve.map(|(order, rdp)| (order, rdp.map(|rdp| rdp + order / (order - 1.0) * excess))).collect()
    }
}

/// The accountant of a selection among trials that are all alike: what it says of a history is of the selection.
#[derive(Clone, Copy, Debug)]
pub struct BestOf {
    /// How many trials there are.
    pub trials: Trials,
    /// As of [`Candidate`].
    pub steps: u64,
    /// As of [`Candidate`].
    pub numbers: Option<u64>,
}

impl BestOf {
    fn of(&self, history: &[Mechanism]) -> Selection {
        Selection::new(self.trials, [Candidate { history: history.to_vec(), steps: self.steps, numbers: self.numbers }])
    }
}

impl Accountant for BestOf {
    fn name(&self) -> &'static str {
        Rdp.name()
    }

    fn supports(&self, sampling: Sampling, adjacency: Adjacency) -> bool {
        Rdp.supports(sampling, adjacency)
    }

    fn epsilon(&self, history: &[Mechanism], adjacency: Adjacency, delta: f64) -> Result<f64, InvalidInput> {
        self.of(history).epsilon(adjacency, delta)
    }

    fn delta(&self, history: &[Mechanism], adjacency: Adjacency, epsilon: f64) -> Result<f64, InvalidInput> {
        self.of(history).delta(adjacency, epsilon)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDED: Adjacency = Adjacency::AddRemove;

    fn candidate(noise_multiplier: f64, rate: f64, steps: u64) -> Candidate {
        let sampling = Sampling::Poisson { rate };
        Candidate { history: vec![Mechanism { noise_multiplier, sampling, steps }], steps, numbers: None }
    }

    fn epsilon(trials: &str, candidate: Candidate, delta: f64) -> f64 {
        Selection::new(trials.parse().unwrap(), [candidate]).epsilon(ADDED, delta).unwrap()
    }

    /// The release of the largest of K draws from a Gaussian, which is its own score: its density is `G'(Φ(y)) φ(y)` with G the generating function of K.
    /// Its divergences are worked out on a grid, in both directions, and the bound is above them, by no more than what the theorem gives away.
    #[test]
    fn the_bound_is_above_what_the_largest_of_some_gaussians_really_diverges() {
        let (normal, wide) = (|y: f64| libm::exp(-0.5 * y * y) * 0.398_942_280_401_432_7, 1e-3);
        let below = |y: f64| 0.5 * libm::erfc(-y * std::f64::consts::FRAC_1_SQRT_2);
        let slope = |trials: Trials, x: f64| match trials {
            Trials::NegativeBinomial { shape: 1.0, gamma } => gamma / (1.0 - (1.0 - gamma) * x).powi(2),
            Trials::NegativeBinomial { shape: 0.0, gamma } => {
                (1.0 - gamma) / (1.0 - (1.0 - gamma) * x) / -libm::log(gamma)
            }
            Trials::NegativeBinomial { .. } => unreachable!(),
            // Of at least one draw.
            Trials::Poisson { mean } => mean * libm::exp(mean * (x - 1.0)),
        };
        for text in ["geometric:20", "logarithmic:20", "poisson:5"] {
            let trials: Trials = text.parse().unwrap();
            for sigma in [1.0, 4.0] {
                let shift = 1.0 / sigma;
                let density = |y: f64, mean: f64| slope(trials, below(y - mean)) * normal(y - mean);
                let selection = Selection::new(trials, [candidate(sigma, 1.0, 1)]);
                let curve = selection.curve(ADDED);
                for order in [1.5, 2.0, 5.0, 16.0] {
                    let bound = selection.selected(&curve, order, order / (2.0 * sigma * sigma));
                    for (p, q) in [(shift, 0.0), (0.0, shift)] {
                        let grid = (-14_000..14_000 + (order * 1000.0) as i32).map(|k| f64::from(k) * wide);
                        let all = grid.map(|y| density(y, p).powf(order) * density(y, q).powf(1.0 - order));
                        let sum = all.filter(|value| value.is_finite()).sum::<f64>() * wide;
                        // No draw at all, of probability e^-μ, looks the same.
                        let none = if let Trials::Poisson { mean } = trials { libm::exp(-mean) } else { 0.0 };
                        let real = libm::log(sum + none) / (order - 1.0);
                        assert!(real <= bound, "{text}, σ = {sigma}, order {order}: {real} > {bound}");
                        assert!(real > 0.0, "{text}, σ = {sigma}, order {order}: {real}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_choice_costs_more_than_a_trial_and_less_than_a_few() {
        let trial = candidate(1.1, 256.0 / 60_000.0, 14_062);
        let alone = Rdp.epsilon(&trial.history, ADDED, 1e-5).unwrap();
        for text in
            ["geometric:20", "logarithmic:20", "negative-binomial:20,shape=0.5", "negative-binomial:20,shape=-0.5"]
        {
            let choice = epsilon(text, trial.clone(), 1e-5);
            assert!(choice > alone && choice < 3.0 * alone, "{text}: {choice}, {alone}");
        }
        let means = ["2", "20", "200"].map(|mean| epsilon(mean, trial.clone(), 1e-5));
        assert!(means[0] < means[1] && means[1] < means[2], "{means:?}");
        let infinite = epsilon("20", candidate(0.0, 0.1, 1), 1e-5);
        assert_eq!(infinite, f64::INFINITY);
    }

    #[test]
    fn of_several_candidates_the_worst_counts_at_every_order() {
        let (loud, quiet) = (candidate(1.0, 0.01, 500), candidate(2.0, 0.01, 500));
        let of = |candidates: Vec<Candidate>| {
            Selection::new("20".parse().unwrap(), candidates).epsilon(ADDED, 1e-5).unwrap()
        };
        assert_eq!(of(vec![loud.clone(), quiet.clone()]), of(vec![loud.clone()]));
        assert_eq!(of(vec![loud.clone(), loud.clone(), quiet]), of(vec![loud.clone()]));
        // One is worse at low orders, the other at high ones.
        let (few, many) = (candidate(0.9, 0.0005, 100), candidate(8.0, 0.5, 40));
        let together = of(vec![few.clone(), many.clone()]);
        assert!(together >= of(vec![few]).max(of(vec![many])));
    }

    #[test]
    fn integers_cost_next_to_nothing_more() {
        let floats = candidate(1.0, 0.01, 500);
        let integers = Candidate { numbers: Some(1_000_000), ..floats.clone() };
        let [floats, integers] = [floats, integers].map(|candidate| epsilon("20", candidate, 1e-5));
        assert!(integers >= floats && integers < floats * (1.0 + 1e-12));
    }

    #[test]
    fn epsilon_and_delta_undo_each_other() {
        for text in ["geometric:20", "poisson:3"] {
            let selection = Selection::new(text.parse().unwrap(), [candidate(4.0, 0.01, 300)]);
            let epsilon = selection.epsilon(ADDED, 1e-5).unwrap();
            let delta = selection.delta(ADDED, epsilon).unwrap();
            assert!((delta / 1e-5 - 1.0).abs() < 1e-3, "{text}: {epsilon} {delta}");
        }
    }

    #[test]
    fn what_was_changed_is_refused() {
        let trial = candidate(1.0, 0.1, 1);
        let gamma = Trials::NegativeBinomial { shape: 1.0, gamma: 1.5 };
        assert!(Selection::new(gamma, [trial]).epsilon(ADDED, 1e-5).is_err());
        assert!(Selection::new("20".parse().unwrap(), []).epsilon(ADDED, 1e-5).is_err());
        let shuffled = Candidate {
            history: vec![Mechanism {
                noise_multiplier: 1.0,
                sampling: Sampling::Shuffle { units: 10, batch: 5 },
                steps: 1,
            }],
            steps: 2,
            numbers: None,
        };
        let selection = Selection::new("20".parse().unwrap(), [shuffled]);
        assert!(selection.epsilon(ADDED, 1e-5).is_err());
        assert!(selection.epsilon(Adjacency::ReplaceOne, 1e-5).is_ok());
        let json = serde_json::to_string(&selection).unwrap();
        assert_eq!(serde_json::from_str::<Selection>(&json).unwrap(), selection);
    }
}
