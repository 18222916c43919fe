//! The audit: does an artifact keep what its plan claims?
//!
//! | module | asks | by |
//! |---|---|---|
//! | [`sensitivity`] | can one record move the sum farther than noise is scaled for? | trying, exactly |
//! | [`noise`] | is the noise of every step as large, as normal and as independent as claimed, whatever the batch? | statistics |
//! | [`sampling`] | do units enter batches as claimed? | statistics |
//! | [`canary`] | how much of ε can be proved from one compiled step? | replays with and without a record |
//! | [`one_run`] | how much of ε can be proved from a whole training? | guessing which canaries were in it |
//! | [`mutation`] | would a broken plan be caught? | breaking it in eight ways |
//!
//! Statistical checks have bounds that a correct mechanism leaves once in 10⁹ audits, lower bounds on ε decide at 99.9 %.
//! Everything runs through the compiled program and [`crate::train::step`], as training does. A [`Claim`] is what an
//! accountant is told; a [`subject::Subject`] is what is run.

pub mod canary;
pub mod mutation;
pub mod noise;
pub mod one_run;
pub mod records;
pub mod report;
pub mod sampling;
pub mod sensitivity;
pub mod statistics;
pub mod subject;
mod variants;

use std::time::Instant;

use miette::Diagnostic;
use thiserror::Error;

use crate::artifact::{Artifact, ArtifactError};
use crate::compile::CompileError;
use crate::device::Device;
use crate::lower::emit::EmitError;
use crate::lower::program::Program;
use crate::onnx::OnnxError;
use crate::options::NormChoice;
use crate::privacy::ClipRule;
use crate::privacy::accountant::{ACCOUNTANTS, InvalidInput, Mechanism};
use crate::privacy::adjacency::Unit;
use crate::privacy::clipping::{ClipGroup, InvalidClipRule};
use crate::privacy::keys::{EntropyError, RunKey};
use crate::privacy::plan::{InvalidPlan, PlanSpec, PrivacyPlan};
use crate::privacy::sampler::UnitMismatch;
use crate::privacy::sampling::Sampling;
use crate::train::data::DataError;
use crate::train::engine::EngineError;
use crate::train::step::StepError;
use canary::Replays;
use mutation::MUTATIONS;
use records::Records;
use report::{Broken, Check, Report, Section};
use sensitivity::{OTHERS, Sensitivity};
use statistics::gaussian;
use subject::{Bench, Noise, Subject};
use variants::Variants;

/// The confidence at which a lower bound on ε decides.
pub const DECISIVE: f64 = 0.999;
/// Rows of a physical batch.
const ROWS: usize = 4;
/// The most replays a side of a plan that was broken on purpose.
const BROKEN_REPLAYS: u64 = 200;

/// How to audit.
#[derive(Clone, Debug)]
pub struct Settings {
    /// σ.
    pub noise_multiplier: f64,
    /// The q of the sampler; replays are of steps that every record enters.
    pub sample_rate: f64,
    /// δ.
    pub delta: f64,
    /// The expected batch size L.
    pub batch: u64,
    /// Replays a side.
    pub replays: u64,
    /// The confidence of the lower bound that is shown.
    pub confidence: f64,
    /// Canaries of a whole training to audit, if there is to be one.
    pub canaries: Option<u64>,
    /// Logical steps of that training.
    pub steps: u64,
    /// Whether broken plans are audited too.
    pub mutate: bool,
    /// A seed that fixes all noise and sampling, for tests.
    pub insecure_seed: Option<u64>,
}

