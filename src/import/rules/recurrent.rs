//! What [`super::lstm`], [`super::gru`] and [`super::rnn`] share: directions, activations, initial states, lengths of sequences
//! and outputs. The input's product with its weight and the biases are ops of their own before the recurrence, so their
//! gradients are those of a linear layer. A bidirectional layer is two recurrences.

use crate::graph::{DType, NodeId, Type};
use crate::import::axes::{Axes, Axis};
use crate::import::{Import, Refusal, Value};
use crate::lower::cells::{Activation, Cell, Direction, Kind};
use crate::lower::scalar::{Expr, Func, Step, Value as Number};
use crate::onnx::OnnxNode;
use crate::ops::contract::Contract;
use crate::ops::elementwise::Elementwise;
use crate::ops::leaf::{Constant, Data, Fill};
use crate::ops::movement::{Broadcast, Concat, Reshape, Slice, is_zero};
use crate::ops::recurrence::Recurrence;
use crate::ops::reduce::Sum;

/// What the columns of a cell's pre-activations are made of, in one direction.
pub(super) struct Products {
    /// The input's product with its weight, `[T, G·H]`.
    pub input: NodeId,
    /// The biases of the input's product and then of the recurrent one, `[2·G·H]`, if there are some.
    pub biases: Option<NodeId>,
    /// Which of the layer's directions.
    pub direction: usize,
    /// Time steps.
    pub steps: usize,
    /// Hidden units.
    pub hidden: usize,
}

impl Products {
    /// The product with all biases added.
    pub(super) fn summed(&self, cx: &mut Import<'_>, node: &OnnxNode) -> Result<NodeId, Refusal> {
        let mut sum = self.input;
        let Some(biases) = self.biases else { return Ok(sum) };
        let len = cx.ty(biases).dims[0] / 2;
        for start in [0, len] {
            sum = self.plus(cx, node, sum, biases, start, len)?;
        }
        Ok(sum)
    }

    /// `x` and a part of the biases.
    pub(super) fn plus(
        &self,
        cx: &mut Import<'_>,
        node: &OnnxNode,
        x: NodeId,
        biases: NodeId,
        start: usize,
        len: usize,
    ) -> Result<NodeId, Refusal> {
        let part = cx.emit(node, Slice { axis: 0, start, len }, &[biases])?;
        cx.emit(node, Elementwise::call(Func::Add), &[x, part])
    }

    /// Columns that are the same at all steps.
    pub(super) fn at_all_steps(&self, cx: &mut Import<'_>, node: &OnnxNode, row: NodeId) -> Result<NodeId, Refusal> {
        let dims = vec![self.steps, cx.ty(row).dims[0]];
        cx.emit(node, Broadcast { dims }, &[row])
    }
}

/// What a node says of its layer.
struct Attributes {
    layout: i64,
    directions: Vec<Direction>,
    /// The cell of each direction.
    cells: Vec<Cell>,
}

