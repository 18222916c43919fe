//! [Conv](https://onnx.ai/onnx/operators/onnx__Conv.html) and
//! [ConvTranspose](https://onnx.ai/onnx/operators/onnx__ConvTranspose.html) over one to three spatial axes.

use crate::graph::NodeId;
use crate::import::axes::Axes;
use crate::import::rows::{reshape, transpose};
use crate::import::window::{Images, images, over_images, window};
use crate::import::{Import, Refusal, Rule, Value};
use crate::lower::kernels::{ConvGeometry, Window};
use crate::lower::scalar::Func;
use crate::onnx::OnnxNode;
use crate::ops::Op;
use crate::ops::conv::{Conv, ConvInputGradient, weight_dims};
use crate::ops::elementwise::Elementwise;
use crate::ops::movement::{self, Broadcast};

pub(super) const RULES: &[(&str, Rule)] = &[("Conv", conv), ("ConvTranspose", conv_transpose)];

/// The operands: images, what they are, the weight with its dims, the bias where it is not zero.
struct Operands {
    x: Value,
    images: Images,
    w: Value,
    shape: Vec<usize>,
    bias: Option<Value>,
    groups: usize,
}

fn operands(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Operands, Refusal> {
    let (x, w, bias) = (cx.value(node, 0)?, cx.value(node, 1)?, cx.optional(node, 2)?);
    let images = images(cx, node, &x)?;
    let shape = cx.ty(w.node).dims.clone();
    if w.axes.batch_axis().is_some() || cx.ty(w.node).batched {
        return Err(cx.unsupported(node, "a weight that depends on the record"));
    }
    let groups = usize::try_from(node.int("group", 1).map_err(|e| cx.attribute(node, e))?).unwrap_or(0);
    let fits = shape.len() == images.dims.len() + 1 && groups > 0 && shape[0].is_multiple_of(groups);
    if !fits {
        let why = format!("a weight of dims {shape:?} in {groups} groups does not fit an input of axes {}", x.axes);
        return Err(cx.invalid(node, why));
    }
    let bias = bias.filter(|b| !movement::is_zero(cx.graph(), b.node));
    Ok(Operands { x, images, w, shape, bias, groups })
}

fn conv(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let own = operands(cx, node)?;
    let (channels, shape) = (own.images.dims[0], &own.shape);
    if shape[1].checked_mul(own.groups) != Some(channels) {
        let why = format!("a weight of dims {shape:?} in {} groups does not fit {channels} channels", own.groups);
        return Err(cx.invalid(node, why));
    }
    let window = window(cx, node, &own.images.dims[1..], Some(&shape[2..]))?;
    let geometry = ConvGeometry { channels, filters: shape[0], groups: own.groups, window };
    let result = window.dims(geometry.filters, window.output);
    Ok(vec![convolved(cx, node, &own, geometry, &result, |geometry| Conv::new(geometry).into())?])
}

fn conv_transpose(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let own = operands(cx, node)?;
    let (filters, shape) = (own.images.dims[0], &own.shape);
    let channels = shape[1].checked_mul(own.groups).filter(|_| shape[0] == filters);
    let Some(channels) = channels else {
        let why = format!("a weight of dims {shape:?} in {} groups does not fit {filters} channels", own.groups);
        return Err(cx.invalid(node, why));
    };
    let window = transposed(cx, node, &own.images.dims[1..], &shape[2..])?;
    let geometry = ConvGeometry { channels, filters, groups: own.groups, window };
    let result = window.dims(channels, window.input);
    Ok(vec![convolved(cx, node, &own, geometry, &result, |geometry| ConvInputGradient { geometry }.into())?])
}

/// Applies `op` to each image of a record and adds the bias; `result` are the dims of an image of the result.
fn convolved(
    cx: &mut Import<'_>,
    node: &OnnxNode,
    own: &Operands,
    geometry: ConvGeometry,
    result: &[usize],
    op: impl FnOnce(ConvGeometry) -> Op,
) -> Result<Value, Refusal> {
    let images = &own.images;
    fits(cx, node, &geometry)?;
    let mut y = if images.count == 1 {
        let image = reshape(cx, node, own.x.node, images.dims.clone())?;
        cx.emit(node, op(geometry), &[image, own.w.node])?
    } else if geometry.window.rank < 3 {
        // Several images of a record are one with an axis more, along which the window has one element.
        let geometry = ConvGeometry { window: over_images(&geometry.window, images.count), ..geometry };
        fits(cx, node, &geometry)?;
        let all: Vec<usize> = [images.count].iter().chain(&images.dims).copied().collect();
        let x = reshape(cx, node, own.x.node, all)?;
        let x = exchanged(cx, node, x)?;
        let w = reshape(cx, node, own.w.node, weight_dims(&geometry))?;
        let y = cx.emit(node, op(geometry), &[x, w])?;
        exchanged(cx, node, y)?
    } else {
        // There is no axis more: each image has groups of its own, with the same weights.
        let times = |size: usize| size.saturating_mul(images.count);
        let ConvGeometry { channels, filters, groups, window } = geometry;
        let geometry =
            ConvGeometry { channels: times(channels), filters: times(filters), groups: times(groups), window };
        let whole = [times(images.dims[0])].iter().chain(&images.dims[1..]).copied().collect::<Vec<_>>();
        let x = reshape(cx, node, own.x.node, whole)?;
        let w = cx.emit(node, Broadcast { dims: [&[images.count], &own.shape[..]].concat() }, &[own.w.node])?;
        let w = reshape(cx, node, w, weight_dims(&geometry))?;
        let y = cx.emit(node, op(geometry), &[x, w])?;
        reshape(cx, node, y, [&[images.count], result].concat())?
    };
    if let Some(bias) = &own.bias {
        let filters = result[0];
        if bias.axes != Axes::shared(&[filters]) {
            return Err(cx.invalid(node, format!("a bias of axes {} for {filters} filters", bias.axes)));
        }
        let dims: Vec<usize> = std::iter::once(filters).chain(vec![1; result.len() - 1]).collect();
        let bias = reshape(cx, node, bias.node, dims)?;
        y = cx.emit(node, Elementwise::call(Func::Add), &[y, bias])?;
    }
    cx.relabel(node, y, images.axes(result))
}

/// Refuses sizes that no kernel takes.
fn fits(cx: &Import<'_>, node: &OnnxNode, geometry: &ConvGeometry) -> Result<(), Refusal> {
    match geometry.problem() {
        None => Ok(()),
        Some(problem) => Err(cx.unsupported(node, &format!("a convolution that {problem}"))),
    }
}

/// A value with its first two axes exchanged.
fn exchanged(cx: &mut Import<'_>, node: &OnnxNode, x: NodeId) -> Result<NodeId, Refusal> {
    let perm = [1, 0].into_iter().chain(2..cx.ty(x).dims.len()).collect();
    transpose(cx, node, x, perm)
}

/// The window of the convolution that a ConvTranspose is the transpose of, whose result has the dims `output`.
fn transposed(cx: &Import<'_>, node: &OnnxNode, output: &[usize], kernel: &[usize]) -> Result<Window, Refusal> {
    const LARGEST: i64 = i32::MAX as i64;
    let rank = output.len();
    let list = |name: &str, count: usize, usual: i64| -> Result<Vec<i64>, Refusal> {
        let values = node.ints(name).map_err(|e| cx.attribute(node, e))?.unwrap_or_else(|| vec![usual; count]);
        let fits = values.len() == count && values.iter().all(|&v| (usual.min(1)..=LARGEST).contains(&v));
        if fits { Ok(values) } else { Err(cx.invalid(node, format!("{name} {values:?} do not fit its input"))) }
    };
    let (stride, dilation) = (list("strides", rank, 1)?, list("dilations", rank, 1)?);
    let (pads, extra) = (list("pads", 2 * rank, 0)?, list("output_padding", rank, 0)?);
    if let Some(stated) = node.ints("kernel_shape").map_err(|e| cx.attribute(node, e))?
        && !stated.iter().eq(kernel.iter().map(|&k| k as i64).collect::<Vec<_>>().iter())
    {
        return Err(cx.invalid(node, format!("kernel_shape {stated:?} is not that of its weight, {kernel:?}")));
    }
    let stated = node.ints("output_shape").map_err(|e| cx.attribute(node, e))?;
    // Some exporters state the dims of batch and channels too.
    let stated = stated.map(|shape| shape[shape.len().saturating_sub(rank)..].to_vec());
    if stated.as_ref().is_some_and(|shape| shape.len() != rank) {
        return Err(cx.invalid(node, "output_shape does not fit its input"));
    }
    let auto = node.string("auto_pad", "NOTSET").map_err(|e| cx.attribute(node, e))?;
    let mut window = Window::point(rank);
    for k in 0..rank {
        let extent = (kernel[k] as i64 - 1).saturating_mul(dilation[k]) + 1;
        // What comes out without padding.
        let full = stride[k].saturating_mul(output[k] as i64 - 1).saturating_add(extent).saturating_add(extra[k]);
        if !(1..=LARGEST).contains(&full) {
            return Err(cx.invalid(node, format!("its result would have a size of {full} along spatial axis {k}")));
        }
        let size = match (&stated, auto) {
            (Some(shape), _) => Some(shape[k]),
            (None, "SAME_UPPER" | "SAME_LOWER") => Some(stride[k].saturating_mul(output[k] as i64)),
            (None, "NOTSET" | "" | "VALID") => None,
            (None, other) => return Err(cx.invalid(node, format!("auto_pad `{other}` is not one of ONNX's"))),
        };
        let (before, size) = match size {
            Some(size) if !(1..=LARGEST).contains(&size) => {
                return Err(cx.invalid(node, format!("its result would have a size of {size} along spatial axis {k}")));
            }
            Some(size) => {
                let total = (full - size).max(0);
                (if auto == "SAME_UPPER" { total / 2 } else { total - total / 2 }, size)
            }
            None if auto == "VALID" => (0, full),
            None => (pads[k], full.saturating_sub(pads[k]).saturating_sub(pads[rank + k])),
        };
        if !(1..=LARGEST).contains(&size) || output[k] == 0 || kernel[k] == 0 {
            return Err(cx.invalid(node, format!("its result would have a size of {size} along spatial axis {k}")));
        }
        let at = 3 - rank + k;
        window.input[at] = size as usize;
        window.output[at] = output[k];
        window.kernel[at] = kernel[k];
        window.stride[at] = stride[k] as usize;
        window.dilation[at] = dilation[k] as usize;
        window.pad[at] = before as usize;
        // As much as the last window reaches beyond the result.
        let reach = stride[k] * (output[k] as i64 - 1) + extent - before;
        window.pad_end[at] = (reach - size).max(0) as usize;
    }
    Ok(window)
}
