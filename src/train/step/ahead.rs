//! The units of the next step, drawn and told to the system while this one is computed.
//!
//! To draw from many units takes a while, since there is randomness for each of them, and so do records that are read from a disk. Which units a
//! step has is a function of the run's key and the step, so that nothing depends on when they are drawn. They are as secret as the key.

use super::super::data::Dataset;
use super::super::units::Units;
use crate::privacy::sampler::Sampler;
use crate::ranks;

/// Units from which a thread of its own pays that draws them.
const MANY: usize = 1 << 16;

/// What a step draws.
pub(super) struct Ahead {
    pub step: u64,
    /// Units of all ranks.
    pub drawn: usize,
    /// Those that this rank sums.
    pub share: Vec<usize>,
}

/// Where units are drawn from, and for whom.
#[derive(Clone, Copy)]
pub(super) struct Drawing<'a> {
    pub sampler: &'a Sampler,
    pub units: &'a Units,
    pub data: &'a Dataset,
    /// This rank, and how many there are.
    pub rank: (usize, usize),
}

impl Drawing<'_> {
    /// Whether a step's units are worth to be drawn before its turn.
    pub fn pays_ahead(&self) -> bool {
        self.data.is_in_files() || self.units.all() >= MANY
    }

    pub fn draw(&self, step: u64) -> Ahead {
        let drawn = self.sampler.sample(step);
        let share = match self.units.shard() {
            Some(_) => self.units.held(&drawn),
            None => drawn[ranks::share(self.rank.0, self.rank.1, drawn.len())].to_vec(),
        };
        Ahead { step, drawn: drawn.len(), share }
    }

    /// The same, with the system told of the records.
    pub fn draw_ahead(&self, step: u64) -> Ahead {
        let ahead = self.draw(step);
        self.data.expect(&records(self.units, &ahead.share));
        ahead
    }
}

/// The records of these units, unit by unit.
pub(super) fn records(units: &Units, of: &[usize]) -> Vec<usize> {
    of.iter().flat_map(|&unit| units.records(unit)).copied().collect()
}
