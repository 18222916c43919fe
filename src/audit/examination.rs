//! An audit under way: all checks of an artifact, on one device after the other, and of its broken counterparts.

use std::collections::BTreeSet;

use super::canary::Replays;
use super::claim::{Built, Claim};
use super::mutation::MUTATIONS;
use super::records::Records;
use super::report::{Broken, Check, Section, percent};
use super::sensitivity::{Places, Sensitivity};
use super::subject::{Bench, Noise, Subject};
use super::variants::{self, Variant, Variants};
use super::{
    AuditError, Settings, beside, correlated, data_flow, integers, low_bits, noise, one_run, ranks, sampling, section,
    update,
};
use crate::artifact::Artifact;
use crate::device::{Device, TARGETS};
use crate::options::NormChoice;
use crate::privacy::ClipRule;
use crate::privacy::adjacency::Unit;
use crate::privacy::keys::{RunKey, SystemEntropy};
use crate::privacy::plan::PrivacyPlan;
use crate::train::step::Stepper;

/// Rows of a physical batch.
const ROWS: usize = 4;
/// Rows of a physical batch of a replay: the canary, and one beside it.
const REPLAY_ROWS: usize = 2;
/// Views of each record, where it has several.
const VIEWS: usize = 4;
/// The most replays a side of an attack on low bits.
const LOW_BITS_REPLAYS: u64 = 100;
/// The most replays a side of a plan that was broken on purpose.
const BROKEN_REPLAYS: u64 = 200;
/// The most ordinary records in a training with canaries: how many there are is no part of the claim.
const MOST_RECORDS: usize = 8192;

/// An audit under way.
pub(super) struct Examination<'a, P> {
    pub artifact: &'a Artifact,
    pub settings: &'a Settings,
    pub records: &'a Records,
    /// The same with units of two records.
    pub pairs: &'a Records,
    pub variants: &'a Variants,
    pub claim: &'a Claim,
    /// The confidence at which a lower bound on ε decides.
    pub decisive: f64,
    /// How many keys have been drawn.
    pub keys: u64,
    /// How often adversarial records were put in some places only.
    pub turns: usize,
    pub progress: P,
}

