//! From columns of Arrow's memory format to cells.

use std::fmt;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Decimal128Type, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, OffsetSizeTrait};
use arrow_schema::DataType;

use super::super::error::BadCells;
use super::arrow_images;
use super::csv::{float, integer, whole};
use super::{Cells, Interned, Numbers, Want};

/// The place of an element that the file does not have.
const NOTHING: usize = usize::MAX;
/// The place of an element of a list that is not as long as the others.
const OTHER_LENGTH: usize = usize::MAX - 1;

/// The cells of one column, as its batches are read.
pub struct Gathered<'a> {
    want: Want<'a>,
    /// What there is so far; nothing before the first batch.
    cells: Option<Cells>,
    records: usize,
}

impl<'a> Gathered<'a> {
    pub fn new(want: Want<'a>) -> Self {
        Self { want, cells: None, records: 0 }
    }

    /// The cells that were read since they were last given back, of which there may be none.
    pub fn lend(&mut self) -> Cells {
        let want = self.want;
        self.cells.take().unwrap_or_else(|| Cells::new(vec![], empty(want, &DataType::Null, false)))
    }

    /// Takes back cells to go on with: their dims and their kind are those of all that follow.
    pub fn give_back(&mut self, cells: Cells) {
        self.cells = Some(cells);
    }

    /// Adds a batch of the column; `place` says where a record is.
    ///
    /// # Errors
    /// The type, where dpc does not read it or it is another than that of the batches before.
    pub fn push(&mut self, array: &ArrayRef, place: &dyn Fn(usize) -> String) -> Result<(), String> {
        let before = self.records;
        self.records += array.len();
        if arrow_images::is_image(array.data_type()) {
            let dims = match self.want {
                Want::Pixels(form) => form.dims(),
                Want::Texts => vec![],
                _ => return Err("image".to_owned()),
            };
            let new = || Cells::new(dims, empty(self.want, array.data_type(), false));
            let cells = self.cells.get_or_insert_with(new);
            arrow_images::push(array, self.want, cells, &|row| place(before + row));
            return Ok(());
        }
        let place = |element: usize, width: usize| place(before + element / width.max(1));
        let known = self.cells.as_ref().map(|cells| cells.dims.clone());
        let wanted = match self.want {
            Want::Floats(wanted) => wanted,
            _ => None,
        };
        let mut lists = Lists { dims: vec![], known, wanted, bad: vec![] };
        let (leaf, at) = lists.open(array.clone(), (0..array.len()).collect());
        let want = self.want;
        let new = || Cells::new(lists.dims.clone(), empty(want, leaf.data_type(), !lists.dims.is_empty()));
        let cells = self.cells.get_or_insert_with(new);
        if cells.dims != lists.dims {
            return Err(format!("{}, and lists of other depth before it", array.data_type()));
        }
        for (record, length) in lists.bad {
            cells.bad.add(format_args!("a list of {length} in {}", place(record, 1)));
        }
        let width = cells.width();
        let start = cells.values.len();
        let bad = &mut cells.bad;
        match &mut cells.values {
            Numbers::Floats(values) => read(&*leaf, &at, &mut |element, value| {
                let value = match value {
                    None => Some(0.0),
                    Some(Value::Float(value)) => Some(value as f32),
                    Some(Value::Integer(value)) => Some(value as f32),
                    Some(Value::Text(text)) => float(text).or_else(|| {
                        bad.add(format_args!("{} in {}", BadCells::shown(text), place(element, width)));
                        None
                    }),
                };
                values.push(value.unwrap_or_default());
            })?,
            Numbers::Bytes(values) => read(&*leaf, &at, &mut |_, value| {
                values.push(match value {
                    Some(Value::Integer(value)) => value as u8,
                    _ => 0,
                });
            })?,
            Numbers::Integers(values) => read(&*leaf, &at, &mut |element, value| {
                let found = match &value {
                    None => Some(0),
                    Some(Value::Integer(value)) => i64::try_from(*value).ok(),
                    Some(Value::Float(value)) => whole(*value),
                    Some(Value::Text(text)) => integer(text),
                };
                if let (None, Some(value)) = (found, value) {
                    bad.add(format_args!("{} in {}", BadCells::shown(&value.to_string()), place(element, width)));
                }
                values.push(found.unwrap_or_default());
            })?,
            Numbers::Texts(texts) => read(&*leaf, &at, &mut |_, value| match value {
                None => texts.push(""),
                Some(Value::Text(text)) => texts.push(text),
                Some(value) => texts.push(&value.to_string()),
            })?,
        }
        let nothing = |at: usize| at == NOTHING || at != OTHER_LENGTH && leaf.is_null(at);
        if !matches!(cells.values, Numbers::Texts(_)) {
            cells.missing.extend((0..at.len()).filter(|&element| nothing(at[element])).map(|element| start + element));
        }
        Ok(())
    }
}

