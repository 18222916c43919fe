//! The noise, the number of steps or the sample rate for a target (ε, δ).
//!
//! The history of a training is a function of the number sought, in which ε is monotone. The search starts
//! from the answer of a faster accountant and is a bracketed secant on the logarithms of that number and of
//! ε, whose graph is nearly straight. What it returns has been given to the accountant and found not to
//! exceed the target.

use miette::Diagnostic;
use thiserror::Error;

use super::accountant::{Accountant, InputProblem, InvalidInput, Mechanism, epsilon_problem};
use super::adjacency::Adjacency;
use super::sampling::Sampling;

/// What a calibration aims at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Target {
    /// The largest ε allowed, above 0.
    pub epsilon: f64,
    /// The δ, in (0, 1).
    pub delta: f64,
    /// Which datasets count as neighbours.
    pub adjacency: Adjacency,
}

/// A search ends when the number is known to this relative accuracy.
const TOLERANCE: f64 = 1e-3;
/// The least and the largest noise multiplier, number of steps and sample rate that are tried.
const NOISE: (f64, f64) = (1e-3, 1e7);
const STEPS: (f64, f64) = (1.0, 1e9);
const RATE: (f64, f64) = (1e-9, 1.0);

/// The smallest noise multiplier σ, to a relative 1e-3 and on the safe side, with which the ε of
/// `history(σ)` by `accountant` is at most the target's; ε must not grow with σ. No less than 1e-3 is
/// returned, however large the target.
///
/// # Errors
/// Every number out of its range, no steps, or a target that not even σ = 1e7 meets.
pub fn noise_multiplier(
    accountant: &dyn Accountant,
    target: Target,
    history: impl Fn(f64) -> Vec<Mechanism>,
) -> Result<f64, CalibrationError> {
    Search { accountant, target, history: &history, range: NOISE, falls: true, whole: false }.run("noise multiplier")
}

/// The largest number of steps T, to a relative 1e-3 and on the safe side, with which the ε of
/// `history(T)` by `accountant` is at most the target's; ε must not fall with T. No more than 1e9 is
/// returned. `history` is asked for 31,623 steps first, and for more only as far as fewer are found to meet
/// the target: for up to 1e9 where these do.
///
/// # Errors
/// Every number in `history(1)` out of its range, or in a later one, or a target that not even one step meets.
pub fn steps(
    accountant: &dyn Accountant,
    target: Target,
    history: impl Fn(u64) -> Vec<Mechanism>,
) -> Result<u64, CalibrationError> {
    let history = |steps| history(steps as u64);
    let search = Search { accountant, target, history: &history, range: STEPS, falls: false, whole: true };
    search.run("number of steps").map(|steps| steps as u64)
}

/// The largest sample rate q in `[1e-9, 1]`, to a relative 1e-3 and on the safe side, with which the ε of
/// `history(q)` by `accountant` is at most the target's; ε must not fall with q.
///
/// # Errors
/// Every number out of its range, no steps, or a target that not even q = 1e-9 meets.
pub fn sample_rate(
    accountant: &dyn Accountant,
    target: Target,
    history: impl Fn(f64) -> Vec<Mechanism>,
) -> Result<f64, CalibrationError> {
    Search { accountant, target, history: &history, range: RATE, falls: false, whole: false }.run("sample rate")
}

/// A search for the number nearest to the unsafe end of its range that is safe.
#[derive(Clone, Copy)]
struct Search<'a> {
    accountant: &'a dyn Accountant,
    target: Target,
    history: &'a dyn Fn(f64) -> Vec<Mechanism>,
    /// The least and the largest number tried.
    range: (f64, f64),
    /// Whether ε falls as the number grows.
    falls: bool,
    /// Whether only whole numbers make sense.
    whole: bool,
}

/// A number tried, and `ln(ε/target)` there.
#[derive(Clone, Copy)]
struct Tried {
    number: f64,
    excess: f64,
}

