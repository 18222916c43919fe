//! From the columns of a table to the arrays of a model.

use std::collections::BTreeMap;

use super::super::error::DataError;
use super::super::stored::Stored;
use super::blocks::Records;
use super::mapping::How;
use super::prepared::{Growing, Place};
use super::vocabulary::fit;
use super::wanted::{self, Wanted, header_problems, unknown_arrays};
use super::{Preparing, Reading, Table, Want};
use crate::schema::Schema;

/// The arrays that a table holds for a model.
pub struct TableArrays {
    arrays: BTreeMap<String, Result<Stored, DataError>>,
    /// The vocabularies that were taken from the data, by column.
    pub fitted: BTreeMap<String, Vec<String>>,
}

impl TableArrays {
    /// Reads from `table` what `schema` takes, as `reading` says. `watch` is told while a file is prepared.
    ///
    /// # Errors
    /// What is wrong with the table as a whole, with all that is wrong with its arrays. Otherwise each array has its own.
    pub fn read(
        table: &mut dyn Table,
        reading: &Reading,
        schema: &Schema,
        watch: &dyn Fn(Preparing<'_>),
    ) -> Result<Self, DataError> {
        let mut problems = header_problems(table);
        problems.extend(unknown_arrays(reading, schema));
        problems.extend(reading.columns.twice().map(|array| DataError::Columns {
            path: table.path().to_owned(),
            what: format!("`{array}` is given twice"),
            help: "name all columns of an array in one list".to_owned(),
        }));
        let mut arrays = BTreeMap::new();
        let mut wanted = Vec::new();
        for (array, of) in wanted::wanted(table, reading, schema) {
            match of {
                Ok(of) => wanted.push(of),
                Err(problem) => {
                    arrays.insert(array.to_owned(), Err(problem));
                }
            }
        }
        problems.extend(unused_tokenizer(table, reading, &wanted).filter(|_| arrays.is_empty()));
        let is_whole = problems.is_empty() && arrays.is_empty();
        let place = place(table, reading, &wanted)?;
        if is_whole
            && !table.files().is_empty()
            && let Some((arrays, fitted)) = place.open()
        {
            return Ok(Self { arrays: arrays.into_iter().map(|(name, array)| (name, Ok(array))).collect(), fitted });
        }
        for (array, stored) in in_files(table, &wanted, reading.in_memory) {
            wanted.retain(|wanted| wanted.array != array);
            arrays.insert(array, Ok(stored));
        }
        if wanted.is_empty() && problems.is_empty() && arrays.values().all(Result::is_ok) {
            return Ok(Self { arrays, fitted: reading.fitted.clone() });
        }
        let mut fitted = reading.fitted.clone();
        fit(table, &wanted, &mut fitted)?;
        let in_memory = if reading.cache.is_some() { 0 } else { reading.in_memory };
        let mut growing = Growing::new(in_memory, &place);
        let mut of_cells: BTreeMap<&str, Vec<DataError>> = BTreeMap::new();
        let (path, names) = (table.path().to_owned(), table.columns().to_vec());
        let wants: Vec<(usize, Want<'_>)> = wanted.iter().flat_map(Wanted::wants).collect();
        table.read(&wants, &mut problems, &mut |part| {
            let records = Records::new(&path, &names, reading, &part);
            let mut rest = part.cells;
            let mut end = part.first;
            for wanted in &wanted {
                let (cells, later) = rest.split_at_mut(wanted.parts.len());
                rest = later;
                match wanted.array(&records, cells, &fitted) {
                    Ok(array) => {
                        end = part.first + array.dims()[0];
                        if !of_cells.contains_key(wanted.array) {
                            growing.push(wanted.array, &array)?;
                        }
                    }
                    Err(problem) => DataError::gather(of_cells.entry(wanted.array).or_default(), problem),
                }
            }
            if growing.is_in_file() {
                watch(Preparing { file: place.path(), records: end, done: part.done });
            }
            Ok(())
        })?;
        let name = path.display().to_string();
        let is_whole = is_whole && of_cells.is_empty();
        for (array, problems) in of_cells {
            growing.remove(array);
            arrays.insert(array.to_owned(), Err(DataError::all(&name, problems)));
        }
        if !problems.is_empty() {
            problems.extend(arrays.into_values().filter_map(Result::err));
            return Err(DataError::all(&name, problems));
        }
        let grown = if is_whole { growing.finish(&fitted)? } else { growing.unkept()? };
        arrays.extend(grown.into_iter().map(|(name, array)| (name, Ok(array))));
        Ok(Self { arrays, fitted })
    }

    /// The names of the arrays.
    pub fn names(&self) -> Vec<String> {
        self.arrays.keys().cloned().collect()
    }

    /// The array `name`, once.
    ///
    /// # Panics
    /// If the schema does not have it, or it was taken before.
    pub fn take(&mut self, name: &str) -> Result<Stored, DataError> {
        self.arrays.remove(name).expect("every array of the schema was read")
    }
}

/// A tokenizer that nothing is made of.
fn unused_tokenizer(table: &dyn Table, reading: &Reading, wanted: &[Wanted<'_>]) -> Option<DataError> {
    let is_used = wanted.iter().flat_map(|wanted| &wanted.parts).any(|(_, how)| matches!(how, How::Tokens(_)));
    (reading.tokenizer.is_some() && !is_used).then(|| DataError::Columns {
        path: table.path().to_owned(),
        what: "--tokenizer is given, but no column of texts feeds an input of several integers".to_owned(),
        help: "say which column it is, as in --columns 'INPUT=COLUMN', or leave out --tokenizer".to_owned(),
    })
}

/// Where what is wanted of a table is kept.
fn place(table: &dyn Table, reading: &Reading, wanted: &[Wanted<'_>]) -> Result<Place, DataError> {
    let Reading { columns, missing, fitted, tokenizer, .. } = reading;
    let what = format!("{wanted:?} {:?} {columns:?} {missing:?} {fitted:?} {tokenizer:?}", table.columns());
    Place::new(table.path(), table.files(), &what, reading.cache.as_deref())
}

/// The arrays that stay in the files of a table, where all that can are more than is kept in memory.
fn in_files(table: &dyn Table, wanted: &[Wanted<'_>], in_memory: usize) -> Vec<(String, Stored)> {
    let stored = wanted.iter().filter_map(|wanted| match wanted.parts.as_slice() {
        [(column, How::AsIs)] => {
            let (_, want) = wanted.wants().next()?;
            Some((wanted.array.to_owned(), table.stored(*column, want)?))
        }
        _ => None,
    });
    let stored: Vec<(String, Stored)> = stored.collect();
    match stored.iter().map(|(_, array)| array.bytes()).sum::<usize>() > in_memory {
        true => stored,
        false => vec![],
    }
}
