//! What a run in a directory is resumed from: its last checkpoint.

use super::{TrainError, Training};
use crate::privacy::certificate::Provenance;
use crate::privacy::clipping::ClipState;
use crate::privacy::ledger::Contents;
use crate::privacy::plan::PrivacyPlan;
use crate::train::checkpoint::{Checkpoint, Checkpoints};
use crate::train::run_dir::RunDir;
use crate::train::terms::{Context, OTHER_VERSION, StreamContext, plan_at};

/// The plan of the run in `directory` at its last checkpoint, which it can be resumed with.
///
/// # Errors
/// When there is no run, or its checkpoint cannot be read.
pub fn plan_of(directory: &RunDir) -> Result<Option<PrivacyPlan>, TrainError> {
    if !directory.artifact().exists() {
        return Err(TrainError::NoRun { path: directory.path().to_owned() });
    }
    Ok(Checkpoints::at(&directory.checkpoints()).latest()?.as_ref().and_then(plan_at))
}

/// The clip bounds of a checkpoint that `training` can go on from, and the stream of noise that it goes on with.
pub(super) fn check_resumable(
    training: &Training<'_>,
    provenance: &Provenance,
    checkpoint: &Checkpoint,
) -> Result<(ClipState, Option<StreamContext>), TrainError> {
    let path = training.directory.path().to_owned();
    let Some(context) = Context::of(checkpoint) else {
        return Err(TrainError::OtherRun { path, what: vec![OTHER_VERSION.to_owned()] });
    };
    if training.ranks.is_first() {
        let ledger = &training.ledger;
        let contents = if ledger.exists() { Contents::read(ledger)? } else { Contents::default() };
        contents.check_continues(ledger, &context.ledger)?;
    }
    let what = context.terms.differences(&training.terms(provenance));
    match what.is_empty() {
        true => Ok((context.clip, context.stream)),
        false => Err(TrainError::OtherRun { path, what }),
    }
}