fn empty(want: Want<'_>, kind: &DataType, is_list: bool) -> Numbers {
    match want {
        // Numbers of their own are numbers, whatever their type; lists of bytes are what arrays of bytes are.
        Want::Floats(_) if is_list && *kind == DataType::UInt8 => Numbers::Bytes(vec![]),
        Want::Floats(_) => Numbers::Floats(vec![]),
        Want::Pixels(_) => Numbers::Bytes(vec![]),
        Want::Integers => Numbers::Integers(vec![]),
        Want::Labels if kind.is_integer() => Numbers::Integers(vec![]),
        Want::Texts | Want::Labels => Numbers::Texts(Interned::default()),
        Want::Passages => Numbers::Texts(Interned::passing()),
    }
}

/// Lists within lists, opened one after another.
struct Lists<'a> {
    /// The lengths so far.
    dims: Vec<usize>,
    /// Those of the batches before.
    known: Option<Vec<usize>>,
    /// Those of the model.
    wanted: Option<&'a [usize]>,
    /// Records with a list of another length, and that length.
    bad: Vec<(usize, usize)>,
}

impl Lists<'_> {
    /// What lists and dictionaries hold in the end, and where in it the elements `at` of `array` are.
    fn open(&mut self, array: ArrayRef, at: Vec<usize>) -> (ArrayRef, Vec<usize>) {
        let held = |at: usize| at < OTHER_LENGTH && !array.is_null(at);
        match &array.data_type().clone() {
            DataType::Dictionary(..) => {
                let dictionary = array.as_any_dictionary();
                let values = dictionary.values().clone();
                let keys = if values.is_empty() { vec![] } else { dictionary.normalized_keys() };
                let through = |at: usize| match at {
                    OTHER_LENGTH => OTHER_LENGTH,
                    at if held(at) => keys[at],
                    _ => NOTHING,
                };
                let at = at.into_iter().map(through).collect();
                self.open(values, at)
            }
            DataType::List(_) => {
                let at = self.spread(&at, |at| held(at).then(|| span::<i32>(&array, at)));
                self.open(array.as_list::<i32>().values().clone(), at)
            }
            DataType::LargeList(_) => {
                let at = self.spread(&at, |at| held(at).then(|| span::<i64>(&array, at)));
                self.open(array.as_list::<i64>().values().clone(), at)
            }
            DataType::FixedSizeList(_, size) => {
                let size = usize::try_from(*size).unwrap_or_default();
                let list = array.as_fixed_size_list();
                let start = |at: usize| list.value_offset_at(at);
                let at = self.spread(&at, |at| held(at).then(|| (start(at), size)));
                self.open(list.values().clone(), at)
            }
            _ => (array, at),
        }
    }

    /// The elements of the lists `at`, whose start and length `span` knows unless there is nothing.
    fn spread(&mut self, at: &[usize], span: impl Fn(usize) -> Option<(usize, usize)>) -> Vec<usize> {
        let depth = self.dims.len();
        let before: usize = self.dims.iter().product();
        let known = self.known.as_ref().and_then(|known| known.get(depth)).copied();
        let first = || at.iter().find_map(|&at| span(at)).map(|(_, length)| length);
        let wanted = || self.wanted.and_then(|wanted| wanted.get(depth)).copied();
        let length = known.or_else(first).or_else(wanted).unwrap_or(1);
        let mut elements = Vec::with_capacity(at.len() * length);
        for (list, &at) in at.iter().enumerate() {
            match span(at) {
                Some((start, found)) if found == length => elements.extend(start..start + length),
                Some((_, found)) => {
                    self.bad.push((list / before.max(1), found));
                    elements.extend(std::iter::repeat_n(OTHER_LENGTH, length));
                }
                None => {
                    let nothing = if at == OTHER_LENGTH { OTHER_LENGTH } else { NOTHING };
                    elements.extend(std::iter::repeat_n(nothing, length));
                }
            }
        }
        self.dims.push(length);
        elements
    }
}

