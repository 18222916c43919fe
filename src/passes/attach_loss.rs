//! Attaches a loss to the model's outputs: an `f32[N]`, a function of each record alone.
//!
//! Labels are more inputs of the graph, `label` and `label.OUTPUT` ([`Loss::labels`]).

mod fit;
mod term;

use miette::Diagnostic;
use thiserror::Error;

use crate::graph::{DType, NodeId, Origin, Type, TypeError};
use crate::import::Proved;
use crate::import::axes::Axes;
use crate::lower::host_outputs::{self, LOSS};
use crate::lower::scalar::Func;
use crate::ops::Graph;
use crate::ops::elementwise::Elementwise;
use crate::ops::leaf;
use crate::options::{Loss, Term};
use crate::schema::{OtherLabels, TargetSchema};

/// What the loss takes.
#[derive(Clone, Debug, PartialEq)]
pub struct LossInfo {
    /// The loss, whose terms all say which output they are on.
    pub loss: Loss,
    /// The labels that it takes: names, shapes and kinds of one record's.
    pub targets: Vec<TargetSchema>,
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
    #[diagnostic(
        code(dpc::loss::several_outputs),
        help("name the one that the loss is for: with --output NAME, or in the loss itself as NAME={loss}")
    )]
    SeveralOutputs {
        /// The outputs.
        outputs: String,
        /// The loss that names none.
        loss: String,
    },
    /// The output is named beside a loss that names its outputs.
    #[error("--output {output} is given beside the loss `{loss}`, which says itself which outputs it is for")]
    #[diagnostic(code(dpc::loss::output_twice), help("leave out --output, or name every output within --loss"))]
    OutputTwice {
        /// The output.
        output: String,
        /// The loss.
        loss: Loss,
    },
    /// A name that the loss needs is the model's own.
    #[error("the model has an {what} called `{name}`, the name that dpc gives to {meaning}")]
    #[diagnostic(code(dpc::loss::name_taken), help("rename it in the ONNX file, for example with onnx.compose"))]
    NameTaken {
        /// `input` or `output`.
        what: &'static str,
        /// The name.
        name: String,
        /// What dpc uses it for.
        meaning: &'static str,
    },
    /// Two terms need labels of different kinds under one name.
    #[error("several terms of `{loss}` would read different kinds of labels from `{name}`")]
    #[diagnostic(code(dpc::loss::labels), help("put one of them on a copy of the output that has a name of its own"))]
    Labels {
        /// The loss.
        loss: Loss,
        /// The array.
        name: String,
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
    /// Weights that are not one for each class.
    #[error("{found} {key} are given for output `{output}` of axes {axes}, which has {expected}")]
    #[diagnostic(code(dpc::loss::weights), help("give one number for each, in their order: {key}=1,2,…"))]
    Weights {
        /// The option.
        key: &'static str,
        /// How many there are.
        found: usize,
        /// The output.
        output: String,
        /// Its axes.
        axes: Axes,
        /// How many there should be, of what.
        expected: String,
    },
    /// Several terms do not fit.
    #[error("{} terms of the loss do not fit the model", .0.len())]
    #[diagnostic(code(dpc::loss::several))]
    Several(#[related] Vec<LossError>),
    /// The pass built a node that does not type-check: a defect of the compiler.
    #[error("internal error: {0}")]
    #[diagnostic(code(dpc::internal), help("this is a defect of dpc; please report it with the model"))]
    Type(#[from] TypeError),
}

/// The output of a graph that holds the share of term `k` in a loss of several terms.
pub fn term_output(k: usize) -> String {
    format!("{LOSS}/{k}")
}

/// Adds the loss as the output [`LOSS`] of the graph, and if it has several terms each as [`term_output`]. `output` is the one
/// that a single term without a name is for; by default it is the model's only output. Notes where the loss does not seem
/// to fit what the model computes.
pub fn attach(proved: &mut Proved, loss: &Loss, output: Option<&str>) -> Result<LossInfo, LossError> {
    let loss = resolve(proved, loss, output)?;
    let own_names = host_outputs::ALL.into_iter().map(str::to_owned).chain((0..loss.terms.len()).map(term_output));
    for name in own_names {
        if proved.outputs.contains_key(&name) {
            return Err(LossError::NameTaken { what: "output", name, meaning: "what it computes itself" });
        }
    }
    let mut problems = Vec::new();
    let mut targets: Vec<(TargetSchema, NodeId)> = Vec::new();
    let mut shares = Vec::new();
    for (term, label) in loss.terms.iter().zip(loss.labels()) {
        match add(proved, &loss, term, label, &mut targets) {
            Ok(share) => shares.push(share),
            Err(problem) => problems.push(problem),
        }
    }
    match problems.len() {
        0 => {}
        1 => return Err(problems.remove(0)),
        _ => return Err(LossError::Several(problems)),
    }
    proved.notes.extend(fit::notes(proved, &loss));
    let graph = &mut proved.graph;
    if let [_, _, ..] = shares[..] {
        for (k, &share) in shares.iter().enumerate() {
            graph.outputs.insert(term_output(k), share);
        }
    }
    let mut total = shares[0];
    for &share in &shares[1..] {
        total = graph.add(Elementwise::call(Func::Add), &[total, share], Origin::default())?;
    }
    graph.name(total, "loss");
    graph.outputs.insert(LOSS.into(), total);
    Ok(LossInfo { loss, targets: targets.into_iter().map(|(target, _)| target).collect() })
}

/// The loss with the output of each term.
fn resolve(proved: &Proved, loss: &Loss, output: Option<&str>) -> Result<Loss, LossError> {
    let outputs = || proved.outputs.keys().cloned().collect::<Vec<_>>().join(", ");
    let mut loss = loss.clone();
    match (output, &mut loss.terms[..]) {
        (Some(output), [term]) if term.output.is_none() => term.output = Some(output.to_owned()),
        (Some(output), _) => return Err(LossError::OutputTwice { output: output.to_owned(), loss }),
        (None, _) => {}
    }
    let mut problems = Vec::new();
    for term in &mut loss.terms {
        match (&term.output, proved.outputs.len(), proved.outputs.keys().next()) {
            (Some(name), _, _) if proved.outputs.contains_key(name) => {}
            (Some(name), _, _) => problems.push(LossError::NoOutput { name: name.clone(), outputs: outputs() }),
            (None, 1, Some(only)) => term.output = Some(only.clone()),
            (None, _, _) => {
                problems.push(LossError::SeveralOutputs { outputs: outputs(), loss: term.to_string() });
            }
        }
    }
    match problems.len() {
        0 => Ok(loss),
        1 => Err(problems.remove(0)),
        _ => Err(LossError::Several(problems)),
    }
}

/// Adds the share of one term: its value for each record times its factor, batched even where no record goes into it.
fn add(
    proved: &mut Proved,
    loss: &Loss,
    term: &Term,
    label: Option<String>,
    targets: &mut Vec<(TargetSchema, NodeId)>,
) -> Result<NodeId, LossError> {
    let output = term.output.clone().unwrap_or_default();
    let axes = proved.outputs[&output].clone();
    let Some(&value) = proved.graph.outputs.get(&output) else {
        return Err(LossError::Output { output, axes, why: "it holds no elements".into() });
    };
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
    let scores = term::Scores { value, ty, output: &output, axes: &axes };
    let label = match (label, scores.target(&term.kind)?) {
        (Some(name), Some((dims, kind))) => {
            let mut target = TargetSchema::new(&name, &dims, kind);
            target.otherwise = scores
                .other_dims(&term.kind)?
                .zip(loss.with_other_labels(&name))
                .map(|(dims, loss)| OtherLabels { dims, loss });
            Some(declare(proved, loss, target, targets)?)
        }
        _ => None,
    };
    let graph = &mut proved.graph;
    let mut share = scores.loss(graph, &term.kind, label)?;
    if term.factor != 1.0 {
        share = graph.add(Elementwise::scale(term.factor), &[share], Origin::default())?;
    }
    if !graph.ty(share).batched {
        let zero = graph.add(leaf::Fill { ty: Type::batched([]), value: 0.0 }, &[], Origin::default())?;
        share = graph.add(Elementwise::call(Func::Add), &[share, zero], Origin::default())?;
    }
    Ok(share)
}

/// The input that holds labels; terms may share it.
fn declare(
    proved: &mut Proved,
    loss: &Loss,
    target: TargetSchema,
    targets: &mut Vec<(TargetSchema, NodeId)>,
) -> Result<NodeId, LossError> {
    if proved.inputs.contains_key(&target.name) {
        return Err(LossError::NameTaken { what: "input", name: target.name, meaning: "the labels" });
    }
    if let Some((known, node)) = targets.iter().find(|(known, _)| known.name == target.name) {
        return match *known == target {
            true => Ok(*node),
            false => Err(LossError::Labels { loss: loss.clone(), name: target.name }),
        };
    }
    let node = label(&mut proved.graph, &target)?;
    targets.push((target, node));
    Ok(node)
}

fn label(graph: &mut Graph, target: &TargetSchema) -> Result<NodeId, TypeError> {
    let ty = Type::batched(target.dims.clone()).of(term::dtype(&target.kind));
    graph.add(leaf::Input { name: target.name.clone(), ty }, &[], Origin::value(&target.name))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::graph::verify;
    use crate::import::axes::Axis;
    use crate::schema::TargetKind;

    /// A model whose only node is an input of these dims a record, with the batch first.
    fn model(name: &str, dims: &[usize]) -> Proved {
        let mut graph = Graph::default();
        let id =
            graph.add(leaf::Input { name: name.into(), ty: Type::batched(dims) }, &[], Origin::value(name)).unwrap();
        graph.outputs.insert("out".into(), id);
        let axes = Axes(std::iter::once(Axis::batch()).chain(dims.iter().map(|&d| Axis::size(d))).collect());
        let (inputs, outputs) = ([(name.to_owned(), axes.clone())], [("out".to_owned(), axes)]);
        Proved {
            graph,
            inputs: inputs.into(),
            outputs: outputs.into(),
            nothing: BTreeMap::new(),
            ids: BTreeMap::new(),
            notes: vec![],
        }
    }

    fn target(dims: &[usize], loss: &str) -> Result<TargetSchema, LossError> {
        let mut proved = model("x", dims);
        let mut info = attach(&mut proved, &loss.parse().unwrap(), None)?;
        verify(&proved.graph, "attach_loss").unwrap();
        assert_eq!(*proved.graph.ty(proved.graph.outputs[LOSS]), Type::batched([]));
        let target = info.targets.remove(0);
        Ok(TargetSchema { otherwise: None, ..target })
    }

    #[test]
    fn labels_lack_the_class_axis() {
        let class = |dims: &[usize], classes| {
            TargetSchema::new("label", dims, TargetKind::Class { classes, ignore_index: Some(-100) })
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

    /// The input as two outputs, `out` and `other`.
    fn two_outputs(name: &str) -> Proved {
        let mut two = model(name, &[3]);
        two.outputs.insert("other".into(), two.outputs["out"].clone());
        two.graph.outputs.insert("other".into(), two.graph.outputs["out"]);
        two
    }

    fn info(proved: &mut Proved, loss: &str, output: Option<&str>) -> Result<LossInfo, LossError> {
        attach(proved, &loss.parse().unwrap(), output)
    }

    #[test]
    fn outputs_and_names_must_be_clear() {
        let mse = |proved: &mut Proved, output| info(proved, "mse", output);
        assert!(matches!(mse(&mut model("label", &[3]), None), Err(LossError::NameTaken { .. })));
        assert!(matches!(mse(&mut model("x", &[3]), Some("y")), Err(LossError::NoOutput { .. })));
        assert!(matches!(mse(&mut two_outputs("x"), None), Err(LossError::SeveralOutputs { .. })));
        let named = mse(&mut two_outputs("x"), Some("other")).unwrap().loss;
        assert_eq!(named.to_string(), "other=mse");
        let twice = info(&mut two_outputs("x"), "out=mse", Some("other"));
        assert!(matches!(twice, Err(LossError::OutputTwice { .. })));
        let wrong = info(&mut two_outputs("x"), "mse + a=mse + b=mse", None);
        assert!(matches!(wrong, Err(LossError::Several(problems)) if problems.len() == 3));
        // The model's own `label` is no label of dpc where the loss takes none.
        assert!(info(&mut model("label", &[3]), "output:out", None).unwrap().targets.is_empty());
    }

    #[test]
    fn labels_are_shared_by_terms_on_one_output_that_take_the_same() {
        let names = |loss: &str| -> Vec<String> {
            let mut proved = two_outputs("x");
            let info = info(&mut proved, loss, None).unwrap();
            verify(&proved.graph, "attach_loss").unwrap();
            info.targets.into_iter().map(|target| target.name).collect()
        };
        assert_eq!(names("out=mse + other=cross-entropy"), ["label", "label.other"]);
        assert_eq!(names("out=mse + 0.5*out=l1 + out=huber"), ["label"]);
        assert_eq!(names("out=mse + out=bce"), ["label", "label.out"]);
        assert_eq!(names("output:out + other=bce"), ["label"]);
        let both = info(&mut two_outputs("x"), "out=mse + out=bce + out=cross-entropy", None);
        assert!(matches!(both, Err(LossError::Labels { name, .. }) if name == "label.out"));
    }

    #[test]
    fn weights_are_one_a_class() {
        let weights = |loss: &str| match info(&mut model("x", &[3, 2]), loss, None) {
            Err(LossError::Weights { found, expected, .. }) => (found, expected),
            other => panic!("{other:?}"),
        };
        assert_eq!(weights("cross-entropy:weights=1,2"), (2, "3 classes".into()));
        assert_eq!(weights("nll:axis=last,weights=1,2,3"), (3, "2 classes".into()));
        assert_eq!(weights("bce:pos_weight=1,2,3").0, 3);
        assert!(info(&mut model("x", &[3, 2]), "cross-entropy:weights=1,2,3", None).is_ok());
        assert!(info(&mut model("x", &[3, 2]), "bce:pos_weight=1,2", None).is_ok());
    }

    #[test]
    fn labels_of_the_other_form_are_known() {
        let target = |loss: &str| info(&mut model("x", &[3, 2]), loss, None).unwrap().targets.remove(0);
        let ids = target("cross-entropy:smoothing=0.1");
        let other = ids.otherwise.unwrap();
        assert_eq!((ids.dims, other.dims), (vec![2], vec![3, 2]));
        assert_eq!(other.loss.to_string(), "out=cross-entropy:smoothing=0.1,probabilities");
        let soft = target("cross-entropy:axis=last,probabilities");
        assert_eq!((soft.dims, soft.otherwise.unwrap().dims), (vec![3, 2], vec![3]));
        assert_eq!(target("nll").otherwise, None);
    }
}
