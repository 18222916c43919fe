//! What is random in how a row is seen: the masks of dropout, and the view of its record.

use std::borrow::Cow;

use super::augment::{Augment, Views};
use super::dropout::DropoutKeys;
use crate::privacy::keys::RunKey;

/// A row of a physical batch: a record, and the number of its view.
pub type Row = (usize, usize);

/// The randomness of rows in a run.
pub struct Chance {
    pub(super) dropout: DropoutKeys,
    pub(super) views: Option<Views>,
    /// Records of ranks before this one, where each holds its own: no two records of any have the same randomness.
    before: usize,
}

impl Chance {
    /// That of a run whose records are seen as they are, or as `augment` says.
    pub fn new(key: &RunKey, augment: Option<Augment>) -> Chance {
        Chance { dropout: DropoutKeys::new(key), views: augment.map(|augment| Views::new(augment, key)), before: 0 }
    }

    /// That of records which come after so many of other ranks.
    #[must_use]
    pub fn after(self, before: usize) -> Chance {
        Chance { before, ..self }
    }

    /// `rows` of this rank by the numbers that their records have among those of all.
    pub(super) fn numbered<'a>(&self, rows: &'a [Row]) -> Cow<'a, [Row]> {
        match self.before {
            0 => Cow::Borrowed(rows),
            before => rows.iter().map(|&(record, view)| (record + before, view)).collect(),
        }
    }

    /// Every view of each of `records`.
    pub(super) fn rows(&self, records: &[usize]) -> Vec<Row> {
        let views = self.views.as_ref().map_or(1, Views::count);
        records.iter().flat_map(|&record| (0..views).map(move |view| (record, view))).collect()
    }
}
