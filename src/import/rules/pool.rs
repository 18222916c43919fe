//! Pooling over one to three spatial axes: [MaxPool](https://onnx.ai/onnx/operators/onnx__MaxPool.html),
//! [AveragePool](https://onnx.ai/onnx/operators/onnx__AveragePool.html),
//! [LpPool](https://onnx.ai/onnx/operators/onnx__LpPool.html), and their global forms.

use super::gather_elements::{coordinates, flat};
use super::reduce::root;
use crate::graph::{NodeId, product};
use crate::import::axes::Axis;
use crate::import::formula::formula;
use crate::import::rows::{apply, floats, integers, reshape, row_argmax, row_max, rows};
use crate::import::select::{elements, selectable};
use crate::import::window::{Images, images, window};
use crate::import::{Import, Refusal, Rule, Value};
use crate::lower::kernels::{MAX_WINDOW, PoolKind, Window};
use crate::lower::scalar::Func;
use crate::onnx::OnnxNode;
use crate::ops::elementwise::Elementwise;
use crate::ops::embedding::Gather;
use crate::ops::pool::Pool;
use crate::ops::reduce::Sum;

pub(super) const RULES: &[(&str, Rule)] = &[
    ("MaxPool", max_pool),
    ("AveragePool", average_pool),
    ("LpPool", lp_pool),
    ("GlobalMaxPool", global_max_pool),
    ("GlobalAveragePool", global_average_pool),
    ("GlobalLpPool", global_lp_pool),
];

fn max_pool(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let x = cx.value(node, 0)?;
    let images = images(cx, node, &x)?;
    let window = window(cx, node, &images.dims[1..], None)?;
    let mut values = vec![pooled(cx, node, x.node, &images, window, PoolKind::Max)?];
    if node.output(1).is_some() {
        values.push(numbers(cx, node, x.node, &images, window)?);
        if x.axes.batch_axis().is_some() {
            // ONNX numbers the elements of all records together, one record's after the other's.
            if !images.lead.leads_with_batch() {
                return Err(cx.unsupported(node, "the output Indices of images that do not lie record by record"));
            }
            if (0..3).any(|k| window.output[k] > 1 && window.stride[k] <= (window.kernel[k] - 1) * window.dilation[k]) {
                let why = "the output Indices of windows that overlap, in which a number may stand twice";
                return Err(cx.unsupported(node, why));
            }
            cx.mark_offset(node, 1, product(&images.dims).saturating_mul(images.count))?;
        }
    }
    Ok(values)
}

/// The number of each window's largest element among all of the input, in row-major order or, for `storage_order` 1, with the
/// spatial axes the other way round.
fn numbers(cx: &mut Import<'_>, node: &OnnxNode, x: NodeId, images: &Images, window: Window) -> Result<Value, Refusal> {
    let by_columns = node.int("storage_order", 0).map_err(|e| cx.attribute(node, e))? != 0;
    let (channels, taps) = (images.dims[0].saturating_mul(images.count), window.taps());
    let (input, output) = (window.dims(1, window.input)[1..].to_vec(), window.dims(1, window.output)[1..].to_vec());
    let kernel = window.dims(1, window.kernel)[1..].to_vec();
    let (plane, rows) = (product(&input), channels.saturating_mul(product(&output)));
    selectable(cx, node, rows.saturating_mul(taps))?;
    i32::try_from(channels.saturating_mul(plane)).map_err(|_| cx.unsupported(node, "the output Indices beyond 2³¹"))?;
    let first = 3 - window.rank;
    let (mut places, mut numbers, mut outside) = (Vec::new(), Vec::new(), Vec::new());
    for channel in 0..channels {
        for position in coordinates(&output) {
            for tap in coordinates(&kernel) {
                let at = |k: usize| {
                    let padded = position[k] * window.stride[first + k] + tap[k] * window.dilation[first + k];
                    padded.checked_sub(window.pad[first + k]).filter(|&at| at < input[k])
                };
                let at: Option<Vec<usize>> = (0..input.len()).map(at).collect();
                places.push(at.as_ref().map(|at| channel * plane + flat(at, &input)));
                let number = at.as_ref().map_or(0, |at| match by_columns {
                    true => flat(&reversed(at), &reversed(&input)),
                    false => flat(at, &input),
                });
                let number = i32::try_from(channel * plane + number);
                numbers.push(number.map_err(|_| cx.unsupported(node, "the output Indices beyond 2³¹"))?);
                outside.push(if at.is_some() { 0.0 } else { f32::NEG_INFINITY });
            }
        }
    }
    let dims = window.dims(images.dims[0], window.output);
    if taps == 1 {
        // Every element is the largest of its window.
        let numbers = integers(cx, node, [rows], numbers)?;
        return cx.relabel(node, numbers, images.axes(&dims));
    }
    let elements = elements(cx, node, x, &places, &[rows, taps])?;
    let outside = floats(cx, node, [rows, taps], outside)?;
    let elements = apply(cx, node, Func::Add, &[elements, outside])?;
    let tap = row_argmax(cx, node, elements, false)?;
    let starts = integers(cx, node, [rows, 1], (0..rows as i32).map(|row| row * taps as i32).collect())?;
    let ids = apply(cx, node, Func::AddI32, &[tap, starts])?;
    let numbers = integers(cx, node, [rows * taps], numbers)?;
    let found = cx.emit(node, Gather { padding: None }, &[numbers, ids])?;
    cx.relabel(node, found, images.axes(&dims))
}

