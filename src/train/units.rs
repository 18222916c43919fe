//! The units of a data set: what is sampled and clipped as one, and which records belong to each.

/// Records by unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Units {
    /// Where each unit's records begin in `records`, and the end of the last.
    starts: Vec<usize>,
    records: Vec<usize>,
}

impl Units {
    /// Every one of `records` records is a unit.
    pub fn single(records: usize) -> Units {
        Units { starts: (0..=records).collect(), records: (0..records).collect() }
    }

    /// The records of equal `ids` are a unit. Units are in the order of their ids.
    pub fn grouped(ids: &[i64]) -> Units {
        let mut records: Vec<usize> = (0..ids.len()).collect();
        records.sort_by_key(|&record| ids[record]);
        let mut starts: Vec<usize> =
            (0..records.len()).filter(|&i| i == 0 || ids[records[i - 1]] != ids[records[i]]).collect();
        starts.push(records.len());
        Units { starts, records }
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
    fn single_records_are_groups_of_one() {
        assert_eq!(Units::single(3), Units::grouped(&[0, 1, 2]));
        assert_eq!(Units::single(3).longest(), 1);
        assert!(Units::single(0).is_empty());
    }
}
