//! The theorem of [`accounting`](super::super::accounting), against the discrete mechanism's privacy loss worked out by itself.

use std::collections::BTreeMap;

use rustfft::FftPlanner;
use rustfft::num_complex::Complex;

use super::super::accounting::{ParameterError, Smoothing};
use super::*;
use crate::privacy::accountant::{Accountant, Mechanism, Pld, Rdp};
use crate::privacy::adjacency::Adjacency::AddRemove;
use crate::privacy::sampling::Sampling;

const DELTA: f64 = 1e-5;

fn steps(noise_multiplier: f64, rate: f64, steps: u64) -> Mechanism {
    Mechanism { noise_multiplier, sampling: Sampling::Poisson { rate }, steps }
}

/// The pmf of `N_Z(0, s²)` on -reach..=reach.
fn pmf(s: f64, reach: i64) -> Vec<f64> {
    let all = total(s);
    (-reach..=reach).map(|z| weight(s, z) / all).collect()
}

fn convolved(a: &[f64], b: &[f64]) -> Vec<f64> {
    let mut sum = vec![0.0; a.len() + b.len() - 1];
    for (i, a) in a.iter().enumerate() {
        sum[i..].iter_mut().zip(b).for_each(|(sum, b)| *sum += a * b);
    }
    sum
}

/// The ε at which `delta`, which falls, is [`DELTA`].
fn epsilon_of(delta: impl Fn(f64) -> f64) -> f64 {
    let (mut low, mut high) = (0.0, 100.0);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if delta(middle) > DELTA { low = middle } else { high = middle }
    }
    high
}

/// The ε that is claimed for `count` steps at parameter s.
fn claimed(smoothing: Smoothing, s: f64, sensitivity: f64, rate: f64, count: u64, dimension: u64) -> f64 {
    let multiplier = smoothing.noise_multiplier(scale(s), sensitivity).unwrap();
    let excess = smoothing.excess(count, dimension);
    let history = [steps(multiplier, rate, count)];
    excess.outer_epsilon(Pld.epsilon(&history, AddRemove, excess.inner_delta(DELTA)).unwrap())
}

/// Without sampling the sum of the outcomes says all: its privacy loss is linear in an integer.
#[test]
fn steps_on_one_number_cost_no_more_than_is_claimed() {
    let (s, shift) = (40.0, 40.0);
    let one = pmf(s, 500);
    let mut sum = vec![1.0];
    for count in 1..=8_u32 {
        sum = convolved(&sum, &one);
        let reach = (sum.len() / 2) as f64;
        let delta = |epsilon: f64| {
            let outcomes = sum.iter().enumerate().map(|(i, p)| {
                let loss = (shift * (i as f64 - reach) + 0.5 * f64::from(count) * shift * shift) / (s * s);
                if loss > epsilon { -p * libm::expm1(epsilon - loss) } else { 0.0 }
            });
            outcomes.sum()
        };
        let exact = epsilon_of(delta);
        for r in [2, 3] {
            let found = claimed(Smoothing::of(r), s, shift, 1.0, count.into(), 1);
            assert!(exact <= found && found < exact * 1.006, "{count} {r}: {found}, not {exact}");
        }
    }
}

#[test]
fn steps_on_two_numbers_cost_no_more_than_is_claimed() {
    let (s, shift) = (40.0, [24.0, 32.0]);
    let one = pmf(s, 400);
    let mut sum = vec![1.0];
    for count in 1..=2_u32 {
        sum = convolved(&sum, &one);
        let reach = (sum.len() / 2) as f64;
        let delta = |epsilon: f64| {
            let mut delta = 0.0;
            for (i, p) in sum.iter().enumerate() {
                for (j, q) in sum.iter().enumerate() {
                    let product = shift[0] * (i as f64 - reach) + shift[1] * (j as f64 - reach);
                    let loss = (product + 800.0 * f64::from(count)) / (s * s);
                    if loss > epsilon {
                        delta -= p * q * libm::expm1(epsilon - loss);
                    }
                }
            }
            delta
        };
        let found = claimed(Smoothing::of(2), s, 40.0, 1.0, count.into(), 2);
        assert!(delta(found) <= DELTA, "{count}: {found}");
        assert!(delta(found / 1.004) > DELTA, "{count}: {found} is too much");
    }
}

/// The sum of `count` losses, each rounded to a grid by `round`, as δ(ε).
fn composed(losses: &[(f64, f64)], count: usize, round: fn(f64) -> f64) -> impl Fn(f64) -> f64 {
    const STEP: f64 = 2e-4;
    const SIZE: usize = 1 << 19;
    let mut values = vec![Complex::new(0.0, 0.0); SIZE];
    for (loss, p) in losses {
        values[(round(loss / STEP) as i64).rem_euclid(SIZE as i64) as usize].re += p;
    }
    let mut planner = FftPlanner::new();
    planner.plan_fft_forward(SIZE).process(&mut values);
    values.iter_mut().for_each(|value| *value = value.powu(count as u32));
    planner.plan_fft_inverse(SIZE).process(&mut values);
    let sums: BTreeMap<usize, f64> = values.iter().map(|value| value.re / SIZE as f64).enumerate().collect();
    move |epsilon| {
        let above = (epsilon / STEP).ceil() as usize;
        sums.range(above..SIZE / 2).map(|(i, p)| -p * libm::expm1(epsilon - *i as f64 * STEP)).sum()
    }
}

