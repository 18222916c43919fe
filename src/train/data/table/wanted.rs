//! The arrays that a model takes of a table, and the columns that feed each.

use std::collections::BTreeSet;

use super::super::error::DataError;
use super::super::images::{Form, Size};
use super::super::tokens::TokensOf;
use super::mapping::{Feed, How, Name, Part};
use super::{Reading, Table, Want};
use crate::schema::{Dims, GROUP, InputKind, Schema, TargetKind};

/// What an array is to be made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
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
pub struct Wanted<'a> {
    pub array: &'a str,
    pub dims: &'a [usize],
    pub kind: Kind,
    pub parts: Vec<(usize, How)>,
    /// What becomes of images, where it is made of them.
    pub form: Option<Form>,
}

/// What each array of `schema` is made of; the groups only where there are some.
pub fn wanted<'a>(
    table: &dyn Table,
    reading: &Reading,
    schema: &'a Schema,
) -> Vec<(&'a str, Result<Wanted<'a>, DataError>)> {
    let has = |name: &str| table.columns().iter().any(|column| column == name);
    let images: Vec<usize> = (0..table.columns().len()).filter(|&column| table.is_image(column)).collect();
    let mut all = Vec::new();
    for (array, dims, kind) in kinds(schema) {
        let said = reading.columns.of(array);
        if kind == Kind::Groups && said.is_none() && !has(GROUP) {
            continue;
        }
        // Whatever the only input is called, the only images are what it takes.
        let own = match (images.as_slice(), schema.inputs.as_slice()) {
            (&[image], [input]) if input.name == array && !has(array) => &table.columns()[image],
            _ => array,
        };
        let own = Feed { array: array.to_owned(), parts: vec![Part::of(own)] };
        let is_input = schema.inputs.iter().any(|input| input.name == array);
        let wanted = parts(table, reading, said.unwrap_or(&own), said.is_some()).and_then(|mut parts| {
            if is_input {
                tokenized(table, reading, array, dims, kind, &mut parts);
            }
            check_tokens(table, reading, array, dims, kind, &parts)?;
            let form = form(table, reading.resize, array, dims, kind, &parts)?;
            Ok(Wanted { array, dims, kind, parts, form })
        });
        all.push((array, wanted));
    }
    with_masks(reading, schema, &mut all);
    all
}

/// Takes a column of texts as tokens, where there is a tokenizer and an input takes several numbers of it.
fn tokenized(
    table: &dyn Table,
    reading: &Reading,
    array: &str,
    dims: &[usize],
    kind: Kind,
    parts: &mut [(usize, How)],
) {
    let ([(column, how @ How::AsIs)], &[length], true) = (parts, dims, reading.tokenizer.is_some()) else { return };
    let of = TokensOf::by_name(array);
    let takes = matches!(kind, Kind::Ids(_)) || kind == Kind::Floats && of != TokensOf::Ids;
    if length > 1 && takes && table.is_text(*column) {
        *how = How::Tokens(of);
    }
}

/// Whether tokens can be had where they are wanted.
fn check_tokens(
    table: &dyn Table,
    reading: &Reading,
    array: &str,
    dims: &[usize],
    kind: Kind,
    parts: &[(usize, How)],
) -> Result<(), DataError> {
    let Some((column, _)) = parts.iter().find(|(_, how)| matches!(how, How::Tokens(_))) else { return Ok(()) };
    let column = &table.columns()[*column];
    let error = |what: String, help: &str| {
        Err(DataError::Columns { path: table.path().to_owned(), what, help: help.to_owned() })
    };
    if reading.tokenizer.is_none() {
        return error(format!("`{column}` is to become tokens"), "say which, with --tokenizer tokenizer.json");
    }
    if parts.len() > 1 || kind == Kind::Groups {
        let help = "feed tokens to an array of their own";
        return error(format!("`{array}` is made of more than the tokens of `{column}`"), help);
    }
    match dims {
        [_] => Ok(()),
        _ => {
            let what = format!("`{array}` takes records of shape {}, and tokens are of shape [LENGTH]", Dims(dims));
            error(what, "feed tokens to an array of one axis")
        }
    }
}

