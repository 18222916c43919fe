//! The noise of integer sums: made one step ahead by a thread of its own as far as it comes, like that of [`super::noise`].
//!
//! There is one value for each element of the parameters, of 8 bytes, and no second set for the next step: what was used is
//! overwritten. Several may make a part each ([`parts`]), whose values are those that one would make of all.

use std::ops::Range;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use super::ahead::Ahead;
use super::discrete::{DiscreteGaussian, DiscreteNoise, NoRoom, Scale};
use super::noise::{MAX_PARAMETERS, NoiseError};
use super::pieces::{Piece, Pieces};
use crate::ranks;

/// Integer noise that is added once for each logical step to the integer sums.
pub trait IntegerNoise: Send + Sync {
    /// Overwrites `out` with the noise at `step` of the parameter and from the element `(number, block)` on, the latter in [`BLOCK`]s:
    /// one integer for each element in order, of the discrete Gaussian with parameter `scale`. A function of the noise's key,
    /// `step`, the parameter, the element and `scale`; independent over the first four, so a step number must not be used for
    /// two different sums.
    ///
    /// # Errors
    /// When there is no room for that much noise.
    fn fill(&self, step: u64, from: (u32, u64), scale: Scale, out: &mut [i64]) -> Result<(), NoRoom>;
}

/// Elements that are made together: a part of a parameter begins at a multiple of it.
pub const BLOCK: usize = DiscreteNoise::BLOCK;

/// Which elements of each of the parameters, of `sizes` elements, `rank` of `size` makes the noise of: each is of one rank, and
/// no rank has two blocks more than another.
pub fn parts(rank: usize, size: usize, sizes: &[usize]) -> Vec<Range<usize>> {
    let own = ranks::share(rank, size, sizes.iter().map(|size| size.div_ceil(BLOCK)).sum());
    let mut before = 0;
    let mut of = |&size: &usize| {
        let element = |block: usize| (block.saturating_sub(before) * BLOCK).min(size);
        let part = element(own.start)..element(own.end);
        before += size.div_ceil(BLOCK);
        part
    };
    sizes.iter().map(&mut of).collect()
}

/// The discrete Gaussian, with the tables of the scales that were last asked for.
pub struct Sampled {
    noise: DiscreteNoise,
    tables: Mutex<Vec<(Scale, Arc<DiscreteGaussian>)>>,
}

impl Sampled {
    /// How many tables are kept: as many as there are clip groups, as a rule, and more.
    const TABLES: usize = 1024;

    /// Noise from `noise`.
    pub fn new(noise: DiscreteNoise) -> Sampled {
        Sampled { noise, tables: Mutex::default() }
    }

    fn table(&self, scale: Scale) -> Arc<DiscreteGaussian> {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, table)) = tables.iter().find(|(known, _)| *known == scale) {
            return table.clone();
        }
        if tables.len() >= Sampled::TABLES {
            tables.clear();
        }
        let table = Arc::new(DiscreteGaussian::new(scale));
        tables.push((scale, table.clone()));
        table
    }
}

impl IntegerNoise for Sampled {
    fn fill(&self, step: u64, (parameter, block): (u32, u64), scale: Scale, out: &mut [i64]) -> Result<(), NoRoom> {
        self.noise.fill_from(step, parameter, block, &self.table(scale), out)
    }
}

/// The integer noise of one run.
pub struct GridNoise {
    noise: Arc<dyn IntegerNoise>,
    job: Ahead<Job>,
    parameters: usize,
}

/// The noise of a step, made or to be made.
struct Job {
    step: u64,
    scales: Vec<Option<Scale>>,
    /// The block of each parameter that its values begin with.
    starts: Vec<u64>,
    pieces: Pieces<i64>,
    failed: Option<NoRoom>,
}

impl Job {
    /// Makes a piece of the noise at `step`.
    fn fill(
        noise: &dyn IntegerNoise,
        step: u64,
        starts: &[u64],
        scales: &[Option<Scale>],
        Piece { parameter, block, values }: Piece<i64>,
    ) -> Result<(), NoRoom> {
        let at = parameter as usize;
        match scales[at] {
            Some(scale) => noise.fill(step, (parameter, starts[at].saturating_add(block)), scale, values),
            None => {
                values.fill(0);
                Ok(())
            }
        }
    }

