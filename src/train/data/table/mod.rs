//! Tables: files of named columns, one record a row, and how they become the arrays that a model takes.

mod arrays;
#[cfg(feature = "tables")]
mod arrow;
#[cfg(feature = "tables")]
mod arrow_cells;
#[cfg(feature = "tables")]
mod arrow_files;
#[cfg(feature = "tables")]
mod arrow_images;
#[cfg(all(test, feature = "tables"))]
mod arrow_tests;
mod blocks;
mod cells;
mod csv;
mod mapping;
mod missing;
mod prepared;
#[cfg(test)]
mod prepared_tests;
#[cfg(test)]
mod tests;
mod vocabulary;
mod wanted;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::error::DataError;
use super::images::Size;
use super::stored::Stored;
use super::tokens::Tokenizer;
pub(super) use arrays::TableArrays;
#[cfg(feature = "tables")]
pub(super) use arrow::{ArrowTable, recognises as is_arrow};
pub(super) use cells::{Cells, Interned, Numbers, ROWS, Want};
pub(super) use csv::CsvTable;
pub use csv::recognises as is_csv;
pub use mapping::Columns;
pub use missing::Missing;
pub(super) use missing::is_missing;
#[cfg(feature = "tables")]
pub(super) use prepared::ENDING as PREPARED;
pub(super) use wanted::feeds;

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

    /// Whether a column holds images as their files do.
    fn is_image(&self, _column: usize) -> bool {
        false
    }

    /// Whether a column may hold texts, as all do of a file that knows no types.
    fn is_text(&self, _column: usize) -> bool {
        false
    }

    /// All values of a column, in their order, where the table knows them without being read.
    fn vocabulary(&self, _column: usize) -> Option<&[String]> {
        None
    }

    /// The files that it is read from.
    fn files(&self) -> &[PathBuf];

    /// A column whose elements can be read from the files record by record, as what is wanted of it.
    fn stored(&self, _column: usize, _want: Want<'_>) -> Option<Stored> {
        None
    }

    /// Reads some columns, each as what is wanted of it, in one pass, and hands them to `take` in parts, of which there is
    /// at least one. What is wrong with rows as a whole goes to `problems`, and what is wrong with single cells into the
    /// cells.
    fn read(
        &mut self,
        wants: &[(usize, Want<'_>)],
        problems: &mut Vec<DataError>,
        take: Take<'_>,
    ) -> Result<(), DataError>;
}

/// What takes the parts of a table.
pub(super) type Take<'a> = &'a mut dyn FnMut(Part<'_>) -> Result<(), DataError>;

/// Some records of a table.
pub(super) struct Part<'a> {
    /// Of each column that was wanted, these records' cells. Texts keep their numbers from part to part.
    pub cells: &'a mut [Cells],
    /// The number of the first record.
    pub first: usize,
    /// Where a record of the table is in its file, for people.
    pub place: &'a dyn Fn(usize) -> String,
    /// How much of the table has been read so far, from 0 to 1, where that is known.
    pub done: Option<f64>,
}

/// A table that is being prepared: written to a file, from which its records can be read alone.
#[derive(Clone, Copy, Debug)]
pub struct Preparing<'a> {
    pub file: &'a Path,
    /// How many records are written.
    pub records: usize,
    /// What share of the table that is, where it is known.
    pub done: Option<f64>,
}

/// How data are read into arrays.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// Which columns feed which array.
    pub columns: Columns,
    /// What stands for missing values.
    pub missing: Missing,
    /// What size images are brought to; otherwise they have that of the model.
    pub resize: Option<Size>,
    /// What makes tokens of texts.
    pub tokenizer: Option<Tokenizer>,
    /// Vocabularies that were taken from other data, by column.
    pub fitted: BTreeMap<String, Vec<String>>,
    /// Bytes of arrays that are kept in memory. Where a format allows it, what goes beyond stays in its files, and records
    /// are read when they are needed.
    pub in_memory: usize,
    /// Where tables are prepared, at any size; by default beside the data where their arrays are larger than what is kept
    /// in memory.
    pub cache: Option<PathBuf>,
}

impl Default for Reading {
    fn default() -> Self {
        let in_memory = 256 << 20;
        Self {
            columns: Columns::default(),
            missing: Missing::default(),
            resize: None,
            tokenizer: None,
            fitted: BTreeMap::new(),
            in_memory,
            cache: None,
        }
    }
}

impl Reading {
    /// Whether nothing is said of tables.
    pub fn says_nothing_of_tables(&self) -> bool {
        *self == Self { in_memory: self.in_memory, cache: self.cache.clone(), ..Self::default() }
    }
}
