//! CSV and TSV with a header, gzipped or not.

use std::fs::File;
use std::io::{BufReader, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use csv::{ByteRecord, ReaderBuilder};
use flate2::read::MultiGzDecoder;

use super::super::error::{BadCells, DataError};
use super::missing::is_missing;
use super::{Cells, Interned, Numbers, Part, ROWS, Table, Take, Want};
use crate::files::{self, FileError};

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// A CSV file whose header has been read. Spaces around fields do not count.
pub struct CsvTable {
    path: PathBuf,
    delimiter: u8,
    header: Vec<String>,
    content: Content,
    /// Records that are not on the line after the one before, with their lines.
    jumps: Vec<(usize, u64)>,
}

/// Where a table lies.
enum Content {
    /// In the file of its path, the only one.
    File([PathBuf; 1]),
    Memory(Arc<[u8]>),
}

impl Content {
    fn open(&self) -> Result<Box<dyn Read>, FileError> {
        Ok(match self {
            Content::File([path]) => Box::new(File::open(path).map_err(|source| FileError::read(path, source))?),
            Content::Memory(bytes) => Box::new(Cursor::new(bytes.clone())),
        })
    }

    fn first_bytes(&self, count: usize) -> Result<Vec<u8>, FileError> {
        match self {
            Content::File([path]) => files::first_bytes(path, count as u64),
            Content::Memory(bytes) => Ok(bytes[..count.min(bytes.len())].to_vec()),
        }
    }

    /// Its bytes, as far as they can be told.
    fn length(&self) -> u64 {
        match self {
            Content::File([path]) => std::fs::metadata(path).map_or(0, |metadata| metadata.len()),
            Content::Memory(bytes) => bytes.len() as u64,
        }
    }
}

/// Whether the name of a file says that it is CSV or TSV.
pub fn recognises(path: &Path) -> bool {
    let Some(name) = path.file_name().map(|name| name.to_string_lossy().to_ascii_lowercase()) else { return false };
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    [".csv", ".tsv", ".tab"].iter().any(|ending| name.ends_with(ending))
}

impl CsvTable {
    pub fn open(path: &Path) -> Result<Self, DataError> {
        Self::new(path, Content::File([path.to_owned()]))
    }

    /// A table in memory; `name` stands for the path, and its ending says what the table is.
    pub fn from_bytes(name: &str, bytes: Vec<u8>) -> Result<Self, DataError> {
        Self::new(Path::new(name), Content::Memory(bytes.into()))
    }

    fn new(path: &Path, content: Content) -> Result<Self, DataError> {
        let magic = content.first_bytes(3)?;
        if matches!(magic.as_slice(), [0xff, 0xfe, ..] | [0xfe, 0xff, ..]) {
            let reason = "it is text of 16 bits a character; save it as UTF-8".to_owned();
            return Err(DataError::Format { path: path.to_owned(), reason });
        }
        let mut table = Self { path: path.to_owned(), delimiter: b',', header: vec![], content, jumps: vec![] };
        let name = path.to_string_lossy().to_ascii_lowercase();
        let name = name.strip_suffix(".gz").unwrap_or(&name);
        let header = match name.ends_with(".csv") {
            false => {
                table.delimiter = b'\t';
                table.first()?
            }
            true => {
                let mut headers = Vec::new();
                for delimiter in [b',', b';', b'\t'] {
                    table.delimiter = delimiter;
                    headers.push((delimiter, table.first()?));
                }
                // Of several that make as many columns, the first; so the others need more.
                headers.reverse();
                let (delimiter, header) = headers.into_iter().max_by_key(|(_, header)| header.len()).expect("three");
                table.delimiter = delimiter;
                header
            }
        };
        table.header = header.iter().map(text).collect();
        if table.header.iter().all(|name| name.is_empty()) {
            return Err(DataError::Empty { source_name: path.display().to_string() });
        }
        if table.header.iter().all(|name| name.parse::<f64>().is_ok()) {
            let reason = "its first line has numbers where a table has the names of its columns".to_owned();
            return Err(DataError::Format { path: path.to_owned(), reason });
        }
        Ok(table)
    }

    fn reader(&self) -> Result<csv::Reader<Box<dyn Read>>, DataError> {
        let file = self.content.open()?;
        let gzipped = self.content.first_bytes(2)? == GZIP_MAGIC;
        let mut stream: Box<dyn Read> = match gzipped {
            true => Box::new(MultiGzDecoder::new(BufReader::new(file))),
            false => file,
        };
        // Excel begins a file in UTF-8 with a mark of its own.
        let mut start = Vec::new();
        (&mut stream).take(3).read_to_end(&mut start).map_err(|error| self.damaged(&error))?;
        let start = if start == [0xef, 0xbb, 0xbf] { vec![] } else { start };
        let stream: Box<dyn Read> = Box::new(Cursor::new(start).chain(stream));
        Ok(ReaderBuilder::new().delimiter(self.delimiter).has_headers(false).flexible(true).from_reader(stream))
    }

    fn place(&self, record: usize) -> String {
        let jump = self.jumps.partition_point(|(at, _)| *at <= record);
        let (at, line) = jump.checked_sub(1).map_or((0, 2), |jump| self.jumps[jump]);
        format!("line {}", line + (record - at) as u64)
    }

    fn first(&self) -> Result<ByteRecord, DataError> {
        let mut record = ByteRecord::new();
        self.reader()?.read_byte_record(&mut record).map_err(|error| self.damaged(&error))?;
        Ok(record)
    }

    fn damaged(&self, error: &dyn std::fmt::Display) -> DataError {
        DataError::Damaged { path: self.path.clone(), what: error.to_string() }
    }
}

/// A field without the spaces around it.
fn text(field: &[u8]) -> String {
    String::from_utf8_lossy(field).trim().to_owned()
}

impl Table for CsvTable {
    fn path(&self) -> &Path {
        &self.path
    }

    fn columns(&self) -> &[String] {
        &self.header
    }

    fn type_of(&self, _: usize) -> String {
        "text".to_owned()
    }

    fn described_as(&self, _: usize) -> Option<Want<'static>> {
        Some(Want::Texts)
    }

    fn is_text(&self, _: usize) -> bool {
        true
    }

    fn files(&self) -> &[PathBuf] {
        match &self.content {
            Content::File(path) => path,
            Content::Memory(_) => &[],
        }
    }

    fn read(
        &mut self,
        wants: &[(usize, Want<'_>)],
        problems: &mut Vec<DataError>,
        take: Take<'_>,
    ) -> Result<(), DataError> {
        let mut cells: Vec<Cells> = wants.iter().map(|(_, want)| empty(*want)).collect();
        self.jumps.clear();
        let (mut ragged, mut record, mut expected) = (BadCells::default(), ByteRecord::new(), 0);
        let (mut reader, mut first, mut at) = (self.reader()?, 0, 0);
        let is_plain = self.content.first_bytes(2)? != GZIP_MAGIC;
        let length = self.content.length();
        let mut header = true;
        while reader.read_byte_record(&mut record).map_err(|error| self.damaged(&error))? {
            let line = record.position().map_or(0, csv::Position::line);
            if std::mem::take(&mut header) {
                expected = line + 1;
                self.jumps.push((0, expected));
                continue;
            }
            if line != expected {
                self.jumps.push((at, line));
            }
            expected = line + 1;
            if record.len() != self.header.len() {
                ragged.add(format_args!("{} in line {line}", record.len()));
            }
            for ((column, _), cells) in wants.iter().zip(&mut cells) {
                let field = record.get(*column).unwrap_or_default();
                push(cells, at - first, field.trim_ascii(), line);
            }
            at += 1;
            if at - first == ROWS {
                let read = record.position().map_or(0, csv::Position::byte);
                let done = is_plain.then(|| read as f64 / length.max(1) as f64);
                take(Part { cells: &mut cells, first, place: &|record| self.place(record), done })?;
                cells.iter_mut().for_each(Cells::clear);
                first = at;
            }
        }
        if at > first || at == 0 {
            take(Part { cells: &mut cells, first, place: &|record| self.place(record), done: Some(1.0) })?;
        }
        if ragged.count > 0 {
            problems.push(DataError::Ragged { path: self.path.clone(), columns: self.header.len(), cells: ragged });
        }
        Ok(())
    }
}

fn empty(want: Want<'_>) -> Cells {
    let values = match want {
        // No column of texts holds images.
        Want::Floats(_) | Want::Pixels(_) => Numbers::Floats(vec![]),
        Want::Integers => Numbers::Integers(vec![]),
        Want::Texts | Want::Labels => Numbers::Texts(Interned::default()),
        Want::Passages => Numbers::Texts(Interned::passing()),
    };
    Cells::new(vec![], values)
}

/// Adds the cell of record `at` of the part.
fn push(cells: &mut Cells, at: usize, field: &[u8], line: u64) {
    let text = std::str::from_utf8(field).ok();
    if let Numbers::Texts(texts) = &mut cells.values {
        match text {
            Some(text) => texts.push(text),
            None => texts.push(&String::from_utf8_lossy(field)),
        }
        return;
    }
    if text.is_some_and(is_missing) {
        cells.missing.push(at);
    }
    let mut bad = || {
        if cells.missing.last() != Some(&at) {
            cells.bad.add(format_args!("{} in line {line}", BadCells::shown(&String::from_utf8_lossy(field))));
        }
    };
    match &mut cells.values {
        Numbers::Floats(values) => values.push(text.and_then(float).unwrap_or_else(|| {
            bad();
            0.0
        })),
        Numbers::Integers(values) => values.push(text.and_then(integer).unwrap_or_else(|| {
            bad();
            0
        })),
        _ => {}
    }
}

pub(super) fn float(text: &str) -> Option<f32> {
    text.parse().ok().or_else(|| truth(text).map(|truth| truth as f32))
}

/// An integer, also one that is written as a float, as pandas does where some are missing.
pub(super) fn integer(text: &str) -> Option<i64> {
    text.parse().ok().or_else(|| truth(text)).or_else(|| whole(text.parse().ok()?))
}

/// The integer that a float is, up to where floats have all of them.
pub(super) fn whole(value: f64) -> Option<i64> {
    (value.fract() == 0.0 && value.abs() <= (1u64 << 53) as f64).then_some(value as i64)
}

fn truth(text: &str) -> Option<i64> {
    match text {
        "True" | "true" | "TRUE" => Some(1),
        "False" | "false" | "FALSE" => Some(0),
        _ => None,
    }
}
