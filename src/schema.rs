//! What a model takes: its inputs and its target, one record at a time.

use std::fmt;

use serde::{Deserialize, Serialize};

pub use crate::options::LABEL;
use crate::options::Loss;

/// The arrays that a data set must have for a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schema {
    /// In the order of the model's inputs.
    pub inputs: Vec<InputSchema>,
    /// The labels, in the order of the loss's terms; none where no loss is attached, as for `dpc run`, or where it takes none.
    pub targets: Vec<TargetSchema>,
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
    /// from its end, as ONNX's Gather has it. Where it addresses several tables, that is the smallest.
    I32 {
        table: Option<usize>,
    },
}

/// Labels that the loss takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetSchema {
    /// The array's name: [`LABEL`], or `label.OUTPUT` for those of another output.
    pub name: String,
    /// The shape of one record's target: empty for one class id a record.
    pub dims: Vec<usize>,
    pub kind: TargetKind,
    /// Labels of another form, which the loss takes when it is compiled for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub otherwise: Option<OtherLabels>,
}

/// Labels of another form than those that a model is compiled for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OtherLabels {
    /// The shape of one record's.
    pub dims: Vec<usize>,
    /// The loss to compile for them.
    pub loss: Loss,
}

impl TargetSchema {
    /// Labels of one form.
    pub fn new(name: &str, dims: &[usize], kind: TargetKind) -> Self {
        Self { name: name.to_owned(), dims: dims.to_vec(), kind, otherwise: None }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum TargetKind {
    /// Real values, within `[low, high]` where the loss needs it.
    Real { within: Option<[f32; 2]> },
    /// Class ids in `[0, classes)`, or `ignore_index`.
    Class { classes: usize, ignore_index: Option<i32> },
    /// Probabilities of classes, or any other finite shares of at least 0: PyTorch does not ask that they sum to 1.
    Probabilities,
}

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
