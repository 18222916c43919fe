//! The units of a data set: what is sampled and clipped as one, and which records belong to each.
//!
//! Where each rank holds records of its own, units are numbered over all ranks, in their order, and so are records; [`Shard`] says
//! where those of this rank stand.

/// Records by unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Units {
    /// Where each unit's records begin in `records`, and the end of the last.
    starts: Vec<usize>,
    records: Vec<usize>,
    shard: Option<Shard>,
}

/// The place of one rank's units among those of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Units of the ranks before it.
    pub units_before: usize,
    /// Records of the ranks before it.
    pub records_before: usize,
    /// Units of all ranks.
    pub all_units: usize,
}

impl Units {
    /// Every one of `records` records is a unit.
    pub fn single(records: usize) -> Units {
        Units { starts: (0..=records).collect(), records: (0..records).collect(), shard: None }
    }

    /// The records of equal `ids` are a unit. Units are in the order of their ids.
    pub fn grouped(ids: &[i64]) -> Units {
        let mut records: Vec<usize> = (0..ids.len()).collect();
        records.sort_by_key(|&record| ids[record]);
        let mut starts: Vec<usize> =
            (0..records.len()).filter(|&i| i == 0 || ids[records[i - 1]] != ids[records[i]]).collect();
        starts.push(records.len());
        Units { starts, records, shard: None }
    }

    /// The same as a part of what all ranks hold.
    #[must_use]
    pub fn as_shard(self, shard: Shard) -> Units {
        Units { shard: Some(shard), ..self }
    }

    /// Where they stand among those of all ranks, if each holds its own.
    pub fn shard(&self) -> Option<Shard> {
        self.shard
    }

    /// How many units there are on all ranks together, which are drawn from.
    pub fn all(&self) -> usize {
        self.shard.map_or(self.len(), |shard| shard.all_units)
    }

    /// Those of `drawn`, which are numbered over all ranks, that this rank holds, by their numbers on it.
    pub fn held(&self, drawn: &[usize]) -> Vec<usize> {
        let before = self.shard.map_or(0, |shard| shard.units_before);
        let held = drawn.iter().filter_map(|unit| unit.checked_sub(before));
        held.filter(|&unit| unit < self.len()).collect()
    }

    /// How many units there are.
    pub fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The records of a unit, in increasing order.
    ///
    /// # Panics
    /// If there is no such unit.
    pub fn records(&self, unit: usize) -> &[usize] {
        &self.records[self.starts[unit]..self.starts[unit + 1]]
    }

    /// The records of the largest unit.
    pub fn longest(&self) -> usize {
        self.starts.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_equal_ids_belong_together() {
        let units = Units::grouped(&[7, -1, 7, 3, -1, 7]);
        let all: Vec<&[usize]> = (0..units.len()).map(|unit| units.records(unit)).collect();
        assert_eq!(all, [&[1, 4][..], &[3], &[0, 2, 5]]);
        assert_eq!(units.longest(), 3);
        assert!(Units::grouped(&[]).is_empty());
    }

    #[test]
    fn what_ranks_hold_is_a_partition_of_what_is_drawn() {
        let lengths = [3, 0, 5, 1];
        let drawn = [0, 2, 3, 4, 7, 8];
        let mut before = 0;
        let mut found = Vec::new();
        for length in lengths {
            let shard = Shard { units_before: before, records_before: before, all_units: 9 };
            let units = Units::single(length).as_shard(shard);
            assert_eq!((units.len(), units.all()), (length, 9));
            found.extend(units.held(&drawn).into_iter().map(|unit| unit + before));
            before += length;
        }
        assert_eq!(found, drawn);
        assert_eq!(Units::single(9).held(&drawn), drawn);
    }

    #[test]
    fn single_records_are_groups_of_one() {
        assert_eq!(Units::single(3), Units::grouped(&[0, 1, 2]));
        assert_eq!(Units::single(3).longest(), 1);
        assert!(Units::single(0).is_empty());
    }
}
