//! What a run is resumed from: the context of its last checkpoint.

use std::collections::BTreeSet;
use std::fmt::Display;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{TrainError, Training};
use crate::privacy::certificate::Provenance;
use crate::privacy::clipping::ClipState;
use crate::privacy::ledger::{Contents, Head};
use crate::privacy::plan::PrivacyPlan;
use crate::train::augment::Augment;
use crate::train::checkpoint::{Checkpoint, Checkpoints};
use crate::train::lr_for::LrFor;
use crate::train::lr_schedule::LrSchedule;
use crate::train::run_dir::RunDir;

/// What a checkpoint says of its run, to be found unchanged on resuming.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Context {
    pub plan: PrivacyPlan,
    pub provenance: Provenance,
    pub learning_rate: f64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lr_for: Vec<LrFor>,
    #[serde(default)]
    pub augment: Option<Augment>,
    #[serde(default)]
    pub lr_schedule: LrSchedule,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ema: Option<f64>,
    pub clip: ClipState,
    pub ledger: Head,
    /// What correlated noise goes on from; none where it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<StreamContext>,
}

/// A stream of correlated noise that goes on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct StreamContext {
    /// The run that began it, by which the ledger tells its steps.
    pub id: String,
    /// The digest of the file that holds it, in hexadecimal.
    pub sha256: String,
}

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

/// The plan that `checkpoint` was reached by; `None` where another version of dpc wrote it otherwise.
pub fn plan_at(checkpoint: &Checkpoint) -> Option<PrivacyPlan> {
    serde_json::from_value(checkpoint.context.get("plan")?.clone()).ok()
}

/// The state of the ledger that `checkpoint` was reached by; `None` where another version of dpc wrote it otherwise.
pub fn ledger_at(checkpoint: &Checkpoint) -> Option<Head> {
    serde_json::from_value(checkpoint.context.get("ledger")?.clone()).ok()
}

/// The clip bounds of a checkpoint that `training` can go on from, and the stream of noise that it goes on with.
pub(super) fn check_resumable(
    training: &Training<'_>,
    provenance: &Provenance,
    checkpoint: &Checkpoint,
) -> Result<(ClipState, Option<StreamContext>), TrainError> {
    let path = training.directory.path().to_owned();
    let Ok(context) = serde_json::from_value::<Context>(checkpoint.context.clone()) else {
        let what = vec!["by another version of dpc".to_owned()];
        return Err(TrainError::OtherRun { path, what });
    };
    if training.ranks.is_first() {
        let ledger = &training.ledger;
        let contents = if ledger.exists() { Contents::read(ledger)? } else { Contents::default() };
        contents.check_continues(ledger, &context.ledger)?;
    }
    let mut what = differences(&context.plan, training.plan);
    if context.provenance != *provenance {
        what.push("with another model or program".to_owned());
    }
    if context.learning_rate != training.learning_rate {
        what.push(now("learning rate", context.learning_rate, training.learning_rate));
    }
    if context.lr_for != training.lr_for {
        let text = |rates: &[LrFor]| match rates {
            [] => "none".to_owned(),
            rates => rates.iter().map(LrFor::to_string).collect::<Vec<_>>().join(" and "),
        };
        what.push(now("learning rates of their own", text(&context.lr_for), text(&training.lr_for)));
    }
    if context.augment != training.augment {
        let text = |augment: Option<Augment>| augment.map_or("none".to_owned(), |augment| augment.to_string());
        what.push(now("augmentation", text(context.augment), text(training.augment)));
    }
    if context.lr_schedule != training.lr_schedule {
        what.push(now("learning rate schedule", &context.lr_schedule, &training.lr_schedule));
    }
    if context.ema != training.ema {
        let text = |decay: Option<f64>| decay.map_or("none".to_owned(), |decay| decay.to_string());
        what.push(now("decay of the moving average", text(context.ema), text(training.ema)));
    }
    match what.is_empty() {
        true => Ok((context.clip, context.stream)),
        false => Err(TrainError::OtherRun { path, what }),
    }
}

/// Every field in which the plan that a run was begun by differs from the one it is to go on by, with both values.
fn differences(begun: &PrivacyPlan, going_on: &PrivacyPlan) -> Vec<String> {
    if begun == going_on {
        return Vec::new();
    }
    let fields = |plan: &PrivacyPlan| match serde_json::to_value(plan) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    let (before, after) = (fields(begun), fields(going_on));
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let differing = names.into_iter().filter(|name| before.get(*name) != after.get(*name));
    differing.map(|name| now(&name.replace('_', " "), words(before.get(name)), words(after.get(name)))).collect()
}

fn now(name: &str, begun: impl Display, going_on: impl Display) -> String {
    format!("{name} {begun}, now {going_on}")
}

fn words(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "none".to_owned(),
        Some(Value::Bool(true)) => "yes".to_owned(),
        Some(Value::Bool(false)) => "no".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    }
}
