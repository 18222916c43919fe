//! Parquet, Arrow and Feather: one file, or several that are read one after another.

use std::fs::File;
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_ipc::reader::{FileReader, StreamReader};
use arrow_schema::{ArrowError, DataType, SchemaRef};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::super::error::DataError;
use super::super::stored::Stored;
use super::arrow_cells::{Gathered, is_read, is_text};
use super::{Cells, Part, ROWS, Table, Take, Want, arrow_files, arrow_images};
use crate::files::{self, FileError};
use crate::panics::contained;

/// Files of one schema, whose columns have been read.
pub struct ArrowTable {
    path: PathBuf,
    files: Vec<PathBuf>,
    names: Vec<String>,
    types: Vec<DataType>,
    /// The first record of each file.
    starts: Vec<usize>,
}

#[derive(Clone, Copy)]
enum Format {
    Parquet,
    Feather,
    /// As `datasets` writes it.
    Stream,
}

/// Batches of the columns that were asked for.
type Batches = Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>>>;

/// Whether a file that starts with `magic` may be one of these.
pub fn recognises(magic: &[u8]) -> bool {
    format_of(magic).is_some()
}

fn format_of(magic: &[u8]) -> Option<Format> {
    match magic {
        [b'P', b'A', b'R', b'1', ..] => Some(Format::Parquet),
        [b'A', b'R', b'R', b'O', b'W', b'1', ..] => Some(Format::Feather),
        [0xff, 0xff, 0xff, 0xff, ..] => Some(Format::Stream),
        _ => None,
    }
}

impl ArrowTable {
    /// The table of `files`, of which there is at least one; `path` stands for all of them in errors.
    pub fn open(path: &Path, files: Vec<PathBuf>) -> Result<Self, DataError> {
        let mut table = Self { path: path.to_owned(), files, names: vec![], types: vec![], starts: vec![] };
        let (schema, _) = batches(&table.files[0], None, ROWS)?;
        table.names = schema.fields().iter().map(|field| field.name().clone()).collect();
        table.types = schema.fields().iter().map(|field| field.data_type().clone()).collect();
        Ok(table)
    }