impl Search<'_> {
    fn run(self, what: &'static str) -> Result<f64, CalibrationError> {
        self.check()?;
        match self.bracket(self.start()?)? {
            Ok((safe, bold)) => Ok(self.narrow(safe, bold)?),
            Err(end) if end.excess <= 0.0 => Ok(end.number),
            Err(Tried { number, .. }) => Err(CalibrationError::Unreachable {
                what,
                number,
                target: self.target.epsilon,
                reached: self.epsilon(number)?,
            }),
        }
    }

    /// The answer of a faster accountant, and of ever faster ones before it.
    fn start(&self) -> Result<f64, InvalidInput> {
        let Some(accountant) = self.accountant.nearby() else {
            return Ok(f64::sqrt(self.range.0 * self.range.1));
        };
        let adjacency = self.target.adjacency;
        let history = |number| supported(accountant, adjacency, (self.history)(number));
        let nearby = Search { accountant, history: &history, ..*self };
        match nearby.bracket(nearby.start()?)? {
            Ok((safe, bold)) => nearby.narrow(safe, bold),
            Err(end) => Ok(end.number),
        }
    }

    fn check(&self) -> Result<(), CalibrationError> {
        let mut problems = Vec::new();
        problems.extend(epsilon_problem(self.target.epsilon));
        if self.target.epsilon == 0.0 {
            problems.push(InputProblem::Epsilon { value: 0.0 });
        }
        // The least number makes for the shortest history.
        let history = (self.history)(self.range.0);
        let empty: Vec<_> = history.iter().map(|entry| Mechanism { steps: 0, ..*entry }).collect();
        if let Err(invalid) = self.accountant.epsilon(&empty, self.target.adjacency, self.target.delta) {
            problems.extend(invalid.problems);
        }
        let never = history.iter().filter(|entry| entry.sampling.rate() == 0.0);
        problems.extend(never.map(|entry| InputProblem::Sampling { sampling: entry.sampling }));
        InvalidInput::check(problems)?;
        if history.iter().all(|entry| entry.steps == 0) { Err(CalibrationError::NoSteps) } else { Ok(()) }
    }

    /// The ends of the range, the safe one first.
    fn ends(&self) -> (f64, f64) {
        if self.falls { (self.range.1, self.range.0) } else { self.range }
    }

    fn epsilon(&self, number: f64) -> Result<f64, InvalidInput> {
        self.accountant.epsilon(&(self.history)(number), self.target.adjacency, self.target.delta)
    }

    fn try_at(&self, number: f64) -> Result<Tried, InvalidInput> {
        Ok(Tried { number, excess: libm::log(self.epsilon(number)? / self.target.epsilon) })
    }

    /// The nearest number that may be tried.
    fn allowed(&self, number: f64) -> f64 {
        let number = number.clamp(self.range.0, self.range.1);
        if self.whole { number.round() } else { number }
    }

    /// A safe number and an unsafe one near `guess`, or the end of the range where all are the one or the other.
    fn bracket(&self, guess: f64) -> Result<Result<(Tried, Tried), Tried>, InvalidInput> {
        let (safest, boldest) = self.ends();
        let mut last = self.try_at(self.allowed(guess))?;
        let mut stride = TOLERANCE;
        loop {
            let safe = last.excess <= 0.0;
            let end = if safe { boldest } else { safest };
            if last.number == end {
                return Ok(Err(last));
            }
            // ε is about inverse to the noise and proportional to the rate; it grows slower with steps.
            stride = f64::max(4.0 * stride, (1.1 * last.excess.abs() + TOLERANCE).min(3.0));
            let up = safe != self.falls;
            let mut next = self.allowed(last.number * libm::exp(if up { stride } else { -stride }));
            if next == last.number {
                next = self.allowed(if up { next + 1.0 } else { next - 1.0 });
            }
            let next = self.try_at(next)?;
            match (safe, next.excess <= 0.0) {
                (true, false) => return Ok(Ok((last, next))),
                (false, true) => return Ok(Ok((next, last))),
                _ => last = next,
            }
        }
    }

    /// The safe number next to the unsafe ones.
    fn narrow(&self, mut safe: Tried, mut bold: Tried) -> Result<f64, InvalidInput> {
        // The two numbers tried that came nearest, the nearest first.
        let mut nearest = [safe, bold];
        let (mut margin, mut stalled) = (TOLERANCE / 3.0, 0);
        while !self.close(safe.number, bold.number) {
            nearest.sort_by(|a, b| a.excess.abs().total_cmp(&b.excess.abs()));
            let (from, width) = (libm::log(safe.number), libm::log(bold.number / safe.number));
            // Where the root lies between the ends, as a share of the way from the safe one.
            let share = (secant(nearest) - from) / width;
            let share = if stalled < 3 && share > 0.0 && share < 1.0 { share } else { 0.5 };
            // A little past it as seen from the end that is farther, which is thereby drawn close.
            let for_bold = share < 0.5;
            let shift = margin / width.abs();
            let share = if for_bold { share + shift } else { share - shift }.clamp(0.01, 0.99);
            let mut number = self.allowed(libm::exp(from + share * width));
            if self.whole {
                let (low, high) = (safe.number.min(bold.number), safe.number.max(bold.number));
                number = number.clamp(low + 1.0, high - 1.0);
            }
            let tried = self.try_at(number)?;
            let is_bold = tried.excess > 0.0;
            *(if is_bold { &mut bold } else { &mut safe }) = tried;
            nearest[1] = tried;
            margin = if is_bold == for_bold { TOLERANCE / 3.0 } else { 2.0 * margin };
            let halved = libm::log(bold.number / safe.number).abs() <= 0.5 * width.abs();
            stalled = if halved { 0 } else { stalled + 1 };
        }
        Ok(safe.number)
    }

    fn close(&self, a: f64, b: f64) -> bool {
        let gap = (a - b).abs();
        gap <= TOLERANCE * a.min(b) || (self.whole && gap <= 1.0)
    }
}

