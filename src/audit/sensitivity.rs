//! What one record can do to the sum, exactly: noise off, one adversarial record added and removed.
//!
//! The released gradient is compared with and without the record: alone, beside others, before and after them, and with
//! the batch cut in several ways. No difference may be longer in any clip group than that group's bound, and so none
//! longer than the sensitivity, the norm of the bounds, that noise is scaled by. A clip factor
//! from a wrong norm is found in the other direction too: alone, a record must move the sum exactly as far as it does
//! where norms are taken from per-sample gradients that are there.
//!
//! Integer sums are compared as such: a record must add the same integers to the last bit wherever it stands, whatever others
//! there are and however batches are cut, and no more of them than the grid's sensitivity in each clip group.
//!
//! The artifact is tried with every record in every place. Of the model compiled again, with each of the other clip rules
//! and ways to compute norms, every record is tried alone and in one of the places, another one with each rule and way: what
//! a place changes, how batches are cut and added up, is the same in all of them.

use super::AuditError;
use super::claim::Claim;
use super::records::{Records, defies_rounding};
use super::report::Check;
use super::subject::{Integer, Rig, distance};

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
    /// The most that they did to integer sums.
    exact: Option<Exact>,
}

/// The most that adversarial records did to integer sums.
#[derive(Clone, Debug, Default)]
struct Exact {
    /// The longest change of a clip group over its sensitivity in grid units, and what made it.
    longest: (f64, String),
    /// The most integers in which a change was not what the record adds alone, and where.
    differing: (usize, String),
}

/// What a step came to without noise.
struct Outcome {
    released: Vec<f32>,
    /// The sum before it was released, of integers.
    integers: Vec<Integer>,
}

impl Outcome {
    fn of(rig: &mut Rig<'_>, batches: &[&[usize]]) -> Result<Outcome, AuditError> {
        if !rig.exact() {
            return Ok(Outcome { released: rig.release(0, batches)?, integers: Vec::new() });
        }
        let (integers, released) = rig.integers_and_release(0, batches)?;
        Ok(Outcome { released, integers })
    }

    /// The integers by which the sum is another than `without`.
    fn beyond(&self, without: &Outcome) -> Vec<Integer> {
        let pairs = self.integers.iter().zip(&without.integers);
        pairs.map(|(with, without)| Integer(with.0.wrapping_sub(without.0))).collect()
    }
}

impl Sensitivity {
    /// Measures `rig`, in which noise is off, with adversarial units in `places`: every change over the bound on what is
    /// released, as `claim` has it. Where clip bounds adapt, it is measured again after they have
    /// moved.
    ///
    /// # Errors
    /// When the device fails.
    pub(super) fn measure(
        rig: &mut Rig<'_>,
        records: &Records,
        places: Places,
        claim: &Claim,
    ) -> Result<Sensitivity, AuditError> {
        let exact = rig.exact().then(Exact::default);
        let mut found = Sensitivity { longest: (0.0, String::new()), changes: 0, alone: Vec::new(), exact };
        found.alone = found.changes_of(rig, records, places, claim, "")?;
        let again = match places {
            Places::Turn(first) => Places::Turn(first + 1),
            _ => places,
        };
        if again != Places::None && rig.adapt(&records.ordinary)? {
            found.changes_of(rig, records, again, claim, ", bounds adapted")?;
        }
        Ok(found)
    }

    /// Adds every change at the bounds as they are; what each adversarial record adds alone.
    fn changes_of(
        &mut self,
        rig: &mut Rig<'_>,
        records: &Records,
        places: Places,
        claim: &Claim,
        bounds: &str,
    ) -> Result<Vec<Vec<Vec<f32>>>, AuditError> {
        let scale = rig.sensitivity(claim.plan.grid.as_ref()) / claim.plan.divisor();
        let others = &records.ordinary[..OTHERS.min(records.ordinary.len())];
        let nobody = Outcome::of(rig, &[])?;
        let all = Outcome::of(rig, &[others])?;
        let mut shares = Vec::new();
        for (unit, &(kind, record)) in records.adversaries.iter().enumerate() {
            let one = [record];
            let alone = Outcome::of(rig, &[&one])?;
            let own = alone.beyond(&nobody);
            self.add(rig, [&alone, &nobody], &own, claim, || format!("{kind}, alone{bounds}"));
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
                let with = Outcome::of(rig, batches)?;
                self.add(rig, [&with, &all], &own, claim, || format!("{kind}, {place}{bounds}"));
            }
            let pairs = alone.released.iter().zip(&nobody.released);
            let mut share = pairs.map(|(a, b)| ((f64::from(*a) - f64::from(*b)) / scale) as f32);
            shares.push(rig.sizes().iter().map(|&size| share.by_ref().take(size).collect()).collect());
        }
        Ok(shares)
    }

    /// Adds the change from the second outcome to the first, of which integers should be `own`.
    fn add(
        &mut self,
        rig: &Rig<'_>,
        [with, without]: [&Outcome; 2],
        own: &[Integer],
        claim: &Claim,
        what: impl Fn() -> String,
    ) {
        self.changes += 1;
        let (grid, divisor) = (claim.plan.grid.as_ref(), claim.plan.divisor());
        let bounds: Vec<f64> = rig.bounds(grid).into_iter().map(|bound| bound / divisor).collect();
        longer(&mut self.longest, rig.reach(&with.released, &without.released, &bounds), &what);
        let (Some(grid), Some(exact)) = (grid, &mut self.exact) else { return };
        let change = with.beyond(without);
        let none = vec![Integer(0); change.len()];
        let units: Vec<f64> = (0..bounds.len()).map(|group| grid.group_sensitivity(group)).collect();
        longer(&mut exact.longest, rig.reach(&change, &none, &units), &what);
        let differing = change.iter().zip(own).filter(|(a, b)| a != b).count();
        if differing > exact.differing.0 {
            exact.differing = (differing, what());
        }
    }

    /// No change is longer than the bound.
    pub fn bounded(&self, name: &str) -> Check {
        let (longest, what) = &self.longest;
        Check::at_most(name, *longest, 1.0 + ROUNDING).with(format!("longest of {} changes: {what}", self.changes))
    }

    /// No change of integer sums is longer than the bound, and each is of the record's own integers; nothing where sums are of
    /// floats.
    pub fn of_integers(&self, name: &str) -> Vec<Check> {
        let Some(Exact { longest, differing }) = &self.exact else { return Vec::new() };
        vec![
            Check::at_most(&format!("{name} of integers"), longest.0, 1.0)
                .with(format!("longest of {} changes: {}", self.changes, longest.1)),
            Check::at_most(&format!("{name}, other integers than a record's own"), differing.0 as f64, 0.0)
                .with(format!("most of {} changes: {}", self.changes, differing.1)),
        ]
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

/// Keeps the longer change, of which `what` tells what made it.
fn longer(longest: &mut (f64, String), (reach, group): (f64, Option<&str>), what: impl Fn() -> String) {
    // Anything that is not a number is as long as can be.
    let reach = if reach.is_nan() { f64::INFINITY } else { reach };
    if reach > longest.0 {
        let group = group.map(|group| format!(", group {group}")).unwrap_or_default();
        *longest = (reach, what() + &group);
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