    fn read_file(
        &self,
        file: &Path,
        wants: &[(usize, Want<'_>)],
        gathered: &mut [Gathered<'_>],
        before: usize,
        take: Take<'_>,
    ) -> Result<usize, DataError> {
        let damaged = |what: String| DataError::Damaged { path: file.to_owned(), what };
        let (schema, _) = batches(file, None, ROWS)?;
        let mut columns = Vec::new();
        let mut missing = Vec::new();
        for (column, _) in wants {
            match schema.index_of(&self.names[*column]) {
                Ok(at) => columns.push(at),
                Err(_) => missing.push(self.names[*column].clone()),
            }
        }
        if !missing.is_empty() {
            let present = schema.fields().iter().map(|field| field.name().clone()).collect();
            let first = self.files[0].display();
            let array = format!("the column of the same name in {first}");
            return Err(DataError::NoColumn { path: file.to_owned(), array, said: true, missing, present });
        }
        let mut projected = columns.clone();
        projected.sort_unstable();
        projected.dedup();
        let mut records = before;
        let place = |row: usize| self.place(row);
        let rows = wants.iter().map(|(_, want)| want.rows()).fold(ROWS, usize::min);
        let parts = |batch: RecordBatch| {
            let starts = (0..batch.num_rows()).step_by(rows);
            starts.map(|start| batch.slice(start, rows.min(batch.num_rows() - start))).collect::<Vec<_>>()
        };
        for batch in batches(file, Some(&projected), rows)?.1.flat_map(|batch| match batch {
            Ok(batch) => parts(batch).into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        }) {
            let batch = batch.map_err(|error| damaged(error.to_string()))?;
            for ((at, gathered), (column, _)) in columns.iter().zip(&mut *gathered).zip(wants) {
                let array = batch.column(projected.partition_point(|projected| projected < at));
                gathered.push(array, &place).map_err(|dtype| DataError::UnsupportedDtype {
                    path: file.to_owned(),
                    array: self.names[*column].clone(),
                    dtype,
                })?;
            }
            self.hand_over(gathered, records, take)?;
            records += batch.num_rows();
        }
        Ok(records)
    }

    /// Hands over what was gathered of the records from number `first` on.
    fn hand_over(&self, gathered: &mut [Gathered<'_>], first: usize, take: Take<'_>) -> Result<(), DataError> {
        let mut cells: Vec<Cells> = gathered.iter_mut().map(Gathered::lend).collect();
        let read = self.starts.len() as f64 / self.files.len() as f64;
        let done = (self.files.len() > 1).then_some(read);
        take(Part { cells: &mut cells, first, place: &|record| self.place(record), done })?;
        for (gathered, mut cells) in gathered.iter_mut().zip(cells) {
            cells.clear();
            gathered.give_back(cells);
        }
        Ok(())
    }

    fn place(&self, record: usize) -> String {
        let file = self.starts.partition_point(|start| *start <= record).saturating_sub(1);
        let row = record - self.starts.get(file).copied().unwrap_or(0);
        match self.files.len() {
            1 => format!("row {row}"),
            _ => format!("row {row} of {}", self.files[file].file_name().unwrap_or_default().display()),
        }
    }
}

/// The schema of a file, and the batches of some of its columns, or of all; of Parquet with so many rows each.
fn batches(path: &Path, columns: Option<&[usize]>, rows: usize) -> Result<(SchemaRef, Batches), DataError> {
    let magic = files::first_bytes(path, 8)?;
    let file = File::open(path).map_err(|source| FileError::read(path, source))?;
    let damaged = |what: String| DataError::Damaged { path: path.to_owned(), what };
    let Some(format) = format_of(&magic) else {
        let reason = "it is no Parquet, Arrow or Feather file".to_owned();
        return Err(DataError::Format { path: path.to_owned(), reason });
    };
    let columns = columns.map(<[usize]>::to_vec);
    let open = || -> Result<(SchemaRef, Batches), String> {
        Ok(match format {
            Format::Parquet => {
                let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| error.to_string())?;
                let schema = builder.schema().clone();
                let mask = match columns {
                    Some(columns) => ProjectionMask::roots(builder.parquet_schema(), columns),
                    None => ProjectionMask::all(),
                };
                let reader = builder.with_projection(mask).with_batch_size(rows).build();
                (schema, Box::new(reader.map_err(|error| error.to_string())?))
            }
            Format::Feather => {
                let reader = FileReader::try_new_buffered(file, columns).map_err(|error| error.to_string())?;
                (reader.schema(), Box::new(reader))
            }
            Format::Stream => {
                let reader = StreamReader::try_new_buffered(file, columns).map_err(|error| error.to_string())?;
                (reader.schema(), Box::new(reader))
            }
        })
    };
    contained(open).and_then(|opened| opened).map_err(damaged)
}

impl Table for ArrowTable {
    fn path(&self) -> &Path {
        &self.path
    }

    fn columns(&self) -> &[String] {
        &self.names
    }

    fn type_of(&self, column: usize) -> String {
        match &self.types[column] {
            kind if is_text(kind) => "text".to_owned(),
            kind if arrow_images::is_image(kind) => "image".to_owned(),
            kind => kind.to_string().to_ascii_lowercase(),
        }
    }

    fn described_as(&self, column: usize) -> Option<Want<'static>> {
        match &self.types[column] {
            kind if is_text(kind) || arrow_images::is_image(kind) => Some(Want::Texts),
            kind if kind.is_integer() || *kind == DataType::Boolean => Some(Want::Integers),
            kind => is_read(kind).then_some(Want::Floats(None)),
        }
    }

    fn files(&self) -> &[PathBuf] {
        &self.files
    }

    fn is_text(&self, column: usize) -> bool {
        is_text(&self.types[column])
    }

    fn is_image(&self, column: usize) -> bool {
        arrow_images::is_image(&self.types[column])
    }

    fn stored(&self, column: usize, want: Want<'_>) -> Option<Stored> {
        arrow_files::stored(&self.files, &self.names[column], want)
    }

    fn read(&mut self, wants: &[(usize, Want<'_>)], _: &mut Vec<DataError>, take: Take<'_>) -> Result<(), DataError> {
        let mut gathered: Vec<Gathered<'_>> = wants.iter().map(|(_, want)| Gathered::new(*want)).collect();
        self.starts.clear();
        let mut records = 0;
        for file in self.files.clone() {
            self.starts.push(records);
            let read = contained(|| self.read_file(&file, wants, &mut gathered, records, take));
            records = read.map_err(|what| DataError::Damaged { path: file.clone(), what })??;
        }
        match records {
            0 => self.hand_over(&mut gathered, 0, take),
            _ => Ok(()),
        }
    }
}
