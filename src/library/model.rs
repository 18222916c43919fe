//! Models and what they are compiled to.

use std::path::Path;

use super::Error;
use crate::artifact::{self, Artifact, Reopened};
use crate::compile::{CompileError, Options, compile_with_ops};
use crate::device::{Device, TARGETS};
use crate::glob::Glob;
use crate::import::custom::CustomOps;
use crate::import::{Proved, prove_with_ops};
use crate::onnx::{Given, Initial, Parameters, Source, discover};
use crate::options::NoiseKind;
use crate::privacy::adjacency::Unit;
use crate::privacy::certificate::InitialValues;
use crate::privacy::ledger::Contents;
use crate::privacy::plan::PrivacyPlan;
use crate::privacy::request::PlanRequest;
use crate::schema::Schema;
use crate::train::data::Dataset;
use crate::train::data::npz::Npz;
use crate::train::gradients::{self, Gradients, gradients};
use crate::train::units::Units;

/// The place of a model from memory, in errors.
pub(super) fn in_memory() -> &'static Path {
    Path::new("the model in memory")
}

/// Rows of the largest physical batch that is compiled for.
const MAX_BATCH: usize = 256;

/// An ONNX model.
#[derive(Clone, Debug)]
pub struct Model {
    source: Source,
    parameters: Parameters,
    ops: CustomOps,
    initial: Option<InitialValues>,
}

impl Model {
    /// Reads the bytes of an ONNX file; what is trained is decided from what the file says.
    ///
    /// # Errors
    /// When they are no model that dpc reads.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Model, Error> {
        Model::with_ops(bytes, &CustomOps::new())
    }

    /// [`Model::from_bytes`], where the file may use these [ops from outside](super::custom).
    ///
    /// # Errors
    /// As [`Model::from_bytes`].
    pub fn with_ops(bytes: Vec<u8>, ops: &CustomOps) -> Result<Model, Error> {
        let mut source = Source::from_bytes(bytes.into(), in_memory())?;
        source.take_batch(&[])?;
        let parameters = discover(&source, &[], &[])?;
        Ok(Model { source, parameters, ops: ops.clone(), initial: None })
    }

    /// The model with the values of another file, `.safetensors` or ONNX, where names and shapes agree, and what became of each tensor. The file
    /// is taken to be public, and certificates name it. What is trained is decided by [`Model::choosing`] after it.
    ///
    /// # Errors
    /// When the file cannot be read, nothing in it fits, or what fits is not finite.
    pub fn begin_with(self, path: &Path) -> Result<(Model, Initial), Error> {
        let given = Given::read(path)?;
        let (mut source, initial) = given.give(&self.source, &self.parameters)?;
        let notes = std::mem::take(&mut source.notes);
        source.take_batch(&[])?;
        source.notes = notes;
        let parameters = discover(&source, &[], &[])?;
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let values = InitialValues { file, sha256: given.sha256 };
        Ok((Model { source, parameters, ops: self.ops, initial: Some(values) }, initial))
    }

    /// Trains the parameters whose names match one of `train`, beside those that are trained anyway, and none that match
    /// one of `freeze`.
    ///
    /// # Errors
    /// When a pattern matches nothing.
    pub fn choosing(mut self, train: &[&str], freeze: &[&str]) -> Result<Model, Error> {
        let globs = |patterns: &[&str]| patterns.iter().map(|pattern| Glob::new(*pattern)).collect::<Vec<_>>();
        self.parameters = discover(&self.source, &globs(train), &globs(freeze))?;
        Ok(self)
    }

    /// The parameters of the file, trained and frozen.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Proves that every record is treated alone, and says how.
    ///
    /// # Errors
    /// Every node for which that cannot be shown.
    pub fn check(&self) -> Result<Proved, Error> {
        Ok(prove_with_ops(&self.source, &self.parameters, &[], &self.ops).map_err(CompileError::from)?)
    }

    /// Compiles the model.
    ///
    /// # Errors
    /// What stands in the way.
    pub fn compile(&self, options: &Options) -> Result<Compiled, Error> {
        let compiled = compile_with_ops(&self.source, &self.parameters, options, TARGETS, &self.ops)?;
        let said = [&self.source.notes, &self.parameters.warnings, &compiled.proved.notes];
        let notices = said.into_iter().flatten().cloned().collect();
        let mut artifact = artifact::build(&self.source, &self.parameters, compiled, options, MAX_BATCH)?;
        artifact.manifest.initial_values.clone_from(&self.initial);
        Ok(Compiled { artifact: Artifact { ops: self.ops.clone(), ..artifact }, notices })
    }
}

