//! What is claimed of an artifact: what an accountant is told.

use super::statistics::gaussian;
use super::subject::Subject;
use super::{AuditError, Settings};
use crate::lower::program::Program;
use crate::privacy::ClipRule;
use crate::privacy::accountant::{ACCOUNTANTS, Mechanism};
use crate::privacy::adjacency::Unit;
use crate::privacy::clipping::ClipGroup;
use crate::privacy::plan::{PlanSpec, PrivacyPlan};
use crate::privacy::release::Estimates;
use crate::privacy::sampling::Sampling;

/// A plan, with the clip groups of the model that it is for.
pub(super) struct Claim {
    pub plan: PrivacyPlan,
    pub groups: Vec<ClipGroup>,
    pub delta: f64,
}

impl Claim {
    /// Of steps as `settings` say, with the rule `clip`, which makes `groups`.
    pub fn new(clip: ClipRule, groups: Vec<ClipGroup>, unit: Unit, settings: &Settings) -> Result<Claim, AuditError> {
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

    /// The same with estimates of metrics in every step.
    pub fn with_estimates(self) -> Result<Claim, AuditError> {
        let spec = PlanSpec { estimates: Some(Estimates::default()), ..PlanSpec::from(self.plan) };
        Ok(Claim { plan: PrivacyPlan::new(spec)?, ..self })
    }

    /// `program`, run as it is claimed.
    pub fn of(&self, program: Program) -> Subject {
        Subject { program, plan: self.plan.clone(), groups: self.groups.clone() }
    }

    /// What one record may do to what a step releases.
    pub fn scale(&self) -> f64 {
        self.plan.clip.sensitivity() / self.plan.divisor()
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

    /// How many units there are if batches have the expected size.
    pub fn units(&self) -> usize {
        (self.plan.expected_batch / self.plan.rate()).round() as usize
    }

    /// The claim in words.
    pub fn text(&self) -> String {
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
