//! What a data set holds, for its owner to look at: nothing here is private.

use std::collections::BTreeMap;

use serde::Serialize;

use super::error::DataError;
use super::source::{self, Source};
use super::stored::Stored;
use super::table::{Cells, Numbers, Reading, Table, Want, feeds, is_missing};
use crate::schema::{Dims, GROUP, InputKind, InputSchema, LABEL, Schema, TargetKind, TargetSchema};

/// As many different values are counted one by one.
const COUNTED: usize = 20;
/// Columns that are in memory at a time.
const AT_A_TIME: usize = 64;

/// What a data set holds.
#[derive(Debug, Serialize)]
pub struct Description {
    pub records: usize,
    /// The columns of a table, or the arrays.
    pub columns: Vec<Described>,
}

/// What one column or array holds.
#[derive(Debug, PartialEq, Serialize)]
pub struct Described {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: String,
    /// The least and the largest of its finite numbers, where it has some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range: Option<[f64; 2]>,
    pub missing: usize,
    pub nonfinite: usize,
    /// How often each value occurs, where they are classes by what they look like: few integers, or texts. The most
    /// frequent first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub counts: Vec<(String, usize)>,
    /// How many different values there are, where those are counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub different: Option<usize>,
    /// The arrays of the model that it would feed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub feeds: Vec<String>,
}

/// Describes the data that `spec` names, and what of a model that takes `schema` they would feed.
///
/// # Errors
/// Where they cannot be read at all. What does not fit the model is no error here, but one of [`super::Dataset::load_as`].
pub fn describe(spec: &str, schema: Option<&Schema>, reading: &Reading) -> Result<Description, DataError> {
    match source::table(spec)? {
        Some(mut table) => of_table(&mut *table, schema, reading),
        None => of_arrays(spec, schema),
    }
}

