//! The artifact's model compiled again: with other clip rules, and with norms computed in other ways.

use super::AuditError;
use super::claim::Built;
use crate::artifact::{Artifact, Reopened};
use crate::compile::{Options, compile_with_ops};
use crate::device::TARGETS;
use crate::glob::Glob;
use crate::import::custom::CustomOps;
use crate::onnx::{Parameter, Source};
use crate::options::NormChoice;
use crate::privacy::ClipRule;
use crate::privacy::clipping::{ClipFunction, ClipScope};

/// A clip rule to compile the model with.
pub struct Variant {
    /// Its name.
    pub name: String,
    /// The rule.
    pub clip: ClipRule,
    /// The ways to compute norms that it is to be audited with.
    pub norms: &'static [NormChoice],
}

/// All ways to compute norms.
const NORMS: &[NormChoice] = &[NormChoice::Auto, NormChoice::Materialize, NormChoice::Ghost, NormChoice::Tile];
/// The way that is chosen by cost, for rules that share all but the clip factors with others.
const CHOSEN: &[NormChoice] = &[NormChoice::Auto];

/// What is compiled again.
pub struct Variants {
    source: Source,
    parameters: Vec<Parameter>,
    options: Options,
    ops: CustomOps,
}

impl Variants {
    /// Of the model in `artifact`, with the same loss and the same parameters trained.
    ///
    /// # Errors
    /// When the source cannot be read.
    pub fn of(artifact: &Artifact) -> Result<Variants, AuditError> {
        let Reopened { source, parameters, options } = artifact.reopened()?;
        Ok(Variants { source, parameters, options, ops: artifact.ops.clone() })
    }

    /// Clip rules of every kind with the sensitivity of the artifact's, which is the first.
    ///
    /// # Errors
    /// When that is no bound.
    pub fn clips(&self) -> Result<Vec<Variant>, AuditError> {
        let own = &self.options.clip;
        let bound = own.sensitivity();
        let of = |clip: ClipRule| {
            let norms = if clip.adaptive().is_some() { CHOSEN } else { NORMS };
            Variant { name: clip.to_string(), clip, norms }
        };
        let mut clips = vec![of(own.clone())];
        for (kind, options) in [
            ("flat", ""),
            ("per-layer", ""),
            ("auto", ""),
            ("flat", ",adaptive,count-noise=100"),
            ("per-layer", ",adaptive,count-noise=100"),
        ] {
            let text = format!("{kind}:{bound:?}{options}");
            let clip: ClipRule = text.parse()?;
            if clip != *own {
                clips.push(of(clip));
            }
        }
        let name = "each parameter apart".to_owned();
        clips.extend(self.apart(bound).map(|clip| Variant { name, clip, norms: CHOSEN }));
        Ok(clips)
    }

    /// The rule that clips each parameter by itself, all to different bounds; none where there is only one parameter, the
    /// names do not tell them apart, or a bound would be too small.
    fn apart(&self, bound: f64) -> Option<ClipRule> {
        let names: Vec<&str> = self.parameters.iter().filter(|p| p.trainable).map(|p| &*p.name).collect();
        let norm = (1..=names.len()).map(|i| (i * i) as f64).sum::<f64>().sqrt();
        let bounds = names.iter().zip(1..).map(|(&name, i)| (Glob::new(name), bound * f64::from(i) / norm));
        let scope = ClipScope::PerGroup { bounds: bounds.collect() };
        let clip = ClipRule::new(scope, ClipFunction::Threshold, None).ok()?;
        (names.len() > 1 && clip.resolve(names).is_ok()).then_some(clip)
    }

    /// The model compiled for another clip rule and other norms.
    ///
    /// # Errors
    /// When it does not compile.
    pub(super) fn compile(&self, clip: &ClipRule, norm: NormChoice) -> Result<Built, AuditError> {
        self.compile_in_views(clip, norm, 1)
    }

    /// The same, where each record has so many views.
    ///
    /// # Errors
    /// When it does not compile.
    pub(super) fn compile_in_views(
        &self,
        clip: &ClipRule,
        norm: NormChoice,
        views: usize,
    ) -> Result<Built, AuditError> {
        let options = Options { clip: clip.clone(), norm, views, ..self.options.clone() };
        let compiled = compile_with_ops(&self.source, &self.parameters, &options, TARGETS, &self.ops)?;
        Ok(Built { program: compiled.program, groups: compiled.clip_groups, grid: compiled.grid })
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
