//! Composition of steps: the distribution of a sum of independent privacy losses, by FFT.
//!
//! The distribution of the sum is tilted by `e^(λL)` before it is transformed, and back afterwards. Rounding
//! errors of the FFT, which are relative to all of the distribution, thereby become relative to what is left
//! of it where the answer is, however small δ may be.
//!
//! **What is outside of the window.** A transform of size N adds all masses whose losses are a multiple of
//! `W = Nh` apart. All masses are positive, so that at each loss in the window the transform has the mass
//! there, and more. Untilted, that is `P(L) + Σ e^(λmW) P(L + mW)`: nothing is taken from the sums in the
//! window, whatever lies outside of it. Those above are bounded by a moment and added; those below do not
//! count for an ε in the window.
//!
//! **Rounding.** Each value of a transform is a sum of all N, to which each contributes by log2 N products
//! and sums: its error is at most `6ε log2 N` times the sum of their sizes (`2.1ε` a level by Higham, Accuracy
//! and Stability of Numerical Algorithms, Lemma 3.5 and chapter 24; other radices are no worse). The mass of
//! the loss 0, which is most of it at low rates, is the same at all frequencies and left out of the transform.
//! With η for that and for the rounding of the masses, the product of the steps' transforms x errs by `Σ
//! n_i (η_i + 4ε) Π|x_j|^(n_j) / |x_i|` at each frequency, as `4ε` covers a sum and two products. The norm
//! of these errors over √N is that of the masses' errors (Parseval), and the norm-wise bound of the inverse
//! (ibid., Theorem 24.2) comes on top.

use rayon::prelude::*;
use rustfft::num_complex::Complex64;
use rustfft::{Fft, FftPlanner};

use super::discretize::Losses;
use super::divergence::Divergence;
use super::sum::Sum;
use super::window::Window;

/// Products smaller than this count as 0.
const VANISHING: f64 = 1e-20;
/// The widest window in intervals, which bounds the memory.
const MOST_INTERVALS: f64 = 4e6;
/// More steps than this would leave nothing of a sum but rounding errors.
const MOST_STEPS: f64 = 1e12;
/// How many transforms follow each other at least, beside others, and how many others at most.
const LEAST_CHUNK: usize = 8;
const MOST_CHUNKS: usize = 8;
/// Bounds the rounding of the bound on the errors itself.
const SAFETY: f64 = 1.01;

/// A distribution in a window, tilted by `e^(λL)` and divided by its moment.
pub(super) struct Tilted {
    pub order: f64,
    /// The logarithm of the moment.
    pub log_moment: f64,
    /// The first loss in intervals.
    pub first: i64,
    pub masses: Vec<f64>,
    /// A bound on the norm of the masses' errors.
    pub error: f64,
}

impl Sum {
    /// Upper bounds on δ inside `window`; `None` where there are too many steps, or the window is too
    /// wide.
    pub fn compose(&self, window: Window) -> Option<Divergence> {
        Divergence::new(self, window, self.tilted(window)?)
    }

    fn tilted(&self, window: Window) -> Option<Tilted> {
        let intervals = libm::ceil((window.high - window.low) / self.interval);
        let possible = self.steps() <= MOST_STEPS && (1.0..=MOST_INTERVALS).contains(&intervals);
        if !possible || (window.low / self.interval).abs() > 1e15 {
            return None;
        }
        let size = fft_size(intervals as usize + 2);
        let plan = FftPlanner::new().plan_fft_forward(size);
        let one = |terms: &[(Losses, u64)]| {
            let mut product = Product::new(size);
            terms.iter().for_each(|(losses, steps)| {
                product.multiply(&*plan, losses, *steps, self.interval, window.order);
            });
            product
        };
        let parts: Vec<Product> =
            self.terms.par_chunks(self.terms.len().div_ceil(MOST_CHUNKS).max(LEAST_CHUNK)).map(one).collect();
        let Product { values, mut buffer, log_moment, .. } = parts.into_iter().reduce(Product::joined)?;

        // The transform of the conjugate of a real signal's transform is that signal again.
        let (mut square, mut errors) = (0.0, 0.0);
        for (i, Value { product, error, .. }) in values.iter().enumerate() {
            buffer[i] = product.conj();
            buffer[(size - i) % size] = *product;
            square += 2.0 * product.norm_sqr();
            errors += 2.0 * error * error;
        }
        drop(values);
        plan.process(&mut buffer);
        let first = libm::floor(window.low / self.interval) as i64;
        let (after, before) = buffer.split_at(index(first, size));
        let masses: Vec<f64> = before.iter().chain(after).map(|value| value.re / size as f64).collect();
        let scale = 1.0 / libm::sqrt(size as f64);
        let (norm, errors) = (scale * libm::sqrt(square), scale * libm::sqrt(errors));
        let error = SAFETY * (errors + fft_error(size) * (norm + errors) + VANISHING);
        let finite = masses.iter().sum::<f64>().is_finite() && error.is_finite() && log_moment.is_finite();
        finite.then_some(Tilted { order: window.order, log_moment, first, masses, error })
    }
}