    /// Makes some of it, until it is wanted.
    fn go_on(&mut self, noise: &dyn IntegerNoise, wanted: &AtomicBool) {
        let Job { step, scales, starts, pieces, failed } = self;
        *failed = pieces.make_until(wanted, |piece| Job::fill(noise, *step, starts, scales, piece)).err();
    }

    /// Makes what is left.
    fn finish(&mut self, noise: &dyn IntegerNoise) -> Result<(), NoRoom> {
        let Job { step, scales, starts, pieces, failed } = self;
        match failed.take() {
            Some(why) => Err(why),
            None => pieces.make_all(|piece| Job::fill(noise, *step, starts, scales, piece)),
        }
    }

    /// It for another step and other scales, of which nothing is made.
    fn anew(mut self, step: u64, scales: Vec<Option<Scale>>) -> Job {
        self.pieces.forget();
        Job { step, scales, failed: None, ..self }
    }
}

impl GridNoise {
    /// Starts making the noise of `first_step` for parameters of `sizes` elements each, with a scale for each; none where there is
    /// to be no noise.
    ///
    /// # Errors
    /// When there are too many parameters.
    ///
    /// # Panics
    /// If there is not one scale for each parameter.
    pub fn spawn(
        noise: Arc<dyn IntegerNoise>,
        sizes: &[usize],
        first_step: u64,
        scales: &[Option<Scale>],
    ) -> Result<GridNoise, NoiseError> {
        assert_eq!(sizes.len(), scales.len(), "every parameter has a scale");
        if sizes.len() > MAX_PARAMETERS {
            return Err(NoiseError::TooManyParameters { count: sizes.len() });
        }
        let (starts, pieces) = (vec![0; sizes.len()], Pieces::new(sizes));
        let first = Job { step: first_step, scales: scales.to_vec(), starts, pieces, failed: None };
        let own = noise.clone();
        let job = Ahead::new("dpc noise", first, move |job: &mut Job, wanted| job.go_on(&*own, wanted));
        let mut source = GridNoise { noise, job, parameters: sizes.len() };
        source.begin(first_step)?;
        Ok(source)
    }

    /// The same of these elements of the first parameters alone, each range from a multiple of [`BLOCK`] on.
    ///
    /// # Errors
    /// When the thread has died.
    pub fn of_parts(mut self, parts: &[Range<usize>]) -> Result<GridNoise, NoiseError> {
        let mut job = self.job.held()?;
        let starts = parts.iter().map(|part| (part.start / BLOCK) as u64);
        job.starts.iter_mut().zip(starts).for_each(|(start, of_part)| *start = of_part);
        job.pieces.resize(parts.iter().map(Range::len));
        let (step, scales) = (job.step, job.scales.clone());
        self.job.begin(job.anew(step, scales))?;
        Ok(self)
    }

    /// The noise of `step`, a slice for each parameter with the scale that `scales` has for it. What of it is not made when
    /// [`GridNoise::begin`] announced the step, with the same scales, is made now.
    ///
    /// # Errors
    /// When the thread has died, or there is no room for that much noise.
    ///
    /// # Panics
    /// If there is not one scale for each parameter.
    pub fn take(&mut self, step: u64, scales: &[Option<Scale>]) -> Result<&[Vec<i64>], NoiseError> {
        assert_eq!(scales.len(), self.parameters, "every parameter has a scale");
        let mut job = self.job.held()?;
        if job.step != step || job.scales != scales {
            job = job.anew(step, scales.to_vec());
        }
        job.finish(&*self.noise)?;
        Ok(self.job.keep(job).pieces.values())
    }

