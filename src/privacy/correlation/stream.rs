//! The recurrence: from fresh integers of the discrete Gaussian to the integers that each step's sum is released with.

use miette::Diagnostic;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::strategy::{Strategy, levels, width};

/// The noise of successive steps, correlated by a [`Strategy`].
///
/// It holds what was added in the last steps, from which with what was released follow the sums of those steps without
/// noise: it is as secret as the data.
#[derive(Clone)]
pub struct NoiseStream {
    strategy: Strategy,
    /// The step whose noise comes next.
    next: u64,
    /// By slot and parameter: of a banded strategy the noise of step t in slot t mod (b - 1), of a tree that of the
    /// last sum of each level.
    history: Vec<Vec<Vec<i64>>>,
    current: Vec<Vec<i64>>,
}

/// What a stream goes on from, which is as secret as the stream itself.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamState {
    /// The step whose noise comes next.
    pub next: u64,
    /// By slot and parameter.
    pub history: Vec<Vec<Vec<i64>>>,
}

impl std::fmt::Debug for StreamState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StreamState(secret, before step {})", self.next)
    }
}

/// Elements that are worked out together.
const BLOCK: usize = 512;

impl NoiseStream {
    /// The stream of `strategy` before its first step, for parameters of `sizes` elements.
    pub fn new(strategy: &Strategy, sizes: &[usize]) -> NoiseStream {
        let zeros = || -> Vec<Vec<i64>> { sizes.iter().map(|&size| vec![0; size]).collect() };
        let slots = match strategy {
            Strategy::Banded { coefficients } => coefficients.len() - 1,
            Strategy::Tree { leaves } => levels(*leaves) as usize,
        };
        NoiseStream { strategy: strategy.clone(), next: 0, history: vec![zeros(); slots], current: zeros() }
    }

    /// The step whose noise comes next.
    pub fn next_step(&self) -> u64 {
        self.next
    }

    /// What it goes on from beside that, by slot and parameter.
    pub fn history(&self) -> &[Vec<Vec<i64>>] {
        &self.history
    }

    /// What it goes on from.
    #[cfg(test)]
    pub fn state(&self) -> StreamState {
        StreamState { next: self.next, history: self.history.clone() }
    }

    /// Goes on from `state`.
    ///
    /// # Errors
    /// When the state is of another strategy or other parameters.
    pub fn restore(&mut self, state: StreamState) -> Result<(), StreamError> {
        let sizes = |slots: &[Vec<Vec<i64>>]| -> Vec<Vec<usize>> {
            slots.iter().map(|slot| slot.iter().map(Vec::len).collect()).collect()
        };
        if sizes(&state.history) != sizes(&self.history) {
            return Err(StreamError::Other);
        }
        (self.next, self.history) = (state.next, state.history);
        Ok(())
    }

    /// The noise of `step`, by parameter, from `fresh` values of the discrete Gaussian, independent of all before.
    ///
    /// # Errors
    /// When it is not the step that comes next, or a number leaves its range. The step must not be taken then.
    pub fn correlate(&mut self, step: u64, fresh: &[Vec<i64>]) -> Result<&[Vec<i64>], StreamError> {
        if step != self.next {
            return Err(StreamError::OutOfOrder { step, next: self.next });
        }
        match &self.strategy {
            Strategy::Banded { coefficients } => {
                let slots = self.history.len();
                let before: Vec<(i128, usize)> = (1..coefficients.len())
                    .filter(|back| *back as u64 <= step)
                    .map(|back| (i128::from(coefficients[back]), ((step - back as u64) % slots as u64) as usize))
                    .collect();
                let diagonal = i128::from(coefficients[0]);
                for (parameter, (fresh, out)) in fresh.iter().zip(&mut self.current).enumerate() {
                    let terms: Vec<(i128, &[i64])> =
                        before.iter().map(|&(by, slot)| (by, &self.history[slot][parameter][..])).collect();
                    banded(diagonal, &terms, fresh, out)?;
                }
                if slots > 0 {
                    self.history[(step % slots as u64) as usize].clone_from(&self.current);
                }
            }
            Strategy::Tree { leaves } => {
                let level = width(step, *leaves).ilog2() as usize;
                let (below, from) = self.history.split_at_mut(level);
                for (parameter, (fresh, out)) in fresh.iter().zip(&mut self.current).enumerate() {
                    out.copy_from_slice(fresh);
                    for node in &*below {
                        out.iter_mut().zip(&node[parameter]).for_each(|(out, node)| *out = out.wrapping_sub(*node));
                    }
                }
                for (kept, fresh) in from[0].iter_mut().zip(fresh) {
                    kept.copy_from_slice(fresh);
                }
            }
        }
        self.next += 1;
        Ok(&self.current)
    }
}

/// `⌊(z - Σ_j k_j n_j)/k_0 + 1/2⌋` of every element: a whole number added to z k_0 times comes out once, whatever the
/// others are.
fn banded(diagonal: i128, terms: &[(i128, &[i64])], fresh: &[i64], out: &mut [i64]) -> Result<(), StreamError> {
    let mut sums = [0_i128; BLOCK];
    for (block, (fresh, out)) in fresh.chunks(BLOCK).zip(out.chunks_mut(BLOCK)).enumerate() {
        let sums = &mut sums[..fresh.len()];
        sums.iter_mut().zip(fresh).for_each(|(sum, &z)| *sum = i128::from(z));
        for (by, noise) in terms {
            let noise = &noise[block * BLOCK..][..sums.len()];
            sums.iter_mut().zip(noise).for_each(|(sum, &noise)| *sum -= by * i128::from(noise));
        }
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = i64::try_from((2 * *sum + diagonal).div_euclid(2 * diagonal)).map_err(|_| StreamError::Range)?;
        }
    }
    Ok(())
}

