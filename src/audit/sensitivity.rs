//! What one record can do to the sum, exactly: noise off, one adversarial record added and removed.
//!
//! The released gradient is compared with and without the record: alone, beside others, before and after them, and with
//! the batch cut in several ways. No difference may be longer in any clip group than that group's bound, and so none
//! longer than the sensitivity, the norm of the bounds, that noise is scaled by. A clip factor
//! from a wrong norm is found in the other direction too: alone, a record must move the sum exactly as far as it does
//! where norms are taken from per-sample gradients that are there.
//!
//! The artifact is tried with every record in every place. Of the model compiled again, with each of the other clip rules
//! and ways to compute norms, every record is tried alone and in one of the places, another one with each rule and way: what
//! a place changes, how batches are cut and added up, is the same in all of them.

use super::AuditError;
use super::records::{Records, defies_rounding};
use super::report::Check;
use super::subject::{Rig, distance};

/// How much longer than the sensitivity a change may be by rounding alone.
pub const ROUNDING: f64 = 1e-6;
/// How much longer one way to compute a norm may make a record's share than another, relative to the sensitivity,
pub const AGREEMENT: f64 = 1e-3;
/// and how many times as much shorter, since rounding may hide some of a norm that is not of a stored gradient.
const SHORTER: f64 = 20.0;
/// The ordinary units beside which adversarial ones are put.
pub const OTHERS: usize = 3;

/// How many places among others there are for an adversarial unit, beside being alone.
const PLACES: usize = 5;

/// In which places adversarial units are put; alone, they all are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Places {
    /// Each in every place.
    All,
    /// Each in one place, which come in turn, the first unit in this one.
    Turn(usize),
    /// In no other place.
    None,
}

impl Places {
    /// Whether the unit number `unit` is put in a place.
    fn have(self, unit: usize, place: usize) -> bool {
        match self {
            Places::All => true,
            Places::Turn(first) => (first + unit) % PLACES == place,
            Places::None => false,
        }
    }
}

/// The most that adversarial records did.
#[derive(Clone, Debug)]
pub struct Sensitivity {
    /// The longest change of a clip group over its bound, and what made it.
    longest: (f64, String),
    /// How many changes were measured.
    changes: usize,
    /// What each adversarial record adds alone to each parameter's gradient, over the sensitivity.
    alone: Vec<Vec<Vec<f32>>>,
}

impl Sensitivity {
    /// Measures `rig`, in which noise is off, with adversarial units in `places`: every change over the bound on what is
    /// released, which is that of the sum over `divisor`. Where clip bounds adapt, it is measured again after they have
    /// moved.
    ///
    /// # Errors
    /// When the device fails.
    pub fn measure(
        rig: &mut Rig<'_>,
        records: &Records,
        places: Places,
        divisor: f64,
    ) -> Result<Sensitivity, AuditError> {
        let mut found = Sensitivity { longest: (0.0, String::new()), changes: 0, alone: Vec::new() };
        found.alone = found.changes_of(rig, records, places, divisor, "")?;
        let again = match places {
            Places::Turn(first) => Places::Turn(first + 1),
            _ => places,
        };
        if again != Places::None && rig.adapt(&records.ordinary)? {
            found.changes_of(rig, records, again, divisor, ", bounds adapted")?;
        }
        Ok(found)
    }

