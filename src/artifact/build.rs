//! From a compiled model to its artifact.

use std::collections::BTreeMap;

use miette::Diagnostic;
use thiserror::Error;

use super::Artifact;
use super::manifest::{FormatVersion, Manifest, OutputEntry, ParameterEntry, compiler};
use crate::compile::{Compiled, Options};
use crate::import::axes::Axes;
use crate::import::custom::CustomOps;
use crate::lower::program::{Program, Role};
use crate::onnx::{Parameter, Source};
use crate::schema::{InputKind, InputSchema, Schema};
use crate::tensors::{Tensor, Tensors};

/// A model that can be compiled but not trained on records.
#[derive(Debug, Error, Diagnostic)]
pub enum BuildError {
    #[error("input `{name}` of axes {axes} has no batch axis")]
    #[diagnostic(
        code(dpc::compile::shared_input),
        help("export the model with a dynamic batch axis on every input, or make this one a constant")
    )]
    SharedInput { name: String, axes: Axes },
}

/// The artifact of `source` compiled with `options` for physical batches of up to `max_batch` rows.
///
/// # Errors
/// Where a loss is attached and an input has no batch axis.
pub fn build(
    source: &Source,
    parameters: &[Parameter],
    compiled: Compiled,
    options: &Options,
    max_batch: usize,
) -> Result<Artifact, BuildError> {
    let proved = compiled.proved;
    let (mut inputs, mut shared) = (Vec::new(), Vec::new());
    for input in &source.inputs {
        // One that only outputs read that were left out is no input of the program.
        let Some(axes) = proved.inputs.get(&input.name) else { continue };
        let batched = axes.batch_axis().is_some();
        if !batched && options.loss.is_some() {
            return Err(BuildError::SharedInput { name: input.name.clone(), axes: axes.clone() });
        }
        let kind = match input.dtype.is_float() {
            true => InputKind::F32,
            false => InputKind::I32 { table: proved.ids.get(&input.name).copied() },
        };
        let input = InputSchema { name: input.name.clone(), dims: axes.per_record(), kind };
        if batched { inputs.push(input) } else { shared.push(input) }
    }
    let (loss, targets) = compiled.loss.map(|loss| (loss.loss, loss.targets)).unzip();
    let outputs: Vec<OutputEntry> = source
        .outputs
        .iter()
        .filter_map(|output| {
            let axes = proved.outputs.get(&output.name)?.clone();
            let nothing = proved.nothing.get(&output.name).copied();
            Some(OutputEntry { nothing, name: output.name.clone(), axes })
        })
        .collect();
    let entry = |p: &Parameter| ParameterEntry {
        name: p.name.clone(),
        dims: p.dims.clone(),
        trained: p.trainable,
        padding_idx: p.padding_idx,
        aliases: p.aliases.clone(),
    };
    let manifest = Manifest {
        format_version: FormatVersion::CURRENT,
        compiler: compiler(),
        schema: Schema { inputs, targets: targets.unwrap_or_default() },
        shared,
        inputs: proved.inputs,
        outputs,
        loss,
        clip: options.clip.clone(),
        clip_groups: compiled.clip_groups,
        norm: options.norm,
        precision: options.precision,
        optimizer: options.optimizer,
        max_batch: compiled.program.most_rows().map_or(max_batch, |most| max_batch.min(most)),
        parameters: parameters.iter().map(entry).collect(),
        grid: compiled.grid,
        norms: compiled.choices,
        initial_values: None,
        members: BTreeMap::new(),
    };
    let weights = weights(source, &compiled.program);
    let shaders = BTreeMap::new();
    let (program, source, ops) = (compiled.program, source.bytes.clone(), CustomOps::default());
    Ok(Artifact { manifest, program, shaders, source, weights, ops })
}

/// The values of the program's parameters.
fn weights(source: &Source, program: &Program) -> Tensors {
    let values = |name: &String| {
        let tensor = source.initializers.get(name)?;
        let tensor = Tensor { dims: tensor.dims.clone(), data: tensor.floats()?.to_vec() };
        Some((name.clone(), tensor))
    };
    let names = program.buffers.iter().filter_map(|buffer| match &buffer.role {
        Role::Parameter(name) => Some(name),
        _ => None,
    });
    names.filter_map(values).collect()
}
