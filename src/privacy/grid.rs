//! The grid on which clipped gradients are summed as integers.
//!
//! Of a clip group with the bound C, a grid unit is γ = C / [`UNITS`]. What a record adds to an element of a parameter is
//! rounded to a whole number of units, ties to even, and all further sums, over records, physical batches, ranks and with
//! the noise, are sums of integers. They do not depend on an order, and taking one record out changes them by that record's own
//! integers, which no other record can influence.
//!
//! # Sensitivity
//!
//! Before it is rounded, what a record adds has a norm of at most C (1 + [`SLACK`]): the bound of its clip factor, and the
//! roundings of the factor itself, of its conversion to units and of the last multiplication, each of at most 2⁻²⁴, of which
//! there are fewer than sixteen. To round moves each element by at most half a unit for every addend that is rounded; so the
//! integers of a group of parameters of d_p elements with m_p addends each have a norm of at most
//!
//! > Δ = UNITS (1 + SLACK) + ½ √(Σ_p m_p² d_p)
//!
//! units. The second part is the group's [`Grid::excess`]: 0.01 % of the first for a million elements. It is not taken from the
//! gradients: the noise is made larger by as much ([`Grid::sensitivity`]).
//!
//! # No overflow
//!
//! A kernel sums the integers of one physical batch modulo 2³². The sum over at most [`ROWS`] rows, each at most Δ ≤
//! [`MOST`], is below 2³¹, and so is what its residue says, whatever intermediate sums were. Sums of batches
//! have 64 bits: 2⁴⁰ records stay below 2⁶³.

use serde::{Deserialize, Serialize};

/// Grid units to a clip bound. The values of single records stay so far below 2²² that adding 1.5 · 2²³ in `f32` rounds them.
pub const UNITS: u32 = (1 << 22) - (1 << 13);

/// The most rows of a physical batch that are summed modulo 2³².
pub const ROWS: usize = 511;

/// The most units that a record may add to an element.
pub const MOST: f64 = (1_u64 << 31) as f64 / ROWS as f64 - 1.0;

/// What the roundings of clip factors and of the multiplication by them may add to a record's norm, relative to its bound.
pub const SLACK: f64 = 1.0 / (1 << 20) as f64;

/// The grid of a compiled model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Grid {
    /// Of each clip group, what rounding to the grid may add to the norm of what a record adds, in units.
    pub excess: Vec<f64>,
    /// How many integers a step releases.
    pub elements: u64,
}

impl Grid {
    /// The grid of clip groups, each of which has parameters of so many elements, with so many addends of a record rounded on
    /// their way into an element.
    pub fn new(groups: &[Vec<(usize, usize)>]) -> Grid {
        let square = |&(elements, addends): &(usize, usize)| elements as f64 * (addends as f64).powi(2);
        let excess = |group: &Vec<(usize, usize)>| group.iter().map(square).sum::<f64>().sqrt() / 2.0;
        let elements = groups.iter().flatten().map(|(elements, _)| *elements as u64).sum();
        Grid { excess: groups.iter().map(excess).collect(), elements }
    }

    /// The most by which one record moves the sums of clip group `group`, in units of that group: a Euclidean norm.
    pub fn group_sensitivity(&self, group: usize) -> f64 {
        f64::from(UNITS) * (1.0 + SLACK) + self.excess[group]
    }

    /// The most by which one record moves all sums, for the clip bounds of the groups: a Euclidean norm, in the unit of the
    /// bounds.
    ///
    /// # Panics
    /// If there is not one bound for each group.
    pub fn sensitivity(&self, bounds: &[f64]) -> f64 {
        assert_eq!(bounds.len(), self.excess.len(), "every clip group has a bound");
        let squares =
            bounds.iter().enumerate().map(|(group, bound)| (self.group_sensitivity(group) * unit(*bound)).powi(2));
        squares.sum::<f64>().sqrt()
    }

    /// Whether a record's sums stay where the residues of a physical batch tell them.
    pub fn fits(&self) -> bool {
        (0..self.excess.len()).all(|group| self.group_sensitivity(group) <= MOST)
    }
}

/// The grid unit of a clip group with the bound `bound`.
pub fn unit(bound: f64) -> f64 {
    bound / f64::from(UNITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_adds_little_to_a_million_elements() {
        let grid = Grid::new(&[vec![(1_000_000, 1)], vec![(100, 3), (44, 1)]]);
        assert_eq!(grid.excess, [500.0, (100.0 * 9.0 + 44.0_f64).sqrt() / 2.0]);
        assert_eq!(grid.elements, 1_000_144);
        let relative = grid.group_sensitivity(0) / f64::from(UNITS);
        assert!(relative > 1.000_12 && relative < 1.000_13, "{relative}");
        let both = grid.sensitivity(&[3.0, 4.0]);
        assert!(both > 5.0 && both < 5.001, "{both}");
    }

    #[test]
    fn a_full_batch_of_largest_records_does_not_overflow() {
        assert!(ROWS as f64 * MOST < f64::from(i32::MAX));
        assert!(Grid::new(&[vec![(400_000_000, 1)]]).fits());
        assert!(!Grid::new(&[vec![(1 << 30, 2)]]).fits());
        // A record has no single element beyond what the addition of 1.5 · 2²³ rounds.
        assert!(f64::from(UNITS) * (1.0 + SLACK) < f64::from(1 << 22) - 1.0);
    }
}
