//! What the discrete Gaussian mechanism costs: as much as a continuous one with slightly less noise, and next to nothing more.
//!
//! **Mechanism.** Integers m of ℤᵈ, a function of the data, of which adding or removing one unit changes the Euclidean norm by at most Δ, plus independent values of `N_Z(0, s²)`:
//! its outcome x has probability `p_m(x) = Π exp(-(xᵢ-mᵢ)²/2s²)/θ_s(mᵢ)`, where `θ_s(c) = Σ_z exp(-(z-c)²/2s²)`.
//!
//! **Lemma.** Let 0 < r < s, `η = 2 Σ_(k≥1) exp(-2π²k²r²)` below 1 and `κ = ln((1+η)/(1-η))`. There is a random map Φ from ℝᵈ to ℤᵈ that
//! knows nothing of m, such that the outcome of Φ on `m + N(0, (s²-r²)I)` has a probability `q_m(x)` with `|ln(p_m(x)/q_m(x))| ≤ dκ` for every m and x.
//!
//! *Proof.* Φ draws each coordinate from the discrete Gaussian of parameter r centred at `y`, `exp(-(x-y)²/2r²)/θ_r(y)`. By Poisson summation
//! `θ_r(y) = r√(2π) (1 + 2 Σ_(k≥1) exp(-2π²k²r²) cos 2πky)`, which is within `r√(2π)(1 ± η)`. For one coordinate
//! `q_m(x) = ∫ n(y; m, s²-r²) exp(-(x-y)²/2r²)/θ_r(y) dy`, and as `exp(-(x-y)²/2r²) = r√(2π) n(x; y, r²)` and `∫ n(y; m, s²-r²) n(x; y, r²) dy = n(x; m, s²)`,
//! `q_m(x)` is between `n(x; m, s²)/(1+η)` and `n(x; m, s²)/(1-η)`. For an integer m, `θ_s(m) = s√(2π)(1 + η_s)` with `0 ≤ η_s ≤ η`, because s > r, so that
//! `p_m(x) = n(x; m, s²)/(1+η_s)`. Hence `p/q` is between `(1-η)/(1+η)` and `1+η`. Coordinates are independent: factors multiply. ∎
//!
//! **Theorem.** If T steps with noise `N(0, (s²-r²)I)` in place of the discrete one are (ε, δ)-private, whatever the sampling of batches, the adjacency, the
//! mixtures of m that they give and the dependence of later steps on earlier outcomes, then T steps of the discrete mechanism are
//! `(ε + 2E, e^E δ)`-private with `E = Tdκ`.
//!
//! *Proof.* Let each step release x drawn by `q` instead. That is Φ, which does not see the data, applied to the continuous mechanism, and later steps see less than
//! all: it is (ε, δ)-private by post-processing. Given what came before, the probability of a step's outcome is a mixture of `p_m` over m, and that of the same mixture of `q_m`
//! is within `e^(±dκ)` of it; over T steps those factors multiply to `e^(±E)`. So for neighbours D and D′ and any event A,
//! `P_D(A) ≤ e^E Q_D(A) ≤ e^E (e^ε Q_D′(A) + δ) ≤ e^(ε+2E) P_D′(A) + e^E δ`. ∎
//!
//! The parameter s may differ between coordinates, as the lemma is of one: d counts all of them, and r is below each s.
//!
//! With r = 8, η is below 10⁻⁵⁴⁸: no f64 above 0 is as small, and the smallest is added instead. What is left of the
//! difference is the noise: s must be `√(σ²Δ² + r²)` where the continuous mechanism has σΔ, for s = 10⁶ a relative 3·10⁻¹¹ more.
//!
//! At integer orders α the Rényi divergence of the discrete mechanism is that of the continuous one at the same s exactly, subsampled by Poisson or not (Canonne, Kamath and Steinke 2020,
//! <https://arxiv.org/abs/2004.00010>, Proposition 5), but the theorem holds for every accountant. The map of the proof is the
//! convolution of Micciancio and Peikert 2013 (<https://eprint.iacr.org/2013/069>, Theorem 3.3) with one part continuous.

use miette::Diagnostic;
use num_bigint::BigUint;
use thiserror::Error;

use super::scale::{Scale, ScaleError};

/// The parameter r of the proof, an integer in units of the grid: noise of variance r² is what the discrete mechanism needs beyond the continuous one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Smoothing(u32);

/// `⌊2π² · 10⁶⌋ · 10⁻⁶`.
const TWICE_PI_SQUARED: f64 = 19.739208;
/// How many times r s must be.
const LEAST_RATIO: u64 = 10;

impl Smoothing {
    /// r = 8, with which the excess is below every f64 above 0 for any number of steps and elements there can be.
    pub const USUAL: Smoothing = Smoothing(8);

    /// The least r of 2 and above whose excess ε for `steps` releases of `dimension` numbers each is at most 10⁻¹⁸.
    pub fn for_releases(steps: u64, dimension: u64) -> Smoothing {
        let enough = |r: &u32| Smoothing(*r).excess(steps, dimension).epsilon <= 1e-18;
        Smoothing((2..8).find(enough).unwrap_or(8))
    }

    /// r itself, at least 2.
    #[cfg(test)]
    pub(super) fn of(r: u32) -> Smoothing {
        Smoothing(r)
    }

    /// r.
    pub fn r(self) -> u32 {
        self.0
    }