/// The logarithm of the number at which the line through two tried ones meets the target.
fn secant([near, other]: [Tried; 2]) -> f64 {
    let slope = (near.excess - other.excess) / libm::log(near.number / other.number);
    libm::log(near.number) - near.excess / slope
}

/// A history as an accountant can take it, Poisson sampling standing in for what it does not know.
fn supported(accountant: &dyn Accountant, adjacency: Adjacency, history: Vec<Mechanism>) -> Vec<Mechanism> {
    let replaced = |entry: Mechanism| match accountant.supports(entry.sampling, adjacency) {
        true => entry,
        false => Mechanism { sampling: Sampling::Poisson { rate: entry.sampling.rate() }, ..entry },
    };
    history.into_iter().map(replaced).collect()
}

/// No number could be found.
#[derive(Clone, Debug, PartialEq, Error, Diagnostic)]
#[allow(missing_docs)]
pub enum CalibrationError {
    #[error(transparent)]
    #[diagnostic(transparent)]
    Input(#[from] InvalidInput),
    #[error("there are no steps to calibrate for")]
    #[diagnostic(code(dpc::privacy::calibrate::steps), help("give at least one step or epoch"))]
    NoSteps,
    #[error("epsilon {target} cannot be reached: with a {what} of {number} it is still {reached}")]
    #[diagnostic(
        code(dpc::privacy::calibrate::unreachable),
        help("raise epsilon, delta or the noise, or take fewer steps or a lower sample rate")
    )]
    Unreachable { what: &'static str, number: f64, target: f64, reached: f64 },
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::privacy::accountant::Rdp;

    const TARGET: Target = Target { epsilon: 3.0, delta: 1e-5, adjacency: Adjacency::AddRemove };

    fn poisson(noise_multiplier: f64, rate: f64, steps: u64) -> Vec<Mechanism> {
        vec![Mechanism { noise_multiplier, sampling: Sampling::Poisson { rate }, steps }]
    }

    fn epsilon(history: &[Mechanism]) -> f64 {
        Rdp.epsilon(history, TARGET.adjacency, TARGET.delta).unwrap()
    }

    /// An RDP accountant that counts how often it is asked.
    #[derive(Debug, Default)]
    struct Counted(AtomicU32);

    impl Accountant for Counted {
        fn name(&self) -> &'static str {
            "counted"
        }

        fn supports(&self, sampling: Sampling, adjacency: Adjacency) -> bool {
            Rdp.supports(sampling, adjacency)
        }

        fn epsilon(&self, history: &[Mechanism], adjacency: Adjacency, delta: f64) -> Result<f64, InvalidInput> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Rdp.epsilon(history, adjacency, delta)
        }

        fn delta(&self, history: &[Mechanism], adjacency: Adjacency, epsilon: f64) -> Result<f64, InvalidInput> {
            Rdp.delta(history, adjacency, epsilon)
        }
    }

    #[test]
    fn every_search_ends_on_the_safe_side_and_close() {
        for goal in [0.05, 0.3, 1.0, 3.0, 8.0, 100.0, 1e4] {
            let target = Target { epsilon: goal, ..TARGET };
            for (rate, count) in [(1.0, 1), (0.2, 10), (0.01, 5000), (1e-4, 100_000)] {
                let sigma = noise_multiplier(&Rdp, target, |sigma| poisson(sigma, rate, count)).unwrap();
                assert!(epsilon(&poisson(sigma, rate, count)) <= goal, "{target:?} {rate} {count}");
                assert!(epsilon(&poisson(sigma * (1.0 - 1e-3), rate, count)) > goal, "{target:?} {rate} {count}");
            }
            for (sigma, rate) in [(10.0, 1.0), (3.0, 0.2), (1.0, 0.01)] {
                if epsilon(&poisson(sigma, rate, 1)) <= goal {
                    let most = steps(&Rdp, target, |steps| poisson(sigma, rate, steps)).unwrap();
                    assert!(epsilon(&poisson(sigma, rate, most)) <= goal, "{target:?} {sigma} {rate}");
                    let more = most + most / 1000 + 1;
                    assert!(epsilon(&poisson(sigma, rate, more)) > goal, "{target:?} {sigma} {rate}");
                }
            }
            for (sigma, count) in [(3.0, 100), (1.0, 2000)] {
                let found = sample_rate(&Rdp, target, |rate| poisson(sigma, rate, count)).unwrap();
                assert!(epsilon(&poisson(sigma, found, count)) <= goal, "{target:?} {sigma} {count}");
                let bolder = found * (1.0 + 1e-3);
                assert!(bolder >= 1.0 || epsilon(&poisson(sigma, bolder, count)) > goal, "{target:?} {sigma} {count}");
            }
        }
    }

    #[test]
    fn few_evaluations_are_enough() {
        let mut most = 0;
        for goal in [0.3, 1.0, 3.0, 8.0] {
            for (rate, count) in [(1.0, 1), (0.2, 10), (0.01, 5000), (1e-4, 100_000), (0.004, 14_062)] {
                let counted = Counted::default();
                noise_multiplier(&counted, Target { epsilon: goal, ..TARGET }, |sigma| poisson(sigma, rate, count))
                    .unwrap();
                most = most.max(counted.0.into_inner());
            }
        }
        assert!(most <= 12, "{most}");
    }

    #[test]
    fn a_schedule_and_steps_already_taken_are_part_of_the_history() {
        let history = |sigma: f64| {
            let mut history = poisson(2.0, 0.01, 500);
            history.extend((0..5).flat_map(|i| poisson(sigma * 0.9_f64.powi(i), 0.02, 200)));
            history
        };
        let sigma = noise_multiplier(&Rdp, TARGET, history).unwrap();
        assert!(epsilon(&history(sigma)) <= 3.0 && epsilon(&history(sigma * (1.0 - 1e-3))) > 3.0);
        let spent = |sigma: f64| [poisson(0.3, 0.5, 100), poisson(sigma, 0.01, 10)].concat();
        let error = noise_multiplier(&Rdp, TARGET, spent).unwrap_err();
        assert!(matches!(error, CalibrationError::Unreachable { reached, .. } if reached > 3.0), "{error}");
    }

    #[test]
    fn a_target_out_of_reach_says_what_was_reached() {
        let target = Target { epsilon: 0.1, delta: 1e-300, ..TARGET };
        let error = noise_multiplier(&Rdp, target, |sigma| poisson(sigma, 1.0, u64::MAX)).unwrap_err();
        assert!(matches!(error, CalibrationError::Unreachable { reached, .. } if reached > 0.1));
        let error = steps(&Rdp, target, |steps| poisson(1.0, 1.0, steps)).unwrap_err();
        assert!(matches!(error, CalibrationError::Unreachable { number: 1.0, .. }));
    }

    #[test]
    fn an_enormous_target_gets_the_end_of_the_range() {
        let target = Target { epsilon: 1e300, ..TARGET };
        assert_eq!(noise_multiplier(&Rdp, target, |sigma| poisson(sigma, 0.01, 1000)), Ok(1e-3));
        assert_eq!(steps(&Rdp, target, |steps| poisson(1.0, 0.01, steps)), Ok(1_000_000_000));
        assert_eq!(sample_rate(&Rdp, target, |rate| poisson(1.0, rate, 1000)), Ok(1.0));
    }

    #[test]
    fn refuses_bad_numbers_all_at_once() {
        let target = Target { epsilon: 0.0, delta: 2.0, ..TARGET };
        match noise_multiplier(&Rdp, target, |sigma| poisson(sigma, 0.0, 1)).unwrap_err() {
            CalibrationError::Input(error) => assert_eq!(error.problems.len(), 3),
            other => panic!("{other}"),
        }
        let fixed = |noise_multiplier| {
            vec![Mechanism { noise_multiplier, sampling: Sampling::FixedSize { units: 10, batch: 2 }, steps: 1 }]
        };
        match noise_multiplier(&Rdp, TARGET, fixed).unwrap_err() {
            CalibrationError::Input(error) => assert!(matches!(error.problems[..], [InputProblem::Unsupported { .. }])),
            other => panic!("{other}"),
        }
        assert_eq!(noise_multiplier(&Rdp, TARGET, |sigma| poisson(sigma, 0.1, 0)), Err(CalibrationError::NoSteps));
    }
}
