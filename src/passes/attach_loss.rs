//! Attaches a loss to the model's output: an `f32[N]`, each record's own mean, that no other record enters.
//!
//! The target is one more input of the graph, [`host_inputs::LABEL`].

use miette::Diagnostic;
use thiserror::Error;

use super::prove::Proved;
use crate::graph::axes::Axes;
use crate::graph::{DType, Graph, NodeId, Origin, Type, TypeError};
use crate::lower::host_inputs;
use crate::lower::scalar::Func;
use crate::ops::elementwise::Elementwise;
use crate::ops::leaf::Input;
use crate::ops::loss::CrossEntropy;
use crate::ops::movement::Transpose;
use crate::ops::reduce::Sum;
use crate::options::{Classes, Loss};
use crate::train::data::{TargetKind, TargetSchema};

/// The output of the graph that holds the loss.
pub const LOSS: &str = "loss";

/// What the loss takes.
#[derive(Clone, Debug, PartialEq)]
pub struct LossInfo {
    /// The model's output that it is computed from.
    pub output: String,
    /// The array `label` of a data set: shape and kind of one record's target.
    pub target: TargetSchema,
}

/// A loss that does not fit the model.
#[derive(Debug, Error, Diagnostic)]
pub enum LossError {
    /// The named output is not there.
    #[error("the model has no output `{name}`")]
    #[diagnostic(code(dpc::loss::no_output), help("its outputs are {outputs}"))]
    NoOutput {
        /// The name.
        name: String,
        /// The outputs there are.
        outputs: String,
    },
    /// There is more than one output, and none is named.
    #[error("the model has several outputs: {outputs}")]
    #[diagnostic(code(dpc::loss::several_outputs), help("name the one that the loss is for with --output NAME"))]
    SeveralOutputs {
        /// The outputs.
        outputs: String,
    },
    /// A name that the loss needs is the model's own.
    #[error("the model has an {what} called `{name}`, the name that dpc gives to the {meaning}")]
    #[diagnostic(code(dpc::loss::name_taken), help("rename it in the ONNX file, for example with onnx.compose"))]
    NameTaken {
        /// `input` or `output`.
        what: &'static str,
        /// The name.
        name: &'static str,
        /// What dpc uses it for.
        meaning: &'static str,
    },
    /// The output holds no floats or nothing at all, or is not one value per record.
    #[error("output `{output}` of axes {axes} cannot have a loss: {why}")]
    #[diagnostic(code(dpc::loss::output), help("a loss needs a float output with the batch on an axis of its own"))]
    Output {
        /// The output.
        output: String,
        /// Its axes.
        axes: Axes,
        /// What is wrong.
        why: String,
    },
    /// The class axis is the batch or is not there.
    #[error("axis {axis} of output `{output}`, of axes {axes}, cannot hold the classes")]
    #[diagnostic(
        code(dpc::loss::class_axis),
        help("say which axis holds the classes, the batch axis counted: --loss {loss}:axis=A or {loss}:axis=last")
    )]
    ClassAxis {
        /// The loss.
        loss: &'static str,
        /// The axis asked for.
        axis: i64,
        /// The output.
        output: String,
        /// Its axes.
        axes: Axes,
    },
    /// The pass built a node that does not type-check: a defect of the compiler.
    #[error("internal error: {0}")]
    #[diagnostic(code(dpc::internal), help("this is a defect of dpc; please report it with the model"))]
    Type(#[from] TypeError),
}

/// Adds the loss as the output [`LOSS`] of the graph, computed from `output` or from the model's only output.
pub fn attach(proved: &mut Proved, loss: Loss, output: Option<&str>) -> Result<LossInfo, LossError> {
    let output = choose(proved, output)?;
    if proved.inputs.contains_key(host_inputs::LABEL) {
        return Err(LossError::NameTaken { what: "input", name: host_inputs::LABEL, meaning: "target" });
    }
    if proved.outputs.contains_key(LOSS) {
        return Err(LossError::NameTaken { what: "output", name: LOSS, meaning: "loss" });
    }
    let (axes, value) = (proved.outputs[&output].clone(), proved.graph.outputs[&output]);
    let ty = proved.graph.ty(value).clone();
    let why = match () {
        _ if axes.batch_axis().is_none() => Some("it has no batch axis"),
        _ if ty.dtype != DType::F32 => Some("it holds integers"),
        _ if ty.is_empty() => Some("it is empty"),
        _ => None,
    };
    if let Some(why) = why {
        return Err(LossError::Output { output, axes, why: why.into() });
    }
    let graph = &mut proved.graph;
    let (id, target) = match loss {
        Loss::CrossEntropy(classes) => cross_entropy(graph, value, &output, &axes, classes, false)?,
        Loss::Nll(classes) => cross_entropy(graph, value, &output, &axes, classes, true)?,
        Loss::Mse | Loss::Bce => {
            let label = label(graph, Type::batched(ty.dims.clone()))?;
            let terms = if loss == Loss::Mse {
                let difference = graph.add(Elementwise::call(Func::Sub), &[value, label], Origin::default())?;
                graph.add(Elementwise::call(Func::Mul), &[difference, difference], Origin::default())?
            } else {
                graph.add(Elementwise::call(Func::BceWithLogits), &[value, label], Origin::default())?
            };
            let within = (loss == Loss::Bce).then_some([0.0, 1.0]);
            (mean(graph, terms)?, TargetSchema { dims: ty.dims, kind: TargetKind::Real { within } })
        }
    };
    graph.name(id, LOSS);
    graph.outputs.insert(LOSS.into(), id);
    Ok(LossInfo { output, target })
}

