//! The audit: does an artifact keep what its plan claims?
//!
//! | module | asks | by |
//! |---|---|---|
//! | [`data_flow`] | does anything but a noisy gradient reach the parameters? | reading the program |
//! | [`update`] | are parameters updated by what is seen released? | running the program as it is beside |
//! | [`sensitivity`] | can one unit move the sum of a clip group farther than its bound? | trying, exactly |
//! | [`noise`] | is the noise on every tensor as large, as normal and as independent as claimed, whatever the batch? | statistics |
//! | [`integers`] | are integers of noise those of the discrete Gaussian, low bits and tails, and is nothing but a conversion after them? | statistics, exactly |
//! | [`correlated`] | is the noise of steps correlated by the matrix that is claimed? | statistics |
//! | [`ranks`] | is the sum of several ranks that of one process, and noise added to it once? | statistics, exactly |
//! | [`low_bits`] | do the low bits of what is released tell whether a record is in? | an attack |
//! | [`beside`] | the same of adaptive counts and estimates of metrics, and do all together cost what is charged? | both |
//! | [`sampling`] | do units enter batches as claimed? | statistics |
//! | [`canary`] | how much of ε can be shown from one compiled step? | replays with and without a record |
//! | [`one_run`] | how much of ε can be shown from a whole training? | guessing which canaries were in it |
//! | [`mutation`] | would a broken plan be caught? | breaking it on purpose |
//!
//! Statistical checks have bounds that a correct mechanism leaves at most once in 10⁹ audits, whatever its numbers; lower
//! bounds on ε decide at a confidence at which all of them together raise a false alarm in one audit of two thousand.
//! Everything runs through the compiled program and [`crate::train::step`], as training does. A [`Claim`] is what an
//! accountant is told; a [`subject::Subject`] is what is run; an [`examination`] puts the checks of both together.

pub mod beside;
pub mod canary;
mod claim;
mod correlated;
pub mod data_flow;
mod ending;
mod error;
mod examination;
mod integers;
mod low_bits;
pub mod mutation;
pub mod noise;
pub mod one_run;
mod ranks;
pub mod records;
pub mod report;
pub mod sampling;
pub mod sensitivity;
mod series;
pub mod statistics;
pub mod subject;
pub mod update;
mod variants;

use std::time::Instant;

use crate::artifact::Artifact;
use crate::device::Device;
use crate::privacy::adjacency::Unit;
use claim::{Built, Claim};
pub use error::AuditError;
use examination::Examination;
use records::Records;
use report::{Broken, Report, Section};
use sensitivity::OTHERS;
use variants::Variants;

/// The probability with which any of the lower bounds on ε that decide is above the truth.
const FALSE_ALARM: f64 = 5e-4;

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
    /// Whether every adversarial record is put in every place with every clip rule and way to compute norms.
    pub exhaustive: bool,
    /// Whether broken plans are audited too.
    pub mutate: bool,
    /// A seed that fixes all noise and sampling, for tests.
    pub insecure_seed: Option<u64>,
}

impl Default for Settings {
    /// Those of the command line.
    fn default() -> Settings {
        Settings {
            noise_multiplier: 1.0,
            sample_rate: 0.125,
            delta: 1e-5,
            batch: 32,
            replays: 1000,
            confidence: 0.95,
            canaries: None,
            steps: 128,
            exhaustive: false,
            mutate: false,
            insecure_seed: None,
        }
    }
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
    let built = Built::of(artifact);
    let claim = Claim::new(manifest.clip.clone(), &built, Unit::Record, settings)?;
    let deciding = devices.len().max(1) * if settings.canaries.is_some() { 2 } else { 1 };
    let mut examination = Examination {
        artifact,
        settings,
        records: &records,
        pairs: &pairs,
        variants: &variants,
        claim: &claim,
        decisive: 1.0 - FALSE_ALARM / deciding as f64,
        keys: 0,
        turns: 0,
        progress,
    };
    let mut sections = vec![examination.data_flow()?, examination.sampling(&claim.plan)?];
    let mut mutations = Vec::new();
    for device in devices {
        let reference = examination.reference(&**device)?;
        sections.extend(examination.whole(&**device, &reference)?);
        if settings.mutate {
            mutations.extend(examination.broken(&**device, &reference, &sections)?);
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

/// What was found of one kind on `device`, or without any.
fn section(title: &str, device: Option<&dyn Device>, checks: Vec<report::Check>) -> Section {
    Section { title: title.to_owned(), device: device.map(Device::name), checks }
}

#[cfg(test)]
mod tests;
