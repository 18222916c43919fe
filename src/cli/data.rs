//! Data on the command line.

use miette::Result;

use super::output;
use crate::schema::Schema;
use crate::train::data::{DataError, Dataset, Normalize};

/// Flags that name a data set.
#[derive(clap::Args, Clone, Debug)]
pub struct DataArgs {
    /// FILE.npz, FILE.safetensors, or IMAGES,LABELS as two IDX files
    #[arg(long, value_name = "DATA")]
    pub data: String,

    #[command(flatten)]
    pub normalize: NormalizeArgs,
}

/// How inputs are scaled.
#[derive(clap::Args, Clone, Debug)]
pub struct NormalizeArgs {
    /// Scale floating-point inputs to (x - MEAN) / STD, after bytes were divided by 255; lists with one number a channel are
    /// separated by colons
    #[arg(long, value_name = "MEAN,STD")]
    normalize: Option<Normalize>,
}

impl DataArgs {
    pub fn load(&self, schema: &Schema) -> Result<Dataset, DataError> {
        self.normalize.load(&self.data, schema)
    }
}

impl NormalizeArgs {
    /// The data set that `spec` names, scaled. Says what was divided by 255, and warns of values that are not finite.
    pub fn load(&self, spec: &str, schema: &Schema) -> Result<Dataset, DataError> {
        let mut data = Dataset::load(spec, schema)?;
        output::bytes(spec, data.bytes());
        if let Some(normalize) = &self.normalize {
            data.normalize(normalize)?;
        }
        if data.nonfinite() > 0 {
            output::warning(format_args!("{spec} holds {} values that are NaN or infinite", data.nonfinite()));
        }
        Ok(data)
    }
}
