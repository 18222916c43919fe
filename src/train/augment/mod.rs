//! Augmentation multiplicity (De et al. 2022, <https://arxiv.org/abs/2204.13650>, §3.2): each record trains by the mean gradient
//! over K random views of it, clipped once, which costs no more privacy than one view.
//!
//! A view is a function of the run's key, the step, the record and its number, so that it depends neither on other records nor on how
//! physical batches are cut. Only floating-point inputs change: those of two axes or more are images whose last two axes are height and
//! width, all of which move alike.

mod image;
mod spec;

use rayon::prelude::*;

use self::image::{Image, Motion};
pub use self::spec::{Augment, AugmentError};
use super::data::{Batch, Dataset, Values};
use crate::privacy::keys::{Domain, RunKey, Stream};

/// Makes the views of a run.
pub struct Views {
    spec: Augment,
    key: [u8; 32],
}

impl Views {
    /// Views as `spec` says, by the randomness of `run`.
    pub fn new(spec: Augment, run: &RunKey) -> Views {
        Views { spec, key: run.derive(Domain::Views) }
    }

    /// How many views a record has.
    pub fn count(&self) -> usize {
        self.spec.views
    }

    /// Puts views in the place of the records of a batch: row i is to be view `views[i].1` of record `views[i].0` at `step`.
    pub fn apply(&self, data: &Dataset, step: u64, views: &[(usize, usize)], batch: &mut Batch) {
        let columns = data.inputs().iter().zip(&mut batch.inputs);
        for (column, values) in columns {
            let (Values::F32(values), Some(width @ 1..)) = (values, Some(column.width())) else { continue };
            let image = Image::of(&column.dims);
            values.par_chunks_mut(width).zip(views).for_each_init(Vec::new, |scratch, (row, &(record, view))| {
                let mut draws = Draws::new(&self.key, step, record, view);
                let motion = Motion::draw(&self.spec, &mut draws);
                if let Some(image) = image {
                    image.move_by(&motion, row, scratch);
                }
                if self.spec.noise > 0.0 {
                    // Behind what the motion takes, and apart for each input.
                    let mut draws = draws.of_input(&column.name);
                    row.iter_mut().for_each(|value| *value += self.spec.noise * draws.normal());
                }
            });
        }
    }
}

/// The random numbers of one view.
pub(crate) struct Draws {
    key: [u8; 32],
    place: (u64, u64),
    stream: Stream,
    spare: Option<f32>,
}

/// The most views of a record, and the key-stream blocks between two of them.
pub(crate) const MOST_VIEWS: usize = 1 << 10;
const BLOCKS: u64 = 1 << 20;

impl Draws {
    fn new(key: &[u8; 32], step: u64, record: usize, view: usize) -> Draws {
        let block = (record as u64 * MOST_VIEWS as u64 + view as u64).wrapping_mul(BLOCKS);
        Draws { key: *key, place: (step, block), stream: Stream::at(key, step, block), spare: None }
    }

    /// Numbers for what is drawn for one input alone.
    fn of_input(&self, name: &str) -> Draws {
        use sha2::{Digest, Sha256};
        let key = Sha256::new().chain_update(self.key).chain_update(name).finalize().into();
        let (step, block) = self.place;
        Draws { key, place: self.place, stream: Stream::at(&key, step, block), spare: None }
    }

    fn word(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.stream.fill(&mut bytes);
        u32::from_le_bytes(bytes)
    }

    /// In [0, 1).
    pub(crate) fn unit(&mut self) -> f32 {
        (self.word() >> 8) as f32 / (1 << 24) as f32
    }

    /// An integer in -most..=most.
    pub(crate) fn offset(&mut self, most: usize) -> isize {
        let count = 2 * most as u64 + 1;
        ((u64::from(self.word()) * count) >> 32) as isize - most as isize
    }

    /// A standard normal number (Box and Muller 1958).
    pub(crate) fn normal(&mut self) -> f32 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let (length, angle) = ((-2.0 * libm::logf(1.0 - self.unit())).sqrt(), std::f32::consts::TAU * self.unit());
        self.spare = Some(length * libm::sinf(angle));
        length * libm::cosf(angle)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::schema::{InputKind, InputSchema, Schema};
    use crate::train::data::Array;

    fn data(records: usize, dims: &[usize]) -> Dataset {
        let count = records * dims.iter().product::<usize>();
        let values: Vec<f32> = (0..count).map(|i| (i * 37 % 101) as f32 / 100.0).collect();
        let x = Array::from_f32([&[records], dims].concat(), &values);
        let input = InputSchema { name: "x".into(), dims: dims.to_vec(), kind: InputKind::F32 };
        let schema = Schema { inputs: vec![input], targets: vec![] };
        Dataset::from_arrays("memory", &BTreeMap::from([("x".to_owned(), x)]), &schema).unwrap()
    }

    fn rows(spec: &str, data: &Dataset, step: u64, views: &[(usize, usize)]) -> Vec<f32> {
        let mut batch = Batch::default();
        let records: Vec<usize> = views.iter().map(|(record, _)| *record).collect();
        data.fill(&records, views.len() + 1, &mut batch).unwrap();
        Views::new(spec.parse().unwrap(), &RunKey::insecure(3)).apply(data, step, views, &mut batch);
        let Some(Values::F32(values)) = batch.inputs.pop() else { panic!("floats") };
        values
    }

    #[test]
    fn a_view_is_its_own_wherever_it_stands() {
        let data = data(5, &[3, 6, 7]);
        let spec = "4:flip,shift=2,rotate=20,noise=0.1";
        let width = 3 * 6 * 7;
        let all = rows(spec, &data, 9, &[(2, 0), (2, 1), (4, 3)]);
        assert_eq!(all[2 * width..][..width], rows(spec, &data, 9, &[(4, 3)])[..width]);
        assert_ne!(all[..width], all[width..][..width]);
        assert_ne!(all[..width], rows(spec, &data, 10, &[(2, 0)])[..width]);
        // An empty row stays empty.
        assert_eq!(all[3 * width..], vec![0.0; width]);
    }

    #[test]
    fn normal_numbers_have_their_moments() {
        let mut draws = Draws::new(&[7; 32], 1, 2, 3);
        let values: Vec<f64> = (0..200_000).map(|_| f64::from(draws.normal())).collect();
        let moment = |k: i32| values.iter().map(|v| v.powi(k)).sum::<f64>() / values.len() as f64;
        assert!(moment(1).abs() < 0.01 && (moment(2) - 1.0).abs() < 0.015 && (moment(4) - 3.0).abs() < 0.1);
    }

    #[test]
    fn offsets_are_even() {
        let mut draws = Draws::new(&[7; 32], 1, 2, 3);
        let mut counts = [0; 5];
        (0..50_000).for_each(|_| counts[(draws.offset(2) + 2) as usize] += 1);
        assert!(counts.iter().all(|&count: &i32| (count - 10_000).abs() < 500), "{counts:?}");
    }
}
