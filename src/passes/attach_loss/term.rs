//! The terms of a loss: what labels each takes, and its value for each record from an output and them.

use super::LossError;
use crate::graph::{DType, NodeId, Origin, Type, TypeError};
use crate::import::axes::Axes;
use crate::lower::scalar::Func;
use crate::ops::Graph;
use crate::ops::Op;
use crate::ops::elementwise::Elementwise;
use crate::ops::leaf;
use crate::ops::loss::CrossEntropy;
use crate::ops::movement::Transpose;
use crate::ops::reduce::Sum;
use crate::ops::softmax::Softmax;
use crate::options::{Classes, LossKind, Reduction};
use crate::schema::TargetKind;

/// An output that a loss is computed from.
pub(super) struct Scores<'a> {
    pub value: NodeId,
    pub ty: Type,
    /// Its name.
    pub output: &'a str,
    pub axes: &'a Axes,
}

/// What a graph's input of labels holds.
pub(super) fn dtype(kind: &TargetKind) -> DType {
    match kind {
        TargetKind::Real { .. } | TargetKind::Probabilities => DType::F32,
        TargetKind::Class { .. } => DType::I32,
    }
}

impl Scores<'_> {
    /// The shape and kind of one record's labels; `None` where the loss takes none.
    pub fn target(&self, loss: &LossKind) -> Result<Option<(Vec<usize>, TargetKind)>, LossError> {
        let dims = self.ty.dims.clone();
        Ok(match loss {
            LossKind::Output(_) => None,
            LossKind::Mse | LossKind::L1 | LossKind::Huber { .. } => Some((dims, TargetKind::Real { within: None })),
            LossKind::Bce { .. } => Some((dims, TargetKind::Real { within: Some([0.0, 1.0]) })),
            LossKind::CrossEntropy(classes) | LossKind::Nll(classes) => {
                let at = self.class_axis(loss.name(), classes)?;
                if classes.probabilities {
                    return Ok(Some((dims, TargetKind::Probabilities)));
                }
                let ignore_index = Some(classes.ignore_index);
                Some((without(&dims, at), TargetKind::Class { classes: dims[at], ignore_index }))
            }
        })
    }

    /// The shape of one record's labels of the other form that the loss takes, if there is one.
    pub fn other_dims(&self, loss: &LossKind) -> Result<Option<Vec<usize>>, LossError> {
        let LossKind::CrossEntropy(classes) = loss else { return Ok(None) };
        let at = self.class_axis(loss.name(), classes)?;
        let dims = self.ty.dims.clone();
        Ok(Some(if classes.probabilities { without(&dims, at) } else { dims }))
    }

    /// The loss of each record.
    pub fn loss(&self, graph: &mut Graph, loss: &LossKind, label: Option<NodeId>) -> Result<NodeId, LossError> {
        let mut emit = |op: Op, operands: &[NodeId]| graph.add(op, operands, Origin::default());
        let mut call = |func: Func, operands: &[NodeId]| emit(Elementwise::call(func).into(), operands);
        let label = match (loss, label) {
            (LossKind::Output(reduction), _) => return Ok(self.reduced(graph, self.value, *reduction)?),
            (_, Some(label)) => label,
            // Every other loss takes labels.
            (_, None) => return Err(self.refused("it has no labels")),
        };
        let losses = match loss {
            LossKind::Mse => {
                let difference = call(Func::Sub, &[self.value, label])?;
                call(Func::Mul, &[difference, difference])?
            }
            LossKind::L1 => {
                let difference = call(Func::Sub, &[self.value, label])?;
                call(Func::Abs, &[difference])?
            }
            LossKind::Huber { delta } => {
                let difference = call(Func::Sub, &[self.value, label])?;
                let delta = emit(constant(&[], &[*delta]), &[])?;
                emit(Elementwise::call(Func::Huber).into(), &[difference, delta])?
            }
            LossKind::Bce { pos_weight } => self.bce(graph, label, pos_weight)?,
            LossKind::CrossEntropy(classes) if classes.probabilities => {
                return self.soft_cross_entropy(graph, label, classes);
            }
            LossKind::CrossEntropy(classes) => return self.cross_entropy(graph, label, classes, false),
            LossKind::Nll(classes) => return self.cross_entropy(graph, label, classes, true),
            LossKind::Output(_) => self.value,
        };
        Ok(self.reduced(graph, losses, Reduction::Mean)?)
    }

    fn refused(&self, why: &str) -> LossError {
        LossError::Output { output: self.output.into(), axes: self.axes.clone(), why: why.into() }
    }

    /// The axis of one record that holds the classes.
    pub fn class_axis(&self, loss: &'static str, classes: &Classes) -> Result<usize, LossError> {
        let rank = self.axes.rank();
        let axis = if classes.axis < 0 { classes.axis.saturating_add(rank as i64) } else { classes.axis };
        let at = usize::try_from(axis).ok().filter(|&a| a < rank).and_then(|a| self.axes.record_axis(a));
        let (output, axes) = (self.output, self.axes);
        let at = at.ok_or_else(|| LossError::ClassAxis {
            loss,
            axis: classes.axis,
            output: output.into(),
            axes: axes.clone(),
        })?;
        self.weights("weights", &classes.weights, &[0, self.ty.dims[at]], "classes")?;
        Ok(at)
    }

    /// Refuses weights whose number is not one of `expected`, the last of which is that of `what`.
    fn weights(&self, key: &'static str, weights: &[f32], expected: &[usize], what: &str) -> Result<(), LossError> {
        if expected.contains(&weights.len()) {
            return Ok(());
        }
        let expected = format!("{} {what}", expected.last().copied().unwrap_or_default());
        let (output, axes) = (self.output.to_owned(), self.axes.clone());
        Err(LossError::Weights { key, found: weights.len(), output, axes, expected })
    }

    /// The mean or sum over a record's own elements.
    fn reduced(&self, graph: &mut Graph, losses: NodeId, reduction: Reduction) -> Result<NodeId, TypeError> {
        let ty = graph.ty(losses).clone();
        if ty.dims.is_empty() {
            return Ok(losses);
        }
        let sum = graph.add(Sum { axes: (0..ty.dims.len()).collect() }, &[losses], Origin::default())?;
        match reduction {
            Reduction::Mean => graph.add(Elementwise::scale(1.0 / ty.len() as f32), &[sum], Origin::default()),
            Reduction::Sum => Ok(sum),
        }
    }

    /// With p = `pos_weight`: −p y log σ(x) − (1 − y) log(1 − σ(x)), which is the loss without p and (p − 1) y times the loss of
    /// a positive label.
    fn bce(&self, graph: &mut Graph, label: NodeId, pos_weight: &[f32]) -> Result<NodeId, LossError> {
        let loss = graph.add(Elementwise::call(Func::BceWithLogits), &[self.value, label], Origin::default())?;
        if pos_weight.is_empty() {
            return Ok(loss);
        }
        let last = self.ty.dims.last().copied().unwrap_or(1);
        self.weights("pos_weight", pos_weight, &[1, last], "elements on its last axis, or give one number for all")?;
        let more: Vec<f32> = pos_weight.iter().map(|weight| weight - 1.0).collect();
        let dims: &[usize] = if more.len() == 1 { &[] } else { &[last] };
        let mut emit = |op: Op, operands: &[NodeId]| graph.add(op, operands, Origin::default());
        let one = emit(constant(&[], &[1.0]), &[])?;
        let more = emit(constant(dims, &more), &[])?;
        let positive = emit(Elementwise::call(Func::BceWithLogits).into(), &[self.value, one])?;
        let share = emit(Elementwise::call(Func::Mul).into(), &[label, more])?;
        let added = emit(Elementwise::call(Func::Mul).into(), &[share, positive])?;
        Ok(emit(Elementwise::call(Func::Add).into(), &[loss, added])?)
    }

    fn cross_entropy(
        &self,
        graph: &mut Graph,
        label: NodeId,
        classes: &Classes,
        log_probabilities: bool,
    ) -> Result<NodeId, LossError> {
        let at = self.class_axis(if log_probabilities { "nll" } else { "cross-entropy" }, classes)?;
        let dims = &self.ty.dims;
        let mut operands = vec![self.value, label];
        if at + 1 < dims.len() {
            let perm = (0..dims.len()).filter(|&k| k != at).chain([at]).collect();
            operands[0] = graph.add(Transpose { perm }, &[self.value], Origin::default())?;
        }
        if !classes.weights.is_empty() || classes.smoothing > 0.0 {
            let weights = class_weights(classes, dims[at]);
            operands.push(graph.add(constant(&[dims[at]], &weights), &[], Origin::default())?);
        }
        let op = CrossEntropy { ignore_index: classes.ignore_index, log_probabilities, smoothing: classes.smoothing };
        Ok(graph.add(op, &operands, Origin::default())?)
    }

    /// −Σ q log p over the classes, the mean over what is left, with q = w ((1 − s) y + s / C) for labels y.
    fn soft_cross_entropy(&self, graph: &mut Graph, label: NodeId, classes: &Classes) -> Result<NodeId, LossError> {
        let at = self.class_axis("cross-entropy", classes)?;
        let dims = &self.ty.dims;
        let mut emit = |op: Op, operands: &[NodeId]| graph.add(op, operands, Origin::default());
        let mut q = label;
        if classes.smoothing > 0.0 {
            q = emit(Elementwise::scale(1.0 - classes.smoothing).into(), &[q])?;
            let even = emit(constant(&[], &[classes.smoothing / dims[at] as f32]), &[])?;
            q = emit(Elementwise::call(Func::Add).into(), &[q, even])?;
        }
        if !classes.weights.is_empty() {
            // One axis for each after that of the classes, which broadcasts.
            let shape: Vec<usize> = std::iter::once(dims[at]).chain(dims[at + 1..].iter().map(|_| 1)).collect();
            let weights = emit(constant(&shape, &classes.weights), &[])?;
            q = emit(Elementwise::call(Func::Mul).into(), &[q, weights])?;
        }
        let log = emit(Softmax { axis: at, log: true }.into(), &[self.value])?;
        let shares = emit(Elementwise::call(Func::Mul).into(), &[q, log])?;
        let sum = emit(Sum { axes: (0..dims.len()).collect() }.into(), &[shares])?;
        let labels: usize = without(dims, at).iter().product();
        Ok(emit(Elementwise::scale(-1.0 / labels as f32).into(), &[sum])?)
    }
}

/// What each class is weighed by.
pub(crate) fn class_weights(classes: &Classes, count: usize) -> Vec<f32> {
    if classes.weights.is_empty() { vec![1.0; count] } else { classes.weights.clone() }
}

fn without(dims: &[usize], at: usize) -> Vec<usize> {
    let mut dims = dims.to_vec();
    dims.remove(at);
    dims
}

fn constant(dims: &[usize], values: &[f32]) -> Op {
    leaf::Constant { dims: dims.to_vec(), data: leaf::Data::F32(values.into()) }.into()
}