    /// Starts on the noise of `step`, with the scales of what was taken last, which is gone.
    ///
    /// # Errors
    /// When the thread has died.
    pub fn begin(&mut self, step: u64) -> Result<(), NoiseError> {
        let job = self.job.held()?;
        let scales = job.scales.clone();
        Ok(self.job.begin(job.anew(step, scales))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::privacy::keys::RunKey;

    /// Of so many steps; none of 0.
    fn scales<const N: usize>(steps: [u64; N]) -> [Option<Scale>; N] {
        steps.map(|steps| Scale::from_steps(steps).ok())
    }

    struct Marked;

    impl IntegerNoise for Marked {
        fn fill(&self, step: u64, (parameter, block): (u32, u64), scale: Scale, out: &mut [i64]) -> Result<(), NoRoom> {
            let first = (step * 1_000_000 + scale.steps() * 1000) as i64 + i64::from(parameter) * 100;
            (first + block as i64 * BLOCK as i64..).zip(out).for_each(|(value, out)| *out = value);
            Ok(())
        }
    }

    #[test]
    fn the_source_hands_over_what_the_noise_makes_for_the_scales_asked_for() {
        let sizes = [3, 0, 7];
        let mut source = GridNoise::spawn(Arc::new(Marked), &sizes, 4, &scales([1, 2, 3])).unwrap();
        for (step, steps) in [(4, [1, 2, 3]), (5, [1, 2, 3]), (6, [9, 2, 0]), (7, [9, 2, 0]), (40, [1, 1, 1])] {
            let scales = scales(steps);
            let made = source.take(step, &scales).unwrap();
            for (k, made) in made.iter().enumerate() {
                let mut expected = vec![0; sizes[k]];
                if let Some(scale) = scales[k] {
                    Marked.fill(step, (k as u32, 0), scale, &mut expected).unwrap();
                }
                assert_eq!(*made, expected);
            }
            // A caller that announces no step, or another, waits for it.
            if step != 5 {
                source.begin(step + 1).unwrap();
            }
        }
    }

    /// Whoever makes a part makes what is there of the whole, and all parts together are the whole, each element once.
    #[test]
    fn the_parts_of_ranks_are_the_whole_once() {
        let key = RunKey::insecure(3);
        let noise = || Arc::new(Sampled::new(DiscreteNoise::new(&key)));
        let sizes = [3 * BLOCK + 17, 5, 0, BLOCK, 2 * BLOCK + 1];
        // What stands after the parameters, such as counts, each makes in full.
        let (all, scales) =
            ([&sizes[..], &[4]].concat(), scales([9000 << 20, 500 << 20, 1 << 20, 2 << 20, 0, 77 << 20]));
        for size in [1, 2, 3, 4, 7, 20] {
            for step in [5, 6] {
                let mut whole = GridNoise::spawn(noise(), &all, step, &scales).unwrap();
                let whole = whole.take(step, &scales).unwrap();
                let mut sum: Vec<Vec<i64>> = sizes.iter().map(|&size| vec![0; size]).collect();
                let mut counts: Vec<Vec<u8>> = sizes.iter().map(|&size| vec![0; size]).collect();
                let mut blocks = Vec::new();
                for rank in 0..size {
                    let parts = parts(rank, size, &sizes);
                    blocks.push(parts.iter().map(|part| part.len().div_ceil(BLOCK)).sum::<usize>());
                    let source = GridNoise::spawn(noise(), &all, step, &scales).unwrap();
                    let mut source = source.of_parts(&parts).unwrap();
                    let made = source.take(step, &scales).unwrap();
                    assert_eq!(made[sizes.len()], whole[sizes.len()]);
                    for (parameter, part) in parts.into_iter().enumerate() {
                        assert_eq!(made[parameter].len(), part.len());
                        counts[parameter][part.clone()].iter_mut().for_each(|count| *count += 1);
                        sum[parameter][part].iter_mut().zip(&made[parameter]).for_each(|(sum, made)| *sum += made);
                    }
                }
                assert_eq!(sum, whole[..sizes.len()]);
                assert!(counts.iter().flatten().all(|&count| count == 1), "{size} ranks");
                let (least, most) = (blocks.iter().min().unwrap(), blocks.iter().max().unwrap());
                assert!(most - least <= 1, "{blocks:?}");
            }
        }
    }

    #[test]
    fn a_dead_thread_is_an_error() {
        struct Broken;
        impl IntegerNoise for Broken {
            fn fill(&self, _: u64, _: (u32, u64), _: Scale, _: &mut [i64]) -> Result<(), NoRoom> {
                panic!("broken on purpose");
            }
        }
        let mut source = GridNoise::spawn(Arc::new(Broken), &[1], 0, &scales([1])).unwrap();
        assert!(matches!(source.take(0, &scales([1])), Err(NoiseError::Stopped)));
    }
}
