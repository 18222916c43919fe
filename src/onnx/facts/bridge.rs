//! tract's inference of one operator.
//!
//! Each node is given to tract by itself, so that one that tract rejects, or panics on, costs no other its facts.

use prost::Message;
use tract_onnx::tract_hir::infer::{Factoid, InferenceFact, InferenceOp};
use tract_onnx::tract_hir::internal::{DatumType, Tensor as TractTensor, TractResult, tvec};
use tract_onnx::{Onnx, pb};

use super::folded;
use super::pinned::{Known, LARGEST_VALUE};
use crate::onnx::node::OnnxNode;
use crate::onnx::tensor::{Elem, Tensor, TensorData};
use crate::panics::contained;

/// tract's operator for a node.
pub(super) struct Operator {
    operator: Box<dyn InferenceOp>,
    /// The operand that names axes, among those that are not absent.
    axes: Option<usize>,
    /// The lowest axis that an attribute names, counted from 0 or, below it, from the end.
    lowest: i64,
    /// Axes that the result has and the operand has not, from whose end they are counted.
    added: usize,
    results: usize,
    /// The operator's name where its results may be computed.
    computes: Option<String>,
    /// Whether results depend on the operands' elements, not on their shapes alone.
    reads_values: bool,
}

impl Operator {
    /// The operator of `node` in operator set `opset`, as `tract` builds it. The error says why there is none.
    pub(super) fn new(node: &OnnxNode, opset: i64, tract: &Onnx) -> Result<Operator, String> {
        if !node.domain.is_empty() {
            return Err(format!("there is no rule for operators of domain `{}`", node.domain));
        }
        // tract builds what stands in the graphs of If, Loop and Scan as it reads it, without a bound.
        if node.attributes().any(|a| a.g.is_some() || !a.graphs.is_empty()) {
            return Err("there is no inference for operators that hold graphs".to_owned());
        }
        const AXES: [&str; 3] = ["axis", "axes", "perm"];
        if node.attributes().any(|a| AXES.contains(&a.name()) && (far(a.i()) || a.ints.iter().any(|&i| far(i)))) {
            return Err("an axis is out of range".to_owned());
        }
        // tract goes on for ever to order axes of which one is named twice.
        if let Some(perm) = node.attributes().find(|a| a.name() == "perm" && !permutes(&a.ints)) {
            return Err(format!("perm {:?} is not a permutation", perm.ints));
        }
        let named = node.attributes().filter(|a| AXES.contains(&a.name()));
        let listed = named.flat_map(|a| a.ints.iter().copied().chain(a.i));
        let lowest = listed.min().unwrap_or(if node.op_type.ends_with("Normalization") { -1 } else { 0 });
        let added = match node.op_type.as_str() {
            "OneHot" => 1,
            "Unsqueeze" => node.attributes().filter(|a| a.name() == "axes").map(|a| a.ints.len()).sum(),
            _ => 0,
        };
        let operator = guarded(|| {
            let proto = pb::NodeProto::decode(node.to_proto().encode_to_vec().as_slice())?;
            let model = pb::ModelProto {
                opset_import: vec![pb::OperatorSetIdProto { domain: String::new(), version: opset }],
                graph: Some(pb::GraphProto { node: vec![proto], ..pb::GraphProto::default() }),
                ..pb::ModelProto::default()
            };
            let parsed = tract.parse(&model, None)?;
            Ok(parsed.model.node(0).op.clone())
        })?;
        Ok(Operator {
            operator,
            axes: axes_operand(node),
            lowest,
            added,
            results: node.outputs.iter().filter(|name| !name.is_empty()).count(),
            computes: folded::folds(node).then(|| node.op_type.clone()),
            reads_values: !matches!(node.op_type.as_str(), "Shape" | "Size"),
        })
    }

    /// The results of the operator on these operands: type and shape, and the elements if all operands have theirs.
    pub(super) fn infer(&self, operands: &[&Known]) -> Result<Vec<Known>, String> {
        let axes = self.axes.and_then(|position| operands.get(position)?.value.as_ref()?.ints());
        if axes.is_some_and(|axes| axes.iter().any(|&axis| far(axis))) {
            return Err("an axis is out of range".to_owned());
        }
        // tract counts on to the end of all integers from an axis before the first.
        if let Some(rank) = operands.first().and_then(|data| data.shape.as_ref()).map(Vec::len)
            && self.lowest < -((rank + self.added) as i64)
        {
            return Err(format!("axis {} is outside a value of rank {rank}", self.lowest));
        }
        let known = self.facts(operands, false)?;
        let small = |known: &Known| known.shape.as_deref().and_then(count).is_some_and(|n| n <= LARGEST_VALUE);
        let computable = self.computes.as_ref().is_some_and(|op| folded::takes(op, operands))
            && !operands.is_empty()
            && operands.iter().all(|operand| operand.value.is_some())
            && known.iter().all(small);
        let from_weights = self.reads_values && operands.iter().any(|operand| operand.from_weights);
        // An operator that tract cannot compute by itself still has the type and shape.
        let results = match computable {
            true => self.facts(operands, true).unwrap_or(known),
            false => known,
        };
        Ok(results.into_iter().map(|known| Known { from_weights, ..known }).collect())
    }

