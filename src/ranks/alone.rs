//! A single process.

use super::{Ranks, RanksError};

/// The one rank of a run that has no others.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

impl Ranks for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, RanksError> {
        Ok(vec![own.to_vec()])
    }

    fn broadcast(&self, _: &mut Vec<u8>) -> Result<(), RanksError> {
        Ok(())
    }

    fn sum_i64(&self, _: &mut [i64]) -> Result<(), RanksError> {
        Ok(())
    }

    fn sum_f64(&self, _: &mut [f64]) -> Result<(), RanksError> {
        Ok(())
    }

    fn leave(&self, _: &str) {}
}
