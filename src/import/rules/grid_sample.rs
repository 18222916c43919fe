//! [GridSample](https://onnx.ai/onnx/operators/onnx__GridSample.html) of one to three spatial axes: each record's image read at
//! its own coordinates. An element of the result is a sum of rows of the image, by numbers and weights that are computed from
//! the coordinates; the numbers are steps, so that the derivative is that of the weights and of the rows.

use crate::graph::{NodeId, product};
use crate::import::axes::{Axes, Axis};
use crate::import::broadcast::call;
use crate::import::formula::{Term, formula};
use crate::import::rows::{apply, reshape, transpose};
use crate::import::select::{run, selectable};
use crate::import::window::images;
use crate::import::{Import, Refusal, Rule, Value};
use crate::lower::scalar::Func;
use crate::onnx::OnnxNode;
use crate::ops::embedding::Gather;
use crate::ops::movement::Concat;

pub(super) const RULES: &[(&str, Rule)] = &[("GridSample", grid_sample)];

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Nearest,
    Linear,
    Cubic,
}

#[derive(Clone, Copy, PartialEq)]
enum Padding {
    Zeros,
    Border,
    Reflection,
}

/// How an image is read between and beyond its elements.
#[derive(Clone, Copy)]
struct Sampling {
    mode: Mode,
    padding: Padding,
    align_corners: bool,
}