/// A compiled model with its parameters' values.
#[derive(Clone, Debug)]
pub struct Compiled {
    artifact: Artifact,
    notices: Vec<String>,
}

impl From<Artifact> for Compiled {
    fn from(artifact: Artifact) -> Compiled {
        Compiled { artifact, notices: Vec::new() }
    }
}

impl Compiled {
    /// The artifact: what `dpc compile` writes.
    pub fn artifact(&self) -> &Artifact {
        &self.artifact
    }

    /// What is to be known before training, as the command line says it; nothing of an artifact that was read.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// What the records of `data` do to the gradient, without noise: losses, norms, the clipped sum, and with `per_sample`
    /// each record's own gradient. Nothing of it is private.
    ///
    /// # Errors
    /// When the model has no loss, the device fails or the data cannot be read.
    pub fn gradients(&self, data: &Dataset, device: &dyn Device, per_sample: bool) -> Result<Gradients, Error> {
        if self.artifact.manifest.loss.is_none() {
            return Err(Error::NoLoss);
        }
        let Reopened { source, parameters, options } = self.artifact.reopened()?;
        let options = Options { per_sample, noise: NoiseKind::Float, ..options };
        let compiled = compile_with_ops(&source, &parameters, &options, TARGETS, &self.artifact.ops)?;
        let artifact = artifact::build(&source, &parameters, compiled, &options, gradients::ROWS)?;
        let artifact = Artifact { weights: self.artifact.weights.clone(), ..artifact };
        Ok(gradients(&artifact, device, data, per_sample)?)
    }

    /// The arrays that data need.
    pub fn schema(&self) -> &Schema {
        &self.artifact.manifest.schema
    }

    /// The data in an NPZ archive.
    ///
    /// # Errors
    /// Every way in which they do not fit the [schema](Compiled::schema).
    pub fn dataset(&self, mut npz: Npz) -> Result<Dataset, Error> {
        let name = npz.path().display().to_string();
        let arrays = npz.names().into_iter().map(|name| Ok((name.clone(), npz.read(&name)?)));
        Ok(Dataset::from_arrays(&name, &arrays.collect::<Result<_, Error>>()?, self.schema())?)
    }

    /// The plan that `request` makes for training on `data`, with each record a unit, or each group of records where `data`
    /// have groups.
    ///
    /// # Errors
    /// When there is no such plan.
    pub fn plan(&self, request: &PlanRequest, data: &Dataset) -> Result<PrivacyPlan, Error> {
        self.plan_after(request, data, &Contents::default())
    }

    /// [`Compiled::plan`], where the steps in `ledger` were taken on the same data before. An ε that is asked for is one of all
    /// steps together.
    ///
    /// # Errors
    /// As [`Compiled::plan`], and when those steps have cost that ε already.
    pub fn plan_after(&self, request: &PlanRequest, data: &Dataset, ledger: &Contents) -> Result<PrivacyPlan, Error> {
        let (unit, units) = units(data);
        let manifest = &self.artifact.manifest;
        Ok(request.plan(manifest.clipped(), (unit, units.len()), &ledger.recorded(), None)?)
    }
}

/// What a run on `data` samples and clips as one.
pub(super) fn units(data: &Dataset) -> (Unit, Units) {
    match data.groups() {
        Some(groups) => (Unit::Group, Units::grouped(groups)),
        None => (Unit::Record, Units::single(data.records())),
    }
}
