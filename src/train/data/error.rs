//! What can be wrong with data, said once, with the file, the array and the row.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use miette::Diagnostic;
use thiserror::Error;

use super::images::Size;
use crate::files::FileError;
use crate::options::Loss;
use crate::schema::Dims;

#[derive(Debug, Error, Diagnostic)]
pub enum DataError {
    #[error(transparent)]
    #[diagnostic(transparent)]
    File(#[from] FileError),

    #[error("{} is in no format that dpc reads: {reason}", path.display())]
    #[diagnostic(
        code(dpc::data::format),
        help(
            "give FILE.npz or FILE.safetensors (arrays named as the model's inputs, the target named `label`), \
             IMAGES,LABELS as two IDX files, FILE.csv or FILE.tsv with a header, Parquet, Arrow and Feather files, or a \
             folder with a subfolder of PNG and JPEG images for each class"
        )
    )]
    Format { path: PathBuf, reason: String },

    #[error("{} is damaged: {what}", path.display())]
    #[diagnostic(
        code(dpc::data::damaged),
        help("copy or download the file again; compare its size with the original's")
    )]
    Damaged { path: PathBuf, what: String },

    #[error("{} was cut off while it was in use: it had {length} bytes, and now ends before byte {needed}", path.display())]
    #[diagnostic(
        code(dpc::data::cut_off),
        help(
            "leave data as they are while a command reads them; put the file back, and begin again or go on with --resume"
        )
    )]
    CutOff { path: PathBuf, length: u64, needed: u64 },

    #[error("{} is being prepared by another process", path.display())]
    #[diagnostic(code(dpc::data::in_preparation), help("wait until it has ended; what it prepares is used by both"))]
    InPreparation { path: PathBuf },

    #[error("array `{array}` of {} has the dtype {dtype}, which dpc does not read", path.display())]
    #[diagnostic(
        code(dpc::data::dtype),
        help(
            "store it as float16/32/64, as bfloat16 in a safetensors file, as an integer of 8 to 64 bits, or as bool"
        )
    )]
    UnsupportedDtype { path: PathBuf, array: String, dtype: String },

    #[error("{} has no array `{name}`; it has {}", path.display(), Listed(present))]
    #[diagnostic(code(dpc::data::missing_array), help("{help}"))]
    MissingArray { path: PathBuf, name: String, present: Vec<String>, help: String },

    #[error("array `{name}` of {source_name} is {found}, but the model needs {wanted}")]
    #[diagnostic(code(dpc::data::wrong_dtype), help("{help}"))]
    WrongDtype { source_name: String, name: String, found: &'static str, wanted: &'static str, help: String },

    #[error(
        "array `{name}` of {source_name} has the shape {}, but the model takes records of shape {}",
        Dims(found),
        Dims(wanted)
    )]
    #[diagnostic(code(dpc::data::wrong_shape), help("{help}"))]
    WrongShape { source_name: String, name: String, found: Vec<usize>, wanted: Vec<usize>, help: String },

    #[error("the arrays of {source_name} differ in their number of records: {}", Lengths(lengths))]
    #[diagnostic(code(dpc::data::lengths), help("the first axis of every array counts the records and must agree"))]
    Lengths { source_name: String, lengths: Vec<(String, usize)> },

    #[error("{source_name} holds no records")]
    #[diagnostic(code(dpc::data::empty), help("the first axis of every array is 0"))]
    Empty { source_name: String },

    #[error("{rows} of `{name}` in {source_name}: labels must be {wanted}")]
    #[diagnostic(
        code(dpc::data::bad_label),
        help(
            "check the labels, and that they go with the loss; class ids are counted from 0, up to the model's number of classes"
        )
    )]
    BadLabel { source_name: String, name: String, wanted: String, rows: BadRows },

    #[error(
        "`{name}` of {source_name}, {dtype}{}, holds {}, but the model is compiled for {}",
        Dims(found),
        label_form(*probabilities),
        label_form(!probabilities)
    )]
    #[diagnostic(code(dpc::data::other_labels), help("compile the model for them with --loss '{loss}'"))]
    OtherLabels {
        source_name: String,
        name: String,
        found: Vec<usize>,
        dtype: &'static str,
        /// Whether the labels are probabilities, and not ids.
        probabilities: bool,
        /// The loss that takes them.
        loss: Box<Loss>,
    },

    #[error("{rows} of `{name}` in {source_name}: ids must be in [-{table}, {table})")]
    #[diagnostic(
        code(dpc::data::bad_id),
        help("the model looks these ids up in a table of {table} rows; map unknown ids to a row it has")
    )]
    BadId { source_name: String, name: String, table: usize, rows: BadRows },

    #[error("{rows} of `{name}` in {source_name}: ids must fit in 32 bits")]
    #[diagnostic(code(dpc::data::wide_id), help("dpc computes with 32-bit integers; renumber the ids"))]
    WideId { source_name: String, name: String, rows: BadRows },

    #[error("--normalize has {given} channels, but input `{name}` has {channels}")]
    #[diagnostic(
        code(dpc::data::normalize),
        help("give one mean and deviation, or one a channel (the first axis of a record), separated by colons")
    )]
    Normalize { name: String, given: usize, channels: usize },

    #[error("{} has no column {} for `{array}`; it has {}", path.display(), Quoted(missing), Quoted(present))]
    #[diagnostic(code(dpc::data::no_column), help("{}", match said {
        true => "check the names, in which upper and lower case differ".to_owned(),
        false => format!("say which columns make it up with --columns '{array}=COLUMN,COLUMN,…'"),
    }))]
    NoColumn { path: PathBuf, array: String, said: bool, missing: Vec<String>, present: Vec<String> },

    #[error("--columns feeds `{name}`, which the model does not take; it takes {}", Quoted(known))]
    #[diagnostic(
        code(dpc::data::no_such_array),
        help("name the model's inputs and labels as they are; `group` has the groups that are protected as one")
    )]
    NoSuchArray { name: String, known: Vec<String> },

    #[error("{} has several columns of one name: {}", path.display(), Quoted(names))]
    #[diagnostic(code(dpc::data::duplicate_columns), help("give each column a name of its own"))]
    DuplicateColumns { path: PathBuf, names: Vec<String> },

    #[error("{} of {} {} not as many fields as the header, which has {columns}: {cells}",
        cells.counted("record"), path.display(), if cells.count == 1 { "has" } else { "have" })]
    #[diagnostic(
        code(dpc::data::ragged),
        help("put fields that hold the delimiter between double quotes, and fill or remove records that were cut off")
    )]
    Ragged { path: PathBuf, columns: usize, cells: BadCells },

    #[error("{} of column `{column}` in {} {} missing: {cells}",
        cells.counted("value"), path.display(), if cells.count == 1 { "is" } else { "are" })]
    #[diagnostic(
        code(dpc::data::missing_values),
        help("say what stands for them with --missing '{column}=VALUE', or remove these records")
    )]
    MissingValues { path: PathBuf, column: String, cells: BadCells },

    #[error("{} of column `{column}` in {} {} no {}: {cells}",
        cells.counted("value"), path.display(), if cells.count == 1 { "is" } else { "are" },
        match (integers, cells.count) {
            (true, 1) => "integer",
            (true, _) => "integers",
            (false, 1) => "number",
            (false, _) => "numbers",
        })]
    #[diagnostic(
        code(dpc::data::not_numbers),
        help(
            "correct them; for names, state all there may be, in their order: --columns '…={column}{{FIRST|SECOND|…}}'; texts become \
             tokens with --tokenizer tokenizer.json"
        )
    )]
    NotNumbers { path: PathBuf, column: String, integers: bool, cells: BadCells },

    #[error("{} of column `{column}` in {} cannot be used: {cells}", cells.counted("image"), path.display())]
    #[diagnostic(
        code(dpc::data::bad_images),
        help(
            "the model takes images of {size} (height x width), to which --resize {size} brings all others; mend or remove \
             those that are damaged"
        )
    )]
    BadImages { path: PathBuf, column: String, size: Size, cells: BadCells },

    #[error("the images of {} cannot become `{array}`: {what}", path.display())]
    #[diagnostic(code(dpc::data::images), help("{help}"))]
    Images { path: PathBuf, array: String, what: String, help: String },

    #[error("tokenizer {} cannot be used: {what}", path.display())]
    #[diagnostic(code(dpc::data::tokenizer), help("{help}"))]
    Tokenizer { path: PathBuf, what: String, help: String },

    #[error("{} of column `{column}` in {} cannot be made tokens: {cells}", cells.counted("text"), path.display())]
    #[diagnostic(
        code(dpc::data::bad_texts),
        help("remove these texts, or mend the tokenizer, which has no token for what it does not know")
    )]
    BadTexts { path: PathBuf, column: String, cells: BadCells },

    #[error("{} has no images for {} of its classes: {}", path.display(), names.len(), Quoted(names))]
    #[diagnostic(
        code(dpc::data::empty_classes),
        help("each subfolder is a class, whose images are in it: fill it, or take it away")
    )]
    EmptyClasses { path: PathBuf, names: Vec<String> },

    #[error("{} of column `{column}` in {} {} not of its vocabulary {}: {cells}",
        cells.counted("value"), path.display(), if cells.count == 1 { "is" } else { "are" }, Quoted(names))]
    #[diagnostic(
        code(dpc::data::not_in_vocabulary),
        help("add them to the vocabulary, or end it with `|*`, which stands for all other values")
    )]
    NotInVocabulary { path: PathBuf, column: String, names: Vec<String>, cells: BadCells },

    #[error("{} cannot be read as --columns says: {what}", path.display())]
    #[diagnostic(code(dpc::data::columns), help("{help}"))]
    Columns { path: PathBuf, what: String, help: String },

    #[error("{} problems with {source_name}", problems.len())]
    #[diagnostic(code(dpc::data::invalid))]
    Several {
        source_name: String,
        #[related]
        problems: Vec<DataError>,
    },
}

