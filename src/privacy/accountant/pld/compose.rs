//! Composition of steps: the sum of independent privacy losses, by FFT.
//!
//! The distribution of the sum is tilted by `e^(λL)` before it is transformed, with λ such that its
//! middle is at the ε sought (the saddle point), and back afterwards. Rounding errors of the FFT, which are
//! relative to the largest value, thereby become relative to δ, however small it is; and what lies outside
//! of the window that the FFT covers weighs little. All that is left out is bounded and added:
//!
//! - what lies above the window, by Chernoff's bound on the untilted sum;
//! - rounding of the transforms, by the norm-wise bound of the FFT (Higham, Accuracy and Stability of
//!   Numerical Algorithms, Theorem 24.2) on each step's transform, times the steps;
//! - what else lies outside is wrapped around into the window, where it adds to δ if it does anything.

use rustfft::FftPlanner;
use rustfft::num_complex::Complex64;

use super::discretize::Losses;

/// A sum of independent losses on one grid.
pub(in super::super) struct Sum {
    /// The grid's interval.
    pub interval: f64,
    /// Losses, and how many of each.
    pub terms: Vec<(Losses, u64)>,
}

/// The cumulant generating function `ln E[e^(λL)]` of finite losses and its derivatives.
#[derive(Clone, Copy, Debug, Default)]
pub(in super::super) struct Cumulant {
    pub value: f64,
    /// The mean of the tilted distribution.
    pub mean: f64,
    /// Its variance.
    pub variance: f64,
}

/// The part of the sum that an FFT covers.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Window {
    pub low: f64,
    pub high: f64,
    /// The order of the moment that bounds the sums above `high` best.
    above: f64,
}

/// The relative size of what a window may leave out, as a logarithm.
const LEFT_OUT: f64 = -23.0;
/// Powers of a transform with a smaller logarithm than this count as 0.
const VANISHING: f64 = -46.0;
/// Halvings of the interval that the order λ is sought in; nothing depends on its exact value.
const HALVINGS: u32 = 18;
/// Logarithms of the smallest and the largest order.
const LOG_ORDERS: (f64, f64) = (-7.0, 14.0);
/// Bounds the rounding of the logarithm of one step's moment.
const MOMENT_ROUNDING: f64 = 1e-12;
/// The widest window in intervals, which bounds the memory.
const MOST_INTERVALS: f64 = 4e6;
/// More steps than this would leave nothing of a sum but rounding errors.
const MOST_STEPS: f64 = 1e12;

impl Sum {
    /// How many losses there are.
    pub fn steps(&self) -> f64 {
        self.terms.iter().map(|(_, steps)| *steps as f64).sum()
    }

    /// The probability of an infinite sum.
    pub fn infinite(&self) -> f64 {
        let logs = |of: fn(&Losses) -> f64| self.terms.iter().map(|(losses, steps)| *steps as f64 * of(losses)).sum();
        let log_finite: f64 = logs(|losses| libm::log1p(-losses.infinite / losses.total));
        let log_total: f64 = logs(|losses| libm::log(losses.total));
        -libm::expm1(log_finite) * libm::exp(log_total)
    }

    pub fn cumulant(&self, order: f64) -> Cumulant {
        self.terms.iter().fold(Cumulant::default(), |sum, (losses, steps)| {
            let (one, steps) = (losses.cumulant(self.interval, order), *steps as f64);
            Cumulant {
                value: sum.value + steps * one.value,
                mean: sum.mean + steps * one.mean,
                variance: sum.variance + steps * one.variance,
            }
        })
    }

    /// The order λ at which [`Sum::epsilon_bound`] for `delta` is least, roughly.
    pub fn order_for_delta(&self, delta: f64) -> f64 {
        let log_delta = libm::log(delta);
        search(|order| {
            let Cumulant { value, mean, .. } = self.cumulant(order);
            value - order * mean + log_factor(order) > log_delta
        })
    }

    /// The order λ ≥ 0 at which the middle of the tilted distribution is `epsilon`, or 0 where that is
    /// below the middle of the untilted one.
    pub fn order_for_epsilon(&self, epsilon: f64) -> f64 {
        if self.cumulant(0.0).mean >= epsilon {
            return 0.0;
        }
        search(|order| self.cumulant(order).mean < epsilon)
    }

