//! The artifact's model compiled again: with other clip rules, and with norms computed in other ways.

use std::path::Path;

use super::AuditError;
use crate::artifact::Artifact;
use crate::compile::{Options, compile};
use crate::lower::program::Program;
use crate::onnx::{Parameter, Source, discover};
use crate::options::NormChoice;
use crate::privacy::ClipRule;
use crate::privacy::clipping::ClipGroup;

/// What is compiled again.
pub struct Variants {
    source: Source,
    parameters: Vec<Parameter>,
    options: Options,
}

impl Variants {
    /// The ways to compute norms that `clip` is to be audited with: all of them, but for a rule whose bounds adapt, which
    /// compiles to the programs of the same rule with constant bounds.
    pub fn norms(clip: &ClipRule) -> &'static [NormChoice] {
        match clip.adaptive() {
            None => &[NormChoice::Auto, NormChoice::Materialize, NormChoice::Ghost, NormChoice::Tile],
            Some(_) => &[NormChoice::Auto],
        }
    }

    /// Of the model in `artifact`, with the same loss and the same parameters trained.
    ///
    /// # Errors
    /// When the source cannot be read.
    pub fn of(artifact: &Artifact) -> Result<Variants, AuditError> {
        let manifest = &artifact.manifest;
        let source = Source::from_bytes(artifact.source.clone().into(), Path::new("source.onnx"))?;
        let mut parameters = discover(&source, &[], &[])?.to_vec();
        for parameter in &mut parameters {
            let entry = manifest.parameters.iter().find(|entry| entry.name == parameter.name);
            parameter.trainable = entry.is_some_and(|entry| entry.trained);
        }
        let options = Options {
            loss: manifest.loss,
            output: manifest.outputs.first().map(|output| output.name.clone()),
            clip: manifest.clip.clone(),
            norm: manifest.norm,
            optimizer: manifest.optimizer,
            per_sample: false,
        };
        Ok(Variants { source, parameters, options })
    }

    /// Clip rules of every kind, the artifact's first, with its sensitivity.
    ///
    /// # Errors
    /// When that is no bound.
    pub fn clips(&self) -> Result<Vec<ClipRule>, AuditError> {
        let own = &self.options.clip;
        let bound = own.sensitivity();
        let mut clips = vec![own.clone()];
        for (kind, options) in [
            ("flat", ""),
            ("per-layer", ""),
            ("auto", ""),
            ("flat", ",adaptive,count-noise=100"),
            ("per-layer", ",adaptive,count-noise=100"),
        ] {
            let clip = format!("{kind}:{bound:?}{options}").parse()?;
            if clip != *own {
                clips.push(clip);
            }
        }
        Ok(clips)
    }

    /// The model compiled for another clip rule and other norms, and the groups of that rule.
    ///
    /// # Errors
    /// When it does not compile.
    pub fn compile(&self, clip: &ClipRule, norm: NormChoice) -> Result<(Program, Vec<ClipGroup>), AuditError> {
        let options = Options { clip: clip.clone(), norm, ..self.options.clone() };
        let compiled = compile(&self.source, &self.parameters, &options)?;
        Ok((compiled.program, compiled.clip_groups))
    }
}

/// The name of a way to compute norms.
pub fn name(norm: NormChoice) -> &'static str {
    match norm {
        NormChoice::Auto => "auto",
        NormChoice::Materialize => "materialize",
        NormChoice::Ghost => "ghost",
        NormChoice::Tile => "tile",
    }
}
