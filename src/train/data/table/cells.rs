//! The cells of one column, in memory.

use std::collections::HashMap;

use super::super::error::BadCells;
use super::super::images::Form;

/// What a column is read as.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Want<'a> {
    /// Numbers, for records of these dims where the column alone makes up an array.
    Floats(Option<&'a [usize]>),
    Integers,
    /// Texts, such as the names of classes.
    Texts,
    /// Texts of any length, of which only those of a part are kept.
    Passages,
    /// The bytes of images in this form.
    Pixels(Form),
    /// Integers as they are, and of anything else its texts.
    Labels,
}

/// Records that are in memory at a time.
pub const ROWS: usize = 8192;
/// Bytes of images that are, at least one.
#[cfg(any(feature = "images", feature = "tables"))]
const IMAGE_BYTES: usize = 32 << 20;

#[cfg(any(feature = "images", feature = "tables"))]
impl Want<'_> {
    /// Records of such a column that are in memory at a time.
    pub fn rows(&self) -> usize {
        match self {
            Self::Pixels(form) => (IMAGE_BYTES / form.bytes().max(1)).clamp(1, ROWS),
            _ => ROWS,
        }
    }
}

/// The cells of a column.
#[derive(Debug)]
pub struct Cells {
    /// The shape of one cell: empty for a number or a text.
    pub dims: Vec<usize>,
    pub values: Numbers,
    /// The elements, counted over all cells, for which the file has nothing; their values mean nothing.
    pub missing: Vec<usize>,
    /// The cells that are not what was wanted; their values mean nothing.
    pub bad: BadCells,
}

#[derive(Debug)]
pub enum Numbers {
    Floats(Vec<f32>),
    /// Pixels and what else is measured in bytes.
    #[cfg_attr(not(any(feature = "images", feature = "tables")), expect(dead_code, reason = "no data hold images"))]
    Bytes(Vec<u8>),
    Integers(Vec<i64>),
    Texts(Interned),
}

impl Cells {
    /// No cells yet.
    pub fn new(dims: Vec<usize>, values: Numbers) -> Self {
        Self { dims, values, missing: Vec::new(), bad: BadCells::default() }
    }

    /// The cells, unless they are texts, of which none stay.
    pub fn taken(&mut self) -> Self {
        let values = match &mut self.values {
            Numbers::Floats(values) => Numbers::Floats(std::mem::take(values)),
            Numbers::Bytes(values) => Numbers::Bytes(std::mem::take(values)),
            Numbers::Integers(values) => Numbers::Integers(std::mem::take(values)),
            Numbers::Texts(_) => Numbers::Texts(Interned::default()),
        };
        let (missing, bad) = (std::mem::take(&mut self.missing), std::mem::take(&mut self.bad));
        Self { dims: self.dims.clone(), values, missing, bad }
    }

    /// Removes all cells. Texts keep their numbers, unless they are passing.
    pub fn clear(&mut self) {
        match &mut self.values {
            Numbers::Floats(values) => values.clear(),
            Numbers::Bytes(values) => values.clear(),
            Numbers::Integers(values) => values.clear(),
            Numbers::Texts(texts) if texts.passing => *texts = Interned::passing(),
            Numbers::Texts(texts) => texts.ids.clear(),
        }
        self.missing.clear();
        self.bad = BadCells::default();
    }

    /// Elements of one cell.
    pub fn width(&self) -> usize {
        self.dims.iter().product()
    }
}

impl Numbers {
    pub fn len(&self) -> usize {
        match self {
            Self::Floats(values) => values.len(),
            Self::Bytes(values) => values.len(),
            Self::Integers(values) => values.len(),
            Self::Texts(texts) => texts.ids.len(),
        }
    }
}

/// Texts, of which each different one is kept once.
#[derive(Debug, Default)]
pub struct Interned {
    pub pool: Vec<String>,
    pub ids: Vec<u32>,
    known: HashMap<String, u32>,
    /// Whether none are kept from part to part.
    passing: bool,
}

impl Interned {
    /// Texts that are not kept from part to part.
    pub fn passing() -> Self {
        Self { passing: true, ..Self::default() }
    }

    pub fn push(&mut self, text: &str) {
        let id = self.id_of(text);
        self.ids.push(id);
    }

    /// The number of a text, which is kept from now on.
    ///
    /// # Panics
    /// Where there are 2^32 different ones.
    pub fn id_of(&mut self, text: &str) -> u32 {
        match self.known.get(text) {
            Some(&id) => id,
            None => {
                let id = u32::try_from(self.pool.len()).expect("memory does not hold so many texts");
                self.pool.push(text.to_owned());
                self.known.insert(text.to_owned(), id);
                id
            }
        }
    }
}
