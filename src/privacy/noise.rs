//! Gaussian noise for the sum of clipped gradients, made on the host.
//!
//! A normal deviate comes from 128 bits of ChaCha20 by Box–Muller in double precision ([`normal`]), whose tails reach 9.4
//! standard deviations. The stream number is the step, and each parameter has its own range of 2⁴⁰ blocks of 8 elements, so
//! any parameter of any step can be made alone.
//!
//! The result is rounded to `f32`, and again when it is scaled. This is the continuous Gaussian mechanism in floating point, with the
//! known limits of one (Mironov 2012; Jin et al., <https://arxiv.org/abs/2112.05307>); [`Noise`] is the
//! interface behind which another mechanism takes its place.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use miette::Diagnostic;
use rayon::prelude::*;
use thiserror::Error;

use super::ahead::{Ahead, Stopped};
use super::discrete::NoRoom;
use super::keys::{BLOCK_BYTES, Domain, RunKey, Stream};
use super::normal::{self, PAIRS};
use super::pieces::{self, Piece, Pieces};
use super::plan::PrivacyPlan;

/// Noise of standard deviation 1, scaled and added once for each logical step to what the step releases.
pub trait Noise: Send + Sync {
    /// Overwrites `out` with the noise at `step` of the parameter and from the element `(number, block)` on, the latter in [`BLOCK`]s:
    /// one value for each element in order. A function of the noise's key, `step`, the parameter and the element; independent over all
    /// four, so a step number must not be used for two different sums.
    fn fill(&self, step: u64, from: (u32, u64), out: &mut [f32]);
}

/// Elements that are made together: a part of a parameter begins at a multiple of it.
pub const BLOCK: usize = pieces::LEN;

/// `N(0, 1)` on every element.
pub struct GaussianNoise {
    key: [u8; 32],
    silent: bool,
}

impl GaussianNoise {
    /// The noise that `plan` asks for; zeros where σ is 0.
    pub fn new(run: &RunKey, plan: &PrivacyPlan) -> GaussianNoise {
        GaussianNoise { key: run.derive(Domain::Noise), silent: plan.noise_multiplier == 0.0 }
    }
}

/// Normal deviates from one 64-byte block.
const PER_BLOCK: usize = BLOCK_BYTES / 8;
/// Blocks drawn together.
const CHUNK: usize = 2 * PAIRS / PER_BLOCK;
/// The base-2 logarithm of the blocks kept for one parameter.
const PARAMETER_BITS: u32 = 40;
// A part begins with the deviates of a chunk.
const _: () = assert!(BLOCK.is_multiple_of(CHUNK * PER_BLOCK));
/// How many parameters fit into one stream.
pub(super) const MAX_PARAMETERS: usize = 1 << (u64::BITS - PARAMETER_BITS);

impl Noise for GaussianNoise {
    fn fill(&self, step: u64, (parameter, block): (u32, u64), out: &mut [f32]) {
        if self.silent {
            out.fill(0.0);
            return;
        }
        let first = block * (BLOCK / PER_BLOCK) as u64;
        let mut stream = Stream::at(&self.key, step, u64::from(parameter) << PARAMETER_BITS | first);
        let mut bytes = [0; CHUNK * BLOCK_BYTES];
        let (mut bits, mut normals) = ([[0; 2]; PAIRS], [[0.0; 2]; PAIRS]);
        for values in out.chunks_mut(CHUNK * PER_BLOCK) {
            stream.fill(&mut bytes);
            let (words, _) = bytes.as_chunks::<8>();
            for (bits, pair) in bits.iter_mut().zip(words.as_chunks::<2>().0) {
                *bits = pair.map(u64::from_le_bytes);
            }
            normal::pairs(&bits, &mut normals);
            values.iter_mut().zip(normals.as_flattened()).for_each(|(value, normal)| *value = *normal as f32);
        }
    }
}

/// The noise of one run: made one step ahead by a thread of its own as far as it comes, and for the rest when it is needed. There is
/// one value for each element of the parameters, and no second set for the next step.
pub struct NoiseSource {
    noise: Arc<dyn Noise>,
    prepared: Ahead<Prepared>,
    parameters: usize,
}

/// The noise of a step, made with standard deviation 1 or to be made.
struct Prepared {
    step: u64,
    pieces: Pieces<f32>,
    /// Whether it has been scaled, so that nobody takes it again.
    scaled: bool,
}

