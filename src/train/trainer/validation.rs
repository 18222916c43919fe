//! What is trained, evaluated on the validation data.

use std::time::Instant;

use super::{Run, TrainError};
use crate::train::evaluate::{Evaluation, Scored, evaluate, evaluate_with};

impl Run<'_> {
    /// The evaluation that is due after the step that was taken last, and after the last one of all.
    pub(super) fn validate_if_due(&mut self) -> Result<Option<Evaluation>, TrainError> {
        let (step, rate) = (self.steps.step(), self.training.plan.rate());
        match self.steps.ended() || self.training.valid_every.is_some_and(|every| every.is_due(step, rate)) {
            true => self.validate(),
            false => Ok(None),
        }
    }

    /// The evaluation of what is trained so far: of the moving averages where there are some. What it takes does not count
    /// into the time of the steps. Rank 0 evaluates, and the others wait for it at their next call.
    pub(super) fn validate(&mut self) -> Result<Option<Evaluation>, TrainError> {
        let step = self.steps.step();
        if !self.training.ranks.is_first() {
            return Ok(None);
        }
        if let Some((at, evaluation)) = &self.valid
            && *at == step
        {
            return Ok(Some(evaluation.clone()));
        }
        let Some((data, scored)) = self.training.valid.zip(Scored::of(&self.training.artifact.manifest)) else {
            return Ok(None);
        };
        let started = Instant::now();
        let engine = self.steps.stepper().engine();
        let evaluation = match &self.average {
            Some(average) => evaluate_with(engine, average.values(), data, &scored)?,
            None => evaluate(engine, data, &scored)?,
        };
        self.since_log.started += started.elapsed();
        self.valid = Some((step, evaluation.clone()));
        Ok(Some(evaluation))
    }
}