/// Correlated noise could not be made. The step must not be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error, Diagnostic)]
pub enum StreamError {
    /// Steps of correlated noise have an order.
    #[error("the noise of step {next} comes next, not that of step {step}")]
    #[diagnostic(
        code(dpc::privacy::noise_order),
        help("correlated noise goes on from that of the steps before; resume from a checkpoint of the run")
    )]
    OutOfOrder {
        /// Asked for.
        step: u64,
        /// To come next.
        next: u64,
    },
    /// The state of another stream.
    #[error("the noise of the steps before is that of another strategy or model")]
    #[diagnostic(
        code(dpc::privacy::noise_state),
        help("resume with the plan and the model that the run was begun with")
    )]
    Other,
    /// So improbable that it is a defect.
    #[error("correlated noise left the range of its integers")]
    #[diagnostic(code(dpc::privacy::noise_range), help("nothing was released; use fewer bands or less noise"))]
    Range,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::privacy::correlation::Correlation;
    use proptest::prop_assert_eq;
    use proptest::proptest;

    /// Banded of 1 to 6 bands, and the tree.
    fn correlation(number: u64) -> Correlation {
        if number == 0 { Correlation::Tree } else { Correlation::Banded { bands: number } }
    }

    /// The released integers from those of the mechanism, `m = K x + z`, by the recurrence alone: what a reader could
    /// do who sees m.
    fn post_processed(strategy: &Strategy, m: &[i128]) -> Vec<i128> {
        let mut released: Vec<i128> = Vec::new();
        for (step, m) in m.iter().enumerate() {
            let value = match strategy {
                Strategy::Banded { coefficients } => {
                    let back = coefficients[1..].iter().zip(released.iter().rev());
                    let rest = m - back.map(|(&k, x)| i128::from(k) * x).sum::<i128>();
                    let diagonal = i128::from(coefficients[0]);
                    (2 * rest + diagonal).div_euclid(2 * diagonal)
                }
                Strategy::Tree { leaves } => {
                    let width = width(step as u64, *leaves) as usize;
                    m - released[step + 1 - width..].iter().sum::<i128>()
                }
            };
            released.push(value);
        }
        released
    }

    /// A row of K for each step: the sum that it is of.
    fn row(strategy: &Strategy, step: usize) -> Vec<(usize, i128)> {
        match strategy {
            Strategy::Banded { coefficients } => (0..=step.min(coefficients.len() - 1))
                .map(|back| (step - back, i128::from(coefficients[back])))
                .collect(),
            Strategy::Tree { leaves } => {
                let width = width(step as u64, *leaves) as usize;
                (step + 1 - width..=step).map(|leaf| (leaf, 1)).collect()
            }
        }
    }

    proptest! {
        /// The heart of the proof: `x + n` is a function of `K x + z`, to the last bit, whatever x and z are.
        #[test]
        fn what_is_released_is_a_function_of_the_integer_mechanism(
            number in 0_u64..7,
            parts in 7_u64..12,
            seed in proptest::collection::vec((-1_000_000_i64..1_000_000, -1_000_000_000_i64..1_000_000_000), 1..40),
        ) {
            let strategy = correlation(number).strategy(parts, 40);
            let mut stream = NoiseStream::new(&strategy, &[1]);
            let (mut released, mut mechanism) = (Vec::new(), Vec::new());
            for (step, (x, z)) in seed.iter().enumerate() {
                let noise = stream.correlate(step as u64, &[vec![*z]]).unwrap()[0][0];
                released.push(i128::from(*x) + i128::from(noise));
                let sum: i128 = row(&strategy, step).iter().map(|&(at, k)| k * i128::from(seed[at].0)).sum();
                mechanism.push(sum + i128::from(*z));
            }
            prop_assert_eq!(post_processed(&strategy, &mechanism), released);
        }

        #[test]
        fn a_stream_goes_on_from_its_state(number in 0_u64..7, stop in 0_u64..30) {
            let strategy = correlation(number).strategy(9, 30);
            let fresh = |step: u64| vec![vec![step as i64 * 7919 % 1000; 3], vec![-(step as i64) * 31; 700]];
            let (mut whole, mut first) = (NoiseStream::new(&strategy, &[3, 700]), NoiseStream::new(&strategy, &[3, 700]));
            (0..stop).for_each(|step| { first.correlate(step, &fresh(step)).unwrap(); });
            let mut second = NoiseStream::new(&strategy, &[3, 700]);
            second.restore(first.state()).unwrap();
            for step in 0..30 {
                let expected = whole.correlate(step, &fresh(step)).unwrap().to_vec();
                if step >= stop {
                    prop_assert_eq!(second.correlate(step, &fresh(step)).unwrap(), expected);
                }
            }
        }
    }

    #[test]
    fn steps_have_an_order_and_states_a_stream() {
        let strategy = Correlation::Banded { bands: 3 }.strategy(3, 10);
        let mut stream = NoiseStream::new(&strategy, &[2]);
        stream.correlate(0, &[vec![5, 6]]).unwrap();
        for step in [0, 2] {
            let refused = stream.correlate(step, &[vec![5, 6]]);
            assert_eq!(refused.unwrap_err(), StreamError::OutOfOrder { step, next: 1 });
        }
        let other = NoiseStream::new(&Correlation::Tree.strategy(3, 10), &[3]);
        assert_eq!(stream.restore(other.state()), Err(StreamError::Other));
    }
}