/// With Poisson sampling, in both directions; the discrete loss rounded down and up.
#[test]
fn sampled_steps_cost_no_more_than_is_claimed() {
    let (s, shift, r) = (40.0, 40, Smoothing::of(2));
    let reach = 400;
    for (rate, counts) in [(0.1, [1, 2, 8]), (0.4, [1, 3, 8])] {
        let quiet = pmf(s, reach + shift);
        let loss = |z: i64| {
            let exponent = (z as f64 * shift as f64 - 0.5 * (shift * shift) as f64) / (s * s);
            libm::log1p(rate * libm::expm1(exponent))
        };
        let outcomes = (-reach..=reach + shift).map(|z| {
            let at = |z: i64| quiet.get((z + reach + shift) as usize).copied().unwrap_or(0.0);
            (loss(z), (1.0 - rate) * at(z) + rate * at(z - shift), at(z))
        });
        let outcomes: Vec<(f64, f64, f64)> = outcomes.collect();
        let removed: Vec<(f64, f64)> = outcomes.iter().map(|(loss, p, _)| (*loss, *p)).collect();
        let added: Vec<(f64, f64)> = outcomes.iter().map(|(loss, _, q)| (-loss, *q)).collect();
        for count in counts {
            let found = claimed(r, s, shift as f64, rate, count as u64, 1);
            let [least, most] = [f64::floor, f64::ceil].map(|round: fn(f64) -> f64| {
                [&removed, &added]
                    .map(|losses| epsilon_of(composed(losses, count, round)))
                    .into_iter()
                    .fold(0.0, f64::max)
            });
            assert!(least <= found, "{rate} {count}: {found} is below {least}");
            assert!(found < most * 1.006, "{rate} {count}: {found} is above {most}");
        }
    }
}

/// Canonne, Kamath and Steinke 2020: at integer orders the moments are those of the continuous mechanism, subsampled or not.
#[test]
fn moments_of_integer_orders_are_the_continuous_ones() {
    for (s, shift) in [(0.7, 1), (1.5, 2), (3.0, 3), (40.0, 40)] {
        let reach = (80.0 * s) as i64 + 70 * shift;
        let all = total(s);
        for order in 2..=16 {
            let a = f64::from(order);
            let exponent = |z: i64| -0.5 * (z as f64 / s).powi(2);
            let moment: f64 =
                (-reach..=reach).map(|z| libm::exp(a * exponent(z - shift) + (1.0 - a) * exponent(z)) / all).sum();
            let expected = 0.5 * a * (a - 1.0) * (shift as f64 / s).powi(2);
            assert!((moment.ln() / expected - 1.0).abs() < 1e-11, "{s} {order}");
            let rate: f64 = 0.1;
            let sampled: f64 = (-reach..=reach)
                .map(|z| {
                    let loss = libm::log1p(rate * libm::expm1(exponent(z - shift) - exponent(z)));
                    libm::exp(a * loss + exponent(z)) / all
                })
                .sum();
            let mut binomial = 1.0;
            let mut formula = 0.0;
            for k in 0..=order {
                let k = f64::from(k);
                let term = rate.powf(k) * (1.0 - rate).powf(a - k);
                formula += binomial * term * libm::exp(0.5 * k * (k - 1.0) * (shift as f64 / s).powi(2));
                binomial *= (a - k) / (k + 1.0);
            }
            assert!((sampled / formula - 1.0).abs() < 1e-11, "{s} {order}");
        }
    }
}

