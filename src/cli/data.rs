//! Data on the command line.

use miette::Result;

use super::output;
use crate::schema::Schema;
use crate::train::data::{Columns, DataError, Dataset, Missing, Normalize, Reading};

/// Flags that name a data set.
#[derive(clap::Args, Clone, Debug)]
pub struct DataArgs {
    /// FILE.npz, FILE.safetensors, IMAGES,LABELS as two IDX files, or a table (CSV, TSV, Parquet, Arrow, Feather)
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
    /// a column or a pattern, with a range that becomes [0, 1] (:log for a logarithmic scale), or with a vocabulary, where
    /// * stands for all other values and {} for all that the file has (may be repeated)
    #[arg(long, value_name = "ARRAY=COLUMN,…")]
    columns: Vec<Columns>,

    /// What stands for missing values of a table, in all columns or in one (may be repeated)
    #[arg(long, value_name = "[COLUMN=]VALUE", allow_hyphen_values = true)]
    missing: Vec<Missing>,
}

impl DataArgs {
    pub fn load(&self, schema: &Schema) -> Result<Dataset, DataError> {
        self.reading.load(&self.data, schema, None)
    }
}

impl ReadingArgs {
    /// What the flags say of tables.
    pub fn reading(&self) -> Reading {
        let mut reading = Reading::default();
        self.columns.iter().for_each(|columns| reading.columns.extend(columns.clone()));
        self.missing.iter().for_each(|missing| reading.missing.extend(missing.clone()));
        reading
    }

    /// The data set that `spec` names, scaled, with the vocabularies that were taken from `like`. Says what was divided by
    /// 255 and which vocabularies are taken from the data, and warns of values that are not finite.
    pub fn load(&self, spec: &str, schema: &Schema, like: Option<&Dataset>) -> Result<Dataset, DataError> {
        let fitted = like.map(|data| data.fitted().clone()).unwrap_or_default();
        let mut data = Dataset::load_as(spec, schema, &Reading { fitted: fitted.clone(), ..self.reading() })?;
        output::bytes(spec, data.bytes());
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
