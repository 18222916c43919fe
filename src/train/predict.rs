//! A model's outputs for given inputs, in the shapes that ONNX gives them.
//!
//! The program holds the batch outermost and only there; ONNX may have it on any axis, or merged into one. Arrays are
//! rearranged on the way in and out.

use std::collections::BTreeMap;
use std::sync::Arc;

use miette::Diagnostic;
use thiserror::Error;

use super::data::{Array, DataError, Dataset, Values};
use super::engine::{Engine, EngineError};
use crate::artifact::Artifact;
use crate::device::Device;
use crate::graph::DType;
use crate::import::axes::{Axes, Factor};
use crate::lower::program::Phase;
use crate::schema::{Dims, Schema};

#[derive(Debug, Error, Diagnostic)]
pub enum PredictError {
    #[error(transparent)]
    #[diagnostic(transparent)]
    Data(#[from] DataError),

    #[error(transparent)]
    #[diagnostic(transparent)]
    Engine(#[from] EngineError),

    #[error("array `{name}` of {source_name} has the shape {}, but the model's axes are {axes}", Dims(found))]
    #[diagnostic(code(dpc::run::shape), help("N is the number of records, the same in all arrays"))]
    Shape { source_name: String, name: String, found: Vec<usize>, axes: Axes },
}

/// The outputs of `artifact` for `inputs`, all by their ONNX names and in their ONNX shapes; `source_name` stands for
/// where the inputs come from in errors.
///
/// # Errors
/// Where an input is missing, or its shape or dtype is not the model's.
pub fn predict(
    device: &dyn Device,
    artifact: &Artifact,
    source_name: &str,
    inputs: &BTreeMap<String, Array>,
) -> Result<BTreeMap<String, Array>, PredictError> {
    let manifest = &artifact.manifest;
    let mut records = None;
    let mut batched = BTreeMap::new();
    let mut shared = BTreeMap::new();
    for (name, array) in inputs {
        let Some(axes) = manifest.inputs.get(name) else { continue };
        let wrong = || PredictError::Shape {
            source_name: source_name.to_owned(),
            name: name.clone(),
            found: array.dims().to_vec(),
            axes: axes.clone(),
        };
        let size = batch_size(axes, array.dims()).ok_or_else(wrong)?;
        match size {
            None => {
                let dims = [&[1], array.dims()].concat();
                shared.insert(name.clone(), array.reshaped(dims));
            }
            Some(size) => {
                if *records.get_or_insert(size) != size {
                    return Err(wrong());
                }
                let dims = [vec![size], axes.per_record()].concat();
                batched.insert(name.clone(), to_records(axes, array, size).reshaped(dims));
            }
        }
    }
    let schema = Schema { targets: vec![], ..manifest.schema.clone() };
    let data = match records {
        Some(_) => Some(Dataset::from_arrays(source_name, &batched, &schema)?),
        None => None,
    };
    let rows = data.as_ref().map_or(1, |data| data.records().min(manifest.max_batch));
    let program = Arc::new(artifact.program.clone());
    let mut engine = Engine::new(device, program, &artifact.weights, rows, &[Phase::Forward])?;
    if !manifest.shared.is_empty() {
        let schema = Schema { inputs: manifest.shared.clone(), targets: vec![] };
        for column in Dataset::from_arrays(source_name, &shared, &schema)?.inputs() {
            engine.write_input(&column.name, &column.values()?)?;
        }
    }

    let mut columns: BTreeMap<&str, Vec<Values>> = BTreeMap::new();
    let all: Vec<usize> = (0..data.as_ref().map_or(1, Dataset::records)).collect();
    for chunk in all.chunks(rows) {
        match &data {
            Some(data) => engine.run(Phase::Forward, data, chunk, None)?,
            None => engine.run_once(Phase::Forward)?,
        }
        for output in &manifest.outputs {
            let values = match output.nothing {
                Some(DType::F32) => Values::F32(Vec::new()),
                Some(_) => Values::I32(Vec::new()),
                None => engine.output(&output.name)?,
            };
            let values = if output.axes.batch_axis().is_some() { first(values, chunk.len(), rows) } else { values };
            columns.entry(&output.name).or_default().push(values);
        }
    }
    let mut out = BTreeMap::new();
    for output in &manifest.outputs {
        let mut chunks = columns.remove(output.name.as_str()).unwrap_or_default();
        let array = match output.axes.batch_axis() {
            Some(_) => from_records(&output.axes, &concatenated(chunks), all.len()),
            None => array(output.axes.per_record(), &chunks.swap_remove(0)),
        };
        out.insert(output.name.clone(), array);
    }
    Ok(out)
}

/// The batch's size in an array of these dims, `Some(None)` where it has no batch; `None` where they do not fit.
fn batch_size(axes: &Axes, dims: &[usize]) -> Option<Option<usize>> {
    if axes.rank() != dims.len() {
        return None;
    }
    let mut size = None;
    for (axis, &dim) in axes.0.iter().zip(dims) {
        let constant = axis.per_record();
        if !axis.is_batched() {
            if dim != constant {
                return None;
            }
        } else if constant == 0 || dim % constant != 0 || dim == 0 {
            return None;
        } else {
            size = Some(dim / constant);
        }
    }
    Some(size)
}

/// The sizes before and after the batch factor.
fn around(axes: &Axes) -> (usize, usize) {
    let factors = axes.flatten();
    let sizes = |factors: &mut dyn Iterator<Item = &Factor>| -> usize {
        factors.map(|factor| if let Factor::Size(size) = factor { *size } else { 1 }).product()
    };
    let at = factors.factors().iter().position(|factor| *factor == Factor::Batch).unwrap_or(0);
    let (before, after) = factors.factors().split_at(at);
    (sizes(&mut before.iter()), sizes(&mut after.iter()))
}

/// `[A, N, B]` to `[N, A, B]`.
fn to_records(axes: &Axes, array: &Array, records: usize) -> Array {
    let (before, after) = around(axes);
    array.swapped(before, records, after * array.dtype().size())
}

/// `[N, A, B]` to the ONNX shape of `[A, N, B]`.
fn from_records(axes: &Axes, values: &Values, records: usize) -> Array {
    let (before, after) = around(axes);
    let dims = axes.0.iter().map(|axis| axis.per_record() * if axis.is_batched() { records } else { 1 }).collect();
    let array = array(vec![records * before * after], values);
    let size = array.dtype().size();
    array.swapped(records, before, after * size).reshaped(dims)
}

fn array(dims: Vec<usize>, values: &Values) -> Array {
    match values {
        Values::F32(values) => Array::from_f32(dims, values),
        Values::I32(values) => {
            let wide: Vec<i64> = values.iter().map(|&value| value.into()).collect();
            Array::from_i64(dims, &wide)
        }
    }
}

/// The first `count` of `rows` rows.
fn first(values: Values, count: usize, rows: usize) -> Values {
    match values {
        Values::F32(mut values) => {
            values.truncate(values.len() / rows * count);
            Values::F32(values)
        }
        Values::I32(mut values) => {
            values.truncate(values.len() / rows * count);
            Values::I32(values)
        }
    }
}

fn concatenated(chunks: Vec<Values>) -> Values {
    let mut chunks = chunks.into_iter();
    let mut all = chunks.next().unwrap_or(Values::F32(Vec::new()));
    for chunk in chunks {
        match (&mut all, chunk) {
            (Values::F32(all), Values::F32(chunk)) => all.extend(chunk),
            (Values::I32(all), Values::I32(chunk)) => all.extend(chunk),
            _ => unreachable!("an output has one dtype"),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::axes::Axis;

    #[test]
    fn a_batch_in_the_middle_goes_to_the_front_and_back() {
        // [2, N·2, 1] with N = 3: the value says block, record and head.
        let axes = Axes(vec![Axis::size(2), Axis::of(&[Factor::Batch, Factor::Size(2)]), Axis::size(1)]);
        let values: Vec<f32> =
            [[0, 1, 10, 11, 20, 21], [100, 101, 110, 111, 120, 121]].concat().into_iter().map(|v| v as f32).collect();
        let array = Array::from_f32(vec![2, 6, 1], &values);
        assert_eq!(batch_size(&axes, array.dims()), Some(Some(3)));
        assert_eq!(batch_size(&axes, &[2, 5, 1]), None);
        assert_eq!(batch_size(&Axes::shared(&[4]), &[4]), Some(None));
        let records = to_records(&axes, &array, 3).to_f32();
        assert_eq!(records[..4], [0.0, 1.0, 100.0, 101.0]);
        let back = from_records(&axes, &Values::F32(records), 3);
        assert_eq!(back, array);
    }
}