/// Where a list begins and how long it is.
fn span<O: OffsetSizeTrait>(array: &dyn Array, at: usize) -> (usize, usize) {
    let list = array.as_list::<O>();
    (list.value_offsets()[at].as_usize(), list.value_length(at).as_usize())
}

enum Value<'a> {
    Integer(i128),
    Float(f64),
    Text(&'a str),
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// Whether cells of this type can be read.
pub fn is_read(kind: &DataType) -> bool {
    match kind {
        DataType::Dictionary(_, values) => is_read(values),
        DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
            is_read(field.data_type())
        }
        DataType::Null | DataType::Boolean | DataType::Decimal128(..) => true,
        kind => kind.is_integer() || kind.is_floating() || is_text(kind),
    }
}

/// Whether cells of this type are texts.
pub fn is_text(kind: &DataType) -> bool {
    match kind {
        DataType::Dictionary(_, values) => is_text(values),
        kind => matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View),
    }
}

/// Hands each of the elements `at` to `push` with its number, `None` where there is nothing. Fails with the type where
/// dpc does not read it.
fn read(leaf: &dyn Array, at: &[usize], push: &mut dyn FnMut(usize, Option<Value<'_>>)) -> Result<(), String> {
    fn each<'a>(
        leaf: &dyn Array,
        at: &[usize],
        push: &mut dyn FnMut(usize, Option<Value<'_>>),
        value: impl Fn(usize) -> Value<'a>,
    ) {
        for (element, &at) in at.iter().enumerate() {
            push(element, (at < OTHER_LENGTH && !leaf.is_null(at)).then(|| value(at)));
        }
    }
    macro_rules! primitive {
        ($type:ty, $value:expr) => {{
            let values = leaf.as_primitive::<$type>().values();
            each(leaf, at, push, |at| $value(values[at]))
        }};
    }
    fn integer<'a>(value: impl Into<i128>) -> Value<'a> {
        Value::Integer(value.into())
    }
    fn real<'a>(value: impl Into<f64>) -> Value<'a> {
        Value::Float(value.into())
    }
    match leaf.data_type() {
        DataType::Null => each(leaf, at, push, |_| Value::Integer(0)),
        DataType::Boolean => {
            let values = leaf.as_boolean();
            each(leaf, at, push, |at| Value::Integer(i128::from(values.value(at))));
        }
        DataType::Int8 => primitive!(Int8Type, integer),
        DataType::Int16 => primitive!(Int16Type, integer),
        DataType::Int32 => primitive!(Int32Type, integer),
        DataType::Int64 => primitive!(Int64Type, integer),
        DataType::UInt8 => primitive!(UInt8Type, integer),
        DataType::UInt16 => primitive!(UInt16Type, integer),
        DataType::UInt32 => primitive!(UInt32Type, integer),
        DataType::UInt64 => primitive!(UInt64Type, integer),
        DataType::Float16 => {
            let values = leaf.as_primitive::<Float16Type>().values();
            each(leaf, at, push, |at| Value::Float(values[at].to_f64()));
        }
        DataType::Float32 => primitive!(Float32Type, real),
        DataType::Float64 => primitive!(Float64Type, real),
        DataType::Decimal128(_, scale) => {
            let (values, scale) = (leaf.as_primitive::<Decimal128Type>().values(), 10f64.powi(i32::from(*scale)));
            each(leaf, at, push, |at| Value::Float(values[at] as f64 / scale));
        }
        DataType::Utf8 => {
            let values = leaf.as_string::<i32>();
            each(leaf, at, push, |at| Value::Text(values.value(at)));
        }
        DataType::LargeUtf8 => {
            let values = leaf.as_string::<i64>();
            each(leaf, at, push, |at| Value::Text(values.value(at)));
        }
        DataType::Utf8View => {
            let values = leaf.as_string_view();
            each(leaf, at, push, |at| Value::Text(values.value(at)));
        }
        other => return Err(other.to_string()),
    }
    Ok(())
}