/// An audit that could not be made.
#[derive(Debug, Error, Diagnostic)]
#[allow(missing_docs)]
pub enum AuditError {
    #[error(transparent)]
    #[diagnostic(transparent)]
    Artifact(#[from] ArtifactError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Onnx(#[from] OnnxError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Compile(#[from] CompileError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Emit(#[from] EmitError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Clip(#[from] InvalidClipRule),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Plan(#[from] InvalidPlan),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Units(#[from] UnitMismatch),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Step(#[from] StepError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Entropy(#[from] EntropyError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Accounting(#[from] InvalidInput),

    #[error("the artifact has no loss")]
    #[diagnostic(code(dpc::audit::loss), help("compile the model with --loss"))]
    NoLoss,
}

/// Audits `artifact` on `devices`. `progress` is told what is being done.
///
/// # Errors
/// When the audit cannot be made. What it finds is in the report.
pub fn audit(
    artifact: &Artifact,
    devices: &[Box<dyn Device>],
    settings: &Settings,
    progress: impl FnMut(&str),
) -> Result<Report, AuditError> {
    if artifact.manifest.loss.is_none() {
        return Err(AuditError::NoLoss);
    }
    let started = Instant::now();
    let manifest = &artifact.manifest;
    let records = Records::new(&manifest.schema, settings.batch as usize)?;
    let pairs = Records::grouped(&manifest.schema, OTHERS)?;
    let variants = Variants::of(artifact)?;
    let claim = Claim::new(manifest.clip.clone(), manifest.clip_groups.clone(), Unit::Record, settings)?;
    let mut audit =
        Audit { artifact, settings, records: &records, pairs: &pairs, variants: &variants, keys: 0, progress };
    let mut sections = vec![audit.sampling(&claim, &claim.plan)?];
    let mut mutations = Vec::new();
    for device in devices {
        sections.extend(audit.whole(&**device, &claim)?);
    }
    if settings.mutate {
        for device in devices {
            mutations.extend(audit.broken(&**device, &claim)?);
        }
    }
    let provenance = artifact.provenance()?;
    Ok(Report {
        software: crate::artifact::compiler(),
        source_model: provenance.source_model,
        program: provenance.program,
        claim: claim.text(),
        passed: sections.iter().all(|section| section.failures().next().is_none())
            && !mutations.iter().any(Broken::survived),
        sections,
        mutations,
        seconds: started.elapsed().as_secs_f64(),
    })
}

/// What an accountant is told.
struct Claim {
    plan: PrivacyPlan,
    groups: Vec<ClipGroup>,
    delta: f64,
}

impl Claim {
    fn new(clip: ClipRule, groups: Vec<ClipGroup>, unit: Unit, settings: &Settings) -> Result<Claim, AuditError> {
        let sampling = Sampling::Poisson { rate: settings.sample_rate };
        let plan = PrivacyPlan::new(PlanSpec {
            noise_multiplier: settings.noise_multiplier,
            delta: Some(settings.delta),
            insecure_seed: settings.insecure_seed,
            clip_groups: groups.len(),
            unit,
            ..PlanSpec::new(sampling, settings.batch as f64, clip)
        })?;
        Ok(Claim { plan, groups, delta: settings.delta })
    }

    /// `program`, run as it is claimed.
    fn of(&self, program: Program) -> Subject {
        Subject { program, plan: self.plan.clone(), groups: self.groups.clone() }
    }

    /// What one record may do to what a step releases.
    fn scale(&self) -> f64 {
        self.plan.clip.sensitivity() / self.plan.divisor()
    }

    /// ε of one step that every record enters.
    fn epsilon(&self) -> f64 {
        gaussian::epsilon(1.0 / self.plan.noise_multiplier, self.delta)
    }

    /// ε of `steps` steps by the default accountant.
    fn epsilon_of(&self, steps: u64) -> Result<f64, AuditError> {
        let history = [Mechanism { steps, ..self.plan.mechanism(0) }];
        Ok(ACCOUNTANTS[0].epsilon(&history, self.plan.adjacency, self.delta)?)
    }

    fn units(&self) -> usize {
        (self.plan.expected_batch / self.plan.rate()).round() as usize
    }