    /// A bound on δ at `epsilon` by the moment of order λ > 0: Canonne, Kamath and Steinke 2020
    /// (<https://arxiv.org/abs/2004.00010>), Proposition 12.
    pub fn delta_bound(&self, order: f64, epsilon: f64) -> f64 {
        (self.infinite() + libm::exp(self.log_bound(order) - order * epsilon)).min(1.0)
    }

    /// The ε at which [`Sum::delta_bound`] is `delta`.
    pub fn epsilon_bound(&self, order: f64, delta: f64) -> f64 {
        let finite = delta - self.infinite();
        if finite > 0.0 { (self.log_bound(order) - libm::log(finite)) / order } else { f64::INFINITY }
    }

    fn log_bound(&self, order: f64) -> f64 {
        self.cumulant(order).value + self.steps() * MOMENT_ROUNDING + log_factor(order)
    }

    /// Where nearly all of the sum is that counts at order λ. That of a similar sum does as well.
    pub fn window(&self, order: f64) -> Window {
        self.window_without(order, LEFT_OUT, LEFT_OUT)
    }

    /// That without more than the logarithms `untilted`, beside the bound on δ in its middle, above it,
    /// and `left_out` of the tilted sum on either side.
    pub fn window_without(&self, order: f64, untilted: f64, left_out: f64) -> Window {
        let tilted = self.cumulant(order);
        let spread = libm::sqrt(tilted.variance).max(self.interval);
        let log_delta = tilted.value - order * tilted.mean + log_factor(order);
        let (mut low, mut high, mut wrapped) = (f64::NEG_INFINITY, f64::INFINITY, f64::INFINITY);
        let mut above = order;
        let changes = [0.5, 1.0, 2.0, 3.0, 4.0, 5.5, 7.0].map(|deviations| deviations / spread);
        let shares = [0.25, 0.5, 1.0].map(|share| share * order);
        for change in changes.into_iter().chain(shares).filter(|change| *change > 0.0) {
            let upper = self.cumulant(order + change).value;
            let end = (upper - log_delta - untilted) / (order + change);
            if end < high {
                (high, above) = (end, order + change);
            }
            wrapped = wrapped.min((upper - tilted.value - left_out) / change);
            low = low.max((tilted.value - self.cumulant(order - change).value + left_out) / change);
        }
        // What is wrapped around from above must weigh little too where the untilted tail ends early.
        let high = high.max(wrapped).max(tilted.mean + spread);
        Window { low: low.min(tilted.mean - spread), high, above }
    }

    /// A bound on the probability of sums above `end`, the end of `window` or more.
    pub fn above(&self, window: Window, end: f64) -> f64 {
        libm::exp(self.cumulant(window.above).value - window.above * end).min(1.0)
    }

    /// Upper bounds on δ inside `window`; `None` where there are too many steps, or the window is too
    /// wide.
    pub fn compose(&self, order: f64, window: Window) -> Option<Divergence> {
        self.tilted(order, window).map(|tilted| Divergence::new(self, window, tilted))
    }