/// The layer of a node: its outputs are the states `h` of all steps, `h` after the last step, and then the other states
/// after it. `columns` makes the columns of the cell's pre-activations.
pub(super) fn layer(
    cx: &mut Import<'_>,
    node: &OnnxNode,
    kind: Kind,
    columns: impl Fn(&mut Import<'_>, &OnnxNode, &Products) -> Result<NodeId, Refusal>,
) -> Result<Vec<Value>, Refusal> {
    let Attributes { layout, directions, cells } = attributes(cx, node, kind)?;
    let (x, w, r) = (cx.value(node, 0)?, cx.value(node, 1)?, cx.value(node, 2)?);
    let batch = if layout == 0 { 1 } else { 0 };
    check_batch(cx, node, &x, batch)?;
    let (count, gates) = (directions.len(), Cell::from(kind).gates());
    let (w_dims, r_dims) = (cx.ty(w.node).dims.clone(), cx.ty(r.node).dims.clone());
    let (&[of_w, width, inputs], &[of_r, _, hidden]) = (w_dims.as_slice(), r_dims.as_slice()) else {
        return Err(cx.invalid(node, format!("weights of dims {w_dims:?} and {r_dims:?}")));
    };
    let dims = x.axes.per_record();
    let fit = [of_w, of_r] == [count; 2] && hidden.checked_mul(gates) == Some(width) && r_dims[1] == width;
    if x.axes.rank() != 3 || hidden == 0 || !fit || dims.last() != Some(&inputs) {
        let why = format!("weights of dims {w_dims:?} and {r_dims:?} do not fit an input of axes {}", x.axes);
        return Err(cx.invalid(node, why));
    }
    let steps = dims[0];
    if steps == 0 {
        return Err(cx.invalid(node, "a sequence of no steps"));
    }
    let lengths = lengths(cx, node, steps)?;
    let states = initial_states(cx, node, (kind, count, hidden), batch)?;
    let biases = cx.optional(node, 3)?.filter(|b| !is_zero(cx.graph(), b.node));
    if let Some(bias) = &biases
        && bias.axes != Axes::shared(&[count, 2 * width])
    {
        return Err(cx.invalid(node, format!("biases of axes {} for {hidden} hidden units", bias.axes)));
    }
    // Of each direction all states `h`, and each state after the last step.
    let (mut all, mut last) = (Vec::new(), vec![Vec::new(); Cell::from(kind).states()]);
    for (d, (&direction, &cell)) in directions.iter().zip(&cells).enumerate() {
        let w = of_direction(cx, node, w.node, d, vec![width, inputs])?;
        let r = of_direction(cx, node, r.node, d, vec![width, hidden])?;
        // Sequences of several lengths are turned round before and after a recurrence that goes forward.
        let turn = match &lengths {
            Some(lengths) if direction == Direction::Reverse => Some(turned(cx, node, *lengths, steps)?),
            _ => None,
        };
        let direction = if turn.is_some() { Direction::Forward } else { direction };
        let turned = |cx: &mut Import<'_>, x| match turn {
            Some(turn) => cx.emit(node, Contract::new(false, false), &[turn, x]),
            None => Ok(x),
        };
        let x = turned(cx, x.node)?;
        let input = cx.emit(node, Contract::new(false, true), &[x, w])?;
        let biases = match &biases {
            Some(bias) => Some(of_direction(cx, node, bias.node, d, vec![2 * width])?),
            None => None,
        };
        let pre = columns(cx, node, &Products { input, biases, direction: d, steps, hidden })?;
        if !cx.ty(pre).batched {
            return Err(cx.unsupported(node, "an input that does not depend on the record"));
        }
        let mut operands = vec![pre, r];
        for state in states.iter().flatten() {
            operands.push(of_direction(cx, node, *state, d, vec![hidden])?);
        }
        let op = Recurrence { cell, direction, hidden, initial: states.is_some() };
        let tape = cx.emit(node, op, &operands)?;
        let at_end = direction.step(steps - 1, steps);
        for k in (0..cell.states()).rev() {
            let state = cx.emit(node, Slice { axis: 0, start: op.plane(k), len: 1 }, &[tape])?;
            if k + 1 == cell.states() {
                let whole = match (lengths, turn) {
                    (None, _) => state,
                    (Some(lengths), None) => where_step(cx, node, Func::LessI32, lengths, state)?,
                    (Some(_), Some(_)) => {
                        let state = cx.emit(node, Reshape { dims: vec![steps, hidden] }, &[state])?;
                        turned(cx, state)?
                    }
                };
                all.push(whole);
            }
            last[k].push(match lengths {
                None => cx.emit(node, Slice { axis: 1, start: at_end, len: 1 }, &[state])?,
                Some(lengths) => {
                    let state = where_step(cx, node, Func::EqualI32, lengths, state)?;
                    cx.emit(node, Sum { axes: vec![1] }, &[state])?
                }
            });
        }
    }
    let (one, h) = (Axis::size(count), Axis::size(hidden));
    let ends = if layout == 0 { [one, Axis::batch(), h] } else { [Axis::batch(), one, h] };
    let mut axes = ends.to_vec();
    axes.insert(if layout == 0 { 0 } else { 1 }, Axis::size(steps));
    let whole = joined(cx, node, &all, 1, vec![steps, 1, hidden])?;
    let mut out = vec![cx.relabel(node, whole, Axes(axes))?];
    for state in last.iter().rev() {
        let state = joined(cx, node, state, 0, vec![1, hidden])?;
        out.push(cx.relabel(node, state, Axes(ends.to_vec()))?);
    }
    Ok(out)
}

/// The part of a weight, bias or state for one direction.
pub(super) fn of_direction(
    cx: &mut Import<'_>,
    node: &OnnxNode,
    x: NodeId,
    direction: usize,
    dims: Vec<usize>,
) -> Result<NodeId, Refusal> {
    let ty = cx.ty(x);
    if ty.dims == dims {
        return Ok(x);
    }
    let mut part = x;
    if ty.len() != dims.iter().product::<usize>() {
        part = cx.emit(node, Slice { axis: 0, start: direction, len: 1 }, &[part])?;
    }
    cx.emit(node, Reshape { dims }, &[part])
}

