//! Tables: files of named columns, one record a row, and how they become the arrays that a model takes.

mod arrays;
#[cfg(feature = "tables")]
mod arrow;
#[cfg(feature = "tables")]
mod arrow_cells;
#[cfg(all(test, feature = "tables"))]
mod arrow_tests;
mod cells;
mod csv;
mod mapping;
mod missing;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;

use super::error::DataError;
pub(super) use arrays::{TableArrays, feeds};
#[cfg(feature = "tables")]
pub(super) use arrow::{ArrowTable, recognises as is_arrow};
pub(super) use cells::{Cells, Interned, Numbers, Want};
pub(super) use csv::{CsvTable, recognises as is_csv};
pub use mapping::Columns;
pub use missing::Missing;
pub(super) use missing::is_missing;

/// A file of named columns.
pub(super) trait Table {
    /// What stands for the table in errors.
    fn path(&self) -> &Path;

    /// The names of the columns in their order.
    fn columns(&self) -> &[String];

    /// What the file says that a column holds, for people.
    fn type_of(&self, column: usize) -> String;

    /// What a column is read as to be described, where its type is read at all.
    fn described_as(&self, column: usize) -> Option<Want<'static>>;

    /// Reads some columns, each as what is wanted of it, in one pass. What is wrong with rows as a whole goes to
    /// `problems`, and what is wrong with single cells into the cells.
    fn read(&mut self, wants: &[(usize, Want<'_>)], problems: &mut Vec<DataError>) -> Result<Vec<Cells>, DataError>;

    /// Where a record is in the file, for people.
    fn place(&self, record: usize) -> String;
}

/// How tables are read into arrays.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// Which columns feed which array.
    pub columns: Columns,
    /// What stands for missing values.
    pub missing: Missing,
    /// Vocabularies that were taken from other data, by column.
    pub fitted: BTreeMap<String, Vec<String>>,
}

impl Reading {
    /// Whether nothing is said.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