/// What labels of classes are.
pub(super) fn label_form(probabilities: bool) -> &'static str {
    if probabilities { "probabilities of the classes" } else { "class ids" }
}

impl DataError {
    /// The loss that the labels take, where all that is wrong is that they have another form than the model is compiled for.
    pub fn other_loss(&self) -> Option<&Loss> {
        match self {
            Self::OtherLabels { loss, .. } => Some(loss),
            Self::Several { problems, .. } => problems.iter().find_map(Self::other_loss),
            _ => None,
        }
    }

    /// Adds a problem with later records to those that there are: as one with the same problem of the same column.
    pub(super) fn gather(problems: &mut Vec<DataError>, later: DataError) {
        if let Self::Several { problems: each, .. } = later {
            each.into_iter().for_each(|later| Self::gather(problems, later));
            return;
        }
        let message = later.to_string();
        for problem in &mut *problems {
            match (problem, &later) {
                (
                    Self::MissingValues { column, cells, .. },
                    Self::MissingValues { column: of_column, cells: more, .. },
                )
                | (Self::BadImages { column, cells, .. }, Self::BadImages { column: of_column, cells: more, .. })
                | (Self::BadTexts { column, cells, .. }, Self::BadTexts { column: of_column, cells: more, .. })
                | (Self::NotNumbers { column, cells, .. }, Self::NotNumbers { column: of_column, cells: more, .. })
                | (
                    Self::NotInVocabulary { column, cells, .. },
                    Self::NotInVocabulary { column: of_column, cells: more, .. },
                ) if column == of_column => return cells.append(more.clone()),
                (problem, _) if problem.to_string() == message => return,
                _ => {}
            }
        }
        problems.push(later);
    }

