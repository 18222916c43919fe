//! `--normalize MEAN,STD`: floating-point inputs to zero mean and unit deviation.
//!
//! The numbers are the user's, never worked out from the data: statistics of private data are
//! private.

use std::str::FromStr;

use super::Column;
use super::error::DataError;

/// `(x - mean) / deviation`, by one pair of numbers or by one pair a channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Normalize {
    mean: Vec<f32>,
    deviation: Vec<f32>,
}

impl FromStr for Normalize {
    type Err = String;

    /// `MEAN,STD`, each a number or, one a channel, numbers separated by colons.
    fn from_str(text: &str) -> Result<Self, String> {
        let form = "expected MEAN,STD, each one number or one a channel separated by colons, \
                    as in 0.286,0.353 or 0.5:0.4:0.4,0.2:0.2:0.2";
        let numbers = |list: &str| -> Option<Vec<f32>> {
            list.split(':').map(|number| number.trim().parse().ok().filter(|n: &f32| n.is_finite())).collect()
        };
        let (mean, deviation) = text.split_once(',').ok_or(form)?;
        let (mean, deviation) = numbers(mean).zip(numbers(deviation)).ok_or(form)?;
        if mean.len() != deviation.len() {
            return Err(format!("{} means but {} deviations", mean.len(), deviation.len()));
        }
        if deviation.iter().any(|&d| d <= 0.0) {
            return Err("deviations must be above 0".to_owned());
        }
        Ok(Self { mean, deviation })
    }
}

impl Normalize {
    /// Whether there are as many numbers as a column of floats has channels.
    pub(super) fn check(&self, column: &Column) -> Result<(), DataError> {
        let (given, channels) = (self.mean.len(), column.dims.first().copied().unwrap_or(1));
        if given != 1 && given != channels && column.is_float() {
            return Err(DataError::Normalize { name: column.name.clone(), given, channels });
        }
        Ok(())
    }

    /// Scales records of shape `dims` in place.
    pub(super) fn apply(&self, dims: &[usize], values: &mut [f32]) {
        let channels = self.mean.len();
        let plane = dims.iter().product::<usize>() / channels;
        if plane == 0 {
            return;
        }
        for (at, plane) in values.chunks_exact_mut(plane).enumerate() {
            let (mean, deviation) = (self.mean[at % channels], self.deviation[at % channels]);
            for value in plane {
                *value = (*value - mean) / deviation;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Array;
    use super::super::column::Becomes;
    use super::*;

    fn scaled(by: &str, dims: &[usize]) -> Vec<f32> {
        let mut values = [1., 2., 3., 4., 5., 6., 7., 8.];
        by.parse::<Normalize>().unwrap().apply(dims, &mut values);
        values.to_vec()
    }

    #[test]
    fn one_pair_or_one_a_channel() {
        assert_eq!(scaled("1,2", &[2, 2]), [0., 0.5, 1., 1.5, 2., 2.5, 3., 3.5]);
        let by = "1:3,1:0.5";
        assert_eq!(scaled(by, &[2, 2]), [0., 1., 0., 2., 4., 5., 8., 10.]);
        let column = |dims| Column::new("x", dims, Array::from_f32(vec![1, 3], &[0.0; 3]), Becomes::Floats);
        let by: Normalize = by.parse().unwrap();
        assert!(by.check(&column(&[3, 1])).is_err() && by.check(&column(&[3])).is_err());
    }

    #[test]
    fn bad_values_are_refused() {
        for text in ["0.5", "a,b", "0,0", "0,-1", "0:1,1", "nan,1", ""] {
            assert!(text.parse::<Normalize>().is_err(), "{text}");
        }
    }
}