fn reversed(axes: &[usize]) -> Vec<usize> {
    axes.iter().rev().copied().collect()
}

fn average_pool(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let padded = node.int("count_include_pad", 0).map_err(|e| cx.attribute(node, e))? != 0;
    let kind = if padded { PoolKind::AveragePadded } else { PoolKind::AverageInside };
    let x = cx.value(node, 0)?;
    let images = images(cx, node, &x)?;
    let window = window(cx, node, &images.dims[1..], None)?;
    Ok(vec![pooled(cx, node, x.node, &images, window, kind)?])
}

fn global_average_pool(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let x = cx.value(node, 0)?;
    let spatial: Vec<usize> = (2..x.axes.rank()).collect();
    Ok(vec![formula(cx, node, |f| f.of(x).mean(&spatial))?])
}

/// Pools each image of a record.
fn pooled(
    cx: &mut Import<'_>,
    node: &OnnxNode,
    x: NodeId,
    images: &Images,
    window: Window,
    kind: PoolKind,
) -> Result<Value, Refusal> {
    // Channels are pooled alone, and so are those of several images.
    let channels = images.dims[0].saturating_mul(images.count);
    if window.taps() > MAX_WINDOW {
        return Err(cx.unsupported(node, &format!("windows of {} elements", window.taps())));
    }
    let planes = reshape(cx, node, x, window.dims(channels, window.input))?;
    let y = cx.emit(node, Pool { kind, channels, window }, &[planes])?;
    cx.relabel(node, y, images.axes(&window.dims(images.dims[0], window.output)))
}

/// The power that an LpPool takes of the absolute values.
fn power(cx: &Import<'_>, node: &OnnxNode) -> Result<u32, Refusal> {
    let p = node.int("p", 2).map_err(|e| cx.attribute(node, e))?;
    u32::try_from(p).ok().filter(|p| (1..=64).contains(p)).ok_or_else(|| cx.invalid(node, format!("p is {p}")))
}

/// `|x|^p`.
fn powers(cx: &mut Import<'_>, node: &OnnxNode, x: NodeId, p: u32) -> Result<NodeId, Refusal> {
    if p == 2 {
        return apply(cx, node, Func::Mul, &[x, x]);
    }
    let base = apply(cx, node, Func::Abs, &[x])?;
    (1..p).try_fold(base, |power, _| apply(cx, node, Func::Mul, &[power, base]))
}

