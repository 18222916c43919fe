//! `manifest.json`: what a compiled artifact is, and the hashes of its members.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::graph::DType;
use crate::import::axes::Axes;
use crate::options::optimizer::OptimizerSpec;
use crate::options::{Loss, NormChoice, Precision};
use crate::passes::privatize::Choice;
use crate::privacy::certificate::InitialValues;
use crate::privacy::clipping::{ClipGroup, ClipRule};
use crate::privacy::grid::Grid;
use crate::privacy::request::Clipped;
use crate::schema::{InputSchema, Schema};

/// The version of the format: readers refuse another `major` and ignore what a newer `minor` adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormatVersion {
    pub major: u32,
    pub minor: u32,
}

impl FormatVersion {
    /// What this dpc writes.
    pub const CURRENT: Self = Self { major: 8, minor: 1 };
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub format_version: FormatVersion,
    /// The software that compiled it, as `dpc 0.1.0`.
    pub compiler: String,
    /// The inputs and the labels that the program takes for each record.
    pub schema: Schema,
    /// The inputs that all records share; there are none where there is a loss.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shared: Vec<InputSchema>,
    /// The axes of every input of the model, by its ONNX name.
    pub inputs: BTreeMap<String, Axes>,
    /// The model's outputs.
    pub outputs: Vec<OutputEntry>,
    /// Its terms name their outputs; `None` for a model that is only run forward.
    pub loss: Option<Loss>,
    pub clip: ClipRule,
    /// The parameters that the rule clips together, in the order of the program's bounds.
    pub clip_groups: Vec<ClipGroup>,
    pub norm: NormChoice,
    /// What a record's values are kept in.
    #[serde(default, skip_serializing_if = "Precision::is_default")]
    pub precision: Precision,
    pub optimizer: OptimizerSpec,
    /// The largest physical batch.
    pub max_batch: usize,
    /// In the order of the program.
    pub parameters: Vec<ParameterEntry>,
    /// The grid of its private sums, if they are of integers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grid: Option<Grid>,
    /// How the norm of each trained parameter's gradient is worked out.
    pub norms: Vec<Choice>,
    /// The file that its initial values were taken from, where they are not the model's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_values: Option<InitialValues>,
    /// SHA-256 of every other member, in hexadecimal; filled in on writing.
    #[serde(default)]
    pub members: BTreeMap<String, String>,
}

impl Manifest {
    /// How it bounds what a unit adds.
    pub fn clipped(&self) -> Clipped<'_> {
        Clipped { rule: &self.clip, groups: self.clip_groups.len(), grid: self.grid.as_ref() }
    }
}

/// One output of the model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputEntry {
    /// The dtype of an output without elements, which the program has not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nothing: Option<DType>,
    /// The ONNX name.
    pub name: String,
    pub axes: Axes,
}

/// One row of the parameter table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParameterEntry {
    /// The ONNX initializer's name.
    pub name: String,
    pub dims: Vec<usize>,
    /// Whether training changes it.
    pub trained: bool,
    /// The row that gets no gradient, where the user named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub padding_idx: Option<i64>,
    /// The names of the other parameters of the exported module that are one with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
}

/// This software, as manifests and certificates name it.
pub fn compiler() -> String {
    format!("dpc {}", env!("CARGO_PKG_VERSION"))
}
