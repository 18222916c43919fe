//! What a run is resumed from: the context of its last checkpoint.

use serde::{Deserialize, Serialize};

use super::{TrainError, Training};
use crate::privacy::certificate::Provenance;
use crate::privacy::clipping::ClipState;
use crate::privacy::ledger::{Contents, Head};
use crate::privacy::plan::PrivacyPlan;
use crate::train::checkpoint::{Checkpoint, Checkpoints};
use crate::train::run_dir::RunDir;

/// What a checkpoint says of its run, to be found unchanged on resuming.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Context {
    pub plan: PrivacyPlan,
    pub provenance: Provenance,
    pub learning_rate: f64,
    pub clip: ClipState,
    pub ledger: Head,
}

/// The plan of the run in `directory` at its last checkpoint, which it can be resumed with.
///
/// # Errors
/// When there is no run, or its checkpoint cannot be read.
pub fn plan_of(directory: &RunDir) -> Result<Option<PrivacyPlan>, TrainError> {
    if !directory.artifact().exists() {
        return Err(TrainError::NoRun { path: directory.path().to_owned() });
    }
    let checkpoint = Checkpoints::at(&directory.checkpoints()).latest()?;
    let context = checkpoint.and_then(|checkpoint| serde_json::from_value::<Context>(checkpoint.context).ok());
    Ok(context.map(|context| context.plan))
}

/// The clip bounds of a checkpoint that `training` can go on from.
pub(super) fn check_resumable(
    training: &Training<'_>,
    provenance: &Provenance,
    checkpoint: &Checkpoint,
) -> Result<ClipState, TrainError> {
    let path = training.directory.path().to_owned();
    let Ok(context) = serde_json::from_value::<Context>(checkpoint.context.clone()) else {
        let what = vec!["version of dpc"];
        return Err(TrainError::OtherRun { path, what });
    };
    let ledger = &training.ledger;
    let contents = if ledger.exists() { Contents::read(ledger)? } else { Contents::default() };
    contents.check_continues(ledger, &context.ledger)?;
    let mut what = Vec::new();
    let mut same = |name, same: bool| {
        if !same {
            what.push(name);
        }
    };
    same("privacy plan", context.plan == *training.plan);
    same("model or program", context.provenance == *provenance);
    same("learning rate", context.learning_rate == training.learning_rate);
    match what.is_empty() {
        true => Ok(context.clip),
        false => Err(TrainError::OtherRun { path, what }),
    }
}
