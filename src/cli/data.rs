//! Data on the command line.

use std::cell::RefCell;
use std::io::IsTerminal;
use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressStyle};
use miette::Result;

use super::output;
use crate::schema::Schema;
use crate::train::data::{Columns, DataError, Dataset, Missing, Normalize, Preparing, Reading, Size, Tokenizer};

/// Flags that name a data set.
#[derive(clap::Args, Clone, Debug)]
pub struct DataArgs {
    /// FILE.npz, FILE.safetensors, IMAGES,LABELS as two IDX files, a table (CSV, TSV, Parquet, Arrow, Feather),
    /// or a folder with a subfolder of PNG and JPEG images for each class
    #[arg(long, value_name = "DATA")]
    pub data: String,

    #[command(flatten)]
    pub reading: ReadingArgs,
}

/// How data sets are read.
#[derive(clap::Args, Clone, Debug)]
pub struct ReadingArgs {
    /// Scale floating-point inputs to (x - MEAN) / STD, after bytes were divided by 255; lists with one number a channel are
    /// separated by colons
    #[arg(long, value_name = "MEAN,STD")]
    normalize: Option<Normalize>,

    /// Which columns of a table feed which array, as in 'input=age[17:90],job{clerk|teacher|*},pixel*;label=income{no|yes}':
    /// a column or a pattern, with a range that becomes [0, 1] (:log for a logarithmic scale), with a vocabulary,
    /// where * stands for all other values and {} for all that the file has, or as text[ids], text[mask] or text[types] of tokens (may
    /// be repeated)
    #[arg(long, value_name = "ARRAY=COLUMN,…")]
    columns: Vec<Columns>,

    /// What stands for missing values of a table, in all columns or in one (may be repeated)
    #[arg(long, value_name = "[COLUMN=]VALUE", allow_hyphen_values = true)]
    missing: Vec<Missing>,

    /// Bring images to this size in pixels, as PIL's bilinear filter and torchvision's Resize do
    #[arg(long, value_name = "HEIGHTxWIDTH")]
    resize: Option<Size>,

    /// Make tokens of columns of texts: the tokenizer.json of Hugging Face's tokenizers. Inputs of integers get padded ids, and
    /// those with `mask` or `type` in their names what these say
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,

    /// Prepare tables in this directory, at any size: their records are then read from there as they are needed. By default
    /// they are prepared beside the data, where they are larger than --in-memory
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,

    /// Megabytes of arrays that are kept in memory; what goes beyond stays in its files, where the format lets records be
    /// read alone, and is read as it is needed
    #[arg(long, value_name = "MB", default_value_t = 256)]
    in_memory: usize,
}

impl DataArgs {
    pub fn load(&self, schema: &Schema) -> Result<Dataset, DataError> {
        self.reading.load(&self.data, schema, None)
    }
}

impl ReadingArgs {
    /// What the flags say of tables.
    ///
    /// # Errors
    /// Where the tokenizer cannot be read.
    pub fn reading(&self) -> Result<Reading, DataError> {
        let mut reading = Reading {
            cache: self.cache.clone(),
            resize: self.resize,
            tokenizer: self.tokenizer.as_deref().map(Tokenizer::open).transpose()?,
            in_memory: self.in_memory.saturating_mul(1 << 20),
            ..Reading::default()
        };
        self.columns.iter().for_each(|columns| reading.columns.extend(columns.clone()));
        self.missing.iter().for_each(|missing| reading.missing.extend(missing.clone()));
        Ok(reading)
    }

    /// The data set that `spec` names, scaled, with the vocabularies that were taken from `like`. Says what was divided by
    /// 255, what is prepared or held in memory and which vocabularies are taken from the data, and warns of values that are
    /// not finite.
    pub fn load(&self, spec: &str, schema: &Schema, like: Option<&Dataset>) -> Result<Dataset, DataError> {
        let fitted = like.map(|data| data.fitted().clone()).unwrap_or_default();
        let reading = Reading { fitted: fitted.clone(), ..self.reading()? };
        let shown = Shown::default();
        let loaded = Dataset::load_watched(spec, schema, &reading, &|preparing| shown.update(spec, preparing));
        shown.clear();
        let mut data = loaded?;
        output::bytes(spec, data.bytes());
        for array in data.held() {
            output::note(format_args!(
                "`{array}` of {spec} is held in memory, all of it: it lies in the file so that records cannot be read alone. \
                 numpy.savez without compression, safetensors and Arrow without compression let them"
            ));
        }
        for (column, names) in data.fitted().iter().filter(|(column, _)| !fitted.contains_key(*column)) {
            output::warning(format_args!(
                "the vocabulary of `{column}` is taken from the data, which no guarantee covers; if it is known to all, state \
                 it: {column}{{{}}}",
                names.join("|")
            ));
        }
        if let Some(normalize) = &self.normalize {
            data.normalize(normalize)?;
        }
        let nonfinite = data.nonfinite()?;
        if nonfinite > 0 {
            output::warning(format_args!("{spec} holds {nonfinite} values that are NaN or infinite"));
        }
        Ok(data)
    }
}

/// The preparation of a table on standard error: a notice, and a bar on a terminal.
#[derive(Default)]
struct Shown(RefCell<Option<ProgressBar>>);

impl Shown {
    fn update(&self, spec: &str, preparing: Preparing<'_>) {
        const SHARES: u64 = 1000;
        let mut bar = self.0.borrow_mut();
        let bar = bar.get_or_insert_with(|| {
            output::note(format_args!(
                "the records of {spec} are written to {}, from where each can be read alone; that file is as private as the \
                 data, and is used again until they change",
                preparing.file.display()
            ));
            match std::io::stderr().is_terminal() {
                true => ProgressBar::new(SHARES).with_style(
                    ProgressStyle::with_template("{bar:24} {msg}").expect("the template is well formed"),
                ),
                false => ProgressBar::hidden(),
            }
        });
        bar.set_position(preparing.done.map_or(0, |done| (done * SHARES as f64) as u64));
        bar.set_message(format!("{} records", preparing.records));
    }

    fn clear(&self) {
        if let Some(bar) = self.0.borrow_mut().take() {
            bar.finish_and_clear();
        }
    }
}