    /// The distribution of the sum inside `window`, tilted by λ.
    pub fn tilted(&self, order: f64, window: Window) -> Option<Tilted> {
        let intervals = libm::ceil((window.high - window.low) / self.interval);
        if self.steps() > MOST_STEPS || intervals > MOST_INTERVALS {
            return None;
        }
        let size = fft_size(intervals as usize + 2);
        let index = |k: i64| k.rem_euclid(size as i64) as usize;
        let mut planner = FftPlanner::new();
        let transform = planner.plan_fft_forward(size);
        let mut scratch = vec![Complex64::default(); transform.get_inplace_scratch_len()];
        let mut buffer = vec![Complex64::default(); size];
        // A real signal's transform is symmetric: one half says all.
        let mut product = vec![Complex64::new(1.0, 0.0); size / 2 + 1];
        let fft_error = 6.0 * f64::EPSILON * libm::log2(size as f64);
        let mut error = fft_error + libm::exp(VANISHING);
        for (losses, steps) in &self.terms {
            let log_moment = losses.cumulant(self.interval, order).value;
            buffer.fill(Complex64::default());
            for &(k, mass) in losses.points.iter().filter(|(_, mass)| *mass > 0.0) {
                buffer[index(k)].re += mass * libm::exp(order * (k as f64 * self.interval) - log_moment);
            }
            let norm = libm::sqrt(buffer.iter().map(|value| value.re * value.re).sum());
            error += *steps as f64 * (fft_error * norm + 4.0 * f64::EPSILON + losses.error);
            transform.process_with_scratch(&mut buffer, &mut scratch);
            let least = libm::exp(2.0 * VANISHING / *steps as f64);
            for (product, factor) in product.iter_mut().zip(&buffer) {
                if factor.norm_sqr() < least {
                    *product = Complex64::default();
                } else if *product != Complex64::default() {
                    *product *= power(*factor, *steps);
                }
            }
        }
        // and the transform of its conjugate is that signal again.
        for (i, value) in product.iter().enumerate() {
            buffer[i] = value.conj();
            buffer[(size - i) % size] = *value;
        }
        transform.process_with_scratch(&mut buffer, &mut scratch);
        let first = libm::floor(window.low / self.interval) as i64;
        let masses: Vec<f64> = (0..size).map(|i| buffer[index(first + i as i64)].re / size as f64).collect();
        let Cumulant { value, mean, .. } = self.cumulant(order);
        let finite = masses.iter().sum::<f64>().is_finite();
        finite.then_some(Tilted { order, log_moment: value, center: mean, first, masses, error })
    }
}

/// A distribution tilted by `e^(λL)` and divided by its moment.
pub(in super::super) struct Tilted {
    pub order: f64,
    /// The logarithm of the moment.
    pub log_moment: f64,
    /// The mean.
    pub center: f64,
    /// The first loss in intervals.
    pub first: i64,
    pub masses: Vec<f64>,
    /// A bound on the norm of the masses' errors.
    pub error: f64,
}

impl Losses {
    /// That of one loss on a grid of `interval`.
    fn cumulant(&self, interval: f64, order: f64) -> Cumulant {
        let log_weight = |&(k, mass): &(i64, f64)| order * (k as f64 * interval) + libm::log(mass);
        let ends = [self.points[0], self.points[self.points.len() - 1]].map(|(k, _)| order * (k as f64 * interval));
        let largest = match f64::max(ends[0], ends[1]) {
            // No weight underflows.
            largest if (ends[0] - ends[1]).abs() < 600.0 => largest,
            _ => self.points.iter().map(log_weight).fold(f64::NEG_INFINITY, f64::max),
        };
        let (mut zeroth, mut first, mut second) = (0.0, 0.0, 0.0);
        for &(k, mass) in self.points.iter().filter(|(_, mass)| *mass > 0.0) {
            let loss = k as f64 * interval;
            let weight = mass * libm::exp(order * loss - largest);
            zeroth += weight;
            first += weight * loss;
            second += weight * loss * loss;
        }
        let mean = first / zeroth;
        Cumulant { value: largest + libm::log(zeroth), mean, variance: (second / zeroth - mean * mean).max(0.0) }
    }
}

/// `ln(λ^λ/(1+λ)^(1+λ))`.
fn log_factor(order: f64) -> f64 {
    if order == 0.0 { 0.0 } else { order * libm::log(order) - (1.0 + order) * libm::log1p(order) }
}

/// The largest order for which `low_enough` still holds, roughly.
fn search(low_enough: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = LOG_ORDERS;
    for _ in 0..HALVINGS {
        let middle = 0.5 * (low + high);
        if low_enough(libm::exp(middle)) { low = middle } else { high = middle }
    }
    libm::exp(low)
}

/// A size of at least `least` that FFTs are fast for.
fn fft_size(least: usize) -> usize {
    let power = least.next_power_of_two().max(1024);
    [power / 8 * 5, power / 4 * 3, power].into_iter().find(|&size| size >= least).unwrap_or(power)
}