    /// One problem as itself, several as [`DataError::Several`]. One that several arrays of one column have is told once.
    ///
    /// # Panics
    /// If there is none.
    pub(super) fn all(source_name: &str, mut problems: Vec<DataError>) -> Self {
        assert!(!problems.is_empty(), "an error needs a problem");
        let each = problems.drain(..).flat_map(|problem| match problem {
            Self::Several { problems, .. } => problems,
            problem => vec![problem],
        });
        let mut told = BTreeSet::new();
        let mut problems: Vec<Self> = each.filter(|problem| told.insert(problem.to_string())).collect();
        if problems.len() == 1 {
            return problems.remove(0);
        }
        Self::Several { source_name: source_name.to_owned(), problems }
    }
}

/// The values out of range: the first few with their rows, and how many there are.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct BadRows {
    pub first: Vec<(usize, String)>,
    pub count: usize,
}

impl BadRows {
    const SHOWN: usize = 20;

    pub(super) fn add(&mut self, row: usize, value: impl fmt::Display) {
        if self.first.len() < Self::SHOWN {
            self.first.push((row, value.to_string()));
        }
        self.count += 1;
    }
}

impl fmt::Display for BadRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values = if self.count == 1 { "value" } else { "values" };
        write!(f, "{} {values} out of range (", self.count)?;
        for (at, (row, value)) in self.first.iter().enumerate() {
            let separator = if at == 0 { "" } else { ", " };
            write!(f, "{separator}{value} at row {row}")?;
        }
        if self.count > self.first.len() {
            f.write_str(", …")?;
        }
        f.write_str(")")
    }
}

