//! The program that a run's steps are computed by, on its device.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::engine::{Engine, EngineError};
use super::physical;
use super::step::Stepper;
use crate::artifact::Artifact;
use crate::device::{Device, TARGETS};
use crate::lower::program::{Phase, Program};
use crate::privacy::adjacency::Unit;
use crate::privacy::plan::PrivacyPlan;

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
) -> Result<Engine, EngineError> {
    let phases = |program: &Program| [&[Phase::Forward], Stepper::phases_of(plan, program)].concat();
    let (mut program, mut rows) = (None, rows);
    if let Some(found) = in_views(artifact, plan, rows) {
        let records = physical::fitting(device, &found, &phases(&found), rows / found.views);
        rows = records * found.views;
        program = Some(found);
    }
    let program = program.unwrap_or_else(|| artifact.program.clone());
    let phases = phases(&program);
    Engine::with_rates(device, Arc::new(program), &artifact.weights, rows, &phases, own_rates)
}

/// The program in which a record's views are rows of one batch of so many, where the plan asks for that and there is one.
fn in_views(artifact: &Artifact, plan: &PrivacyPlan, rows: usize) -> Option<Program> {
    let views = usize::try_from(plan.views).ok()?;
    let asked = views > 1 && !plan.non_private && plan.unit == Unit::Record && rows >= views;
    if asked { artifact.in_views(views, TARGETS).ok() } else { None }
}