/// A product of transforms at one frequency.
#[derive(Clone, Copy)]
struct Value {
    product: Complex64,
    /// Bounds on its size and on its error.
    size: f64,
    error: f64,
}

/// The products at the lower half of the frequencies; as the signals are real, that says all.
struct Product {
    values: Vec<Value>,
    buffer: Vec<Complex64>,
    log_moment: f64,
}

impl Product {
    fn new(size: usize) -> Product {
        let one = Value { product: Complex64::new(1.0, 0.0), size: 1.0, error: 0.0 };
        Product { values: vec![one; size / 2 + 1], buffer: vec![Complex64::default(); size], log_moment: 0.0 }
    }

    fn joined(mut self, other: Product) -> Product {
        for (value, other) in self.values.iter_mut().zip(&other.values) {
            value.multiply(other.product, other.size, other.error);
        }
        Product { log_moment: self.log_moment + other.log_moment, ..self }
    }

    /// The transform of `losses` to the power of `steps`.
    fn multiply(&mut self, plan: &dyn Fft<f64>, losses: &Losses, steps: u64, interval: f64, order: f64) {
        let size = self.buffer.len();
        let log_moment = losses.cumulant(interval, order).value;
        self.log_moment += steps as f64 * log_moment;
        self.buffer.fill(Complex64::default());
        let (mut rounding, mut fixed, mut transformed) = (0.0, 0.0, 0.0);
        for &(k, mass) in losses.points.iter().filter(|(_, mass)| *mass > 0.0) {
            let exponent = order * (k as f64 * interval);
            let weight = mass * libm::exp(exponent - log_moment);
            rounding += weight * (2.0 + 2.0 * (exponent.abs() + log_moment.abs()));
            if k == 0 {
                fixed += weight;
            } else {
                self.buffer[index(k, size)].re += weight;
                transformed += weight;
            }
        }
        plan.process(&mut self.buffer);
        let error = fft_error(size) * transformed + f64::EPSILON * rounding;
        let steps_f = steps as f64;
        let least = libm::exp(libm::log(VANISHING) / steps_f);
        let least_square = (least - error).max(0.0).powi(2);
        for (value, &factor) in self.values.iter_mut().zip(&self.buffer) {
            if value.size == 0.0 {
                continue;
            }
            let factor = factor + fixed;
            let square = factor.norm_sqr();
            if square < least_square {
                *value = Value::ZERO;
                continue;
            }
            let size = libm::sqrt(square) + error;
            let but_one = if steps == 1 { 1.0 } else { libm::exp((steps_f - 1.0) * libm::log(size)) };
            let power_error = steps_f * (error + 4.0 * f64::EPSILON) * but_one;
            value.multiply(power(factor, steps), size * but_one, power_error);
        }
    }
}

impl Value {
    const ZERO: Value = Value { product: Complex64::new(0.0, 0.0), size: 0.0, error: 0.0 };

    fn multiply(&mut self, product: Complex64, size: f64, error: f64) {
        if self.size * size < VANISHING {
            *self = Value::ZERO;
            return;
        }
        self.error = self.error * size + self.size * error;
        self.size *= size;
        self.product *= product;
    }
}

fn index(k: i64, size: usize) -> usize {
    k.rem_euclid(size as i64) as usize
}

/// A bound on the errors of a transform's values beside the sum of the sizes of what is transformed, and on
/// that of their norm.
fn fft_error(size: usize) -> f64 {
    6.0 * f64::EPSILON * libm::log2(size as f64)
}

/// A size of at least `least` that FFTs are fast for.
fn fft_size(least: usize) -> usize {
    let power = least.next_power_of_two().max(1024);
    [power / 8 * 5, power / 4 * 3, power].into_iter().find(|&size| size >= least).unwrap_or(power)
}

/// `base^exponent` by squaring, for exponents of at least 1.
fn power(base: Complex64, mut exponent: u64) -> Complex64 {
    let (mut square, mut result) = (base, Complex64::new(1.0, 0.0));
    while exponent > 1 {
        if exponent & 1 == 1 {
            result *= square;
        }
        square *= square;
        exponent >>= 1;
    }
    result * square
}
