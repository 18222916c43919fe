//! `--normalize MEAN,STD`: floating-point inputs to zero mean and unit deviation.
//!
//! The numbers are the user's, never worked out from the data: statistics of private data are
//! private.

use std::str::FromStr;

use super::error::DataError;
use super::{Column, Values};

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
    /// Scales a column in place; integers stay as they are.
    pub(super) fn apply(&self, column: &mut Column) -> Result<(), DataError> {
        let width = column.width();
        let channels = match self.mean.len() {
            1 => 1,
            given => {
                let channels = column.dims.first().copied().unwrap_or(1);
                if matches!(column.values, Values::F32(_)) && given != channels {
                    return Err(DataError::Normalize { name: column.name.clone(), given, channels });
                }
                channels
            }
        };
        if let Values::F32(values) = &mut column.values
            && width > 0
        {
            for (at, plane) in values.chunks_exact_mut(width / channels).enumerate() {
                let (mean, deviation) = (self.mean[at % channels], self.deviation[at % channels]);
                for value in plane {
                    *value = (*value - mean) / deviation;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(dims: &[usize], values: &[f32]) -> Column {
        Column { name: "x".to_owned(), dims: dims.to_vec(), values: Values::F32(values.to_vec()) }
    }

    #[test]
    fn one_pair_or_one_a_channel() {
        let mut x = column(&[2, 2], &[1., 2., 3., 4., 5., 6., 7., 8.]);
        "1,2".parse::<Normalize>().unwrap().apply(&mut x).unwrap();
        assert_eq!(x.values, Values::F32(vec![0., 0.5, 1., 1.5, 2., 2.5, 3., 3.5]));
        let mut x = column(&[2, 2], &[1., 2., 3., 4., 5., 6., 7., 8.]);
        let by: Normalize = "1:3,1:0.5".parse().unwrap();
        by.apply(&mut x).unwrap();
        assert_eq!(x.values, Values::F32(vec![0., 1., 0., 2., 4., 5., 8., 10.]));
        assert!(by.apply(&mut column(&[3, 1], &[0.0; 3])).is_err());
    }

    #[test]
    fn bad_values_are_refused() {
        for text in ["0.5", "a,b", "0,0", "0,-1", "0:1,1", "nan,1", ""] {
            assert!(text.parse::<Normalize>().is_err(), "{text}");
        }
    }
}