/// The p-th root of sums of powers, with the derivative 0 where that is 0.
fn rooted(cx: &mut Import<'_>, node: &OnnxNode, sum: NodeId, p: u32) -> Result<NodeId, Refusal> {
    match p {
        1 => return Ok(sum),
        2 => return root(cx, node, sum),
        _ => {}
    }
    let (zero, one) = (floats(cx, node, [], vec![0.0])?, floats(cx, node, [], vec![1.0])?);
    let is_zero = apply(cx, node, Func::Equal, &[sum, zero])?;
    let safe = apply(cx, node, Func::Select, &[is_zero, one, sum])?;
    let log = apply(cx, node, Func::Log, &[safe])?;
    let log = cx.emit(node, Elementwise::scale(1.0 / p as f32), &[log])?;
    let root = apply(cx, node, Func::Exp, &[log])?;
    apply(cx, node, Func::Select, &[is_zero, zero, root])
}

fn lp_pool(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let (x, p) = (cx.value(node, 0)?, power(cx, node)?);
    let images = images(cx, node, &x)?;
    let window = window(cx, node, &images.dims[1..], None)?;
    selectable(cx, node, window.positions())?;
    let powers = powers(cx, node, x.node, p)?;
    let mean = pooled(cx, node, powers, &images, window, PoolKind::AverageInside)?;
    let counts = floats(cx, node, &window.dims(1, window.output)[1..], counts(&window))?;
    let sum = apply(cx, node, Func::Mul, &[mean.node, counts])?;
    Ok(vec![Value { node: rooted(cx, node, sum, p)?, axes: mean.axes }])
}

/// How many elements inside of the input each window has.
fn counts(w: &Window) -> Vec<f32> {
    let inside = |axis: usize, position: usize| {
        // Element k of the window is at `start + k·dilation` of the padded input.
        let (start, dilation) = (position * w.stride[axis], w.dilation[axis]);
        let before = w.pad[axis].saturating_sub(start).div_ceil(dilation);
        let last = (w.pad[axis] + w.input[axis]).saturating_sub(start);
        last.div_ceil(dilation).min(w.kernel[axis]).saturating_sub(before) as f32
    };
    let [depths, rows, columns] =
        [0, 1, 2].map(|axis| (0..w.output[axis]).map(|position| inside(axis, position)).collect::<Vec<_>>());
    let mut counts = Vec::with_capacity(w.positions());
    for depth in depths {
        for row in &rows {
            counts.extend(columns.iter().map(|column| depth * row * column));
        }
    }
    counts
}

fn global_max_pool(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    global(cx, node, |cx, x| row_max(cx, node, x))
}

fn global_lp_pool(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let p = power(cx, node)?;
    global(cx, node, |cx, x| {
        let powers = powers(cx, node, x, p)?;
        let sum = cx.emit(node, Sum { axes: vec![1] }, &[powers])?;
        rooted(cx, node, sum, p)
    })
}

/// A value whose spatial axes are reduced to one element, by a function of the rows of a matrix.
fn global(
    cx: &mut Import<'_>,
    node: &OnnxNode,
    reduce: impl FnOnce(&mut Import<'_>, NodeId) -> Result<NodeId, Refusal>,
) -> Result<Vec<Value>, Refusal> {
    let x = cx.value(node, 0)?;
    if let Some(axis @ 2..) = x.axes.batch_axis() {
        let why = format!("it pools over axis {axis} of {}, which holds the batch", x.axes);
        return Err(cx.mixes(node, why, "move the batch to axis 0 with Transpose"));
    }
    let along: Vec<usize> = (2..x.axes.rank()).filter_map(|axis| x.axes.record_axis(axis)).collect();
    let rows = rows(cx, node, x.node, &along)?;
    let column = reduce(cx, rows)?;
    let mut axes = x.axes;
    axes.0.iter_mut().skip(2).for_each(|axis| *axis = Axis::size(1));
    Ok(vec![cx.relabel(node, column, axes)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_at_the_border_have_fewer_elements() {
        let mut window = Window::point(2);
        (window.input, window.output, window.kernel, window.pad) = ([1, 2, 3], [1, 2, 3], [1, 2, 2], [0, 1, 0]);
        assert_eq!(counts(&window), [2.0, 2.0, 1.0, 4.0, 4.0, 2.0]);
    }
}
