//! The program that a run's steps are computed by, on its device.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::engine::{Engine, EngineError};
use super::physical;
use super::step::Stepper;
use crate::artifact::{Artifact, NoViews};
use crate::device::{Device, TARGETS};
use crate::lower::program::{Phase, Program};
use crate::privacy::adjacency::Unit;
use crate::privacy::plan::PrivacyPlan;

/// What computes a run's steps.
pub struct Loaded {
    pub engine: Engine,
    /// Why the plan's views of a record are not rows of one physical batch, but computed one record after the other: to the same result,
    /// more slowly.
    pub views_apart: Option<NoViews>,
}

/// An engine for the steps of `plan` and evaluations, for physical batches of `rows`, with learning rates of their own for some
/// parameters. Where the plan has several views of each record, and there are rows for all of them, a batch is of whole records;
/// otherwise, and where a unit is a group, it is a part of one unit.
///
/// # Errors
/// When the device fails.
pub fn engine(
    device: &dyn Device,
    artifact: &Artifact,
    plan: &PrivacyPlan,
    rows: usize,
    own_rates: &BTreeMap<String, f64>,
) -> Result<Loaded, EngineError> {
    let phases = |program: &Program| [&[Phase::Forward], Stepper::phases_of(plan, program)].concat();
    let (program, rows, views_apart) = match in_views(artifact, plan, rows) {
        Ok(Some(found)) => {
            let records = physical::fitting(device, &found, &phases(&found), rows / found.views);
            let rows = records * found.views;
            (found, rows, None)
        }
        Ok(None) => (artifact.program.clone(), rows, None),
        Err(why) => (artifact.program.clone(), rows, Some(why)),
    };
    let phases = phases(&program);
    let engine = Engine::with_rates(device, Arc::new(program), &artifact.weights, rows, &phases, own_rates)?;
    Ok(Loaded { engine, views_apart })
}

/// The program in which a record's views are rows of one batch of so many, where the plan has views of records.
fn in_views(artifact: &Artifact, plan: &PrivacyPlan, rows: usize) -> Result<Option<Program>, NoViews> {
    let views = usize::try_from(plan.views).unwrap_or(usize::MAX);
    match views > 1 && !plan.non_private && plan.unit == Unit::Record {
        true if rows < views => Err(NoViews::Rows { rows }),
        true => artifact.in_views(views, TARGETS).map(Some),
        false => Ok(None),
    }
}