fn choose(proved: &Proved, output: Option<&str>) -> Result<String, LossError> {
    let outputs = || proved.outputs.keys().cloned().collect::<Vec<_>>().join(", ");
    match (output, proved.outputs.len(), proved.outputs.keys().next()) {
        (Some(name), _, _) if proved.outputs.contains_key(name) => Ok(name.into()),
        (Some(name), _, _) => Err(LossError::NoOutput { name: name.into(), outputs: outputs() }),
        (None, 1, Some(only)) => Ok(only.clone()),
        (None, _, _) => Err(LossError::SeveralOutputs { outputs: outputs() }),
    }
}

fn label(graph: &mut Graph, ty: Type) -> Result<NodeId, TypeError> {
    let name = host_inputs::LABEL;
    graph.add(Input { name: name.into(), ty }, &[], Origin::value(name))
}

fn mean(graph: &mut Graph, terms: NodeId) -> Result<NodeId, TypeError> {
    let ty = graph.ty(terms).clone();
    let sum = graph.add(Sum { axes: (0..ty.dims.len()).collect() }, &[terms], Origin::default())?;
    graph.add(Elementwise::scale(1.0 / ty.len() as f32), &[sum], Origin::default())
}

fn cross_entropy(
    graph: &mut Graph,
    mut scores: NodeId,
    output: &str,
    axes: &Axes,
    classes: Classes,
    log_probabilities: bool,
) -> Result<(NodeId, TargetSchema), LossError> {
    let rank = axes.rank();
    let axis = if classes.axis < 0 { classes.axis.saturating_add(rank as i64) } else { classes.axis };
    let at = usize::try_from(axis).ok().filter(|&a| a < rank).and_then(|a| axes.record_axis(a));
    let Some(at) = at else {
        let loss = if log_probabilities { "nll" } else { "cross-entropy" };
        return Err(LossError::ClassAxis { loss, axis: classes.axis, output: output.into(), axes: axes.clone() });
    };
    let mut dims = graph.ty(scores).dims.clone();
    if at + 1 < dims.len() {
        let perm = (0..dims.len()).filter(|&k| k != at).chain([at]).collect();
        scores = graph.add(Transpose { perm }, &[scores], Origin::default())?;
    }
    let count = dims.remove(at);
    let label = label(graph, Type::batched(dims.clone()).of(DType::I32))?;
    let op = CrossEntropy { ignore_index: classes.ignore_index, log_probabilities };
    let loss = graph.add(op, &[scores, label], Origin::default())?;
    let kind = TargetKind::Class { classes: count, ignore_index: Some(classes.ignore_index) };
    Ok((loss, TargetSchema { dims, kind }))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::graph::axes::Axis;
    use crate::graph::verify;

    /// A model whose only node is an input of these dims a record, with the batch first.
    fn model(name: &str, dims: &[usize]) -> Proved {
        let mut graph = Graph::default();
        let id = graph.add(Input { name: name.into(), ty: Type::batched(dims) }, &[], Origin::value(name)).unwrap();
        graph.outputs.insert("out".into(), id);
        let axes = Axes(std::iter::once(Axis::batch()).chain(dims.iter().map(|&d| Axis::size(d))).collect());
        let (inputs, outputs) = ([(name.to_owned(), axes.clone())], [("out".to_owned(), axes)]);
        Proved { graph, inputs: inputs.into(), outputs: outputs.into(), ids: BTreeMap::new(), notes: vec![] }
    }

    fn target(dims: &[usize], loss: &str) -> Result<TargetSchema, LossError> {
        let mut proved = model("x", dims);
        let info = attach(&mut proved, loss.parse().unwrap(), None)?;
        verify(&proved.graph, "attach_loss").unwrap();
        assert_eq!(*proved.graph.ty(proved.graph.outputs[LOSS]), Type::batched([]));
        Ok(info.target)
    }

    #[test]
    fn labels_lack_the_class_axis() {
        let class = |dims: &[usize], classes| TargetSchema {
            dims: dims.into(),
            kind: TargetKind::Class { classes, ignore_index: Some(-100) },
        };
        assert_eq!(target(&[7], "cross-entropy").unwrap(), class(&[], 7));
        assert_eq!(target(&[7, 5], "cross-entropy").unwrap(), class(&[5], 7));
        assert_eq!(target(&[7, 5], "nll:axis=last").unwrap(), class(&[7], 5));
        assert_eq!(target(&[7, 5], "cross-entropy:axis=2").unwrap(), class(&[7], 5));
        assert_eq!(target(&[7, 5], "bce").unwrap().dims, [7, 5]);
        assert_eq!(target(&[], "mse").unwrap().dims, [0; 0]);
    }

    #[test]
    fn the_batch_cannot_hold_the_classes() {
        for (dims, loss) in [(vec![7], "cross-entropy:axis=0"), (vec![7], "nll:axis=2"), (vec![], "cross-entropy")] {
            assert!(matches!(target(&dims, loss), Err(LossError::ClassAxis { .. })), "{loss}");
        }
    }

    #[test]
    fn outputs_and_names_must_be_clear() {
        let mse = |proved: &mut Proved, output| attach(proved, Loss::Mse, output);
        assert!(matches!(mse(&mut model("label", &[3]), None), Err(LossError::NameTaken { .. })));
        assert!(matches!(mse(&mut model("x", &[3]), Some("y")), Err(LossError::NoOutput { .. })));
        let mut two = model("x", &[3]);
        two.outputs.insert("other".into(), two.outputs["out"].clone());
        two.graph.outputs.insert("other".into(), two.graph.outputs["out"]);
        assert!(matches!(mse(&mut two, None), Err(LossError::SeveralOutputs { .. })));
        assert_eq!(mse(&mut two, Some("other")).unwrap().output, "other");
    }
}
