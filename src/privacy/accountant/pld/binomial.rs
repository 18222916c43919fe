//! Upper bounds on the tails of binomial distributions.
//!
//! Probabilities are sums of terms that follow from each other, `P[K = k+1] = P[K = k] (n-k)/(k+1) q/(1-q)`,
//! as multiples of the one at the mode, so that no factorial is needed. From where the ratio is below 1 it
//! only falls, and what is left of a sum is less than a geometric series. All terms are positive; their
//! rounding errors grow with their number, and are added. Very many terms are not summed: then there is no
//! answer, rather than one that did not converge.

/// The most terms of a sum: enough for 1e11 units.
const MOST_TERMS: u32 = 1 << 22;
/// What may be left of a sum, relatively.
const REMAINDER: f64 = 1e-17;
/// Terms this small beside the largest are not told apart.
const VANISHING: f64 = 1e-290;
/// The rounding of one term by those before it, and of the sum.
const ROUNDING: f64 = 16.0 * f64::EPSILON;

/// How many of `trials` come, each with probability `rate` in (0, 1).
#[derive(Clone, Copy, Debug)]
pub(super) struct Binomial {
    pub trials: u64,
    pub rate: f64,
}

/// One term of a sum.
struct Term {
    k: u64,
    /// Beside the first one.
    size: f64,
    /// A bound on the sum of all that follow.
    rest: f64,
}

impl Term {
    fn new(k: u64, size: f64, ratio: f64) -> Term {
        let rest = if ratio < 1.0 { size * ratio / (1.0 - ratio) } else { f64::INFINITY };
        // Nothing underflows to 0.
        Term { k, size, rest: rest + VANISHING * 1e-10 }
    }
}

impl Binomial {
    /// Upper bounds on the probabilities of less than `k` and of at least `k`.
    pub fn split(self, k: u64) -> Option<[f64; 2]> {
        let mut sums = [0.0; 2];
        let mut rests = [0.0; 2];
        let mut count = 0;
        let mode = self.mode();
        // `far` is the side that terms end up on.
        let mut sum = |terms: &mut dyn Iterator<Item = Term>, far: usize| {
            for term in terms {
                count += 1;
                let side = usize::from(term.k >= k);
                sums[side] += term.size;
                if term.rest < VANISHING || (side == far && term.rest <= REMAINDER * sums[side]) {
                    rests[side] += term.rest;
                    if side != far {
                        rests[far] += term.rest;
                    }
                    return Some(());
                }
                if count > MOST_TERMS {
                    return None;
                }
            }
            Some(())
        };
        sum(&mut self.ascending(mode), 1)?;
        sum(&mut self.descending(mode).skip(1), 0)?;
        let slack = 1.0 + ROUNDING * f64::from(count);
        let total = sums[0] + sums[1];
        Some([0, 1].map(|side| ((sums[side] + rests[side]) * slack / total).min(1.0)))
    }

    /// An upper bound on `E[1/(K+1)]` given that K is at least `k`.
    pub fn mean_inverse(self, k: u64) -> Option<f64> {
        let (mut sum, mut inverse, mut count) = (0.0, 0.0, 0_u32);
        let start = self.mode().max(k);
        let down = self.descending(start).skip(1).take_while(|term| term.k >= k);
        for term in self.ascending(start) {
            count += 1;
            sum += term.size;
            inverse += term.size / (term.k as f64 + 1.0);
            // Terms left out have the smaller inverses.
            if term.rest <= REMAINDER * sum {
                break;
            }
            if count > MOST_TERMS {
                return None;
            }
        }
        for term in down {
            count += 1;
            sum += term.size;
            inverse += term.size / (term.k as f64 + 1.0);
            if term.rest <= REMAINDER * REMAINDER * sum {
                inverse += term.rest / (k as f64 + 1.0);
                break;
            }
            if count > MOST_TERMS {
                return None;
            }
        }
        Some(inverse / sum * (1.0 + ROUNDING * f64::from(count)))
    }

    fn mode(self) -> u64 {
        (((self.trials as f64 + 1.0) * self.rate) as u64).min(self.trials)
    }

    fn odds(self) -> f64 {
        self.rate / (1.0 - self.rate)
    }

    /// The terms from `first` on upwards.
    fn ascending(self, first: u64) -> impl Iterator<Item = Term> {
        let (n, odds, mut size) = (self.trials, self.odds(), 1.0);
        (first..=n).map(move |k| {
            let ratio = (n - k) as f64 / (k as f64 + 1.0) * odds;
            let term = Term::new(k, size, ratio);
            size *= ratio;
            term
        })
    }

    /// The terms from `first` on downwards.
    fn descending(self, first: u64) -> impl Iterator<Item = Term> {
        let (n, odds, mut size) = (self.trials, self.odds(), 1.0);
        (0..=first).rev().map(move |k| {
            let ratio = k as f64 / ((n - k) as f64 + 1.0) / odds;
            let term = Term::new(k, size, ratio);
            size *= ratio;
            term
        })
    }
}
