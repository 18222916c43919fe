//! Strategies: which integer matrix K noise is correlated by, and how much a unit moves what it makes of the sums.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::toeplitz;

/// What `c_0` of a banded matrix is as an integer: the others are rounded to multiples of its inverse.
pub const UNIT: u32 = 256;
/// The most bands there are.
pub const MOST_BANDS: u64 = 4096;
/// What every coefficient is at most.
const MOST: u32 = 1 << 16;

/// How the noise of steps is correlated, as it is asked for: `banded:B` or `tree`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Correlation {
    /// By a lower-triangular Toeplitz matrix of so many bands, the diagonal included.
    Banded {
        /// At least 1 and at most [`MOST_BANDS`].
        bands: u64,
    },
    /// By binary trees over the steps of each cycle.
    Tree,
}

impl Correlation {
    /// The strategy for `steps` steps of sampling in cycles of `parts` steps.
    pub fn strategy(self, parts: u64, steps: u64) -> Strategy {
        match self {
            Correlation::Banded { bands } => {
                let c = toeplitz::optimised(bands as usize, steps.max(1) as usize);
                // The optimum has coefficients in [0, 1].
                let integer = |c: &f64| (c * f64::from(UNIT)).round().clamp(0.0, f64::from(UNIT)) as u32;
                Strategy::Banded { coefficients: c.iter().map(integer).collect() }
            }
            Correlation::Tree => Strategy::Tree { leaves: parts },
        }
    }

    /// The fewest parts of a cycle that keep participations of a unit apart.
    pub fn least_parts(self) -> u64 {
        match self {
            Correlation::Banded { bands } => bands,
            Correlation::Tree => 1,
        }
    }
}

impl FromStr for Correlation {
    type Err = String;

    fn from_str(text: &str) -> Result<Correlation, String> {
        let unknown =
            || format!("`{text}` is no correlation of noise; give banded:B with 1 to {MOST_BANDS} bands, or tree");
        match text.split_once(':') {
            None if text == "tree" => Ok(Correlation::Tree),
            Some(("banded", bands)) => match bands.parse() {
                Ok(bands @ 1..=MOST_BANDS) => Ok(Correlation::Banded { bands }),
                _ => Err(unknown()),
            },
            _ => Err(unknown()),
        }
    }
}

impl fmt::Display for Correlation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Correlation::Banded { bands } => write!(f, "banded:{bands}"),
            Correlation::Tree => f.write_str("tree"),
        }
    }
}

impl TryFrom<String> for Correlation {
    type Error = String;

    fn try_from(text: String) -> Result<Correlation, String> {
        text.parse()
    }
}

impl From<Correlation> for String {
    fn from(correlation: Correlation) -> String {
        correlation.to_string()
    }
}

/// The matrix K of the module's documentation, in integers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Strategy {
    /// The lower-triangular Toeplitz matrix of this first column.
    Banded {
        /// From the diagonal on, which is above 0.
        coefficients: Vec<u32>,
    },
    /// Of each cycle of so many steps a binary tree: a row for every sum that a prefix of the cycle is made of.
    Tree {
        /// The steps of a cycle.
        leaves: u64,
    },
}

impl Strategy {
    /// What it is the strategy of.
    pub fn correlation(&self) -> Correlation {
        match self {
            Strategy::Banded { coefficients } => Correlation::Banded { bands: coefficients.len() as u64 },
            Strategy::Tree { .. } => Correlation::Tree,
        }
    }

    /// Whether every number is in its range.
    pub fn is_valid(&self) -> bool {
        match self {
            Strategy::Banded { coefficients } => {
                let bands = coefficients.len() as u64;
                (1..=MOST_BANDS).contains(&bands)
                    && coefficients[0] > 0
                    && coefficients.iter().all(|coefficient| *coefficient <= MOST)
            }
            Strategy::Tree { leaves } => *leaves > 0,
        }
    }