/// Settings of other trainers (σ, sample rate, steps, δ), with 4,186,112 units to the clip bound.
#[test]
fn usual_settings_cost_hardly_more() {
    const UNITS: f64 = 4_186_112.0;
    let settings = [
        (1.1, 256.0 / 60_000.0, 14_062, 1e-5),
        (1.3, 250.0 / 60_000.0, 3600, 1e-5),
        (1.3, 0.0025, 6000, 1e-5),
        (1.3, 256.0 / 60_000.0, 3510, 1e-5),
        (1.5, 0.04, 2250, 1e-5),
        (1.54, 0.02048, 1470, 1e-5),
        (1.23, 512.0 / 60_000.0, 4720, 1e-5),
        (4.05, 8192.0 / 60_000.0, 320, 1e-5),
        (0.8, 0.05, 100, 1e-6),
        (1.5, 0.001, 1000, 1e-6),
        (3.0, 0.1, 512, 1e-6),
        (1.0, 0.01, 1000, 1e-5),
        (1.0, 1.0, 1, 1e-5),
        (10.0, 1.0, 100, 1e-5),
        (1.0, 1e-4, 100_000, 1e-6),
        (0.5, 0.01, 1000, 1e-5),
        (20.0, 0.5, 2000, 1e-5),
        (2.0, 64.0 / 1437.0, 660, 1e-4),
        (10.0, 4096.0 / 50_000.0, 875, 1e-5),
    ];
    let smoothing = Smoothing::USUAL;
    for (sigma, rate, count, delta) in settings {
        let excess = smoothing.excess(count, 1 << 30);
        // As the plan has it: s from σ, σ accounted for. And the other way around: as much noise as the continuous mechanism has.
        let s = smoothing.parameter(sigma, UNITS).unwrap();
        assert!(s.to_f64() >= sigma * UNITS && s.to_f64() < sigma * UNITS * (1.0 + 1e-10));
        let same = smoothing.noise_multiplier(scale(sigma * UNITS), UNITS).unwrap();
        assert!(same < sigma);
        for accountant in [&Rdp as &dyn Accountant, &Pld] {
            let epsilon = |sigma, delta| accountant.epsilon(&[steps(sigma, rate, count)], AddRemove, delta).unwrap();
            let continuous = epsilon(sigma, delta);
            for multiplier in [sigma, same] {
                let found = excess.outer_epsilon(epsilon(multiplier, excess.inner_delta(delta)));
                assert!(found > continuous && found < continuous * 1.001, "{sigma} {rate}: {found}, not {continuous}");
            }
        }
    }
}

#[test]
fn parameters_are_the_least_that_serve() {
    for smoothing in [Smoothing::USUAL, Smoothing::of(2)] {
        for (sigma, units) in
            [(1.0, 4_186_112.0), (0.3, 1e6), (2_f64.powi(-30), 2_f64.powi(50)), (7.7, 33.3), (80.0, 1.0)]
        {
            let s = smoothing.parameter(sigma, units).unwrap();
            let square = |steps: u64| (steps as f64 / 1048576.0).powi(2) - f64::from(smoothing.r()).powi(2);
            let least = (sigma * units).powi(2);
            assert!(square(s.steps()) >= least * (1.0 - 1e-15) && square(s.steps() - 2) < least * (1.0 + 1e-15));
        }
    }
    // 90² + 8² = 8164 and 40² + 3² = 1609.
    let steps = |square: f64| (square.sqrt() * 1048576.0).ceil() as u64;
    assert_eq!(Smoothing::of(8).parameter(6.0, 15.0).unwrap().steps(), steps(8164.0));
    assert_eq!(Smoothing::of(3).parameter(2.0, 20.0).unwrap().steps(), steps(1609.0));
    let usual = Smoothing::USUAL;
    for (sigma, units) in [(0.0, 1.0), (-1.0, 1.0), (f64::NAN, 1.0), (1.0, f64::INFINITY), (1.0, 0.0)] {
        assert!(matches!(usual.parameter(sigma, units), Err(ParameterError::Input { .. })));
    }
    assert!(matches!(usual.parameter(1.0, 79.0), Err(ParameterError::TooSmall { .. })));
    assert!(matches!(usual.parameter(f64::MIN_POSITIVE, f64::from_bits(1)), Err(ParameterError::TooSmall { .. })));
    for (sigma, units) in [(f64::MAX, f64::MAX), (2_f64.powi(40), 1.0), (1e300, 1e-300 * 2_f64.powi(41))] {
        assert!(matches!(usual.parameter(sigma, units), Err(ParameterError::Scale(_))), "{sigma} {units}");
    }
}

#[test]
fn the_excess_is_a_bound() {
    // η and κ by their definitions, for r = 2 and 3.
    for r in [2_u32, 3] {
        let terms = (1..9).map(|k| f64::from(-2 * k * k * (r * r) as i32) * std::f64::consts::PI.powi(2));
        let eta: f64 = 2.0 * terms.map(libm::exp).sum::<f64>();
        let found = Smoothing::of(r).excess(1000, 1_000_000);
        let exact = 1e9 * (libm::log1p(eta) - libm::log1p(-eta));
        assert!(found.ratio >= exact && found.ratio < exact * 1.001, "{r}");
        assert_eq!(found.epsilon, 2.0 * found.ratio);
    }
    let none = Smoothing::USUAL.excess(u64::MAX, u64::MAX);
    assert!(none.epsilon > 0.0 && none.epsilon < 1e-300);
    assert!(none.outer_epsilon(1.0) > 1.0 && none.inner_delta(1e-5) < 1e-5);
    assert!(none.delta(1.0, |epsilon| 1e-5 - epsilon * 1e-6) > 9e-6);
    assert_eq!(none.delta(0.0, |_| 0.1), 1.0);
    assert_eq!(Smoothing::for_releases(100_000, 1_000_000_000), Smoothing::of(2));
    assert_eq!(Smoothing::for_releases(u64::MAX, u64::MAX), Smoothing::of(3));
}
