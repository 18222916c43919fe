//! What is claimed of an artifact: what an accountant is told.

use super::statistics::gaussian;
use super::subject::Subject;
use super::{AuditError, Settings, correlated};
use crate::artifact::Artifact;
use crate::lower::program::Program;
use crate::privacy::ClipRule;
use crate::privacy::accountant::{ACCOUNTANTS, Mechanism};
use crate::privacy::adjacency::Unit;
use crate::privacy::clipping::{ClipGroup, ClipState};
use crate::privacy::discrete::Scale;
use crate::privacy::grid::{self, Grid};
use crate::privacy::plan::{PlanSpec, PrivacyPlan};
use crate::privacy::release::Estimates;
use crate::privacy::sampling::Sampling;
use crate::privacy::scales;
use crate::train::step::StepError;

/// A program with what its clip rule makes of the model.
pub(super) struct Built {
    pub program: Program,
    pub groups: Vec<ClipGroup>,
    /// The grid of its private sums, if they are of integers.
    pub grid: Option<Grid>,
}

impl Built {
    /// The program of `artifact`.
    pub fn of(artifact: &Artifact) -> Built {
        let manifest = &artifact.manifest;
        let (program, groups) = (artifact.program.clone(), manifest.clip_groups.clone());
        Built { program, groups, grid: manifest.grid.clone() }
    }
}

/// A plan, with the clip groups of the model that it is for.
pub(super) struct Claim {
    pub plan: PrivacyPlan,
    pub groups: Vec<ClipGroup>,
    pub delta: f64,
}

impl Claim {
    /// Of steps of `built` as `settings` say, with the rule `clip`.
    pub fn new(clip: ClipRule, built: &Built, unit: Unit, settings: &Settings) -> Result<Claim, AuditError> {
        let groups = built.groups.clone();
        let sampling = Sampling::Poisson { rate: settings.sample_rate };
        let plan = PrivacyPlan::new(PlanSpec {
            noise_multiplier: settings.noise_multiplier,
            delta: Some(settings.delta),
            insecure_seed: settings.insecure_seed,
            clip_groups: groups.len(),
            grid: built.grid.clone(),
            unit,
            ..PlanSpec::new(sampling, settings.batch as f64, clip)
        })?;
        Ok(Claim { plan, groups, delta: settings.delta })
    }

    /// The same with estimates of metrics in every step.
    pub fn with_estimates(self) -> Result<Claim, AuditError> {
        let spec = PlanSpec { estimates: Some(Estimates::default()), ..PlanSpec::from(self.plan) };
        Ok(Claim { plan: PrivacyPlan::new(spec)?, ..self })
    }

    /// The same with so many views of each record.
    pub fn in_views(&self, views: usize) -> Result<Claim, AuditError> {
        let spec = PlanSpec { views: views as u64, ..PlanSpec::from(self.plan.clone()) };
        Ok(Claim { plan: PrivacyPlan::new(spec)?, groups: self.groups.clone(), delta: self.delta })
    }

    /// The same with correlated noise; `None` where there is no proof for that.
    pub fn with_correlation(&self) -> Result<Option<Claim>, AuditError> {
        let spec = PlanSpec::from(self.plan.clone());
        if spec.grid.is_none() || spec.clip.adaptive().is_some() {
            return Ok(None);
        }
        let sampling = Sampling::Cyclic { rate: 1.0, parts: correlated::BANDS };
        let correlation = Some(correlated::strategy());
        let plan = PrivacyPlan::new(PlanSpec { sampling, correlation, public_units: None, ..spec })?;
        Ok(Some(Claim { plan, groups: self.groups.clone(), delta: self.delta }))
    }

    /// `program`, run as it is claimed.
    pub fn of(&self, program: Program) -> Subject {
        Subject { program, plan: self.plan.clone(), groups: self.groups.clone() }
    }

    /// What one record may do to what a step releases.
    pub fn scale(&self) -> f64 {
        self.sensitivity() / self.plan.divisor()
    }

    /// What one record may do to the sum.
    fn sensitivity(&self) -> f64 {
        sensitivity(&self.plan, &self.groups)
    }

    /// The grid units of the clip groups.
    pub fn units(&self) -> Vec<f64> {
        bounds(&self.plan, &self.groups).into_iter().map(grid::unit).collect()
    }

    /// The clip group of a parameter.
    pub fn group(&self, parameter: &str) -> Option<usize> {
        self.groups.iter().position(|group| group.parameters.iter().any(|name| name == parameter))
    }

    /// The scale of the integer noise of each clip group, in its grid units.
    pub fn noise_scales(&self) -> Result<Vec<Scale>, AuditError> {
        noise_scales(&self.plan, &self.groups)
    }

    /// The standard deviation of the noise on what is released of a gradient.
    pub fn deviation(&self) -> f64 {
        self.plan.multipliers(0).gradient * self.scale()
    }

    /// ε of one step that every record enters.
    pub fn epsilon(&self) -> f64 {
        gaussian::epsilon(1.0 / self.plan.noise_multiplier, self.delta)
    }

    /// ε of `steps` steps by the default accountant.
    pub fn epsilon_of(&self, steps: u64) -> Result<f64, AuditError> {
        let history = [Mechanism { steps, ..self.plan.mechanism(0) }];
        Ok(ACCOUNTANTS[0].epsilon(&history, self.plan.adjacency, self.delta)?)
    }

    /// How many units of privacy there are if batches have the expected size.
    pub fn population(&self) -> usize {
        (self.plan.expected_batch / self.plan.rate()).round() as usize
    }

    /// The claim in words.
    pub fn text(&self) -> String {
        format!(
            "claim: ε = {:.4} at δ = {:e} for a step that every record enters; σ = {}, clip {}, divisor {}{}",
            self.epsilon(),
            self.delta,
            self.plan.noise_multiplier,
            self.plan.clip,
            self.plan.divisor(),
            if self.plan.grid.is_some() { ", sums and noise of integers" } else { "" }
        )
    }
}

/// The bounds of clip groups.
fn bounds(plan: &PrivacyPlan, groups: &[ClipGroup]) -> Vec<f64> {
    ClipState::new(&plan.clip, groups).scaled(1.0)
}

/// What one record may do to the sum by `plan`.
fn sensitivity(plan: &PrivacyPlan, groups: &[ClipGroup]) -> f64 {
    let of_grid = |grid: &Grid| grid.sensitivity(&bounds(plan, groups));
    plan.grid.as_ref().map_or_else(|| plan.clip.sensitivity(), of_grid)
}

/// The scale of the integer noise of each of `groups` by `plan`, in its grid units; none where sums are of floats or nothing is noised.
pub(super) fn noise_scales(plan: &PrivacyPlan, groups: &[ClipGroup]) -> Result<Vec<Scale>, AuditError> {
    let Some(grid) = &plan.grid else { return Ok(vec![]) };
    let clip = ClipState::new(&plan.clip, groups);
    let scales = scales::gradient(plan, grid, &clip, 0).map_err(StepError::from)?;
    Ok(scales.into_iter().flatten().collect())
}