    /// The square of the largest norm of a column of K, which one participation of a unit moves `K X` by, over that of
    /// what it moves its row of X by.
    pub fn column_square(&self) -> u64 {
        match self {
            Strategy::Banded { coefficients } => coefficients.iter().map(|&k| u64::from(k) * u64::from(k)).sum(),
            Strategy::Tree { leaves } => u64::from(levels(*leaves)),
        }
    }

    /// The square of the element of K in row `row` and column `step`, at most `row`.
    pub fn square(&self, row: u64, step: u64) -> u64 {
        match self {
            Strategy::Banded { coefficients } => {
                let k = usize::try_from(row - step).ok().and_then(|back| coefficients.get(back));
                k.map_or(0, |&k| u64::from(k) * u64::from(k))
            }
            Strategy::Tree { leaves } => u64::from(row - step < width(row, *leaves)),
        }
    }

    /// The end of the rows that hold what a unit added at `step`, in cycles of `parts` steps.
    pub fn reach(&self, step: u64, parts: u64) -> u64 {
        match self {
            Strategy::Banded { coefficients } => step.saturating_add(coefficients.len() as u64),
            Strategy::Tree { .. } => (step / parts.max(1) + 1).saturating_mul(parts.max(1)),
        }
    }

    /// The first step that is in a row from `row` on.
    pub fn first_reaching(&self, row: u64, parts: u64) -> u64 {
        match self {
            Strategy::Banded { coefficients } => (row + 1).saturating_sub(coefficients.len() as u64),
            Strategy::Tree { .. } => row / parts.max(1) * parts.max(1),
        }
    }

    /// The root of [`Strategy::column_square`], rounded up.
    pub fn column_norm(&self) -> f64 {
        // The square is below 2⁵³, so that only the root is rounded.
        (self.column_square() as f64).sqrt().next_up()
    }

    /// The mean over `steps` prefix sums of the variance of their noise, in `(σS)²` for the sensitivity S of one step.
    /// Independent noise has `(steps + 1)/2`.
    pub fn prefix_mean_square(&self, steps: u64) -> f64 {
        let of_unit_noise = match self {
            Strategy::Banded { coefficients } => {
                let c: Vec<f64> = coefficients.iter().map(|&k| f64::from(k)).collect();
                toeplitz::mean_square(&c, steps as usize)
            }
            Strategy::Tree { leaves } => {
                let nodes = |step: u64| {
                    let (cycle, within) = (step / leaves, step % leaves + 1);
                    cycle * u64::from(leaves.count_ones()) + u64::from(within.count_ones())
                };
                (0..steps).map(|step| nodes(step) as f64).sum::<f64>() / steps.max(1) as f64
            }
        };
        of_unit_noise * self.column_square() as f64
    }

    /// The variance of the noise that step number `step` itself is released with, in `(σS)²`.
    pub fn step_square(&self, step: u64) -> f64 {
        let of_unit_noise = match self {
            Strategy::Banded { coefficients } => {
                let c: Vec<f64> = coefficients.iter().map(|&k| f64::from(k)).collect();
                let beta = toeplitz::factor(&c, step as usize + 1);
                let differences = beta.iter().zip([0.0].iter().chain(&beta)).map(|(now, before)| now - before);
                differences.map(|value| value * value).sum()
            }
            Strategy::Tree { leaves } => 1.0 + f64::from((step % leaves + 1).trailing_zeros()),
        };
        of_unit_noise * self.column_square() as f64
    }
}

/// The steps that the sum of row `row` is of, in trees over `leaves` steps.
pub(super) fn width(row: u64, leaves: u64) -> u64 {
    1 << (row % leaves + 1).trailing_zeros()
}

/// The levels of a binary tree over `leaves` leaves whose sums prefixes are made of: a leaf is in at most one of each.
pub(super) fn levels(leaves: u64) -> u32 {
    leaves.max(1).ilog2() + 1
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Strategy::Banded { coefficients } => {
                let all: Vec<String> = coefficients.iter().map(u32::to_string).collect();
                write!(f, "banded, by the first column ({})", all.join(", "))
            }
            Strategy::Tree { leaves } => write!(f, "a binary tree over every {leaves} steps"),
        }
    }
}
