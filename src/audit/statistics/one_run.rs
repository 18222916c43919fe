//! Auditing with one training run (Steinke, Nasr and Jagielski 2023, <https://arxiv.org/abs/2305.08846>).
//!
//! Each of `m` canaries is included with probability 1/2, by coins that the trainer never sees. The auditor guesses
//! `r` of the coins. If training is (ε, δ)-private, the number of right guesses is at most that of `r` answers by
//! randomised response, `W ~ Bin(r, e^ε/(1+e^ε))`, but for a term in δ (Theorem 5.2):
//! `P[right ≥ v] ≤ P[W ≥ v] + 2mδ · max_i P[v > W ≥ v - i]/i`.

use statrs::distribution::{Binomial, Discrete, DiscreteCDF};

/// What a run of the auditor's game came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guesses {
    /// Canaries.
    pub canaries: u64,
    /// How many of them were guessed.
    pub made: u64,
    /// How many guesses were right.
    pub right: u64,
}

impl Guesses {
    /// An upper bound on the probability of as many right guesses under (ε, δ)-privacy.
    pub fn p_value(&self, epsilon: f64, delta: f64) -> f64 {
        let accuracy = 1.0 / (1.0 + (-epsilon).exp());
        let Ok(answers) = Binomial::new(accuracy, self.made) else { return 1.0 };
        let at_least = match self.right {
            0 => 1.0,
            right => answers.sf(right - 1),
        };
        let (mut below, mut steepest) = (0.0, 0.0_f64);
        for fewer in 1..=self.right {
            below += answers.pmf(self.right - fewer);
            steepest = steepest.max(below / fewer as f64);
        }
        (at_least + 2.0 * self.canaries as f64 * delta * steepest).min(1.0)
    }

    /// The largest ε that the guesses refute at confidence `1 - risk`; 0 where they refute none.
    pub fn epsilon(&self, delta: f64, risk: f64) -> f64 {
        let refuted = |epsilon| self.p_value(epsilon, delta) < risk;
        if !refuted(0.0) {
            return 0.0;
        }
        let (mut low, mut high) = (0.0, 1.0);
        while refuted(high) && high < 512.0 {
            (low, high) = (high, 2.0 * high);
        }
        while high - low > 1e-9 * high {
            let middle = 0.5 * (low + high);
            match refuted(middle) {
                true => low = middle,
                false => high = middle,
            }
        }
        low
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At δ = 1e-5 and 95 %; see `tests/oracles/audit.py`.
    #[test]
    fn bounds_are_the_papers() {
        for (canaries, made, right, expected) in [
            (1000, 100, 100, 3.465_376),
            (1000, 100, 95, 2.165_176),
            (1000, 100, 80, 0.955_319),
            (1000, 100, 70, 0.469_131),
            (10_000, 1000, 1000, 5.529_350),
            (10_000, 1000, 950, 2.690_996),
            (100, 20, 20, 1.819_597),
        ] {
            let found = Guesses { canaries, made, right }.epsilon(1e-5, 0.05);
            assert!((found - expected).abs() < 1e-5, "{right} of {made}: {found}");
        }
    }

    #[test]
    fn chance_refutes_nothing() {
        assert_eq!(Guesses { canaries: 1000, made: 100, right: 50 }.epsilon(1e-5, 0.05), 0.0);
        assert_eq!(Guesses { canaries: 10, made: 0, right: 0 }.epsilon(1e-5, 0.05), 0.0);
        assert_eq!(Guesses { canaries: 10, made: 5, right: 0 }.p_value(1.0, 0.0), 1.0);
    }
}