fn of_table(table: &mut dyn Table, schema: Option<&Schema>, reading: &Reading) -> Result<Description, DataError> {
    let names = table.columns().to_vec();
    let mut fed: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for (array, columns) in schema.into_iter().flat_map(|schema| feeds(&*table, reading, schema)) {
        columns.into_iter().for_each(|column| fed.entry(column).or_default().push(array.clone()));
    }
    let mut description = Description { records: 0, columns: vec![] };
    let all: Vec<usize> = (0..names.len()).collect();
    let mut problems = Vec::new();
    for columns in all.chunks(AT_A_TIME) {
        let want = |&column: &usize| Some((column, table.described_as(column)?));
        let wants: Vec<(usize, Want<'static>)> = columns.iter().filter_map(want).collect();
        let mut counted: Vec<Counted> = wants.iter().map(|(column, _)| Counted::new(table.type_of(*column))).collect();
        let mut records = 0;
        // Rows that are cut off are told when the data are loaded.
        table.read(&wants, &mut problems, &mut |part| {
            for (cells, counted) in part.cells.iter().zip(&mut counted) {
                records = part.first + cells.values.len() / cells.width().max(1);
                counted.add(cells);
            }
            Ok(())
        })?;
        description.records = description.records.max(records);
        let mut counted = wants.iter().map(|(column, _)| *column).zip(counted).peekable();
        for &column in columns {
            let described = match counted.next_if(|(wanted, _)| *wanted == column) {
                Some((_, counted)) => counted.described(),
                None => Described::new(table.type_of(column)),
            };
            let feeds = fed.remove(&column).unwrap_or_default();
            description.columns.push(Described { name: names[column].clone(), feeds, ..described });
        }
    }
    Ok(description)
}

/// What is known of a column so far.
struct Counted {
    /// The type, as the table says.
    kind: String,
    described: Described,
    dims: Vec<usize>,
    integers: Option<BTreeMap<i64, usize>>,
    /// Texts, and how often each occurs.
    texts: Option<(Vec<String>, Vec<usize>)>,
}

impl Counted {
    fn new(kind: String) -> Self {
        Self { described: Described::new(kind.clone()), kind, dims: vec![], integers: None, texts: None }
    }

    fn add(&mut self, cells: &Cells) {
        self.dims.clone_from(&cells.dims);
        self.described.missing += cells.missing.len();
        match &cells.values {
            Numbers::Texts(texts) => {
                let (pool, counts) = self.texts.get_or_insert_default();
                pool.extend_from_slice(&texts.pool[pool.len()..]);
                counts.resize(pool.len(), 0);
                texts.ids.iter().for_each(|&id| counts[id as usize] += 1);
            }
            Numbers::Floats(values) => present(values, cells).for_each(|value| self.described.add(value)),
            Numbers::Bytes(values) => present(values, cells).for_each(|value| self.described.add(f32::from(value))),
            Numbers::Integers(values) => {
                let counts = self.integers.get_or_insert_default();
                present(values, cells).for_each(|value| self.described.count(value, counts));
            }
        }
    }

    fn described(self) -> Described {
        let kind = match self.dims.is_empty() {
            true => self.kind,
            false => format!("{}{}", self.kind, Dims(&self.dims)),
        };
        if let Some((pool, counts)) = self.texts {
            return of_texts(kind, &pool, counts);
        }
        let described = Described { kind, ..self.described };
        match self.integers {
            Some(counts) => described.classes(counts),
            None => described,
        }
    }
}

/// The values that are not missing, in whose places something else stands.
fn present<T: Copy>(values: &[T], cells: &Cells) -> impl Iterator<Item = T> {
    let mut missing = cells.missing.iter().peekable();
    values.iter().enumerate().filter(move |(at, _)| missing.next_if_eq(&at).is_none()).map(|(_, &value)| value)
}

/// Texts, which are numbers where all of them are.
fn of_texts(kind: String, pool: &[String], counts: Vec<usize>) -> Described {
    let (missing, present): (Vec<_>, Vec<_>) = pool.iter().zip(counts).partition(|(text, _)| is_missing(text));
    let missing = missing.iter().map(|(_, count)| count).sum();
    let numbers: Option<Vec<f32>> = present.iter().map(|(text, _)| text.parse().ok()).collect();
    let integers = present.iter().all(|(text, _)| text.parse::<i64>().is_ok());
    let different = present.len();
    let kind = match (kind.as_str(), &numbers) {
        _ if different == 0 => "nothing",
        ("text", Some(_)) if integers => "integer",
        ("text", Some(_)) => "number",
        (kind, _) => kind,
    };
    let is_class = numbers.is_none() || integers && different <= COUNTED;
    let described = match numbers {
        Some(numbers) => {
            let mut described = Described::new(kind.to_owned());
            numbers.into_iter().for_each(|number| described.add(number));
            described
        }
        None => Described::new(kind.to_owned()),
    };
    let counts = present.into_iter().map(|(text, count)| (text.clone(), count)).collect();
    Described { missing, ..if is_class { described.counted(counts, different) } else { described } }
}

impl Described {
    fn new(kind: String) -> Self {
        let name = String::new();
        Self { name, kind, range: None, missing: 0, nonfinite: 0, counts: vec![], different: None, feeds: vec![] }
    }

    fn add(&mut self, value: f32) {
        match value.is_finite() {
            true => self.widen(f64::from(value)),
            false => self.nonfinite += 1,
        }
    }

    fn count(&mut self, value: i64, counts: &mut BTreeMap<i64, usize>) {
        self.widen(value as f64);
        if counts.len() <= COUNTED {
            *counts.entry(value).or_insert(0) += 1;
        }
    }

    /// With the counts, where there are few enough different ones.
    fn classes(self, counts: BTreeMap<i64, usize>) -> Self {
        let different = counts.len();
        let counts = counts.into_iter().map(|(value, count)| (value.to_string(), count)).collect();
        if different <= COUNTED { self.counted(counts, different) } else { self }
    }

    fn widen(&mut self, value: f64) {
        let [low, high] = self.range.get_or_insert([value, value]);
        (*low, *high) = (low.min(value), high.max(value));
    }

    fn counted(mut self, mut counts: Vec<(String, usize)>, different: usize) -> Self {
        counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        counts.truncate(COUNTED);
        (self.counts, self.different) = (counts, Some(different));
        self
    }
}

fn of_arrays(spec: &str, schema: Option<&Schema>) -> Result<Description, DataError> {
    let any = Schema {
        inputs: vec![InputSchema { name: "input".to_owned(), dims: vec![], kind: InputKind::F32 }],
        targets: vec![TargetSchema::new(LABEL, &[], TargetKind::Real { within: None })],
    };
    let mut source = Source::open(spec, schema.unwrap_or(&any), &Reading::default(), &|_| {})?;
    let mut description = Description { records: 0, columns: vec![] };
    for name in source.names() {
        let array = source.read(&name)?;
        description.records = description.records.max(array.dims().first().copied().unwrap_or(0));
        let takes = |schema: &Schema| {
            let inputs = schema.inputs.iter().map(|input| &input.name);
            inputs.chain(schema.targets.iter().map(|target| &target.name)).any(|taken| *taken == name) || name == GROUP
        };
        let feeds = schema.filter(|schema| takes(schema)).map(|_| name.clone()).into_iter().collect();
        description.columns.push(Described { name, feeds, ..of_array(&array)? });
    }
    Ok(description)
}

fn of_array(array: &Stored) -> Result<Described, DataError> {
    let (dtype, dims) = (array.dtype(), array.dims());
    let is_label = dims.get(1..).unwrap_or_default().iter().product::<usize>() == 1 && !dtype.is_float();
    let mut described = Described::new(format!("{}{}", dtype.name(), Dims(dims)));
    let (mut counts, mut integers, mut floats) = (BTreeMap::new(), Vec::new(), Vec::new());
    array.read(0..dims.iter().product(), &mut |bytes| {
        integers.clear();
        floats.clear();
        match is_label {
            true => _ = dtype.decode_i64(bytes, &mut integers),
            false => dtype.decode_f32(bytes, &mut floats),
        }
        integers.iter().for_each(|&value| described.count(value, &mut counts));
        floats.iter().for_each(|&value| described.add(value));
    })?;
    Ok(if is_label { described.classes(counts) } else { described })
}

#[cfg(test)]
mod tests {
    use super::super::{Array, npz};
    use super::*;

    fn described(name: &str, write: impl FnOnce(&std::path::Path), columns: &str) -> Description {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(name);
        write(&path);
        let schema = Schema {
            inputs: vec![InputSchema { name: "input".to_owned(), dims: vec![2], kind: InputKind::F32 }],
            targets: vec![TargetSchema::new(LABEL, &[], TargetKind::Class { classes: 2, ignore_index: None })],
        };
        let reading = Reading { columns: columns.parse().unwrap(), ..Reading::default() };
        describe(path.to_str().unwrap(), Some(&schema), &reading).unwrap()
    }

    #[test]
    fn columns_have_types_ranges_and_counts() {
        let text = "age,job,x,label\n17,clerk,inf,0\n,teacher,0.5,1\n90,clerk,-2,1\n";
        let description = described("t.csv", |path| std::fs::write(path, text).unwrap(), "input=age,job{clerk|*}");
        assert_eq!(description.records, 3);
        let count = |text: &str, count| (text.to_owned(), count);
        let new = |name: &str, kind: &str| Described { name: name.to_owned(), ..Described::new(kind.to_owned()) };
        let feeds = |array: &str| vec![array.to_owned()];
        assert_eq!(
            description.columns,
            [
                Described {
                    range: Some([17.0, 90.0]),
                    missing: 1,
                    counts: vec![count("17", 1), count("90", 1)],
                    different: Some(2),
                    feeds: feeds("input"),
                    ..new("age", "integer")
                },
                Described {
                    counts: vec![count("clerk", 2), count("teacher", 1)],
                    different: Some(2),
                    feeds: feeds("input"),
                    ..new("job", "text")
                },
                Described { range: Some([-2.0, 0.5]), nonfinite: 1, ..new("x", "number") },
                Described {
                    range: Some([0.0, 1.0]),
                    counts: vec![count("1", 2), count("0", 1)],
                    different: Some(2),
                    feeds: feeds("label"),
                    ..new("label", "integer")
                },
            ]
        );
    }

    #[test]
    fn arrays_are_described_too() {
        let arrays = [
            ("input".to_owned(), Array::from_f32(vec![2, 2], &[0.0, 1.0, 2.0, f32::NAN])),
            ("label".to_owned(), Array::from_i64(vec![2], &[1, 1])),
            ("other".to_owned(), Array::from_i64(vec![2, 2], &[5, 6, 7, 8])),
        ];
        let description = described("t.npz", |path| npz::write(path, &arrays.into()).unwrap(), "label=label");
        let [input, label, other] = description.columns.try_into().expect("three arrays");
        assert_eq!((input.kind.as_str(), input.range, input.nonfinite), ("float32[2, 2]", Some([0.0, 2.0]), 1));
        assert_eq!((label.counts, label.feeds), (vec![("1".to_owned(), 2)], vec!["label".to_owned()]));
        assert_eq!((other.range, other.counts, other.feeds), (Some([5.0, 8.0]), vec![], vec![]));
    }
}
