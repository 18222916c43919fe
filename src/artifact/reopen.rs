//! An artifact's model as it was before it was compiled, to be compiled again in other ways.

use std::path::Path;

use super::Artifact;
use crate::compile::Options;
use crate::import::axes::Axes;
use crate::lower::cost::CostModel;
use crate::onnx::{BatchAxis, OnnxError, Parameter, Source, discover};
use crate::options::NoiseKind;

/// A model with the same parameters trained, and the options that it was compiled with.
pub struct Reopened {
    pub source: Source,
    pub parameters: Vec<Parameter>,
    pub options: Options,
}

impl Artifact {
    /// The model before it was compiled. Parameters have the values of the file, and not those of the
    /// [weights](Artifact::weights).
    ///
    /// # Errors
    /// When the source cannot be read.
    pub fn reopened(&self) -> Result<Reopened, OnnxError> {
        let manifest = &self.manifest;
        let mut source = Source::from_bytes(self.source.clone(), Path::new("source.onnx"))?;
        let batch = |(name, axes): (&String, &Axes)| Some(BatchAxis { input: name.clone(), axis: axes.batch_axis()? });
        source.free_batch(&manifest.inputs.iter().filter_map(batch).collect::<Vec<_>>())?;
        let mut parameters = discover(&source, &[], &[])?.to_vec();
        for parameter in &mut parameters {
            let entry = manifest.parameters.iter().find(|entry| entry.name == parameter.name);
            parameter.trainable = entry.is_some_and(|entry| entry.trained);
            parameter.padding_idx = entry.and_then(|entry| entry.padding_idx);
        }
        let options = Options {
            loss: manifest.loss.clone(),
            output: None,
            clip: manifest.clip.clone(),
            norm: manifest.norm,
            optimizer: manifest.optimizer,
            costs: CostModel::default(),
            precision: manifest.precision,
            views: 1,
            per_sample: false,
            noise: if manifest.grid.is_some() { NoiseKind::Exact } else { NoiseKind::Float },
        };
        Ok(Reopened { source, parameters, options })
    }
}
