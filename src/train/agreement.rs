//! What ranks that train together must have in common. Where files are and how many rows a physical batch has may differ.

use std::path::Path;

use sha2::{Digest, Sha256};

use super::augment::Augment;
use super::data::{DataError, Dataset};
use super::lr_for::LrFor;
use super::lr_schedule::LrSchedule;
use super::units::Units;
use crate::artifact::{Artifact, ArtifactError};
use crate::files::FileError;
use crate::privacy::accountant::Accountant;
use crate::privacy::keys::sha256_hex;
use crate::privacy::plan::PrivacyPlan;
use crate::ranks::{Common, Ranks, RanksError, agree};

/// All that the result of a training depends on.
pub struct Agreement<'a> {
    pub artifact: &'a Artifact,
    pub data: &'a Dataset,
    pub units: &'a Units,
    pub plan: &'a PrivacyPlan,
    pub accountant: &'a dyn Accountant,
    pub augment: Option<Augment>,
    pub learning_rate: f64,
    pub lr_for: &'a [LrFor],
    pub lr_schedule: &'a LrSchedule,
    pub ema: Option<f64>,
}

/// A rank could not say what it trains.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum AgreementError {
    #[error(transparent)]
    #[diagnostic(transparent)]
    Ranks(#[from] RanksError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Artifact(#[from] ArtifactError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Data(#[from] Box<DataError>),
}

impl Agreement<'_> {
    /// Checks that all of `ranks` have the same of it, and of what is `beside` it.
    ///
    /// # Errors
    /// Every difference, on all ranks.
    pub fn check(&self, ranks: &dyn Ranks, beside: Vec<Common>) -> Result<(), AgreementError> {
        if ranks.size() == 1 {
            return Ok(());
        }
        let plan = json(self.plan)?;
        let own_rates: Vec<String> = self.lr_for.iter().map(ToString::to_string).collect();
        let none = || "none".to_owned();
        let mut common = vec![
            Common::new("version of dpc", env!("CARGO_PKG_VERSION")),
            Common::new("artifact", self.of_artifact()?),
            Common::new("vocabulary taken from the data", sha256_hex(&json(self.data.fitted())?)),
            Common::new("number of units on all ranks", sha256_hex(&self.units.all().to_le_bytes())),
            Common::new("privacy plan", sha256_hex(&plan)),
            Common::new("accountant", self.accountant.name()),
            Common::new("learning rate", self.learning_rate),
            Common::new("learning rates of parameters", own_rates.join(" ")),
            Common::new("learning rate schedule", self.lr_schedule),
            Common::new("augmentation", self.augment.map_or_else(none, |augment| augment.to_string())),
            Common::new("decay of the moving average", self.ema.map_or_else(none, |decay| decay.to_string())),
        ];
        let (data, grouping) = match self.units.shard() {
            None => (self.data.digest().map_err(Box::new)?, self.of_units()),
            Some(_) => ["of each rank its own"; 2].map(str::to_owned).into(),
        };
        common.extend([Common::new("data set", data), Common::new("grouping of records into units", grouping)]);
        common.extend(beside);
        Ok(agree(ranks, &common)?)
    }

    /// A digest of the program, of where it comes from, and of the values that it begins with.
    fn of_artifact(&self) -> Result<String, AgreementError> {
        let mut hash = Sha256::new();
        hash.update(json(&self.artifact.provenance()?)?);
        hash.update(json(&self.artifact.manifest)?);
        for (name, tensor) in &self.artifact.weights {
            hash.update(name);
            hash.update(bytemuck::cast_slice(&tensor.data));
        }
        Ok(sha256_hex(&hash.finalize()))
    }

    fn of_units(&self) -> String {
        let mut hash = Sha256::new();
        for unit in 0..self.units.len() {
            let records = self.units.records(unit);
            hash.update((records.len() as u64).to_le_bytes());
            records.iter().for_each(|&record| hash.update((record as u64).to_le_bytes()));
        }
        sha256_hex(&hash.finalize())
    }
}

fn json(value: &impl serde::Serialize) -> Result<Vec<u8>, AgreementError> {
    let failed = |error: serde_json::Error| FileError::write(Path::new("what ranks compare"), error.into());
    Ok(serde_json::to_vec(value).map_err(failed).map_err(ArtifactError::from)?)
}