/// Feeds what the table does not have of masks and types from the only column that becomes ids of the same length.
fn with_masks<'a>(reading: &Reading, schema: &'a Schema, all: &mut [(&'a str, Result<Wanted<'a>, DataError>)]) {
    let mut ids: Vec<(usize, &[usize])> = Vec::new();
    for wanted in all.iter().filter_map(|(_, wanted)| wanted.as_ref().ok()) {
        if let [(column, How::Tokens(TokensOf::Ids))] = wanted.parts.as_slice() {
            ids.push((*column, wanted.dims));
        }
    }
    let &[(column, length)] = ids.as_slice() else { return };
    let inputs = kinds(schema).take(schema.inputs.len());
    for ((array, wanted), (_, dims, kind)) in all.iter_mut().zip(inputs) {
        let of = TokensOf::by_name(array);
        let is_free =
            matches!(wanted, Err(DataError::NoColumn { said: false, .. })) && reading.columns.of(array).is_none();
        if is_free && of != TokensOf::Ids && dims == length {
            *wanted = Ok(Wanted { array, dims, kind, parts: vec![(column, How::Tokens(of))], form: None });
        }
    }
}

/// The arrays of `schema` that a table feeds, each with its columns. What lacks a column is left out.
pub fn feeds(table: &dyn Table, reading: &Reading, schema: &Schema) -> Vec<(String, Vec<usize>)> {
    let of = |wanted: Wanted<'_>| wanted.parts.into_iter().map(|(column, _)| column).collect();
    let feeds = wanted(table, reading, schema).into_iter();
    feeds.filter_map(|(array, wanted)| Some((array.to_owned(), of(wanted.ok()?)))).collect()
}

/// What becomes of images, where an array is made of them.
fn form(
    table: &dyn Table,
    resize: Option<Size>,
    array: &str,
    dims: &[usize],
    kind: Kind,
    parts: &[(usize, How)],
) -> Result<Option<Form>, DataError> {
    if !parts.iter().any(|(column, how)| table.is_image(*column) && *how == How::AsIs) {
        return Ok(None);
    }
    let unfit = |(what, help)| DataError::Images { path: table.path().to_owned(), array: array.to_owned(), what, help };
    match (parts, kind) {
        ([_], Kind::Floats) => Ok(Some(Form::of(dims, resize).map_err(unfit)?)),
        ([_], _) => Err(unfit((
            "it does not take the floats of an input".to_owned(),
            "feed images to an input of the model that takes floats".to_owned(),
        ))),
        _ => Err(unfit((
            "other columns are beside them".to_owned(),
            "let a column of images make up an array alone".to_owned(),
        ))),
    }
}

impl Part {
    fn of(column: &str) -> Self {
        Self { column: Name::Column(column.to_owned()), how: How::AsIs }
    }
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

/// What is wrong with the names of the columns.
pub fn header_problems(table: &dyn Table) -> Vec<DataError> {
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

/// What is said of arrays that the model does not take.
pub fn unknown_arrays(reading: &Reading, schema: &Schema) -> Vec<DataError> {
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
    for (column, how) in &mut found {
        if *how == How::AsIs && table.vocabulary(*column).is_some() {
            *how = How::Sorted;
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
    /// What is wanted of each column.
    pub fn wants(&self) -> impl Iterator<Item = (usize, Want<'_>)> {
        let alone = (self.parts.len() == 1).then_some(self.dims);
        self.parts.iter().map(move |(column, how)| {
            let want = match (how, self.kind) {
                (How::Vocabulary { .. } | How::Sorted, _) => Want::Texts,
                (How::Tokens(_), _) => Want::Passages,
                (_, Kind::Groups) => Want::Labels,
                (How::AsIs, _) if let Some(form) = self.form => Want::Pixels(form),
                (_, Kind::Ids(_)) => Want::Integers,
                (_, Kind::Floats | Kind::Reals) => Want::Floats(alone),
            };
            (*column, want)
        })
    }
}