    fn facts(&self, operands: &[&Known], compute: bool) -> Result<Vec<Known>, String> {
        guarded(|| {
            let operands: Vec<InferenceFact> =
                operands.iter().map(|known| to_fact(known)).collect::<TractResult<_>>()?;
            let results = vec![InferenceFact::default(); self.results];
            let mut operator = self.operator.clone();
            let (operands, results) = (operands.iter().collect(), results.iter().collect());
            let (_, results, _) = match compute {
                true => operator.infer(operands, results, tvec!())?,
                false => operator.infer_facts(operands, results, tvec!())?,
            };
            results.iter().map(from_fact).collect()
        })
    }
}

/// The highest rank, and so the last axis, that any model is taken to have.
const HIGHEST_RANK: u64 = 64;

/// Whether `axis` lies beyond the axes of any model: tract would allocate a shape that reaches that far.
fn far(axis: i64) -> bool {
    axis.unsigned_abs() > HIGHEST_RANK
}

/// Whether `perm` names each of its axes once, from either end.
fn permutes(perm: &[i64]) -> bool {
    let rank = perm.len() as i64;
    (0..rank).all(|axis| perm.contains(&axis) || perm.contains(&(axis - rank)))
}

fn axes_operand(node: &OnnxNode) -> Option<usize> {
    match node.op_type.as_str() {
        "Squeeze" | "Unsqueeze" | "CumSum" => Some(1),
        "Slice" | "Pad" => Some(node.inputs.iter().take(3).filter(|name| !name.is_empty()).count()),
        reduce if reduce.starts_with("Reduce") => Some(1),
        _ => None,
    }
}

/// Runs tract's code. The model is not trusted, and tract may panic on one that is malformed: that is an error here.
fn guarded<T>(run: impl FnOnce() -> TractResult<T>) -> Result<T, String> {
    match contained(run) {
        Ok(Ok(result)) => Ok(result),
        Ok(Err(error)) => Err(error.root_cause().to_string().lines().next().unwrap_or_default().to_owned()),
        Err(panic) => Err(format!("shape inference failed: {panic}")),
    }
}

fn count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1_usize, |count, &size| count.checked_mul(size))
}

fn to_fact(known: &Known) -> TractResult<InferenceFact> {
    let mut fact = InferenceFact::default();
    if let Some(datum) = known.elem.and_then(to_datum) {
        fact = fact.with_datum_type(datum);
        if let Some(value) = &known.value {
            return Ok(to_tract(value)?.cast_to_dt(datum)?.into_owned().into());
        }
    }
    if let Some(shape) = &known.shape {
        fact = fact.with_shape(shape.as_slice());
    }
    Ok(fact)
}

fn from_fact(fact: &InferenceFact) -> TractResult<Known> {
    let elem = fact.datum_type.concretize().and_then(from_datum);
    let shape = fact.shape.as_concrete_finite()?.map(|shape| shape.to_vec());
    let small = shape.as_deref().and_then(count).is_some_and(|n| n <= LARGEST_VALUE);
    let value = match (elem, fact.value.concretize()) {
        (Some(elem), Some(value)) if small => Some(from_tract(elem, &value)?),
        _ => None,
    };
    Ok(Known { elem, shape, value, from_weights: false })
}

pub(super) fn to_tract(tensor: &Tensor) -> TractResult<TractTensor> {
    match &tensor.data {
        TensorData::F32(values) => TractTensor::from_shape(&tensor.dims, values),
        TensorData::I64(values) => TractTensor::from_shape(&tensor.dims, values),
        TensorData::Bool(values) => TractTensor::from_shape(&tensor.dims, values),
    }
}

fn from_tract(elem: Elem, tensor: &TractTensor) -> TractResult<Tensor> {
    let data = match elem {
        Elem::Bool => TensorData::Bool(tensor.cast_to::<bool>()?.try_as_plain_ram()?.as_slice()?.to_vec()),
        elem if elem.is_float() => TensorData::F32(tensor.cast_to::<f32>()?.try_as_plain_ram()?.as_slice()?.to_vec()),
        _ => TensorData::I64(tensor.cast_to::<i64>()?.try_as_plain_ram()?.as_slice()?.to_vec()),
    };
    Ok(Tensor { dims: tensor.shape().to_vec(), data })
}

fn to_datum(elem: Elem) -> Option<DatumType> {
    Some(match elem {
        Elem::F32 | Elem::Bf16 => DatumType::F32,
        Elem::F64 => DatumType::F64,
        Elem::F16 => DatumType::F16,
        Elem::I8 => DatumType::I8,
        Elem::I16 => DatumType::I16,
        Elem::I32 => DatumType::I32,
        Elem::I64 => DatumType::I64,
        Elem::U8 => DatumType::U8,
        Elem::U16 => DatumType::U16,
        Elem::U32 => DatumType::U32,
        Elem::U64 => DatumType::U64,
        Elem::Bool => DatumType::Bool,
        Elem::Other(_) => return None,
    })
}

/// The element type of tract's; its symbolic dimensions are ONNX's 64-bit integers.
fn from_datum(datum: DatumType) -> Option<Elem> {
    Some(match datum {
        DatumType::F32 => Elem::F32,
        DatumType::F64 => Elem::F64,
        DatumType::F16 => Elem::F16,
        DatumType::I8 => Elem::I8,
        DatumType::I16 => Elem::I16,
        DatumType::I32 => Elem::I32,
        DatumType::I64 | DatumType::TDim => Elem::I64,
        DatumType::U8 => Elem::U8,
        DatumType::U16 => Elem::U16,
        DatumType::U32 => Elem::U32,
        DatumType::U64 => Elem::U64,
        DatumType::Bool => Elem::Bool,
        _ => return None,
    })
}