impl NoiseSource {
    /// Starts making the noise of `first_step` for parameters of `sizes` elements each.
    ///
    /// # Errors
    /// When there are too many parameters.
    pub fn spawn(noise: Arc<dyn Noise>, sizes: &[usize], first_step: u64) -> Result<NoiseSource, NoiseError> {
        if sizes.len() > MAX_PARAMETERS {
            return Err(NoiseError::TooManyParameters { count: sizes.len() });
        }
        let first = Prepared { step: first_step, pieces: Pieces::new(sizes), scaled: false };
        let own = noise.clone();
        let prepared = Ahead::new("dpc noise", first, move |job: &mut Prepared, wanted| job.go_on(&*own, wanted));
        let mut source = NoiseSource { noise, prepared, parameters: sizes.len() };
        source.begin(first_step)?;
        Ok(source)
    }

    /// The noise of `step`, a slice for each parameter with the standard deviation that `std` has for it. What of it is not
    /// made when [`NoiseSource::begin`] announced the step is made now.
    ///
    /// # Errors
    /// When the thread has died.
    ///
    /// # Panics
    /// If `std` does not have one number for each parameter.
    pub fn take(&mut self, step: u64, std: &[f64]) -> Result<&[Vec<f32>], NoiseError> {
        assert_eq!(std.len(), self.parameters, "every parameter has a standard deviation");
        let mut job = self.prepared.held()?;
        if job.scaled || job.step != step {
            job = job.anew(step);
        }
        job.finish(&*self.noise);
        for (values, std) in job.pieces.values_mut().iter_mut().zip(std) {
            values.par_iter_mut().with_min_len(BLOCK).for_each(|value| *value = (f64::from(*value) * std) as f32);
        }
        job.scaled = true;
        Ok(self.prepared.keep(job).pieces.values())
    }

    /// Starts on the noise of `step`; what was taken last is gone.
    ///
    /// # Errors
    /// When the thread has died.
    pub fn begin(&mut self, step: u64) -> Result<(), NoiseError> {
        let job = self.prepared.held()?.anew(step);
        Ok(self.prepared.begin(job)?)
    }
}

impl Prepared {
    /// Makes a piece of the noise at `step`.
    fn fill(noise: &dyn Noise, step: u64, piece: Piece<f32>) -> Result<(), Infallible> {
        noise.fill(step, (piece.parameter, piece.block), piece.values);
        Ok(())
    }

    /// Makes some of it, until it is wanted.
    fn go_on(&mut self, noise: &dyn Noise, wanted: &AtomicBool) {
        let Ok(()) = self.pieces.make_until(wanted, |piece| Prepared::fill(noise, self.step, piece));
    }

    /// Makes what is left.
    fn finish(&mut self, noise: &dyn Noise) {
        let Ok(()) = self.pieces.make_all(|piece| Prepared::fill(noise, self.step, piece));
    }

    /// It for another step, of which nothing is made.
    fn anew(mut self, step: u64) -> Prepared {
        self.pieces.forget();
        Prepared { step, scaled: false, ..self }
    }
}

/// Noise could not be made. The step must not be taken.
#[derive(Debug, Error, Diagnostic)]
#[allow(missing_docs)]
pub enum NoiseError {
    #[error("{count} parameters are more than one noise stream can serve ({MAX_PARAMETERS})")]
    #[diagnostic(code(dpc::privacy::noise_parameters), help("train fewer parameters, or merge small ones"))]
    TooManyParameters { count: usize },
    #[error(transparent)]
    #[diagnostic(transparent)]
    NoRoom(#[from] NoRoom),
    #[error("the noise thread stopped")]
    #[diagnostic(
        code(dpc::privacy::noise_stopped),
        help("no step was taken without noise; start again with `--resume`")
    )]
    Stopped,
}

