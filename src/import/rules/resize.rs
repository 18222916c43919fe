//! [Resize](https://onnx.ai/onnx/operators/onnx__Resize.html) and Upsample: along each axis a constant matrix of
//! interpolation coefficients, or, for the nearest element, a selection. Coordinates and coefficients are those of ONNX's
//! reference implementation.

use crate::graph::NodeId;
use crate::import::axes::Axis;
use crate::import::interpolate::{Coordinates, Interpolation, Kind, Nearest};
use crate::import::rows::{along, apply, floats, matrix, reshape};
use crate::import::select::{selectable, take};
use crate::import::{Import, Refusal, Rule, Value};
use crate::lower::scalar::Func;
use crate::onnx::{Int, OnnxNode};
use crate::ops::movement::Broadcast;

pub(super) const RULES: &[(&str, Rule)] = &[("Resize", resize), ("Upsample", resize)];

/// What the node's attributes say of all axes.
fn interpolation(cx: &Import<'_>, node: &OnnxNode) -> Result<Interpolation, Refusal> {
    let text = |name: &str, usual: &'static str| node.string(name, usual).map_err(|e| cx.attribute(node, e));
    let number = |name: &str, usual: f32| node.float(name, usual).map_err(|e| cx.attribute(node, e));
    let flag = |name: &str| node.int(name, 0).map(|v| v != 0).map_err(|e| cx.attribute(node, e));
    // The first Resize and Upsample have no attributes but the mode, and no coordinates between.
    let old = node.op_type == "Upsample" || cx.opset() < 11;
    let invalid = |name: &str, value: &str| cx.invalid(node, format!("{name} `{value}` is not one of ONNX's"));
    let nearest = match text("nearest_mode", if old { "floor" } else { "round_prefer_floor" })? {
        "round_prefer_floor" | "" => Nearest::RoundPreferFloor,
        "round_prefer_ceil" => Nearest::RoundPreferCeil,
        "floor" => Nearest::Floor,
        "ceil" => Nearest::Ceil,
        other => return Err(invalid("nearest_mode", other)),
    };
    let kind = match text("mode", "nearest")? {
        "nearest" => Kind::Nearest(nearest),
        "linear" | "bilinear" => Kind::Linear,
        "cubic" => Kind::Cubic(f64::from(number("cubic_coeff_a", -0.75)?)),
        other => return Err(invalid("mode", other)),
    };
    let coordinates = match text("coordinate_transformation_mode", if old { "asymmetric" } else { "half_pixel" })? {
        "half_pixel" => Coordinates::HalfPixel,
        "half_pixel_symmetric" => Coordinates::HalfPixelSymmetric,
        "pytorch_half_pixel" => Coordinates::PytorchHalfPixel,
        "align_corners" => Coordinates::AlignCorners,
        "asymmetric" => Coordinates::Asymmetric,
        "tf_half_pixel_for_nn" => Coordinates::TfHalfPixelForNn,
        "tf_crop_and_resize" => Coordinates::TfCropAndResize,
        other => return Err(invalid("coordinate_transformation_mode", other)),
    };
    Ok(Interpolation {
        kind,
        coordinates,
        antialias: flag("antialias")?,
        exclude_outside: flag("exclude_outside")?,
        extrapolation: number("extrapolation_value", 0.0)?,
    })
}

/// How an axis changes.
#[derive(Clone, Copy)]
struct Change {
    axis: usize,
    size: usize,
    scale: f64,
    /// The part of the axis that is taken, where the coordinates are of a crop.
    part: [f64; 2],
}

fn resize(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let mut x = cx.value(node, 0)?;
    let how = interpolation(cx, node)?;
    for change in changes(cx, node, &x, &how)? {
        let Change { axis, size, scale, part } = change;
        let at = along(cx, node, &x, axis, "interpolates")?;
        let from = x.axes.0[axis].per_record();
        // A matrix, one row a position.
        selectable(cx, node, size.saturating_mul(from).saturating_mul(4))?;
        if how.rounds_size(from, size, scale) {
            cx.note(format!(
                "node `{}`: its scale {scale} gives axis {axis} of {from} the size {size}; corners are aligned by the scale, as \
                 ONNX's reference has it, where PyTorch and onnxruntime align them by the size",
                node.name
            ));
        }
        x.node = match how.places(from, size, scale, part) {
            Some(places) => nearest(cx, node, x.node, at, &places)?,
            None => {
                let rows = how.rows(from, size, scale, part);
                let outside: Vec<bool> = rows.iter().map(Option::is_none).collect();
                let coefficients = rows.into_iter().flat_map(|row| row.unwrap_or_else(|| vec![0.0; from])).collect();
                let y = matrix(cx, node, x.node, at, coefficients)?;
                extrapolated(cx, node, y, at, &outside, how.extrapolation)?
            }
        };
        x.axes.0[axis] = Axis::size(size);
    }
    Ok(vec![x])
}

/// The elements at these positions of an axis; a repetition of each is a broadcast.
fn nearest(cx: &mut Import<'_>, node: &OnnxNode, x: NodeId, at: usize, places: &[usize]) -> Result<NodeId, Refusal> {
    let dims = cx.ty(x).dims.clone();
    let times = places.len() / dims[at].max(1);
    let repeats = times * dims[at] == places.len() && places.iter().enumerate().all(|(k, &p)| p == k / times);
    if !repeats || times < 2 {
        return take(cx, node, x, at, places);
    }
    let mut apart = dims.clone();
    apart.insert(at + 1, 1);
    let mut whole = apart.clone();
    whole[at + 1] = times;
    let mut result = dims;
    result[at] = places.len();
    let y = reshape(cx, node, x, apart)?;
    let y = cx.emit(node, Broadcast { dims: whole }, &[y])?;
    reshape(cx, node, y, result)
}