/// The parts of all directions along an axis of `dims`, which are those of one.
fn joined(
    cx: &mut Import<'_>,
    node: &OnnxNode,
    parts: &[NodeId],
    axis: usize,
    dims: Vec<usize>,
) -> Result<NodeId, Refusal> {
    if let [only] = parts {
        return Ok(*only);
    }
    let parts = parts.iter().map(|&part| cx.emit(node, Reshape { dims: dims.clone() }, &[part]));
    let parts = parts.collect::<Result<Vec<_>, _>>()?;
    cx.emit(node, Concat { axis }, &parts)
}

/// Reads what all the families have.
fn attributes(cx: &Import<'_>, node: &OnnxNode, kind: Kind) -> Result<Attributes, Refusal> {
    let attribute = |e| cx.attribute(node, e);
    let directions = match node.string("direction", "forward").map_err(attribute)? {
        "forward" => vec![Direction::Forward],
        "reverse" => vec![Direction::Reverse],
        "bidirectional" => vec![Direction::Forward, Direction::Reverse],
        other => return Err(cx.invalid(node, format!("direction {other}"))),
    };
    let layout = match node.int("layout", 0).map_err(attribute)? {
        layout @ (0 | 1) => layout,
        layout => return Err(cx.invalid(node, format!("layout {layout}"))),
    };
    let clip = match node.has("clip") {
        true => Some(node.float("clip", 0.0).map_err(attribute)?),
        false => None,
    };
    if clip.is_some_and(|clip| !clip.is_finite() || clip <= 0.0) {
        return Err(cx.invalid(node, "a clip that is no positive number"));
    }
    let mut cells = vec![Cell { clip, ..kind.into() }; directions.len()];
    if let Some(names) = node.strings("activations").map_err(attribute)? {
        let each = kind.activations();
        if names.len() != each * directions.len() {
            let why = format!("{} activations for {} directions of {each}", names.len(), directions.len());
            return Err(cx.invalid(node, why));
        }
        let numbers = |name| Ok(node.floats(name).map_err(attribute)?.unwrap_or_default().into_iter());
        let (mut alphas, mut betas) = (numbers("activation_alpha")?, numbers("activation_beta")?);
        for (k, name) in names.iter().enumerate() {
            let Some(activation) = activation(name, &mut alphas, &mut betas) else {
                return Err(cx.unsupported(node, &format!("the activation {name}, or its alpha and beta")));
            };
            cells[k / each].activations[k % each] = activation;
        }
    }
    Ok(Attributes { layout, directions, cells })
}

/// An activation by its name, which takes its numbers from those that are left; without them, ONNX's defaults.
fn activation(
    name: &str,
    alphas: &mut impl Iterator<Item = f32>,
    betas: &mut impl Iterator<Item = f32>,
) -> Option<Activation> {
    let mut alpha = |default: Option<f32>| alphas.next().or(default).filter(|x| x.is_finite());
    let mut beta = |default: Option<f32>| betas.next().or(default).filter(|x| x.is_finite());
    Some(match name.to_lowercase().as_str() {
        "relu" => Activation::Relu,
        "tanh" => Activation::Tanh,
        "sigmoid" => Activation::Sigmoid,
        "affine" => Activation::Affine { alpha: alpha(None)?, beta: beta(None)? },
        "leakyrelu" => Activation::LeakyRelu { alpha: alpha(Some(0.01))? },
        "thresholdedrelu" => Activation::ThresholdedRelu { alpha: alpha(Some(1.0))? },
        "scaledtanh" => Activation::ScaledTanh { alpha: alpha(None)?, beta: beta(None)? },
        "hardsigmoid" => Activation::HardSigmoid { alpha: alpha(Some(0.2))?, beta: beta(Some(0.5))? },
        "elu" => Activation::Elu { alpha: alpha(Some(1.0))? },
        "softsign" => Activation::Softsign,
        "softplus" => Activation::Softplus,
        _ => return None,
    })
}

/// The batch rule: the batch is the layer's batch axis and nothing else.
fn check_batch(cx: &Import<'_>, node: &OnnxNode, x: &Value, batch: usize) -> Result<(), Refusal> {
    match x.axes.batch_axis() {
        Some(axis) if axis == batch && x.axes.0[axis].is_batch() => Ok(()),
        Some(axis) if axis == batch => {
            Err(cx.unsupported(node, &format!("the batch of {} is merged with another axis", x.axes)))
        }
        Some(axis) => {
            let why = format!("the batch is axis {axis} of {}; the layer takes axis {batch} for the batch", x.axes);
            Err(cx.mixes(node, why, "set batch_first to match the data, or transpose the input"))
        }
        None => Err(cx.unsupported(node, "an input without a batch axis")),
    }
}

