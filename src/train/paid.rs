//! Logical steps that are paid for: the one way from gradients to the parameters.
//!
//! A step's line is in the ledger before its noisy sum is released, and no more steps are taken than the plan's ε allows
//! after all that the ledger holds.

use super::step::{Released, StepError, Stepper};
use crate::privacy::accountant::{Accountant, InvalidInput};
use crate::privacy::clipping::ClipState;
use crate::privacy::ledger::{Contents, Ledger};
use crate::privacy::plan::PrivacyPlan;
use crate::train::engine::Shown;

/// The steps of a run.
pub struct PaidSteps<'a> {
    stepper: Stepper<'a>,
    ledger: Ledger,
    /// Steps taken.
    step: u64,
    /// Those taken before.
    first: u64,
    /// The last step that may be taken, and one.
    end: u64,
}

/// What became of a step.
#[derive(Debug)]
pub enum Outcome {
    /// It was taken, and this was released besides the update.
    Taken(Released),
    /// What the step before left is not finite, so nothing was paid for and nothing taken.
    NotFinite(Vec<String>),
}

impl<'a> PaidSteps<'a> {
    /// Steps from number `step` on, which `ledger` pays for: those before `end`, as [`affordable`] says.
    pub fn new(stepper: Stepper<'a>, ledger: Ledger, step: u64, end: u64) -> Self {
        PaidSteps { stepper, ledger, step, first: step, end }
    }

    /// Steps taken.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Whether every step that may be taken has been.
    pub fn ended(&self) -> bool {
        self.step >= self.end
    }

    /// The last step that may be taken, and one.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// What the ledger holds.
    pub fn ledger(&self) -> &Contents {
        self.ledger.contents()
    }

    /// The records that the next step draws; none at the end.
    pub fn drawn(&self) -> Option<Vec<usize>> {
        (!self.ended()).then(|| self.stepper.drawn(self.step))
    }

    /// The stream of correlated noise that the steps are of.
    pub fn stream(&self) -> Option<&str> {
        self.ledger.stream()
    }

    /// The stepper between two steps.
    pub fn stepper(&mut self) -> &mut Stepper<'a> {
        &mut self.stepper
    }

    /// Takes the next step; `observe` gets what the devices show of every physical batch, which is not private.
    ///
    /// # Errors
    /// When it could not be taken or paid for, or the ranks are not the same after it. It is counted then if its line may be in the ledger.
    pub fn take(&mut self, observe: impl FnMut(&Shown, &ClipState, f64)) -> Result<Outcome, StepError> {
        let drawn = self.stepper.accumulate(self.step, observe)?;
        // What the last update left is known by now without waiting for it, and the next step is not paid for yet.
        let what = self.stepper.engine().nonfinite()?;
        if !what.is_empty() {
            return Ok(Outcome::NotFinite(what));
        }
        let Self { stepper, ledger, .. } = self;
        // Rank 0 writes while all add up: what they have of the step before its receipt is shown to nobody.
        let receipt = ledger.record_while(self.step, || stepper.reduce(drawn))?;
        let released = stepper.release(receipt)?;
        self.step += 1;
        // Seldom, as it reads all parameters, and soon, as replicas that differ do so from the first step on.
        if (self.step - self.first).is_power_of_two() {
            self.stepper.check_replicas(self.step)?;
        }
        Ok(Outcome::Taken(released))
    }
}

/// How many steps a plan's ε allows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Affordable {
    /// The end of the steps: fewer than planned where steps were repeated after a crash, or other runs share the ledger.
    Until(u64),
    /// None of a run that begins: all before and one more would cost this much.
    Nothing {
        /// The plan's ε.
        target: f64,
        /// That of one step more.
        reached: f64,
    },
}

/// The steps from number `step` on that the plan's ε allows after those in `ledger`; of a run that goes on with the stream of correlated
/// noise `stream`, if it does.
///
/// # Errors
/// When the ledger holds what `accountant` cannot work with.
pub fn affordable(
    plan: &PrivacyPlan,
    accountant: &dyn Accountant,
    ledger: &Contents,
    step: u64,
    stream: Option<&str>,
) -> Result<Affordable, InvalidInput> {
    let planned = plan.planned_steps;
    let Some(delta) = plan.delta else {
        return Ok(Affordable::Until(planned));
    };
    let after = |end: u64| accountant.epsilon(&ledger.history_then(plan, step..end, stream), plan.adjacency, delta);
    let target = plan.target_epsilon.map_or(f64::INFINITY, |target| target * (1.0 + 1e-9));
    // Steps below `low` are allowed, and those from `high` on are not.
    let (mut low, mut high) = (step, planned + 1);
    let mut next = planned;
    while low + 1 < high {
        if after(next)? <= target {
            low = next
        } else {
            high = next
        }
        next = low.midpoint(high);
    }
    match plan.target_epsilon {
        Some(target) if low == 0 && planned > 0 => Ok(Affordable::Nothing { target, reached: after(1)? }),
        _ => Ok(Affordable::Until(low)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::privacy::accountant::ACCOUNTANTS;
    use crate::privacy::correlation::Correlation;
    use crate::privacy::grid::Grid;
    use crate::privacy::ledger::MemoryStore;
    use crate::privacy::plan::PlanSpec;
    use crate::privacy::sampling::Sampling;

    /// A run with correlated noise that was stopped has its own steps left, and another run on the same ledger has not; what
    /// is repeated is paid for, and ends it when its parts have their next turn.
    #[test]
    fn a_stream_goes_on_where_it_was() {
        let spec = PlanSpec {
            noise_multiplier: 4.0,
            delta: Some(1e-5),
            planned_steps: 40,
            correlation: Some(Correlation::Banded { bands: 4 }.strategy(10, 40)),
            grid: Some(Grid::default()),
            ..PlanSpec::new(Sampling::Cyclic { rate: 1.0, parts: 10 }, 10.0, "flat:1".parse().unwrap())
        };
        let accountant = ACCOUNTANTS[0];
        let epsilon = {
            let plan = PrivacyPlan::new(spec.clone()).unwrap();
            accountant.epsilon(&plan.planned(0..40), plan.adjacency, 1e-5).unwrap()
        };
        let plan = PrivacyPlan::new(PlanSpec { target_epsilon: Some(epsilon), ..spec }).unwrap();
        let store = MemoryStore::default();
        let mut first = Ledger::on(Box::new(store.clone()), "first", &plan).unwrap();
        for step in 0..25 {
            let _ = first.record(step).unwrap();
        }
        let left = |ledger: &Contents, step, stream| affordable(&plan, accountant, ledger, step, stream).unwrap();
        assert_eq!(left(first.contents(), 0, None), Affordable::Until(10));
        assert_eq!(left(first.contents(), 25, Some("first")), Affordable::Until(40));
        // Step 23 again, whose row holds what step 20 added: the part of step 20 has no turn left in full.
        assert_eq!(left(first.contents(), 23, Some("first")), Affordable::Until(30));
    }
}