impl From<Stopped> for NoiseError {
    fn from(_: Stopped) -> NoiseError {
        NoiseError::Stopped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::privacy::plan::{self, PlanSpec};

    fn unit(seed: u64) -> GaussianNoise {
        GaussianNoise::new(&RunKey::insecure(seed), &PrivacyPlan::new(plan::example()).unwrap())
    }

    fn draw(noise: &GaussianNoise, step: u64, parameter: u32, count: usize) -> Vec<f32> {
        let mut out = vec![f32::NAN; count];
        noise.fill(step, (parameter, 0), &mut out);
        out
    }

    fn cdf(z: f64) -> f64 {
        0.5 * libm::erfc(-z / std::f64::consts::SQRT_2)
    }

    fn correlation(a: &[f32], b: &[f32]) -> f64 {
        let products = a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y));
        products.sum::<f64>() / a.len() as f64
    }

    /// Kolmogorov–Smirnov distance below its 1e-6 quantile, `√(ln(2/p)/2n)`.
    #[test]
    fn is_normal_by_kolmogorov_smirnov() {
        let mut values = draw(&unit(1), 0, 0, 400_000);
        values.sort_by(f32::total_cmp);
        let n = values.len() as f64;
        let distance = values
            .iter()
            .enumerate()
            .map(|(i, z)| {
                let p = cdf(f64::from(*z));
                (p - i as f64 / n).abs().max((p - (i + 1) as f64 / n).abs())
            })
            .fold(0.0, f64::max);
        assert!(distance < ((2.0 / 1e-6_f64).ln() / (2.0 * n)).sqrt(), "{distance}");
    }

    /// The first four moments within 5 deviations of their estimators (variances 1, 2, 15, 96 over n).
    #[test]
    fn has_the_moments_of_a_normal() {
        let values = draw(&unit(2), 9, 4, 1_000_000);
        let n = values.len() as f64;
        let moment = |k| values.iter().map(|z| f64::from(*z).powi(k)).sum::<f64>() / n;
        for (k, expected, variance) in [(1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0)] {
            let found: f64 = moment(k);
            assert!((found - expected).abs() < 5.0 * (variance / n).sqrt(), "{k}: {found}");
        }
    }

    /// Counts beyond 3, 4 and 4.5 standard deviations, each side, within 5 Poisson deviations.
    #[test]
    fn has_the_tails_of_a_normal() {
        let values = draw(&unit(3), 1, 0, 2_000_000);
        for z in [3.0, 4.0, 4.5] {
            let expected = values.len() as f64 * cdf(-z);
            for sign in [1.0, -1.0] {
                let count = values.iter().filter(|v| sign * f64::from(**v) > z).count() as f64;
                assert!((count - expected).abs() < 5.0 * expected.sqrt(), "{z}: {count}");
            }
        }
    }

    #[test]
    fn is_independent_over_steps_parameters_neighbours_and_runs() {
        let n = 200_000;
        let bound = 5.0 / (n as f64).sqrt();
        let noise = unit(4);
        let base = draw(&noise, 7, 2, n);
        for other in [draw(&noise, 8, 2, n), draw(&noise, 7, 3, n), draw(&noise, 7, 0, n), draw(&unit(5), 7, 2, n)] {
            assert!(correlation(&base, &other).abs() < bound);
        }
        for lag in [1, 2, 4, 8] {
            assert!(correlation(&base[..n - lag], &base[lag..]).abs() < bound, "{lag}");
        }
    }

    #[test]
    fn a_parameter_can_be_made_alone_and_to_any_length() {
        let noise = unit(6);
        let long = draw(&noise, 3, 1, 1000);
        assert_eq!(draw(&noise, 3, 1, 1000), long);
        for count in [0, 1, 2, 7, 8, 127, 128, 129] {
            assert_eq!(draw(&noise, 3, 1, count), long[..count]);
        }
    }

    #[test]
    fn there_is_none_without_a_noise_multiplier() {
        let plan = PrivacyPlan::new(PlanSpec { noise_multiplier: 0.0, ..plan::example() }).unwrap();
        assert_eq!(draw(&GaussianNoise::new(&RunKey::insecure(1), &plan), 0, 0, 100), [0.0; 100]);
    }

    #[test]
    fn the_source_hands_over_what_the_noise_makes_scaled() {
        let noise = Arc::new(unit(7));
        let (sizes, std) = ([5, 0, 2 * BLOCK + 300], [2.0, 1.0, 0.5]);
        let mut source = NoiseSource::spawn(noise.clone(), &sizes, 10).unwrap();
        for step in [10, 11, 12, 40, 41, 3] {
            let expected: Vec<Vec<f32>> = (0..)
                .zip(sizes)
                .zip(std)
                .map(|((parameter, size), std)| {
                    draw(&noise, step, parameter, size).iter().map(|z| z * std as f32).collect()
                })
                .collect();
            assert_eq!(source.take(step, &std).unwrap(), expected);
            // A caller that announces no step, or another, waits for it.
            if step != 11 {
                source.begin(step + 1).unwrap();
            }
        }
    }

    #[test]
    fn a_dead_thread_is_an_error() {
        struct Broken;
        impl Noise for Broken {
            fn fill(&self, _: u64, _: (u32, u64), _: &mut [f32]) {
                panic!("broken on purpose");
            }
        }
        let mut source = NoiseSource::spawn(Arc::new(Broken), &[1], 0).unwrap();
        assert!(matches!(source.take(0, &[1.0]), Err(NoiseError::Stopped)));
    }
}