    fn text(&self) -> String {
        format!(
            "claim: ε = {:.4} at δ = {:e} for a step that every record enters; σ = {}, clip {}, divisor {}",
            self.epsilon(),
            self.delta,
            self.plan.noise_multiplier,
            self.plan.clip,
            self.plan.divisor()
        )
    }
}

/// An audit under way.
struct Audit<'a, P> {
    artifact: &'a Artifact,
    settings: &'a Settings,
    records: &'a Records,
    /// The same with units of two records.
    pairs: &'a Records,
    variants: &'a Variants,
    /// How many keys have been drawn.
    keys: u64,
    progress: P,
}

impl<P: FnMut(&str)> Audit<'_, P> {
    /// A fresh key.
    fn key(&mut self) -> Result<RunKey, AuditError> {
        self.keys += 1;
        let seed = self.settings.insecure_seed.map(|seed| seed.wrapping_add(self.keys));
        Ok(seed.map_or_else(RunKey::fresh, |seed| Ok(RunKey::insecure(seed)))?)
    }

    fn rows(&self) -> usize {
        ROWS.min(self.artifact.manifest.max_batch)
    }

    /// The artifact as it is, and compiled again with every clip rule and way to compute norms.
    fn whole(&mut self, device: &dyn Device, claim: &Claim) -> Result<Vec<Section>, AuditError> {
        let (mut checks, mut of_pairs) = (Vec::new(), Vec::new());
        for clip in self.variants.clips()? {
            let (reference, groups) = self.variants.compile(&clip, NormChoice::Materialize)?;
            let pairs = Claim::new(clip.clone(), groups.clone(), Unit::Group, self.settings)?;
            let found = self.sensitivity(device, &pairs, &pairs.of(reference.clone()))?;
            of_pairs.push(found.bounded(&clip.to_string()));
            let claim = Claim::new(clip, groups, Unit::Record, self.settings)?;
            let reference = self.sensitivity(device, &claim, &claim.of(reference))?;
            for &norm in Variants::norms(&claim.plan.clip) {
                let name = format!("{}, {}", claim.plan.clip, variants::name(norm));
                (self.progress)(&format!("sensitivity of {name} on {}", device.name()));
                let (program, _) = self.variants.compile(&claim.plan.clip, norm)?;
                let found = self.sensitivity(device, &claim, &claim.of(program))?;
                checks.push(found.bounded(&name));
                checks.push(found.agrees(&format!("{name}, shares"), &reference, self.records));
            }
        }
        let mut sections = vec![
            section("Sensitivity of every clip rule and way to compute norms, over S", device, checks),
            section("Sensitivity of every clip rule to units of two records, over S", device, of_pairs),
        ];
        let subject = claim.of(self.artifact.program.clone());
        sections.extend(self.examine(device, claim, &subject, self.settings.replays)?);
        if let Some(canaries) = self.settings.canaries {
            let steps = self.settings.steps;
            (self.progress)(&format!("one run of {steps} steps with {canaries} canaries on {}", device.name()));
            let training = one_run::Training {
                device,
                artifact: self.artifact,
                subject: &subject,
                records: claim.units(),
                canaries: canaries as usize,
                steps,
                rows: self.rows(),
            };
            let guesses = training.run(&self.key()?)?;
            let claimed = claim.epsilon_of(steps)?;
            let checks = one_run::checks(guesses, claimed, claim.delta, self.settings.confidence, DECISIVE);
            sections.push(section(&format!("One run of {steps} steps"), device, checks));
        }
        Ok(sections)
    }

    /// All checks of one subject that a device takes part in.
    fn examine(
        &mut self,
        device: &dyn Device,
        claim: &Claim,
        subject: &Subject,
        replays: u64,
    ) -> Result<Vec<Section>, AuditError> {
        let (rows, records) = (self.rows(), self.records);
        let (reference, _) = self.variants.compile(&claim.plan.clip, NormChoice::Materialize)?;
        let reference = self.sensitivity(device, claim, &claim.of(reference))?;
        let found = self.sensitivity(device, claim, subject)?;
        let checks = vec![
            found.bounded("longest change / S"),
            found.agrees("shares, from those of stored gradients / S", &reference, records),
        ];
        let mut sections = vec![section("Sensitivity of the artifact", device, checks)];

        (self.progress)(&format!("noise on {}", device.name()));
        let key = self.key()?;
        let on = Bench::new(device, self.artifact, records, subject, Noise::On, key.clone())?;
        let off = Bench::new(device, self.artifact, records, subject, Noise::Off, key)?;
        let (mut noisy, mut quiet) = (on.rig(rows)?, off.rig(rows)?);
        let std = claim.plan.multipliers(0).gradient * claim.scale();
        let checks = noise::checks(&mut noisy, &mut quiet, records, std, claim.plan.divisor())?;
        sections.push(section("Noise of the artifact", device, checks));

        (self.progress)(&format!("{replays} replays a side on {}", device.name()));
        let on = Bench::new(device, self.artifact, records, subject, Noise::On, self.key()?)?;
        let found = Replays::run(&mut on.rig(rows)?, &mut quiet, records, claim.scale(), replays)?;
        sections.push(section("Canary in one step of the artifact", device, self.canary(claim, &found)));
        Ok(sections)
    }

    fn canary(&self, claim: &Claim, found: &Replays) -> Vec<Check> {
        let at = |confidence: f64| found.epsilon(claim.delta, 1.0 - confidence);
        let name = |confidence: f64| format!("ε at least, at {} %", 100.0 * confidence);
        let shown = self.settings.confidence;
        vec![
            Check::shown("canary's change / S", found.reach).with(found.canary),
            Check::shown(&name(shown), at(shown)).with(format!(
                "of {:.4} claimed, by {} replays a side, {} with a wrong guess",
                claim.epsilon(),
                found.count,
                found.either
            )),
            Check::at_most(&name(DECISIVE), at(DECISIVE), claim.epsilon()),
        ]
    }

    fn sensitivity(
        &mut self,
        device: &dyn Device,
        claim: &Claim,
        subject: &Subject,
    ) -> Result<Sensitivity, AuditError> {
        let rows = self.rows();
        let records = match claim.plan.unit {
            Unit::Record => self.records,
            Unit::Group => self.pairs,
        };
        let bench = Bench::new(device, self.artifact, records, subject, Noise::Off, self.key()?)?;
        Sensitivity::measure(&mut bench.rig(rows)?, records, claim.plan.divisor())
    }

    fn sampling(&mut self, claim: &Claim, plan: &PrivacyPlan) -> Result<Section, AuditError> {
        let checks = sampling::checks(plan, &self.key()?, claim.units(), claim.plan.rate())?;
        Ok(Section { title: "Sampling".to_owned(), device: None, checks })
    }

    /// Every broken plan.
    fn broken(&mut self, device: &dyn Device, claim: &Claim) -> Result<Vec<Broken>, AuditError> {
        let mut all = Vec::new();
        for mutation in MUTATIONS {
            (self.progress)(&format!("{} on {}", mutation.name, device.name()));
            let program = match mutation.ghost {
                true => self.variants.compile(&claim.plan.clip, NormChoice::Ghost)?.0,
                false => self.artifact.program.clone(),
            };
            let mut broken =
                Broken { name: mutation.name.to_owned(), device: device.name(), caught: None, by: Vec::new() };
            if let Some(subject) = mutation.of(&claim.of(program))? {
                let mut sections = self.examine(device, claim, &subject, self.settings.replays.min(BROKEN_REPLAYS))?;
                sections.push(self.sampling(claim, &subject.plan)?);
                broken.by = sections.iter().flat_map(Section::failures).cloned().collect();
                broken.caught = Some(!broken.by.is_empty());
            }
            all.push(broken);
        }
        Ok(all)
    }
}

fn section(title: &str, device: &dyn Device, checks: Vec<Check>) -> Section {
    Section { title: title.to_owned(), device: Some(device.name()), checks }
}

#[cfg(test)]
mod tests;
