//! The lines of metrics of a run, on the screen, in its directory and in event files.

use std::time::Instant;

use super::since_log::SinceLog;
use super::{LOG_COST, LOG_INTERVAL, Run, TrainError, Training};
use crate::train::evaluate::Evaluation;
use crate::train::metrics::StepMetrics;

impl Run<'_> {
    /// A line of metrics where one is due, which it always is after the last step and with an evaluation. Of rank 0 alone.
    pub(super) fn log(&mut self, last: bool, valid: Option<Evaluation>) -> Result<(), TrainError> {
        let due = last || valid.is_some() || self.since_log.started.elapsed() >= self.log_interval;
        if !due || !self.training.ranks.is_first() {
            return Ok(());
        }
        let plan = self.training.plan;
        let step = self.steps.step();
        // The step that was taken last, counted from 0.
        let taken = step.saturating_sub(1);
        let private = !plan.non_private;
        let clip_bounds = match private {
            true => self.steps.stepper().clip().scaled(plan.clip_schedule.at(taken)),
            false => Vec::new(),
        };
        let rate = (step - self.since_log.step) as f64 / self.since_log.started.elapsed().as_secs_f64();
        let factor = self.training.lr_schedule.at(taken, plan.planned_steps);
        let metrics = StepMetrics {
            step,
            epoch: step as f64 * plan.rate(),
            epsilon: self.epsilon()?,
            noise_multiplier: private.then(|| plan.noise_multiplier_at(taken)),
            clip_bounds,
            learning_rate: Some(self.training.learning_rate * factor),
            lr_for: self.training.lr_for.iter().map(|own| (own.pattern(), own.rate() * factor)).collect(),
            steps_per_second: Some(rate),
            samples_per_second: rate * plan.expected_batch,
            valid,
            estimates: plan.estimates.map(|_| self.since_log.estimated(self.steps.step())),
            not_private: Some(self.since_log.observed()),
        };
        let recorded = match self.training.record_private_metrics || plan.non_private {
            true => metrics.clone(),
            false => StepMetrics { not_private: None, ..metrics.clone() },
        };
        if let Some(log) = &mut self.metrics {
            log.write(&recorded)?;
        }
        if let Some(events) = &mut self.events {
            events.add(&recorded, Some(&self.since_log.norms))?;
        }
        // Where nobody looks on, what is shown ends up in a file.
        self.progress.update(if self.progress.is_watched() { &metrics } else { &recorded });
        self.since_log = SinceLog::new(self.steps.step());
        Ok(())
    }

    /// ε of everything in the ledger; none of a trial, for which the choice among all of them has one.
    fn epsilon(&mut self) -> Result<Option<f64>, TrainError> {
        let Training { plan, accountant, trial_of, .. } = self.training;
        let Some(delta) = plan.delta.filter(|_| plan.insecure_seed.is_none() && trial_of.is_none()) else {
            return Ok(None);
        };
        let started = Instant::now();
        let history = self.steps.ledger().history(plan);
        let epsilon = accountant.epsilon(&history, plan.adjacency, delta)?;
        self.log_interval = LOG_INTERVAL.max(started.elapsed() * LOG_COST);
        Ok(epsilon.is_finite().then_some(epsilon))
    }
}