impl<P: FnMut(&str)> Examination<'_, P> {
    /// A fresh key.
    fn key(&mut self) -> Result<RunKey, AuditError> {
        self.keys += 1;
        let seed = self.settings.insecure_seed.map(|seed| seed.wrapping_add(self.keys));
        Ok(seed.map_or_else(|| RunKey::fresh(&SystemEntropy), |seed| Ok(RunKey::insecure(seed)))?)
    }

    /// The places of adversarial records in a program that is not the artifact's.
    fn some_places(&mut self) -> Places {
        self.turns += 1;
        if self.settings.exhaustive { Places::All } else { Places::Turn(self.turns) }
    }

    fn rows(&self) -> usize {
        ROWS.min(self.artifact.manifest.max_batch)
    }

    /// What the artifact claims of units of two records.
    fn of_pairs(&self) -> Result<Claim, AuditError> {
        let manifest = &self.artifact.manifest;
        Claim::new(manifest.clip.clone(), &Built::of(self.artifact), Unit::Group, self.settings)
    }

    /// What the artifact's program does, before it is run.
    pub fn data_flow(&mut self) -> Result<Section, AuditError> {
        let pairs = self.of_pairs()?;
        let phases = [&self.claim.plan, &pairs.plan].map(Stepper::phases);
        Ok(section("Data flow of the artifact", None, data_flow::checks(&self.artifact.program, &phases)))
    }

    /// Sampling by the plan that is followed.
    pub fn sampling(&mut self, followed: &PrivacyPlan) -> Result<Section, AuditError> {
        let checks = sampling::checks(&self.claim.plan, followed, &self.key()?)?;
        Ok(section("Sampling", None, checks))
    }

    /// What records do where the artifact's model takes norms from gradients that are stored.
    pub fn reference(&mut self, device: &dyn Device) -> Result<Sensitivity, AuditError> {
        let claim = self.claim;
        let stored = self.variants.compile(&claim.plan.clip, NormChoice::Materialize)?;
        self.measure(device, claim, &claim.of(stored.program), Places::All)
    }

    /// The artifact as it is, and compiled again with every clip rule and way to compute norms.
    pub fn whole(&mut self, device: &dyn Device, reference: &Sensitivity) -> Result<Vec<Section>, AuditError> {
        let subject = self.claim.of(self.artifact.program.clone());
        let mut sections = self.every_rule(device, reference)?;
        sections.extend(self.examine(device, &subject, reference, self.settings.replays)?);
        sections.push(self.of_ranks(device, &subject, None)?);
        sections.push(self.low_bits(device, &subject)?);
        sections.push(self.updates(device, &subject)?);
        sections.push(self.units(device)?);
        sections.extend(self.views(device)?);
        sections.push(self.beside(device)?);
        if let Some(claim) = self.claim.with_correlation()? {
            let subject = claim.of(self.artifact.program.clone());
            sections.push(self.correlated(device, &claim, &subject)?);
        }
        if let Some(canaries) = self.settings.canaries {
            sections.push(self.one_run(device, &subject, canaries)?);
        }
        Ok(sections)
    }

    /// The model compiled again with every clip rule and way to compute norms; `of_own` is the reference of its own rule.
    fn every_rule(&mut self, device: &dyn Device, of_own: &Sensitivity) -> Result<Vec<Section>, AuditError> {
        let (mut checks, mut of_pairs) = (Vec::new(), Vec::new());
        for Variant { name: of_clip, clip, norms } in self.variants.clips()? {
            let stored = self.variants.compile(&clip, NormChoice::Materialize)?;
            let pairs = Claim::new(clip.clone(), &stored, Unit::Group, self.settings)?;
            let places = self.some_places();
            let found = self.measure(device, &pairs, &pairs.of(stored.program.clone()), places)?;
            of_pairs.push(found.bounded(&of_clip));
            of_pairs.extend(found.of_integers(&of_clip));
            let own = clip == self.claim.plan.clip;
            let claim = Claim::new(clip, &stored, Unit::Record, self.settings)?;
            let reference = match norms.contains(&NormChoice::Materialize) {
                _ if own => of_own.clone(),
                true => {
                    let places = self.some_places();
                    self.measure(device, &claim, &claim.of(stored.program), places)?
                }
                false => self.measure(device, &claim, &claim.of(stored.program), Places::None)?,
            };
            for &norm in norms {
                let name = format!("{of_clip}, {}", variants::name(norm));
                (self.progress)(&format!("sensitivity of {name} on {}", device.name()));
                let found = match norm {
                    NormChoice::Materialize => reference.clone(),
                    _ => {
                        let built = self.variants.compile(&claim.plan.clip, norm)?;
                        let places = self.some_places();
                        self.measure(device, &claim, &claim.of(built.program), places)?
                    }
                };
                checks.push(found.bounded(&name));
                checks.extend(found.of_integers(&name));
                if norm != NormChoice::Materialize {
                    checks.push(found.agrees(&format!("{name}, shares"), &reference, self.records));
                }
            }
        }
        Ok(vec![
            section("Sensitivity of every clip rule and way to compute norms, over the bound", Some(device), checks),
            section("Sensitivity of every clip rule to units of two records, over the bound", Some(device), of_pairs),
        ])
    }

    /// All checks of one subject that show whether it is broken.
    fn examine(
        &mut self,
        device: &dyn Device,
        subject: &Subject,
        reference: &Sensitivity,
        replays: u64,
    ) -> Result<Vec<Section>, AuditError> {
        let (rows, records, claim) = (self.rows(), self.records, self.claim);
        let mut sections = vec![self.sensitivity(device, subject, reference)?];

        (self.progress)(&format!("noise on {}", device.name()));
        let key = self.key()?;
        let on = Bench::new(device, self.artifact, records, subject, Noise::On, key.clone())?;
        let off = Bench::new(device, self.artifact, records, subject, Noise::Off, key)?;
        let (mut noisy, mut quiet) = (on.rig(rows)?, off.rig(rows)?);
        let mut checks = noise::checks(&mut noisy, &mut quiet, records, claim)?;
        if noisy.exact() {
            checks.extend(integers::checks(&mut noisy, records, claim)?);
        }
        sections.push(section("Noise of the artifact", Some(device), checks));

        (self.progress)(&format!("{replays} replays a side on {}", device.name()));
        let rows = rows.min(REPLAY_ROWS);
        let on = Bench::new(device, self.artifact, records, subject, Noise::On, self.key()?)?;
        let found = Replays::run(&mut on.rig(rows)?, &mut off.rig(rows)?, records, claim.scale(), replays)?;
        sections.push(section("Canary in one step of the artifact", Some(device), self.canary(&found)));
        Ok(sections)
    }

    fn sensitivity(
        &mut self,
        device: &dyn Device,
        subject: &Subject,
        reference: &Sensitivity,
    ) -> Result<Section, AuditError> {
        let found = self.measure(device, self.claim, subject, Places::All)?;
        let checks = changes(&found, reference, self.records);
        Ok(section("Sensitivity of the artifact", Some(device), checks))
    }

    fn measure(
        &mut self,
        device: &dyn Device,
        claim: &Claim,
        subject: &Subject,
        places: Places,
    ) -> Result<Sensitivity, AuditError> {
        let rows = self.rows();
        let records = match claim.plan.unit {
            Unit::Record => self.records,
            Unit::Group => self.pairs,
        };
        let bench = Bench::new(device, self.artifact, records, subject, Noise::Off, self.key()?)?;
        Sensitivity::measure(&mut bench.rig(rows)?, records, places, claim)
    }

    fn canary(&self, found: &Replays) -> Vec<Check> {
        let (claim, delta) = (self.claim, self.claim.delta);
        let risk = |confidence: f64| 1.0 - confidence;
        let name = |what: &str, confidence: f64| format!("ε at least, {what}, at {}", percent(confidence));
        let (shown, decisive) = (self.settings.confidence, self.decisive);
        let gaussian = "if the noise is Gaussian";
        vec![
            Check::shown("canary's change / S", found.reach).with(found.canary),
            Check::shown(&name(gaussian, shown), found.gaussian_epsilon(delta, risk(shown))).with(format!(
                "of {:.4} claimed, by {} replays a side, {} with a wrong guess; that it is, is tested above",
                claim.epsilon(),
                found.count,
                found.either
            )),
            Check::at_most(&name(gaussian, decisive), found.gaussian_epsilon(delta, risk(decisive)), claim.epsilon()),
            Check::shown(&name("whatever the noise", shown), found.epsilon(delta, risk(shown)))
                .with("by the same guesses"),
        ]
    }

    /// The artifact's program on several ranks, whole or broken.
    fn of_ranks(
        &mut self,
        device: &dyn Device,
        subject: &Subject,
        broken: Option<ranks::Fault>,
    ) -> Result<Section, AuditError> {
        (self.progress)(&format!("several ranks on {}", device.name()));
        let (rows, records, key, other) = (self.rows(), self.records, self.key()?, self.key()?);
        let on = Bench::new(device, self.artifact, records, subject, Noise::On, key.clone())?;
        let off = Bench::new(device, self.artifact, records, subject, Noise::Off, key)?;
        let checks = ranks::checks((&on, &off), rows, (records, self.claim), broken.map(|fault| (fault, &other)))?;
        Ok(section("Sum and noise of several ranks", Some(device), checks))
    }

    /// An attack on what the artifact's program releases.
    fn low_bits(&mut self, device: &dyn Device, subject: &Subject) -> Result<Section, AuditError> {
        (self.progress)(&format!("low bits on {}", device.name()));
        let (rows, records, key) = (self.rows().min(REPLAY_ROWS), self.records, self.key()?);
        let on = Bench::new(device, self.artifact, records, subject, Noise::On, key.clone())?;
        let off = Bench::new(device, self.artifact, records, subject, Noise::Off, key)?;
        let count = self.settings.replays.min(LOW_BITS_REPLAYS);
        let checks = low_bits::checks(&mut on.rig(rows)?, &mut off.rig(rows)?, records, self.claim, count)?;
        Ok(section("Low bits of what the artifact releases", Some(device), checks))
    }

    /// The artifact's program to the letter, beside the one in which the audit sees what is released.
    fn updates(&mut self, device: &dyn Device, subject: &Subject) -> Result<Section, AuditError> {
        let (rows, records, key) = (self.rows(), self.records, self.key()?);
        let optimizer = &self.artifact.manifest.optimizer;
        let learning_rate = update::learning_rate(optimizer, self.claim.deviation());
        let bench = || {
            let bench = Bench::new(device, self.artifact, records, subject, Noise::On, key.clone())?;
            Ok::<_, AuditError>(bench.training(learning_rate))
        };
        let (observed, stored) = (bench()?, bench()?.unobserved(&subject.program));
        let (mut observed, mut stored) = (observed.rig(rows)?, stored.rig(rows)?);
        let checks = update::checks(&mut observed, &mut stored, records, optimizer, learning_rate)?;
        Ok(section("Updates of the artifact", Some(device), checks))
    }

    /// The artifact's program where a unit is two records.
    fn units(&mut self, device: &dyn Device) -> Result<Section, AuditError> {
        (self.progress)(&format!("units of two records on {}", device.name()));
        let (rows, records, claim) = (self.rows(), self.pairs, self.of_pairs()?);
        let subject = claim.of(self.artifact.program.clone());
        let reference = self.variants.compile(&claim.plan.clip, NormChoice::Materialize)?;
        let reference = self.measure(device, &claim, &claim.of(reference.program), Places::None)?;
        let found = self.measure(device, &claim, &subject, Places::All)?;
        let key = self.key()?;
        let on = Bench::new(device, self.artifact, records, &subject, Noise::On, key.clone())?;
        let off = Bench::new(device, self.artifact, records, &subject, Noise::Off, key)?;
        let (mut noisy, mut quiet) = (on.rig(rows)?, off.rig(rows)?);
        let (std, all) = (claim.deviation(), &records.ordinary[..]);
        let mut checks = changes(&found, &reference, records);
        for (what, batches) in [("no units", vec![]), ("several units", vec![all])] {
            checks.push(noise::with_records(&mut noisy, &mut quiet, std, what, &batches)?);
        }
        checks.push(noise::divided(&mut quiet, records, claim.plan.divisor())?);
        Ok(section("Units of two records of the artifact", Some(device), checks))
    }

    /// The artifact's model where each record is seen in several views, if there is a program for that.
    fn views(&mut self, device: &dyn Device) -> Result<Option<Section>, AuditError> {
        let Ok(program) = self.artifact.in_views(VIEWS, TARGETS) else { return Ok(None) };
        (self.progress)(&format!("{VIEWS} views of each record on {}", device.name()));
        let claim = self.claim.in_views(VIEWS)?;
        let subject = claim.of(program);
        let stored = self.variants.compile_in_views(&claim.plan.clip, NormChoice::Materialize, VIEWS)?;
        let reference = self.measure(device, &claim, &claim.of(stored.program), Places::None)?;
        let found = self.measure(device, &claim, &subject, Places::All)?;
        let mut checks = changes(&found, &reference, self.records);
        let (rows, records, key) = (self.rows(), self.records, self.key()?);
        let on = Bench::new(device, self.artifact, records, &subject, Noise::On, key.clone())?;
        let off = Bench::new(device, self.artifact, records, &subject, Noise::Off, key)?;
        let (mut noisy, mut quiet) = (on.rig(rows)?, off.rig(rows)?);
        let (std, all) = (claim.deviation(), &records.ordinary[..]);
        for (what, batches) in [("no records", vec![]), ("several records", vec![all])] {
            checks.push(noise::with_records(&mut noisy, &mut quiet, std, what, &batches)?);
        }
        checks.push(noise::divided(&mut quiet, records, claim.plan.divisor())?);
        Ok(Some(section(&format!("Records in {VIEWS} views"), Some(device), checks)))
    }

    /// What the artifact's program releases beside the gradient where bounds adapt and metrics are estimated.
    fn beside(&mut self, device: &dyn Device) -> Result<Section, AuditError> {
        (self.progress)(&format!("counts and estimates on {}", device.name()));
        let (rows, records, manifest) = (self.rows(), self.records, &self.artifact.manifest);
        let sigma = self.settings.noise_multiplier;
        let (built, clip) = match beside::adaptive(&manifest.clip, sigma)? {
            Some(clip) => (Built::of(self.artifact), clip),
            None => {
                let clip = ClipRule::flat(manifest.clip.sensitivity())?;
                (self.variants.compile(&clip, manifest.norm)?, beside::adaptive(&clip, sigma)?.unwrap_or(clip))
            }
        };
        let claim = beside::claim(clip, &built, self.settings)?;
        let subject = claim.of(built.program);
        let key = self.key()?;
        let on = Bench::new(device, self.artifact, records, &subject, Noise::On, key.clone())?;
        let off = Bench::new(device, self.artifact, records, &subject, Noise::Off, key)?;
        let checks = beside::checks(&mut on.rig(rows)?, &mut off.rig(rows)?, records, &claim)?;
        Ok(section("Counts and estimates of the artifact, where bounds adapt", Some(device), checks))
    }

    /// The artifact's program where noise is correlated over the steps.
    fn correlated(&mut self, device: &dyn Device, claim: &Claim, subject: &Subject) -> Result<Section, AuditError> {
        (self.progress)(&format!("correlated noise on {}", device.name()));
        let (rows, records) = (self.rows(), self.records);
        let on = Bench::new(device, self.artifact, records, subject, Noise::On, self.key()?)?;
        let checks = correlated::checks(&mut on.rig(rows)?, records, claim)?;
        Ok(section("Correlated noise of the artifact", Some(device), checks))
    }

    fn one_run(&mut self, device: &dyn Device, subject: &Subject, canaries: u64) -> Result<Section, AuditError> {
        let (steps, claim) = (self.settings.steps, self.claim);
        (self.progress)(&format!("one run of {steps} steps with {canaries} canaries on {}", device.name()));
        let training = one_run::Training {
            device,
            artifact: self.artifact,
            subject,
            records: claim.population().min(MOST_RECORDS),
            canaries: canaries as usize,
            steps,
            rows: self.rows(),
        };
        let guesses = training.run(&self.key()?)?;
        let claimed = claim.epsilon_of(steps)?;
        let checks = one_run::checks(guesses, claimed, claim.delta, self.settings.confidence, self.decisive);
        Ok(section(&format!("One run of {steps} steps"), Some(device), checks))
    }

    /// Every broken plan; `sections` are what was found of the whole one.
    pub fn broken(
        &mut self,
        device: &dyn Device,
        reference: &Sensitivity,
        sections: &[Section],
    ) -> Result<Vec<Broken>, AuditError> {
        let whole = failing(sections.iter().filter(|s| s.device.is_none() || s.device == Some(device.name())));
        let replays = self.settings.replays.min(BROKEN_REPLAYS);
        let mut all = Vec::new();
        for mutation in MUTATIONS.iter().filter(|mutation| !mutation.exact || self.claim.plan.grid.is_some()) {
            (self.progress)(&format!("{} on {}", mutation.name, device.name()));
            let mut broken =
                Broken { name: mutation.name.to_owned(), device: device.name(), caught: None, by: Vec::new() };
            let program = match mutation.ghost {
                true => self.variants.compile(&self.claim.plan.clip, NormChoice::Ghost)?.program,
                false => self.artifact.program.clone(),
            };
            if mutation.correlated {
                if let Some(claim) = self.claim.with_correlation()?
                    && let Some(subject) = mutation.of(&claim.of(program))?
                {
                    let found = self.correlated(device, &claim, &subject)?;
                    broken.by.extend(found.failures().cloned());
                    broken.caught = Some(!broken.by.is_empty());
                }
                all.push(broken);
                continue;
            }
            let unbroken = self.claim.of(program);
            if let Some(fault) = mutation.ranks {
                let found = self.of_ranks(device, &unbroken, Some(fault))?;
                broken.by.extend(found.failures().cloned());
                broken.caught = Some(!broken.by.is_empty());
                all.push(broken);
                continue;
            }
            if let Some(subject) = mutation.of(&unbroken)? {
                let (found, known) = match mutation.ghost {
                    // Only norms differ from the artifact's program.
                    true => {
                        let known = self.sensitivity(device, &unbroken, reference)?;
                        (vec![self.sensitivity(device, &subject, reference)?], failing([&known]))
                    }
                    false => {
                        let mut found = self.examine(device, &subject, reference, replays)?;
                        found.push(self.sampling(&subject.plan)?);
                        (found, whole.clone())
                    }
                };
                for section in &found {
                    let new = section.failures().filter(|check| !known.contains(&name_in(section, check)));
                    broken.by.extend(new.cloned());
                }
                broken.caught = Some(!broken.by.is_empty());
            }
            all.push(broken);
        }
        Ok(all)
    }
}

/// What records did, beside the same by the stored gradients of `reference`.
fn changes(found: &Sensitivity, reference: &Sensitivity, records: &Records) -> Vec<Check> {
    let mut checks = vec![found.bounded("longest change / bound")];
    checks.extend(found.of_integers("longest change / bound"));
    checks.push(found.agrees("shares, from those of stored gradients / S", reference, records));
    checks
}

fn name_in(section: &Section, check: &Check) -> (String, String) {
    (section.title.clone(), check.name.clone())
}

/// The checks that failed, by section and name.
fn failing<'a>(sections: impl IntoIterator<Item = &'a Section>) -> BTreeSet<(String, String)> {
    sections.into_iter().flat_map(|section| section.failures().map(|check| name_in(section, check))).collect()
}