/// A value with a number in the place of the positions that lie outside of the image.
fn extrapolated(
    cx: &mut Import<'_>,
    node: &OnnxNode,
    y: NodeId,
    at: usize,
    outside: &[bool],
    value: f32,
) -> Result<NodeId, Refusal> {
    if value == 0.0 || !outside.contains(&true) {
        return Ok(y);
    }
    let dims: Vec<usize> = std::iter::once(outside.len()).chain(vec![1; cx.ty(y).dims.len() - at - 1]).collect();
    let values = outside.iter().map(|&outside| if outside { value } else { 0.0 }).collect();
    let values = floats(cx, node, dims, values)?;
    apply(cx, node, Func::Add, &[y, values])
}

/// The axes that change, by scales or sizes.
fn changes(cx: &Import<'_>, node: &OnnxNode, x: &Value, how: &Interpolation) -> Result<Vec<Change>, Refusal> {
    let rank = x.axes.rank();
    let axes = match node.ints("axes").map_err(|e| cx.attribute(node, e))? {
        Some(axes) => axes.iter().map(|&axis| cx.axis(node, axis, rank)).collect::<Result<Vec<_>, _>>()?,
        None => (0..rank).collect(),
    };
    let from: Vec<usize> = axes.iter().map(|&axis| x.axes.0[axis].per_record()).collect();
    let cropped = how.coordinates == Coordinates::TfCropAndResize;
    let region = match cropped {
        true => cx.known_floats(node, 1).map(<[f32]>::to_vec),
        false => Some((0..2 * axes.len()).map(|k| if k < axes.len() { 0.0 } else { 1.0 }).collect()),
    };
    let Some(region) = region.filter(|region| region.len() == 2 * axes.len()) else {
        return Err(cx.unsupported(node, "a region that is not known when the model is compiled"));
    };
    let wrong = |what: &str| cx.invalid(node, format!("its {what} do not fit axes {axes:?} of {}", x.axes));
    let whole = |k: usize, size: Int| match size {
        Int::Batch(factor) => x.axes.0[axes[k]].is_batched() && factor == from[k] as i64,
        Int::Known(size) => {
            let batch = cx.fixed_batch().and_then(|batch| batch.checked_mul(from[k]));
            x.axes.0[axes[k]].is_batched() && batch.is_some_and(|whole| whole as i64 == size)
        }
    };
    let mut changes = Vec::new();
    if let Some(scales) = scales(cx, node)? {
        if scales.len() != axes.len() {
            return Err(wrong("scales"));
        }
        for (k, &scale) in scales.iter().enumerate() {
            let scale = f64::from(scale);
            let size = (from[k] as f64 * scale).floor();
            if !(1.0..2e9).contains(&size) {
                return Err(wrong("scales"));
            }
            changes.push((k, size as usize, scale));
        }
    } else {
        let Some(sizes) = cx.symbolic(node, 3) else {
            return Err(cx.unsupported(node, "scales or sizes that are not known when the model is compiled"));
        };
        if sizes.len() != axes.len() {
            return Err(wrong("sizes"));
        }
        let mut asked = Vec::new();
        for (k, &size) in sizes.iter().enumerate().filter(|&(k, &size)| !whole(k, size)) {
            match size {
                Int::Known(size @ 1..) if size < 1 << 31 => asked.push((k, size as usize)),
                _ => return Err(wrong("sizes")),
            }
        }
        let ratio = |&(k, size): &(usize, usize)| size as f64 / from[k] as f64;
        let policy = node.string("keep_aspect_ratio_policy", "stretch").map_err(|e| cx.attribute(node, e))?;
        let common = match policy {
            "stretch" | "" => None,
            "not_larger" => asked.iter().map(ratio).reduce(f64::min),
            "not_smaller" => asked.iter().map(ratio).reduce(f64::max),
            other => {
                return Err(cx.invalid(node, format!("keep_aspect_ratio_policy `{other}` is not one of ONNX's")));
            }
        };
        for ask in asked {
            changes.push(match common {
                None => (ask.0, ask.1, ratio(&ask)),
                Some(scale) => (ask.0, ((scale * from[ask.0] as f64 + 0.5).floor() as usize).max(1), scale),
            });
        }
    }
    let part = |k: usize| [region[k], region[axes.len() + k]].map(f64::from);
    // What is scaled down further than this is no image.
    if changes.iter().any(|&(_, _, scale)| scale < 1.0 / f64::from(1 << 24)) {
        return Err(wrong("scales"));
    }
    let changes = changes
        .into_iter()
        .filter(|&(k, size, scale)| size != from[k] || scale != 1.0 || (cropped && part(k) != [0.0, 1.0]));
    Ok(changes.map(|(k, size, scale)| Change { axis: axes[k], size, scale, part: part(k) }).collect())
}

/// The scales, where the node has them.
fn scales(cx: &Import<'_>, node: &OnnxNode) -> Result<Option<Vec<f32>>, Refusal> {
    if node.op_type == "Upsample" && cx.opset() < 9 {
        return node.floats("scales").map_err(|e| cx.attribute(node, e));
    }
    let position = if node.op_type == "Upsample" || cx.opset() < 11 { 1 } else { 2 };
    Ok(cx.known_floats(node, position).filter(|scales| !scales.is_empty()).map(<[f32]>::to_vec))
}
