//! What a run is trained by, as its checkpoints say it: what has to be the same when it goes on.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::augment::Augment;
use super::checkpoint::{Checkpoint, CheckpointError};
use super::lr_for::LrFor;
use super::lr_schedule::LrSchedule;
use crate::files::FileError;
use crate::privacy::certificate::Provenance;
use crate::privacy::clipping::ClipState;
use crate::privacy::ledger::Head;
use crate::privacy::plan::PrivacyPlan;

/// What stays the same from the first step of a run to its last.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Terms {
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
}

/// What a checkpoint says of its run.
#[derive(Debug, Serialize, Deserialize)]
pub struct Context {
    #[serde(flatten)]
    pub terms: Terms,
    pub clip: ClipState,
    pub ledger: Head,
    /// What correlated noise goes on from; none where it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<StreamContext>,
}

/// A stream of correlated noise that goes on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StreamContext {
    /// The run that began it, by which the ledger tells its steps.
    pub id: String,
    /// The digest of the file that holds it, in hexadecimal.
    pub sha256: String,
}

/// What stands for a context that cannot be read, in the list of what a run was begun otherwise by.
pub const OTHER_VERSION: &str = "by another version of dpc";

impl Context {
    /// The context of `checkpoint`; `None` where another version of dpc wrote it otherwise.
    pub fn of(checkpoint: &Checkpoint) -> Option<Context> {
        serde_json::from_value(checkpoint.context.clone()).ok()
    }

    /// The context as a checkpoint holds it.
    ///
    /// # Errors
    /// When it is no JSON.
    pub fn to_value(&self) -> Result<Value, CheckpointError> {
        let unwritten = |error: serde_json::Error| FileError::write(Path::new("a checkpoint"), error.into());
        Ok(serde_json::to_value(self).map_err(unwritten)?)
    }
}

/// The plan that `checkpoint` was reached by; `None` where another version of dpc wrote it otherwise.
pub fn plan_at(checkpoint: &Checkpoint) -> Option<PrivacyPlan> {
    serde_json::from_value(checkpoint.context.get("plan")?.clone()).ok()
}

/// The state of the ledger that `checkpoint` was reached by; `None` where another version of dpc wrote it otherwise.
pub fn ledger_at(checkpoint: &Checkpoint) -> Option<Head> {
    serde_json::from_value(checkpoint.context.get("ledger")?.clone()).ok()
}

impl Terms {
    /// All in which a run that was begun by these terms differs from one that is to go on by others, in words.
    pub fn differences(&self, going_on: &Terms) -> Vec<String> {
        let mut what = differences(&self.plan, &going_on.plan);
        if self.provenance != going_on.provenance {
            what.push("with another model or program".to_owned());
        }
        if self.learning_rate != going_on.learning_rate {
            what.push(now("learning rate", self.learning_rate, going_on.learning_rate));
        }
        if self.lr_for != going_on.lr_for {
            let text = |rates: &[LrFor]| match rates {
                [] => "none".to_owned(),
                rates => rates.iter().map(LrFor::to_string).collect::<Vec<_>>().join(" and "),
            };
            what.push(now("learning rates of their own", text(&self.lr_for), text(&going_on.lr_for)));
        }
        if self.augment != going_on.augment {
            let text = |augment: Option<Augment>| augment.map_or("none".to_owned(), |augment| augment.to_string());
            what.push(now("augmentation", text(self.augment), text(going_on.augment)));
        }
        if self.lr_schedule != going_on.lr_schedule {
            what.push(now("learning rate schedule", &self.lr_schedule, &going_on.lr_schedule));
        }
        if self.ema != going_on.ema {
            let text = |decay: Option<f64>| decay.map_or("none".to_owned(), |decay| decay.to_string());
            what.push(now("decay of the moving average", text(self.ema), text(going_on.ema)));
        }
        what
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