/// Cells that are not as they should be: the first few, as text that says where each is, and how many there are.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct BadCells {
    pub first: Vec<String>,
    pub count: usize,
}

impl BadCells {
    pub(super) fn add(&mut self, cell: impl fmt::Display) {
        if self.first.len() < BadRows::SHOWN {
            self.first.push(cell.to_string());
        }
        self.count += 1;
    }

    /// A value as it is shown: the beginning of a long one.
    pub(super) fn shown(value: &str) -> String {
        const MOST: usize = 40;
        match value.char_indices().nth(MOST) {
            Some((end, _)) => format!("\"{}…\"", &value[..end]),
            None => format!("\"{value}\""),
        }
    }

    /// Adds those of later records.
    fn append(&mut self, later: BadCells) {
        let room = BadRows::SHOWN.saturating_sub(self.first.len());
        self.first.extend(later.first.into_iter().take(room));
        self.count += later.count;
    }

    /// As in `1 value` and `2 values`.
    fn counted(&self, what: &str) -> String {
        format!("{} {what}{}", self.count, if self.count == 1 { "" } else { "s" })
    }
}

impl fmt::Display for BadCells {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.first.join(", "))?;
        f.write_str(if self.count > self.first.len() { ", …" } else { "" })
    }
}

/// Names, of which the first hundred are shown.
struct Quoted<'a>(&'a [String]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 100;
        let quoted: Vec<String> = self.0.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
        f.write_str(&quoted.join(", "))?;
        match self.0.len().checked_sub(SHOWN + 1) {
            Some(more) => write!(f, ", … ({} more)", more + 1),
            None => Ok(()),
        }
    }
}

struct Listed<'a>(&'a [String]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("no arrays");
        }
        let quoted: Vec<String> = self.0.iter().map(|name| format!("`{name}`")).collect();
        f.write_str(&quoted.join(", "))
    }
}

struct Lengths<'a>(&'a [(String, usize)]);

impl fmt::Display for Lengths<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self.0.iter().map(|(name, length)| format!("`{name}` {length}")).collect();
        f.write_str(&parts.join(", "))
    }
}