/// `base^exponent` by squaring.
fn power(base: Complex64, mut exponent: u64) -> Complex64 {
    let (mut square, mut result) = (base, Complex64::new(1.0, 0.0));
    while exponent > 1 {
        if exponent & 1 == 1 {
            result *= square;
        }
        square *= square;
        exponent >>= 1;
    }
    if exponent == 1 { result * square } else { result }
}

/// Upper bounds on `δ(ε)` of a composed sum, for ε inside its window.
pub(in super::super) struct Divergence {
    interval: f64,
    /// The first loss of the window in intervals.
    first: i64,
    order: f64,
    center: f64,
    /// What the values of `dots` and `error` are multiples of.
    scale: f64,
    /// At each loss L of the window, `E[1 - e^(L-X)]` and `E[e^(L-X)]` over the sums X from L on.
    dots: Vec<(f64, f64)>,
    /// A bound on the rounding errors at the center.
    error: f64,
    /// What is added to every δ: infinite sums and those above the window.
    above: f64,
}

impl Divergence {
    fn new(sum: &Sum, window: Window, tilted: Tilted) -> Divergence {
        let Tilted { order, log_moment, center, first, masses, error } = tilted;
        let interval = sum.interval;
        let (shrink, grow) = (libm::exp(-interval), -libm::expm1(-interval));
        let (mut over, mut rest) = (0.0, 0.0);
        let dot = |(i, mass): (usize, &f64)| {
            let loss = (first + i as i64) as f64 * interval;
            over += grow * rest;
            rest = shrink * rest + mass.max(0.0) * libm::exp(-order * (loss - center));
            (over, rest)
        };
        let mut dots: Vec<(f64, f64)> = masses.iter().enumerate().rev().map(dot).collect();
        dots.reverse();
        // The norm of the weights e^(-λL) from the center on.
        let weights = (1.0 / -libm::expm1(-2.0 * order * interval)).min(masses.len() as f64);
        let end = (first + masses.len() as i64 - 1) as f64 * interval;
        Divergence {
            interval,
            first,
            order,
            center,
            scale: libm::exp(log_moment - order * center),
            dots,
            error: error * libm::sqrt(weights),
            above: sum.infinite() + sum.above(window, end),
        }
    }

    fn loss(&self, i: usize) -> f64 {
        (self.first + i as i64) as f64 * self.interval
    }

    fn error_from(&self, i: usize) -> f64 {
        self.error * libm::exp(-self.order * (self.loss(i) - self.center))
    }

    /// 1 below the window.
    pub fn delta(&self, epsilon: f64) -> f64 {
        let start = self.loss(0);
        if epsilon < start {
            return 1.0;
        }
        let i = libm::ceil((epsilon - start) / self.interval) as usize;
        let divergence = self.dots.get(i).map_or(0.0, |&(over, rest)| {
            let gap = -libm::expm1((epsilon - self.loss(i)).min(0.0));
            over + gap * rest + self.error_from(i.saturating_sub(1))
        });
        (self.above + self.scale * divergence).min(1.0)
    }

    /// How fast `ln δ` falls with ε at `epsilon`.
    pub fn slope(&self, epsilon: f64) -> f64 {
        let i = libm::floor((epsilon - self.loss(0)) / self.interval).max(0.0) as usize;
        match self.dots.get(i) {
            Some(&(over, rest)) if over > 0.0 => rest / over,
            _ => self.order,
        }
    }

    /// The least ε ≥ 0 in the window at `delta`; infinite where there is none.
    pub fn epsilon(&self, delta: f64) -> f64 {
        let goal = (delta - self.above) / self.scale;
        let reached = |i: usize| self.dots[i].0 + self.error_from(i) <= goal;
        let (mut low, mut high) = (0, self.dots.len());
        while low < high {
            let middle = (low + high) / 2;
            if reached(middle) { high = middle } else { low = middle + 1 }
        }
        match low {
            0 if reached(0) => self.loss(0).max(0.0),
            i if i < self.dots.len() => {
                // Between two points δ is a chord in e^ε.
                let (over, rest) = self.dots[i];
                let gap = (goal - self.error_from(i - 1) - over) / rest;
                (self.loss(i) + libm::log1p(-gap.max(0.0))).max(self.loss(i - 1)).max(0.0)
            }
            _ => f64::INFINITY,
        }
    }
}
