//! From the columns of a table to the arrays of a model.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::super::array::{Array, DType};
use super::super::error::{BadCells, DataError};
use super::super::stored::Stored;
use super::mapping::{Feed, How, Name, Part};
use super::missing::is_missing;
use super::prepared::{Growing, Place};
use super::{Cells, Interned, Numbers, Preparing, Reading, Table, Want};
use crate::schema::{GROUP, InputKind, Schema, TargetKind};

/// The arrays that a table holds for a model.
pub struct TableArrays {
    arrays: BTreeMap<String, Result<Stored, DataError>>,
    /// The vocabularies that were taken from the data, by column.
    pub fitted: BTreeMap<String, Vec<String>>,
}

/// What an array is to be made of.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// Floats; a vocabulary becomes as many of them.
    Floats,
    /// Floats; a vocabulary becomes the positions.
    Reals,
    /// Integers, of which there are so many where that is known.
    Ids(Option<usize>),
    Groups,
}

/// One array, and the columns that feed it.
#[derive(Debug)]
struct Wanted<'a> {
    array: &'a str,
    dims: &'a [usize],
    kind: Kind,
    parts: Vec<(usize, How)>,
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
        for (array, dims, kind) in kinds(schema) {
            let feed = reading.columns.of(array);
            if kind == Kind::Groups && feed.is_none() && !table.columns().iter().any(|column| column == GROUP) {
                continue;
            }
            let own = Feed { array: array.to_owned(), parts: vec![Part::of(array)] };
            match parts(table, reading, feed.unwrap_or(&own), feed.is_some()) {
                Ok(parts) => wanted.push(Wanted { array, dims, kind, parts }),
                Err(problem) => {
                    arrays.insert(array.to_owned(), Err(problem));
                }
            }
        }
        let is_whole = problems.is_empty() && arrays.is_empty();
        let place = place(table, reading, &wanted)?;
        if is_whole && let Some((arrays, fitted)) = place.open() {
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
            let records = Records { path: &path, names: &names, reading, first: part.first, place: part.place };
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

/// Where what is wanted of a table is kept.
fn place(table: &dyn Table, reading: &Reading, wanted: &[Wanted<'_>]) -> Result<Place, DataError> {
    let Reading { columns, missing, fitted, .. } = reading;
    let what = format!("{wanted:?} {:?} {columns:?} {missing:?} {fitted:?}", table.columns());
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

/// Adds the vocabularies that are taken from the data.
fn fit(
    table: &mut dyn Table,
    wanted: &[Wanted<'_>],
    fitted: &mut BTreeMap<String, Vec<String>>,
) -> Result<(), DataError> {
    let columns: BTreeSet<usize> = wanted
        .iter()
        .flat_map(|wanted| &wanted.parts)
        .filter(|(column, how)| *how == How::Sorted && !fitted.contains_key(&table.columns()[*column]))
        .map(|(column, _)| *column)
        .collect();
    if columns.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = columns.iter().map(|column| table.columns()[*column].clone()).collect();
    let wants: Vec<(usize, Want<'_>)> = columns.into_iter().map(|column| (column, Want::Texts)).collect();
    let mut pools = vec![Vec::new(); wants.len()];
    // What is wrong with rows is told when they are read again.
    table.read(&wants, &mut vec![], &mut |part| {
        for (cells, pool) in part.cells.iter().zip(&mut pools) {
            let texts = texts(cells);
            pool.extend_from_slice(&texts.pool[pool.len()..]);
        }
        Ok(())
    })?;
    fitted.extend(names.into_iter().zip(pools).map(|(name, pool)| (name, sorted(pool))));
    Ok(())
}

/// All values that a column has, sorted: numbers by size, where all are numbers.
fn sorted(pool: Vec<String>) -> Vec<String> {
    let mut names: Vec<String> = pool.into_iter().filter(|text| !is_missing(text)).collect();
    names.sort();
    let numbers: Option<Vec<f64>> = names.iter().map(|name| name.parse().ok()).collect();
    if numbers.is_some() {
        let number = |name: &String| name.parse::<f64>().expect("all are numbers");
        names.sort_by(|a, b| number(a).total_cmp(&number(b)));
    }
    names
}

/// The text of each record, or of what stands for it where it is missing, as its number in the texts that are had.
fn texts(cells: &Cells) -> &Interned {
    match &cells.values {
        Numbers::Texts(texts) => texts,
        _ => unreachable!("texts were asked for"),
    }
}

impl Part {
    fn of(column: &str) -> Self {
        Self { column: Name::Column(column.to_owned()), how: How::AsIs }
    }
}

/// The arrays of `schema` that a table feeds, each with its columns. What lacks a column is left out.
pub fn feeds(table: &dyn Table, reading: &Reading, schema: &Schema) -> Vec<(String, Vec<usize>)> {
    let columns = kinds(schema).filter_map(|(array, ..)| {
        let feed = reading.columns.of(array);
        let own = Feed { array: array.to_owned(), parts: vec![Part::of(array)] };
        let parts = parts(table, reading, feed.unwrap_or(&own), feed.is_some()).ok()?;
        Some((array.to_owned(), parts.into_iter().map(|(column, _)| column).collect()))
    });
    columns.collect()
}

/// The arrays that a model takes, and the groups.
fn kinds(schema: &Schema) -> impl Iterator<Item = (&str, &[usize], Kind)> {
    let inputs = schema.inputs.iter().map(|input| {
        let kind = match input.kind {
            InputKind::F32 => Kind::Floats,
            InputKind::I32 { table } => Kind::Ids(table),
        };
        (input.name.as_str(), input.dims.as_slice(), kind)
    });
    let targets = schema.targets.iter().map(|target| {
        let kind = match target.kind {
            TargetKind::Real { .. } => Kind::Reals,
            TargetKind::Probabilities => Kind::Floats,
            TargetKind::Class { classes, .. } => Kind::Ids(Some(classes)),
        };
        (target.name.as_str(), target.dims.as_slice(), kind)
    });
    let taken = schema.inputs.iter().any(|input| input.name == GROUP);
    let groups = (!taken).then_some((GROUP, [].as_slice(), Kind::Groups));
    inputs.chain(targets).chain(groups)
}

fn header_problems(table: &dyn Table) -> Vec<DataError> {
    let mut seen = BTreeSet::new();
    // What has no name cannot be named either, such as the numbers of rows that pandas and R write.
    let names = table.columns().iter().filter(|name| !name.is_empty() && !seen.insert(name.as_str()));
    let names: BTreeSet<String> = names.cloned().collect();
    match names.is_empty() {
        true => vec![],
        false => {
            vec![DataError::DuplicateColumns { path: table.path().to_owned(), names: names.into_iter().collect() }]
        }
    }
}

fn unknown_arrays(reading: &Reading, schema: &Schema) -> Vec<DataError> {
    let known: Vec<String> = kinds(schema).map(|(name, ..)| name.to_owned()).collect();
    let unknown = reading.columns.0.iter().filter(|feed| !known.contains(&feed.array));
    unknown.map(|feed| DataError::NoSuchArray { name: feed.array.clone(), known: known.clone() }).collect()
}

/// The columns of a feed, with what becomes of each.
fn parts(table: &dyn Table, reading: &Reading, feed: &Feed, said: bool) -> Result<Vec<(usize, How)>, DataError> {
    let columns = table.columns();
    let mut found = Vec::new();
    let mut missing = Vec::new();
    for part in &feed.parts {
        let before = found.len();
        let name = match &part.column {
            Name::Column(name) => {
                found.extend(columns.iter().position(|column| column == name).map(|at| (at, part.how.clone())));
                name.clone()
            }
            Name::Pattern(glob) => {
                let named: BTreeSet<&str> = reading.columns.named().chain([GROUP]).collect();
                let fits = |name: &str| !name.is_empty() && glob.matches(name) && !named.contains(name);
                let all = columns.iter().enumerate().filter(|(_, name)| fits(name));
                found.extend(all.map(|(at, _)| (at, part.how.clone())));
                glob.to_string()
            }
        };
        if found.len() == before {
            missing.push(name);
        }
    }
    match missing.is_empty() {
        true => Ok(found),
        false => Err(DataError::NoColumn {
            path: table.path().to_owned(),
            array: feed.array.clone(),
            said,
            missing,
            present: columns.to_vec(),
        }),
    }
}

impl Wanted<'_> {
    fn wants(&self) -> impl Iterator<Item = (usize, Want<'_>)> {
        let alone = (self.parts.len() == 1).then_some(self.dims);
        self.parts.iter().map(move |(column, how)| {
            let want = match (how, self.kind) {
                (How::Vocabulary { .. } | How::Sorted, _) => Want::Texts,
                (_, Kind::Groups) => Want::Labels,
                (_, Kind::Ids(_)) => Want::Integers,
                (_, Kind::Floats | Kind::Reals) => Want::Floats(alone),
            };
            (*column, want)
        })
    }

    /// Some records of the array, by their cells of each of its columns.
    fn array(
        &self,
        records: &Records<'_>,
        cells: &mut [Cells],
        fitted: &BTreeMap<String, Vec<String>>,
    ) -> Result<Array, DataError> {
        let mut problems = Vec::new();
        let mut blocks = Vec::new();
        for ((column, how), cells) in self.parts.iter().zip(cells) {
            match self.block(records, &records.names[*column], how, cells, fitted) {
                Ok(block) => blocks.push(block),
                Err(problem) => problems.push(problem),
            }
        }
        match problems.is_empty() {
            true => Ok(joined(blocks)),
            false => Err(DataError::all(&records.path.display().to_string(), problems)),
        }
    }

    /// What one column adds to the array.
    fn block(
        &self,
        records: &Records<'_>,
        column: &str,
        how: &How,
        cells: &mut Cells,
        fitted: &BTreeMap<String, Vec<String>>,
    ) -> Result<Cells, DataError> {
        let whole = Column { records, name: column, missing: records.reading.missing.of(column) };
        match how {
            How::AsIs if self.kind == Kind::Groups => whole.groups(cells),
            How::AsIs => whole.filled(cells.taken(), matches!(self.kind, Kind::Ids(_))),
            How::Range { low, high, log } => match self.kind {
                Kind::Floats | Kind::Reals => Ok(scaled(whole.filled(cells.taken(), false)?, (*low, *high, *log))),
                _ => Err(whole.columns_error(
                    format!("`{column}` has a range, but `{}` takes integers", self.array),
                    "leave out the range, or state a vocabulary".to_owned(),
                )),
            },
            How::Vocabulary { names, others } => self.coded(&whole, names, *others, cells),
            How::Sorted => self.coded(&whole, &fitted[column], false, cells),
        }
    }

    /// Values of a vocabulary: a position each, or one number a value for an array of floats.
    fn coded(&self, column: &Column<'_>, names: &[String], others: bool, cells: &Cells) -> Result<Cells, DataError> {
        let count = names.len() + usize::from(others);
        if let Kind::Ids(Some(most)) = self.kind
            && count > most
        {
            let what = format!("`{}` has {count} values, but `{}` has only {most}", column.name, self.array);
            return Err(
                column.columns_error(what, "put what is rare together under `*`, or change the model".to_owned())
            );
        }
        let ids = column.positions(names, others, cells)?;
        Ok(match self.kind {
            Kind::Floats => {
                let mut values = vec![0.0; ids.len() * count];
                ids.iter().enumerate().for_each(|(record, &id)| values[record * count + id] = 1.0);
                Cells::new(vec![count], Numbers::Floats(values))
            }
            Kind::Reals => Cells::new(vec![], Numbers::Floats(ids.iter().map(|&id| id as f32).collect())),
            Kind::Ids(_) | Kind::Groups => {
                Cells::new(vec![], Numbers::Integers(ids.iter().map(|&id| id as i64).collect()))
            }
        })
    }
}

/// Some records of a table.
struct Records<'a> {
    path: &'a Path,
    /// Of all columns.
    names: &'a [String],
    reading: &'a Reading,
    /// The number of the first record.
    first: usize,
    place: &'a dyn Fn(usize) -> String,
}

impl Records<'_> {
    /// Where one of these records is.
    fn place(&self, record: usize) -> String {
        (self.place)(self.first + record)
    }
}

/// A column of some records, and what stands for its missing values.
struct Column<'a> {
    records: &'a Records<'a>,
    name: &'a str,
    missing: Option<&'a str>,
}

impl Column<'_> {
    fn columns_error(&self, what: String, help: String) -> DataError {
        DataError::Columns { path: self.records.path.to_owned(), what, help }
    }

    /// The cells with values for what is missing, if all of them are what was wanted.
    fn filled(&self, mut cells: Cells, integers: bool) -> Result<Cells, DataError> {
        let (path, column) = (self.records.path.to_owned(), self.name.to_owned());
        let mut problems = Vec::new();
        if cells.bad.count > 0 {
            let cells = std::mem::take(&mut cells.bad);
            problems.push(DataError::NotNumbers { path: path.clone(), column: column.clone(), integers, cells });
        }
        let width = cells.width();
        match self.missing {
            _ if cells.missing.is_empty() => {}
            Some(text) => {
                let wrong = || {
                    self.columns_error(
                        format!("the value `{text}` of --missing is no number that `{column}` can have"),
                        "give one value a column, as in --missing COLUMN=VALUE, and for the others apart".to_owned(),
                    )
                };
                match &mut cells.values {
                    Numbers::Floats(values) => {
                        let value = text.parse().map_err(|_| wrong())?;
                        cells.missing.iter().for_each(|&at| values[at] = value);
                    }
                    Numbers::Integers(values) => {
                        let value = text.parse().map_err(|_| wrong())?;
                        cells.missing.iter().for_each(|&at| values[at] = value);
                    }
                    Numbers::Bytes(values) => {
                        let value = text.parse().map_err(|_| wrong())?;
                        cells.missing.iter().for_each(|&at| values[at] = value);
                    }
                    Numbers::Texts(_) => {}
                }
            }
            None => problems.push(self.missing(cells.missing.iter().map(|at| at / width.max(1)))),
        }
        match problems.is_empty() {
            true => Ok(cells),
            false => Err(DataError::all(&path.display().to_string(), problems)),
        }
    }

    fn missing(&self, records: impl Iterator<Item = usize>) -> DataError {
        let mut cells = BadCells::default();
        records.for_each(|record| cells.add(self.records.place(record)));
        DataError::MissingValues { path: self.records.path.to_owned(), column: self.name.to_owned(), cells }
    }

    /// The position of each record's value in a vocabulary.
    fn positions(&self, names: &[String], others: bool, cells: &Cells) -> Result<Vec<usize>, DataError> {
        enum Place {
            At(usize),
            Missing,
            Unknown,
        }
        let texts = texts(cells);
        let find = |text: &str| names.iter().position(|name| name == text);
        let places: Vec<Place> = texts
            .pool
            .iter()
            .map(|text| match find(text) {
                Some(at) => Place::At(at),
                None if is_missing(text) => match self.missing.and_then(find) {
                    Some(at) => Place::At(at),
                    None if others => Place::At(names.len()),
                    None => Place::Missing,
                },
                None if others => Place::At(names.len()),
                None => Place::Unknown,
            })
            .collect();
        let mut missing = Vec::new();
        let mut unknown = BadCells::default();
        let mut positions = Vec::with_capacity(texts.ids.len());
        for (record, &id) in texts.ids.iter().enumerate() {
            match places[id as usize] {
                Place::At(at) => positions.push(at),
                Place::Missing => missing.push(record),
                Place::Unknown => {
                    unknown.add(format_args!("\"{}\" in {}", texts.pool[id as usize], self.records.place(record)));
                }
            }
        }
        let path = self.records.path;
        let mut problems = Vec::new();
        if unknown.count > 0 {
            let (path, column) = (path.to_owned(), self.name.to_owned());
            problems.push(DataError::NotInVocabulary { path, column, names: names.to_vec(), cells: unknown });
        }
        if !missing.is_empty() {
            problems.push(self.missing(missing.into_iter()));
        }
        match problems.is_empty() {
            true => Ok(positions),
            false => Err(DataError::all(&path.display().to_string(), problems)),
        }
    }

    /// Groups by their numbers or names; nothing stands for a missing one.
    fn groups(&self, cells: &mut Cells) -> Result<Cells, DataError> {
        match &cells.values {
            Numbers::Texts(texts) => {
                let without = |id: u32| is_missing(&texts.pool[id as usize]);
                let missing: Vec<usize> = (0..texts.ids.len()).filter(|&at| without(texts.ids[at])).collect();
                if !missing.is_empty() {
                    return Err(self.missing(missing.into_iter()));
                }
                let ids = texts.ids.iter().map(|&id| i64::from(id)).collect();
                Ok(Cells::new(vec![], Numbers::Integers(ids)))
            }
            _ if !cells.missing.is_empty() => Err(self.missing(cells.missing.iter().copied())),
            _ => Ok(cells.taken()),
        }
    }
}

