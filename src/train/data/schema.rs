//! What a model takes: its inputs and its target, one record at a time.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The arrays that a data set must have for a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schema {
    /// In the order of the model's inputs.
    pub inputs: Vec<InputSchema>,
    /// `None` where no loss is attached, as for `dpc run`.
    pub target: Option<TargetSchema>,
}

/// One input of the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InputSchema {
    /// The ONNX name, which is also the array's.
    pub name: String,
    /// The shape of one record, without the batch axis.
    pub dims: Vec<usize>,
    pub kind: InputKind,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "dtype", rename_all = "lowercase")]
pub enum InputKind {
    F32,
    /// Integers. With `table`, ids into a table of that many rows: those in `[-table, 0)` count
    /// from its end, as ONNX's Gather has it, and are stored counted from its start.
    I32 {
        table: Option<usize>,
    },
}

/// The target of the loss, in the array `label`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetSchema {
    /// The shape of one record's target: empty for one class id a record.
    pub dims: Vec<usize>,
    pub kind: TargetKind,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum TargetKind {
    /// Real values, within `[low, high]` where the loss needs it.
    Real { within: Option<[f32; 2]> },
    /// Class ids in `[0, classes)`, or `ignore_index`.
    Class { classes: usize, ignore_index: Option<i32> },
}

/// The array that holds the target.
pub const LABEL: &str = "label";

/// The array that holds the group (user) of each record.
pub const GROUP: &str = "group";

/// A shape printed as `[2, 3]`.
pub struct Dims<'a>(pub &'a [usize]);

impl fmt::Display for Dims<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self.0.iter().map(usize::to_string).collect();
        write!(f, "[{}]", parts.join(", "))
    }
}