impl Sampling {
    /// The whole number at an offset from a place.
    fn whole(self, place: Term<'_>, offset: f32) -> Term<'_> {
        match self.mode {
            Mode::Nearest => place.call(Func::Round),
            _ => place.call(Func::Floor) + offset,
        }
    }
}

/// A row of the image along one axis, and its weight: of each point.
struct Tap {
    at: Value,
    weight: Option<Value>,
}

fn sampling(cx: &Import<'_>, node: &OnnxNode) -> Result<Sampling, Refusal> {
    let text = |name: &str, usual: &'static str| node.string(name, usual).map_err(|e| cx.attribute(node, e));
    let mode = match text("mode", "linear")? {
        "nearest" => Mode::Nearest,
        "linear" | "bilinear" => Mode::Linear,
        "cubic" | "bicubic" => Mode::Cubic,
        other => return Err(cx.invalid(node, format!("mode `{other}` is not one of ONNX's"))),
    };
    let padding = match text("padding_mode", "zeros")? {
        "zeros" => Padding::Zeros,
        "border" => Padding::Border,
        "reflection" => Padding::Reflection,
        other => return Err(cx.invalid(node, format!("padding_mode `{other}` is not one of ONNX's"))),
    };
    let align_corners = node.int("align_corners", 0).map_err(|e| cx.attribute(node, e))? != 0;
    Ok(Sampling { mode, padding, align_corners })
}

fn grid_sample(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let how = sampling(cx, node)?;
    let (x, grid) = (cx.value(node, 0)?, cx.value(node, 1)?);
    let images = images(cx, node, &x)?;
    let spatial = images.dims[1..].to_vec();
    let of_grid: Vec<usize> = grid.axes.0.iter().skip(1).map(Axis::per_record).collect();
    if grid.axes.rank() != x.axes.rank() || of_grid.last() != Some(&spatial.len()) {
        return Err(cx.invalid(node, format!("coordinates of axes {} for an image of axes {}", grid.axes, x.axes)));
    }
    if grid.axes.0[0] != images.lead {
        let why = format!("it reads records of {} at coordinates of axes {}", x.axes, grid.axes);
        return Err(cx.mixes(node, why, "give the image and the coordinates the batch as axis 0"));
    }
    let (points, channels) = (product(&of_grid[..spatial.len()]), images.dims[0]);
    selectable(cx, node, product(&spatial).max(points).saturating_mul(channels).saturating_mul(images.count))?;
    let mut parts = Vec::new();
    for image in 0..images.count {
        let table = part(cx, node, x.node, (image, images.count), &[channels, product(&spatial)])?;
        let table = transpose(cx, node, table, vec![1, 0])?;
        let own = part(cx, node, grid.node, (image, images.count), &[points, spatial.len()])?;
        let read = sampled(cx, node, how, (table, own), &spatial)?;
        let read = transpose(cx, node, read, vec![1, 0])?;
        parts.push(reshape(cx, node, read, [1, channels, points])?);
    }
    let all = if let [only] = parts[..] { only } else { cx.emit(node, Concat { axis: 0 }, &parts)? };
    let dims = [&[channels], &of_grid[..spatial.len()]].concat();
    Ok(vec![cx.relabel(node, all, images.axes(&dims))?])
}

/// One of `count` equal parts of a record's value, under other dims.
fn part(
    cx: &mut Import<'_>,
    node: &OnnxNode,
    x: NodeId,
    (k, count): (usize, usize),
    dims: &[usize],
) -> Result<NodeId, Refusal> {
    let size = product(dims);
    let flat = reshape(cx, node, x, [size * count])?;
    let part = run(cx, node, flat, 0, k * size, size)?;
    reshape(cx, node, part, dims)
}

/// The rows `[points, channels]` of a table `[elements, channels]` at coordinates `[points, axes]`.
fn sampled(
    cx: &mut Import<'_>,
    node: &OnnxNode,
    how: Sampling,
    (table, grid): (NodeId, NodeId),
    spatial: &[usize],
) -> Result<NodeId, Refusal> {
    let points = cx.ty(grid).dims[0];
    let mut taps = Vec::new();
    for (k, &size) in spatial.iter().enumerate() {
        // The first coordinate is along the last axis.
        let own = run(cx, node, grid, 1, spatial.len() - 1 - k, 1)?;
        let lead = if cx.ty(own).batched { vec![Axis::batch()] } else { vec![] };
        let axes = Axes([lead, vec![Axis::size(points), Axis::size(1)]].concat());
        taps.push(axis_taps(cx, node, how, Value { node: own, axes }, size)?);
    }
    let mut sum: Option<NodeId> = None;
    let combinations = taps.iter().map(Vec::len).product::<usize>();
    for mut combination in 0..combinations {
        let (mut at, mut weight): (Option<Value>, Option<Value>) = (None, None);
        for (axis, &size) in taps.iter().zip(spatial) {
            let tap = &axis[combination % axis.len()];
            combination /= axis.len();
            at = Some(match at {
                None => tap.at.clone(),
                Some(at) => formula(cx, node, |f| f.of(at) * size as f32 + f.of(tap.at.clone()))?,
            });
            weight = match (weight, tap.weight.clone()) {
                (Some(weight), Some(own)) => Some(formula(cx, node, |f| f.of(weight) * f.of(own))?),
                (weight, own) => weight.or(own),
            };
        }
        let Some(at) = at else { return Err(cx.invalid(node, "an image without axes")) };
        let ids = call(cx, node, Func::F32ToI32, &[at])?;
        let ids = reshape(cx, node, ids.node, [points])?;
        let mut rows = cx.emit(node, Gather { padding: None }, &[table, ids])?;
        if let Some(weight) = weight {
            rows = apply(cx, node, Func::Mul, &[rows, weight.node])?;
        }
        sum = Some(match sum {
            Some(sum) => apply(cx, node, Func::Add, &[sum, rows])?,
            None => rows,
        });
    }
    sum.ok_or_else(|| cx.invalid(node, "an image without axes"))
}

/// What each coordinate along an axis of this size takes.
fn axis_taps(
    cx: &mut Import<'_>,
    node: &OnnxNode,
    how: Sampling,
    coordinate: Value,
    size: usize,
) -> Result<Vec<Tap>, Refusal> {
    let last = size as f32 - 1.0;
    let place = formula(cx, node, |f| {
        let from_corner = f.of(coordinate) + 1.0;
        let place = match how.align_corners {
            true => from_corner * (last / 2.0),
            false => from_corner * (size as f32 / 2.0) - 0.5,
        };
        let place = if how.mode == Mode::Nearest { place.call(Func::Round) } else { place };
        match how.padding {
            Padding::Reflection => reflected(place, how.align_corners, last),
            // The taps of a cubic are kept within the border one by one.
            Padding::Border if how.mode == Mode::Cubic => place,
            Padding::Border => place.at_least(0.0).at_most(last),
            Padding::Zeros => place,
        }
    })?;
    let offsets: &[f32] = match how.mode {
        Mode::Nearest => &[0.0],
        Mode::Linear => &[0.0, 1.0],
        Mode::Cubic => &[-1.0, 0.0, 1.0, 2.0],
    };
    let mut taps = Vec::new();
    for &offset in offsets {
        let at = formula(cx, node, |f| {
            let at = how.whole(f.of(place.clone()), offset);
            let at = if how.padding == Padding::Reflection { reflected(at, how.align_corners, last) } else { at };
            // Of what is not a number, the first; its weight is none either.
            at.at_most(last).at_least(0.0)
        })?;
        let inside = how.padding == Padding::Zeros;
        let weighs = how.mode != Mode::Nearest || inside;
        let weight = formula(cx, node, |f| {
            let place = f.of(place.clone());
            let at = how.whole(place, offset);
            let weight = match how.mode {
                Mode::Nearest => f.number(1.0),
                Mode::Linear => 1.0 - (place - at).call(Func::Abs),
                Mode::Cubic => cubic((place - at).call(Func::Abs)),
            };
            if !inside {
                return weight;
            }
            let zero = f.number(0.0);
            let before = at.with(Func::Less, zero);
            let after = f.number(last).with(Func::Less, at);
            before.with(Func::Or, after).choose(zero, weight)
        });
        taps.push(Tap { at, weight: if weighs { Some(weight?) } else { None } });
    }
    Ok(taps)
}

/// A place mirrored at the borders until it is between them: the first and the last element, or the edges beside them.
fn reflected(place: Term<'_>, align_corners: bool, last: f32) -> Term<'_> {
    let (low, span) = if align_corners { (0.0, last) } else { (-0.5, last + 1.0) };
    if span == 0.0 {
        return place * 0.0;
    }
    let from = (place - low).call(Func::Abs);
    let around = from - (from * (0.5 / span)).call(Func::Floor) * (2.0 * span);
    let mirrored = span - (around - span).call(Func::Abs);
    mirrored + low
}

/// The piecewise cubic of [Keys](https://doi.org/10.1109/TASSP.1981.1163711) with the coefficient -0.75, at a distance below 2.
fn cubic(distance: Term<'_>) -> Term<'_> {
    const A: f32 = -0.75;
    let near = (distance * (A + 2.0) - (A + 3.0)) * distance * distance + 1.0;
    let far = ((distance * A - 5.0 * A) * distance + 8.0 * A) * distance - 4.0 * A;
    distance.call_with(Func::LessOrEqual, 1.0).choose(near, far)
}