/// Numbers limited to a range, which becomes [0, 1].
fn scaled(mut cells: Cells, (low, high, log): (f32, f32, bool)) -> Cells {
    let scale = |value: f32| match log {
        false => (value.clamp(low, high) - low) / (high - low),
        true => (value.clamp(low, high) - low).ln_1p() / (high - low).ln_1p(),
    };
    cells.values = Numbers::Floats(match cells.values {
        Numbers::Floats(values) => values.into_iter().map(scale).collect(),
        Numbers::Bytes(values) => values.into_iter().map(|value| scale(f32::from(value))).collect(),
        other => return Cells { values: other, ..cells },
    });
    cells
}

/// The blocks of an array beside each other: one with its own dims, several as one axis.
fn joined(mut blocks: Vec<Cells>) -> Array {
    let width: usize = blocks.iter().map(Cells::width).sum();
    if let [_] = blocks.as_slice() {
        let block = blocks.remove(0);
        let records = block.values.len() / width.max(1);
        let dims = [vec![records], block.dims].concat();
        return match block.values {
            Numbers::Floats(values) => Array::from_f32(dims, &values),
            Numbers::Integers(values) => Array::from_i64(dims, &values),
            Numbers::Bytes(values) => Array::new(DType::U8, dims, values).expect("as many as the dims say"),
            Numbers::Texts(_) => unreachable!("texts have become numbers"),
        };
    }
    let records = blocks.first().map_or(0, |block| block.values.len() / block.width().max(1));
    let dims = vec![records, width];
    let integers = blocks.iter().all(|block| matches!(block.values, Numbers::Integers(_)));
    if integers {
        return Array::from_i64(
            dims,
            &beside(&blocks, records, width, |values, at| match values {
                Numbers::Integers(values) => values[at],
                _ => unreachable!("all blocks are integers"),
            }),
        );
    }
    Array::from_f32(
        dims,
        &beside(&blocks, records, width, |values, at| match values {
            Numbers::Floats(values) => values[at],
            Numbers::Bytes(values) => f32::from(values[at]),
            Numbers::Integers(values) => values[at] as f32,
            Numbers::Texts(_) => unreachable!("texts have become numbers"),
        }),
    )
}

fn beside<T>(blocks: &[Cells], records: usize, width: usize, get: impl Fn(&Numbers, usize) -> T) -> Vec<T> {
    let mut all = Vec::with_capacity(records * width);
    for record in 0..records {
        for block in blocks {
            let own = block.width();
            all.extend((record * own..(record + 1) * own).map(|at| get(&block.values, at)));
        }
    }
    all
}