    /// Adds every change at the bounds as they are; what each adversarial record adds alone.
    fn changes_of(
        &mut self,
        rig: &mut Rig<'_>,
        records: &Records,
        places: Places,
        divisor: f64,
        bounds: &str,
    ) -> Result<Vec<Vec<Vec<f32>>>, AuditError> {
        let scale = rig.sensitivity() / divisor;
        let others = &records.ordinary[..OTHERS.min(records.ordinary.len())];
        let nobody = rig.release(0, &[])?;
        let all = rig.release(0, &[others])?;
        let mut shares = Vec::new();
        for (unit, &(kind, record)) in records.adversaries.iter().enumerate() {
            let one = [record];
            let alone = rig.release(0, &[&one])?;
            self.add(rig.reach(&alone, &nobody, divisor), || format!("{kind}, alone{bounds}"));
            let last = [others, &one].concat();
            let first = [&one, others].concat();
            let (before, after) = others.split_at(others.len() / 2);
            let middle = [before, &one].concat();
            let batches: [(Vec<&[usize]>, &str); PLACES] = [
                (vec![&last[..]], "last in a batch"),
                (vec![&first[..]], "first in a batch"),
                (vec![others, &one], "in a physical batch of its own"),
                (vec![&middle[..], after], "in a batch cut in two"),
                (last.chunks(1).collect(), "with a physical batch for every record"),
            ];
            let tried = batches.iter().enumerate().filter(|(i, _)| places.have(unit, *i));
            for (batches, place) in tried.map(|(_, batches)| batches) {
                let with = rig.release(0, batches)?;
                self.add(rig.reach(&with, &all, divisor), || format!("{kind}, {place}{bounds}"));
            }
            let mut share = alone.iter().zip(&nobody).map(|(a, b)| ((f64::from(*a) - f64::from(*b)) / scale) as f32);
            shares.push(rig.sizes().iter().map(|&size| share.by_ref().take(size).collect()).collect());
        }
        Ok(shares)
    }

    fn add(&mut self, (reach, group): (f64, Option<&str>), what: impl FnOnce() -> String) {
        self.changes += 1;
        // Anything that is not a number is as long as can be.
        let reach = if reach.is_nan() { f64::INFINITY } else { reach };
        if reach > self.longest.0 {
            let group = group.map(|group| format!(", group {group}")).unwrap_or_default();
            self.longest = (reach, what() + &group);
        }
    }

    /// No change is longer than the bound.
    pub fn bounded(&self, name: &str) -> Check {
        let (longest, what) = &self.longest;
        Check::at_most(name, *longest, 1.0 + ROUNDING).with(format!("longest of {} changes: {what}", self.changes))
    }

    /// Records move the sum in the direction in which they do in `reference`, whose norms are of gradients that are there, and
    /// not farther. They may move it a little less, as far as rounding could hide some of their norm, and those that are made
    /// for that, much less. A parameter that either leaves as it is, because the square of a norm is out of range on the way
    /// there and counts as such, says nothing.
    pub fn agrees(&self, name: &str, reference: &Sensitivity, records: &Records) -> Check {
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
        let beyond = |a: &[f32], b: &[f32], kind: &str| {
            let (along, square) = (dot(a, b), dot(b, b));
            if dot(a, a) == 0.0 || square == 0.0 {
                return 0.0;
            }
            let share = (along / square).clamp(0.0, 1.0);
            let within: Vec<f32> = b.iter().map(|value| share as f32 * value).collect();
            let shorter = if defies_rounding(kind) { 0.0 } else { (1.0 - share) / SHORTER };
            distance(a, &within).powi(2) + shorter.powi(2) * square
        };
        let alone = self.alone.iter().zip(&reference.alone).zip(&records.adversaries);
        let apart = alone.map(|((a, b), adversary)| {
            let squares = a.iter().zip(b).map(|(a, b)| beyond(a, b, adversary.0));
            (squares.sum::<f64>().sqrt(), adversary)
        });
        let worst = apart.max_by(|a, b| a.0.total_cmp(&b.0));
        let (apart, kind) = worst.map_or((0.0, ""), |(apart, (kind, _))| (apart, *kind));
        Check::at_most(name, apart, AGREEMENT).with(kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_in_turn_are_all_met_by_every_unit() {
        let tried = |first| move |unit| (0..PLACES).filter(move |&place| Places::Turn(first).have(unit, place));
        for unit in 0..20 {
            let mut met: Vec<usize> = (3..3 + PLACES).flat_map(|first| tried(first)(unit)).collect();
            met.sort_unstable();
            assert_eq!(met, (0..PLACES).collect::<Vec<_>>());
        }
        assert_eq!((0..20).map(|unit| tried(1)(unit).count()).max(), Some(1));
    }
}
