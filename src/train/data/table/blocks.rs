//! From the cells of columns to some records of an array, and what is wrong with cells.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

use super::super::array::{Array, DType};
use super::super::error::{BadCells, DataError};
use super::super::tokens::{Tokens, TokensOf};
use super::mapping::How;
use super::missing::is_missing;
use super::vocabulary::texts;
use super::wanted::{Kind, Wanted};
use super::{Cells, Numbers, Part, Reading};

/// Some records of a table.
pub struct Records<'a> {
    path: &'a Path,
    /// Of all columns.
    names: &'a [String],
    reading: &'a Reading,
    /// The number of the first record.
    first: usize,
    place: &'a dyn Fn(usize) -> String,
    /// Those of texts that have been made, by the column and how many of each.
    tokens: RefCell<BTreeMap<(String, usize), TokenLists>>,
}

/// The tokens of a column's texts, in order.
type TokenLists = Rc<Vec<Tokens>>;

impl<'a> Records<'a> {
    /// The records of a part of a table.
    pub fn new(path: &'a Path, names: &'a [String], reading: &'a Reading, part: &Part<'a>) -> Self {
        Self { path, names, reading, first: part.first, place: part.place, tokens: RefCell::default() }
    }

    /// Where one of these records is.
    fn place(&self, record: usize) -> String {
        (self.place)(self.first + record)
    }
}

impl Wanted<'_> {
    /// Some records of the array, by their cells of each of its columns.
    pub fn array(
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
            How::AsIs => whole.filled(cells.taken(), self),
            How::Range { low, high, log } => match self.kind {
                Kind::Floats | Kind::Reals => Ok(scaled(whole.filled(cells.taken(), self)?, (*low, *high, *log))),
                _ => Err(whole.columns_error(
                    format!("`{column}` has a range, but `{}` takes integers", self.array),
                    "leave out the range, or state a vocabulary".to_owned(),
                )),
            },
            How::Vocabulary { names, others } => self.coded(&whole, names, *others, cells),
            How::Sorted => self.coded(&whole, &fitted[column], false, cells),
            How::Tokens(of) => self.tokens(&whole, *of, cells),
        }
    }

    /// Tokens of texts, as many of each.
    fn tokens(&self, column: &Column<'_>, of: TokensOf, cells: &Cells) -> Result<Cells, DataError> {
        let tokens = column.tokens(self.dims[0], cells)?;
        let all = texts(cells).ids.iter().flat_map(|&id| tokens[id as usize].of(of));
        Ok(Cells::new(
            self.dims.to_vec(),
            match self.kind {
                Kind::Ids(_) | Kind::Groups => Numbers::Integers(all.map(|&value| value.into()).collect()),
                Kind::Floats | Kind::Reals => Numbers::Floats(all.map(|&value| value as f32).collect()),
            },
        ))
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
    fn filled(&self, mut cells: Cells, wanted: &Wanted<'_>) -> Result<Cells, DataError> {
        let (path, column) = (self.records.path.to_owned(), self.name.to_owned());
        let mut problems = Vec::new();
        if cells.bad.count > 0 {
            let cells = std::mem::take(&mut cells.bad);
            let (path, column) = (path.clone(), column.clone());
            problems.push(match wanted.form {
                Some(form) => DataError::BadImages { path, column, size: form.size, cells },
                None => DataError::NotNumbers { path, column, integers: matches!(wanted.kind, Kind::Ids(_)), cells },
            });
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

    /// The tokens of each text that there is of these cells. Those that an array before this one was made of are had again.
    fn tokens(&self, length: usize, cells: &Cells) -> Result<Rc<Vec<Tokens>>, DataError> {
        let key = (self.name.to_owned(), length);
        if let Some(tokens) = self.records.tokens.borrow().get(&key) {
            return Ok(tokens.clone());
        }
        let texts = texts(cells);
        let is_nothing = |id: u32| texts.pool[id as usize].is_empty();
        let stand_in = match self.missing {
            Some(text) => text,
            None => {
                let missing: Vec<usize> = (0..texts.ids.len()).filter(|&at| is_nothing(texts.ids[at])).collect();
                if !missing.is_empty() {
                    return Err(self.missing(missing.into_iter()));
                }
                ""
            }
        };
        let pool = texts.pool.iter().map(|text| if text.is_empty() { stand_in } else { text });
        let tokenizer = self.records.reading.tokenizer.as_ref().expect("tokens are had by a tokenizer");
        let encoded = tokenizer.encode(&pool.collect::<Vec<_>>(), length)?;
        let mut bad = BadCells::default();
        for (record, &id) in texts.ids.iter().enumerate() {
            if let Err(what) = &encoded[id as usize] {
                bad.add(format_args!("{} {what}", self.records.place(record)));
            }
        }
        if bad.count > 0 {
            let (path, column) = (self.records.path.to_owned(), self.name.to_owned());
            return Err(DataError::BadTexts { path, column, cells: bad });
        }
        let tokens: Rc<Vec<Tokens>> = Rc::new(encoded.into_iter().filter_map(Result::ok).collect());
        self.records.tokens.borrow_mut().insert(key, tokens.clone());
        Ok(tokens)
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
                    unknown.add(format_args!(
                        "{} in {}",
                        BadCells::shown(&texts.pool[id as usize]),
                        self.records.place(record)
                    ));
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