    /// The least parameter s with `√(s² - r²) ≥ σΔ`, worked out in integers.
    ///
    /// `noise_multiplier` is σ, that of the continuous mechanism that is accounted for; `sensitivity` is Δ in units of the grid, the largest
    /// Euclidean norm of what adding or removing one unit changes.
    ///
    /// # Errors
    /// When σ or Δ is not a finite number above 0, and when s is 2⁴⁰ or more, or less than 10 r.
    pub fn parameter(self, noise_multiplier: f64, sensitivity: f64) -> Result<Scale, ParameterError> {
        for value in [noise_multiplier, sensitivity] {
            if !(value.is_finite() && value > 0.0) {
                return Err(ParameterError::Input { value });
            }
        }
        let fraction = i64::from(Scale::FRACTION_BITS);
        let ((m, e), (n, f)) = (parts(noise_multiplier), parts(sensitivity));
        // A mantissa has 53 bits at most, and 1 at least.
        if e + f >= i64::from(Scale::INTEGER_BITS) {
            return Err(ScaleError::TooLarge.into());
        }
        let product = BigUint::from(m) * n;
        let square = &product * &product;
        let shift = 2 * (fraction + e + f);
        let square = if shift < 0 { up(square, shift.unsigned_abs()) } else { square << shift };
        let least = square + (BigUint::from(self.0 * self.0) << (2 * fraction));
        let root = least.sqrt();
        let root = if &root * &root < least { root + 1_u8 } else { root };
        let scale = Scale::from_steps(u64::try_from(root).unwrap_or(u64::MAX))?;
        if scale.steps() < LEAST_RATIO * u64::from(self.0) << Scale::FRACTION_BITS {
            return Err(ParameterError::TooSmall { s: scale.to_f64(), least: LEAST_RATIO * u64::from(self.0) });
        }
        Ok(scale)
    }

    /// The noise multiplier `√(s² - r²)/Δ` of the continuous mechanism, rounded down; `None` where s is not above r.
    pub fn noise_multiplier(self, scale: Scale, sensitivity: f64) -> Option<f64> {
        let (s, r) = (scale.to_f64(), f64::from(self.0));
        let multiplier = ((s - r) * (s + r)).sqrt() / sensitivity * (1.0 - 8.0 * f64::EPSILON);
        (s > r).then_some(multiplier)
    }

    /// What `steps` releases of `dimension` numbers each cost beyond the continuous mechanism, rounded up.
    ///
    /// For r ≥ 2, η is below `2.0001 e^(-2π²r²)`, and κ below 2.0001 η.
    pub fn excess(self, steps: u64, dimension: u64) -> Excess {
        let log = (steps as f64).ln() + (dimension as f64).ln() - TWICE_PI_SQUARED * f64::from(self.0 * self.0);
        let ratio = libm::exp(log + 4.001_f64.ln() + 1e-9);
        Excess { epsilon: (2.0 * ratio).max(f64::from_bits(2)), ratio: ratio.max(f64::from_bits(1)) }
    }
}

/// What the discrete mechanism costs beyond a continuous one that is (ε, δ)-private.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Excess {
    /// 2E, what ε grows by.
    pub epsilon: f64,
    /// E, the logarithm of what δ is multiplied by.
    pub ratio: f64,
}

impl Excess {
    /// The δ to ask the continuous mechanism's accountant for, where the discrete one is to have `delta`.
    pub fn inner_delta(&self, delta: f64) -> f64 {
        (delta * libm::exp(-self.ratio)).next_down()
    }

    /// The ε of the discrete mechanism, where the continuous one has `epsilon` at [`Excess::inner_delta`].
    pub fn outer_epsilon(&self, epsilon: f64) -> f64 {
        (epsilon + self.epsilon).next_up()
    }

    /// A bound on the discrete mechanism's δ at ε, by `continuous`, that of the continuous one.
    pub fn delta(&self, epsilon: f64, continuous: impl Fn(f64) -> f64) -> f64 {
        let inner = (epsilon - self.epsilon).next_down();
        let delta = if inner < 0.0 { 1.0 } else { continuous(inner) };
        (delta * libm::exp(self.ratio)).next_up().min(1.0)
    }
}

/// No parameter of the discrete Gaussian serves.
#[derive(Clone, Copy, Debug, PartialEq, Error, Diagnostic)]
#[allow(missing_docs)]
pub enum ParameterError {
    #[error("{value} is neither a noise multiplier nor a sensitivity")]
    #[diagnostic(code(dpc::privacy::discrete::input), help("give finite numbers above 0"))]
    Input { value: f64 },
    #[error("the discrete Gaussian's parameter is {s:.3} units of the grid, and must be {least} or more")]
    #[diagnostic(code(dpc::privacy::discrete::coarse), help("use a finer grid"))]
    TooSmall { s: f64, least: u64 },
    #[error(transparent)]
    #[diagnostic(transparent)]
    Scale(#[from] ScaleError),
}

/// A finite number above 0 as `m · 2^e`.
fn parts(value: f64) -> (u64, i64) {
    let bits = value.to_bits();
    let (exponent, fraction) = ((bits >> 52 & 0x7ff) as i64, bits & ((1 << 52) - 1));
    if exponent == 0 { (fraction, -1074) } else { (fraction | 1 << 52, exponent - 1075) }
}

/// `⌈value · 2^-bits⌉`.
fn up(value: BigUint, bits: u64) -> BigUint {
    let unit = BigUint::from(1_u8) << bits;
    (value + (unit - 1_u8)) >> bits
}
