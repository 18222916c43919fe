//! Whether records meet in a file, tried out by tract: for models that dpc refuses, and so has no program of.
//!
//! One of random records is exchanged for another. An output that changes for the others mixes records; one that does not
//! is no proof of anything.

use prost::Message;
use tract_onnx::pb;
use tract_onnx::prelude::{
    DatumType, Framework, InferenceFact, InferenceModelExt, IntoRunnable, Tensor, TractResult, tvec,
};

use super::source::{Dim, Source, ValueInfo};
use super::tensor::Elem;
use crate::panics::contained;

/// Records in the batch, where the file does not say.
const RECORDS: usize = 4;

/// An output that is not each record's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Influence {
    /// Its ONNX name.
    pub output: String,
    /// The record that was exchanged.
    pub exchanged: usize,
    /// The records whose part changed.
    pub others: Vec<usize>,
}

/// Exchanges the first of a batch of random records, and compares what tract makes of the others.
///
/// # Errors
///
/// Why that cannot be had.
pub fn exchange(source: &Source) -> Result<Vec<Influence>, String> {
    let records = source.fixed_batch.unwrap_or(RECORDS);
    if records < 2 {
        return Err("the file is for batches of one record".to_owned());
    }
    match contained(|| run(source, records)) {
        Ok(Ok(influences)) => Ok(influences),
        Ok(Err(error)) => Err(format!("tract does not run it: {}", error.root_cause())),
        Err(_) => Err("tract does not run it".to_owned()),
    }
}

fn run(source: &Source, records: usize) -> TractResult<Vec<Influence>> {
    let proto = pb::ModelProto::decode(source.model.encode_to_vec().as_slice())?;
    let mut model = tract_onnx::onnx().with_ignore_value_info(true).model_for_proto_model(&proto)?;
    let names: Vec<String> = model.inputs.iter().map(|outlet| model.nodes[outlet.node].name.clone()).collect();
    let mut draw = Draw(0x9e37_79b9_7f4a_7c15);
    let (mut before, mut after) = (tvec!(), tvec!());
    for (position, name) in names.iter().enumerate() {
        let Some(input) = source.inputs.iter().find(|input| input.name == *name) else { continue };
        let shape = shape(&input.dims, records);
        model.set_input_fact(position, InferenceFact::dt_shape(datum(input.dtype), &shape))?;
        let (own, other) = (draw.tensor(input, &shape)?, draw.tensor(input, &shape)?);
        let mut exchanged = own.clone();
        if let Some(axis) = batch_axis(&input.dims) {
            exchanged.assign_slice(0..1, &other, 0..1, axis)?;
        }
        before.push(own.into());
        after.push(exchanged.into());
    }
    let plan = model.into_typed()?.into_runnable()?;
    let (before, after) = (plan.run(before)?, plan.run(after)?);
    let mut influences = Vec::new();
    for ((before, after), output) in before.iter().zip(&after).zip(&source.outputs) {
        let known = source.facts.shape(&output.name).and_then(batch_axis);
        let Some(axis) = known.or_else(|| (before.shape().first() == Some(&records)).then_some(0)) else { continue };
        if before.shape() != after.shape() || before.shape().get(axis) != Some(&records) {
            continue;
        }
        let mut others = Vec::new();
        for record in 1..records {
            let part = |tensor: &Tensor| -> TractResult<Vec<u64>> {
                let own = tensor.slice(axis, record, record + 1)?.cast_to::<f64>()?.into_owned();
                Ok(own.try_as_plain_ram()?.as_slice::<f64>()?.iter().map(|value| value.to_bits()).collect())
            };
            if part(before)? != part(after)? {
                others.push(record);
            }
        }
        if !others.is_empty() {
            influences.push(Influence { output: output.name.clone(), exchanged: 0, others });
        }
    }
    Ok(influences)
}

fn shape(dims: &[Dim], records: usize) -> Vec<usize> {
    let size = |dim: &Dim| match *dim {
        Dim::Known(size) => size,
        Dim::Batch(factor) => factor * records,
    };
    dims.iter().map(size).collect()
}

/// The axis that holds the batch and nothing else.
fn batch_axis(dims: &[Dim]) -> Option<usize> {
    dims.iter().position(|dim| *dim == Dim::Batch(1))
}

fn datum(elem: Elem) -> DatumType {
    match elem {
        Elem::F16 => DatumType::F16,
        Elem::F64 => DatumType::F64,
        Elem::I32 => DatumType::I32,
        Elem::I64 => DatumType::I64,
        Elem::Bool => DatumType::Bool,
        elem if elem.is_float() => DatumType::F32,
        _ => DatumType::I64,
    }
}

/// Xorshift64 (Marsaglia 2003).
struct Draw(u64);

impl Draw {
    /// Floats between -1 and 1, zeros and ones for integers and booleans.
    fn tensor(&mut self, input: &ValueInfo, shape: &[usize]) -> TractResult<Tensor> {
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| self.value(input.dtype.is_float())).collect();
        Ok(Tensor::from_shape(shape, &values)?.cast_to_dt(datum(input.dtype))?.into_owned())
    }

    fn value(&mut self, real: bool) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        match real {
            true => (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0,
            false => (self.0 >> 63) as f32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn influences(name: &str) -> Result<Vec<Influence>, String> {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(name);
        exchange(&Source::open(&path).expect("a model"))
    }

    #[test]
    fn records_that_meet_are_found_and_others_are_not() {
        for name in ["batch_flip.ts", "batch_mean.ts", "batch_attention.dyn", "batch_softmax.ts"] {
            let found = influences(&format!("refused/{name}.onnx")).expect(name);
            assert!(!found.is_empty(), "{name}");
        }
        for name in ["zoo/mlp.ts.onnx", "zoo/cifar_small.dyn.onnx"] {
            assert_eq!(influences(name), Ok(vec![]), "{name}");
        }
    }
}