/// The states before the first step, from `h` on, of all directions, or `None` where all are zero.
fn initial_states(
    cx: &mut Import<'_>,
    node: &OnnxNode,
    (kind, directions, hidden): (Kind, usize, usize),
    batch: usize,
) -> Result<Option<Vec<NodeId>>, Refusal> {
    let dims = vec![directions, hidden];
    let mut states = vec![None; Cell::from(kind).states()];
    for (k, state) in states.iter_mut().enumerate() {
        let Some(value) = cx.optional(node, 5 + k)?.filter(|v| !is_zero(cx.graph(), v.node)) else { continue };
        if cx.stays_zero(node, 5 + k) {
            continue;
        }
        // In a file for one record the state of all of them is that of one.
        if value.axes.batch_axis().is_some() || cx.fixed_batch() != Some(1) {
            check_batch(cx, node, &value, batch)?;
        }
        let flat = if directions == 1 { vec![hidden] } else { dims.clone() };
        *state = Some(cx.emit(node, Reshape { dims: flat }, &[value.node])?);
    }
    if states.iter().all(Option::is_none) {
        return Ok(None);
    }
    let zero = cx.emit(node, Fill { ty: Type::shared(dims), value: 0.0 }, &[])?;
    Ok(Some(states.into_iter().map(|state| state.unwrap_or(zero)).collect()))
}

/// How many steps of each record count, if that is not all of them.
fn lengths(cx: &mut Import<'_>, node: &OnnxNode, steps: usize) -> Result<Option<NodeId>, Refusal> {
    if node.input(4).is_none() {
        return Ok(None);
    }
    if let Some(known) = cx.known(node, 4) {
        let all = |lengths: &[i64]| lengths.iter().all(|&length| usize::try_from(length) == Ok(steps));
        return match known.ints().is_some_and(all) {
            true => Ok(None),
            false => Err(cx.unsupported(node, "sequence_lens that are constants below the number of steps")),
        };
    }
    let lengths = cx.value(node, 4)?;
    if cx.ty(lengths.node).dtype != DType::I32 || lengths.axes != Axes(vec![Axis::batch()]) {
        return Err(cx.invalid(node, format!("sequence_lens of axes {}", lengths.axes)));
    }
    Ok(Some(lengths.node))
}

/// A constant of integers.
fn integers(cx: &mut Import<'_>, node: &OnnxNode, dims: Vec<usize>, data: Vec<i32>) -> Result<NodeId, Refusal> {
    cx.emit(node, Constant { dims, data: Data::I32(data.into()) }, &[])
}

/// A state `[1, T, H]` at those steps that are before the end of the record, or the last before it, and elsewhere 0.
fn where_step(
    cx: &mut Import<'_>,
    node: &OnnxNode,
    compare: Func,
    lengths: NodeId,
    state: NodeId,
) -> Result<NodeId, Refusal> {
    let steps = cx.ty(state).dims[1];
    // The last step is the one after which as many are made as there are.
    let first = i32::from(compare == Func::EqualI32);
    let count = integers(cx, node, vec![steps, 1], (first..).take(steps).collect())?;
    let steps = [
        Step::Operand(0, DType::I32),
        Step::Operand(1, DType::I32),
        Step::Call(compare, [0, 1, 0]),
        Step::Operand(2, DType::F32),
        Step::Const(Number::F32(0.0)),
        Step::Call(Func::Select, [2, 3, 4]),
    ];
    chosen(cx, node, &steps, &[count, lengths, state])
}

/// The matrix `[T, T]` that turns the steps of a record round, those that count, and makes the others 0.
fn turned(cx: &mut Import<'_>, node: &OnnxNode, lengths: NodeId, steps: usize) -> Result<NodeId, Refusal> {
    let size = i32::try_from(steps).ok().filter(|size| *size <= 1 << 14);
    let Some(size) = size else { return Err(cx.unsupported(node, "sequence_lens of so many steps in reverse")) };
    let sums = (0..size).flat_map(|t| (0..size).map(move |s| t + s + 1)).collect();
    let sums = integers(cx, node, vec![steps, steps], sums)?;
    let steps = [
        Step::Operand(0, DType::I32),
        Step::Operand(1, DType::I32),
        Step::Call(Func::EqualI32, [0, 1, 0]),
        Step::Call(Func::BoolToF32, [2, 0, 0]),
    ];
    chosen(cx, node, &steps, &[sums, lengths])
}

fn chosen(cx: &mut Import<'_>, node: &OnnxNode, steps: &[Step], operands: &[NodeId]) -> Result<NodeId, Refusal> {
    let expr = Expr::new(steps.to_vec()).map_err(|e| cx.invalid(node, e.to_string()))?;
    cx.emit(node, Elementwise { expr }, operands)
}
