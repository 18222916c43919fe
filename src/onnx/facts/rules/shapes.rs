//! Shapes of the operators that select, pad and slide.

use super::{Results, from_end, operand};
use crate::onnx::facts::pinned::{Known, LARGEST_VALUE, Pinned};
use crate::onnx::node::OnnxNode;
use crate::onnx::tensor::{Elem, Tensor, TensorData};

const UNKNOWN: &str = "the shape of its operand is unknown";

fn message(error: crate::onnx::OnnxError) -> String {
    error.to_string()
}

/// A result of the first operand's type and of this shape.
fn shaped(node: &OnnxNode, pinned: &Pinned, shape: Vec<usize>) -> Results {
    Ok(vec![Some(Known::new(operand(node, pinned, 0).elem, Some(shape)))])
}

/// [Col2Im](https://onnx.ai/onnx/operators/onnx__Col2Im.html): the channels that the blocks leave, in the image's shape.
pub(super) fn col2im(node: &OnnxNode, pinned: &Pinned) -> Results {
    let columns = operand(node, pinned, 0).shape.ok_or(UNKNOWN)?;
    let sizes = |position: usize| -> Option<Vec<usize>> {
        operand(node, pinned, position).value?.ints()?.iter().map(|&size| usize::try_from(size).ok()).collect()
    };
    let (Some(image), Some(block)) = (sizes(1), sizes(2)) else {
        return Err("the sizes of its image and of its blocks are unknown".to_owned());
    };
    let taps = block.iter().try_fold(1_usize, |taps, &size| taps.checked_mul(size)).filter(|&taps| taps > 0);
    match (columns[..].first_chunk::<2>(), taps) {
        (Some(&[lead, rows]), Some(taps)) => shaped(node, pinned, [&[lead, rows / taps], &image[..]].concat()),
        _ => Err("its operand has too few axes".to_owned()),
    }
}

/// [GridSample](https://onnx.ai/onnx/operators/onnx__GridSample.html): the channels of the image at the points of the grid.
pub(super) fn grid_sample(node: &OnnxNode, pinned: &Pinned) -> Results {
    let image = operand(node, pinned, 0).shape.ok_or(UNKNOWN)?;
    let grid = operand(node, pinned, 1).shape.ok_or(UNKNOWN)?;
    let (Some(lead), Some(points)) = (image.get(..2), grid.get(1..grid.len().saturating_sub(1))) else {
        return Err("its operands have too few axes".to_owned());
    };
    shaped(node, pinned, [lead, points].concat())
}

/// [MaxUnpool](https://onnx.ai/onnx/operators/onnx__MaxUnpool.html): what was pooled, or as it is given.
pub(super) fn max_unpool(node: &OnnxNode, pinned: &Pinned) -> Results {
    let pooled = operand(node, pinned, 0).shape.ok_or(UNKNOWN)?;
    if node.input(2).is_some() {
        let given = operand(node, pinned, 2).value.ok_or("its output_shape depends on data")?;
        let given = given.ints().ok_or("its output_shape is not of integers")?;
        let given: Option<Vec<usize>> = given.iter().map(|&size| usize::try_from(size).ok()).collect();
        return shaped(node, pinned, given.ok_or("its output_shape has a negative size")?);
    }
    let rank = pooled.len().checked_sub(2).ok_or("its operand has too few axes")?;
    let list = |name: &str, usual: i64, count: usize| {
        let given = node.ints(name).map_err(message)?.unwrap_or_else(|| vec![usual; count]);
        if given.len() == count { Ok(given) } else { Err(format!("`{name}` does not fit its operand")) }
    };
    let (kernel, strides) = (list("kernel_shape", -1, rank)?, list("strides", 1, rank)?);
    let pads = list("pads", 0, 2 * rank)?;
    let mut shape = pooled;
    for k in 0..rank {
        let size = i64::try_from(shape[2 + k]).ok().and_then(|size| {
            (size - 1)
                .checked_mul(strides[k])?
                .checked_add(kernel[k])?
                .checked_sub(pads[k])?
                .checked_sub(pads[rank + k])
        });
        let size = size.and_then(|size| usize::try_from(size).ok());
        shape[2 + k] = size.ok_or("its windows do not fit its operand")?;
    }
    shaped(node, pinned, shape)
}

/// [Det](https://onnx.ai/onnx/operators/onnx__Det.html): one number for each matrix.
pub(super) fn det(node: &OnnxNode, pinned: &Pinned) -> Results {
    let mut shape = operand(node, pinned, 0).shape.ok_or(UNKNOWN)?;
    let rank = shape.len().checked_sub(2).ok_or("its operand is no matrix")?;
    shape.truncate(rank);
    shaped(node, pinned, shape)
}

/// [Pad](https://onnx.ai/onnx/operators/onnx__Pad.html) in the forms that tract does not know, with axes and by mode `wrap`,
/// and of more elements than are worth computing, which tract would list.
pub(super) fn pad(node: &OnnxNode, pinned: &Pinned) -> Option<Results> {
    let wraps = node.string("mode", "constant").is_ok_and(|mode| mode == "wrap");
    let listed = node.ints("pads").ok().flatten();
    let pads = listed.or_else(|| operand(node, pinned, 1).value.as_ref().and_then(Tensor::ints).map(<[i64]>::to_vec));
    let many = pads.iter().flatten().any(|pad| pad.unsigned_abs() > LARGEST_VALUE as u64);
    (wraps || many || node.input(3).is_some()).then(|| padded(node, pinned, pads))
}

fn padded(node: &OnnxNode, pinned: &Pinned, pads: Option<Vec<i64>>) -> Results {
    let mut shape = operand(node, pinned, 0).shape.ok_or(UNKNOWN)?;
    let pads = pads.ok_or("its pads depend on data")?;
    let axes: Vec<i64> = match node.input(3) {
        None => (0..shape.len() as i64).collect(),
        Some(_) => {
            let axes = operand(node, pinned, 3).value;
            axes.as_ref().and_then(Tensor::ints).ok_or("its axes depend on data")?.to_vec()
        }
    };
    if pads.len() != 2 * axes.len() {
        return Err("its pads do not fit its axes".to_owned());
    }
    for (k, &axis) in axes.iter().enumerate() {
        let axis = from_end(axis, shape.len()).ok_or("an axis is out of range")?;
        let size = i64::try_from(shape[axis]).ok();
        let size = size.and_then(|size| size.checked_add(pads[k])?.checked_add(pads[axes.len() + k]));
        shape[axis] = size.and_then(|size| usize::try_from(size).ok()).ok_or("its pads do not fit its operand")?;
    }
    shaped(node, pinned, shape)
}

/// [EyeLike](https://onnx.ai/onnx/operators/onnx__EyeLike.html): the operand's shape. tract would fill the matrix.
pub(super) fn eye_like(node: &OnnxNode, pinned: &Pinned) -> Results {
    let own = operand(node, pinned, 0);
    let elem = match node.has("dtype") {
        true => i32::try_from(node.require_int("dtype").map_err(message)?).ok().map(Elem::from_onnx),
        false => own.elem,
    };
    Ok(vec![Some(Known::new(elem, own.shape))])
}

/// [LpPool](https://onnx.ai/onnx/operators/onnx__LpPool.html): as many positions of the window as there are.
pub(super) fn lp_pool(node: &OnnxNode, pinned: &Pinned) -> Results {
    let mut shape = operand(node, pinned, 0).shape.ok_or(UNKNOWN)?;
    let rank = shape.len().checked_sub(2).ok_or("its operand is no image")?;
    let list = |name: &str, count: usize, usual: i64| -> Result<Vec<i128>, String> {
        let values = node.ints(name).map_err(message)?.unwrap_or_else(|| vec![usual; count]);
        let fits = values.len() == count && values.iter().all(|&value| value >= usual);
        fits.then(|| values.into_iter().map(i128::from).collect()).ok_or(format!("{name} does not fit its operand"))
    };
    let (kernel, strides, dilations) =
        (list("kernel_shape", rank, 1)?, list("strides", rank, 1)?, list("dilations", rank, 1)?);
    let pads = list("pads", 2 * rank, 0)?;
    let auto = node.string("auto_pad", "NOTSET").map_err(message)?;
    let up = node.int("ceil_mode", 0).map_err(message)? != 0;
    for k in 0..rank {
        let (size, stride) = (shape[2 + k] as i128, strides[k]);
        let positions = match auto {
            "SAME_UPPER" | "SAME_LOWER" => (size + stride - 1) / stride,
            _ => {
                let around = if auto == "VALID" { 0 } else { pads[k] + pads[rank + k] };
                let room = size + around - (kernel[k] - 1) * dilations[k] - 1;
                let steps = if up { (room + stride - 1).div_euclid(stride) } else { room.div_euclid(stride) };
                // A window that starts behind the data is left out.
                let before = if auto == "VALID" { 0 } else { pads[k] };
                if up && steps * stride >= size + before { steps } else { steps + 1 }
            }
        };
        let positions = usize::try_from(positions).ok().filter(|&positions| positions > 0);
        shape[2 + k] = positions.ok_or("its window does not fit its operand")?;
    }
    shaped(node, pinned, shape)
}

/// [Upsample](https://onnx.ai/onnx/operators/onnx__Upsample.html): each size times its scale, rounded down.
pub(super) fn upsample(node: &OnnxNode, pinned: &Pinned) -> Results {
    let shape = operand(node, pinned, 0).shape.ok_or(UNKNOWN)?;
    let scales = match node.floats("scales").map_err(message)? {
        Some(scales) => scales,
        None => {
            let scales = operand(node, pinned, 1).value;
            scales.as_ref().and_then(Tensor::floats).ok_or("its scales depend on data")?.to_vec()
        }
    };
    if scales.len() != shape.len() {
        return Err("its scales do not fit its operand".to_owned());
    }
    let sizes = shape.iter().zip(scales).map(|(&size, scale)| (size as f64 * f64::from(scale)).floor());
    let sizes = sizes.map(|size| (0.0..2e9).contains(&size).then_some(size as usize)).collect::<Option<Vec<_>>>();
    shaped(node, pinned, sizes.ok_or("its scales do not fit its operand")?)
}

/// [Compress](https://onnx.ai/onnx/operators/onnx__Compress.html): as many elements as the condition is true for.
pub(super) fn compress(node: &OnnxNode, pinned: &Pinned) -> Results {
    let condition = operand(node, pinned, 1).value;
    let condition = condition.as_ref().and_then(Tensor::bools).ok_or("its condition depends on data")?;
    let count = condition.iter().filter(|&&taken| taken).count();
    if !node.has("axis") {
        return shaped(node, pinned, vec![count]);
    }
    let mut shape = operand(node, pinned, 0).shape.ok_or(UNKNOWN)?;
    let axis = from_end(node.require_int("axis").map_err(message)?, shape.len()).ok_or("its axis is out of range")?;
    shape[axis] = count;
    shaped(node, pinned, shape)
}

/// [NonZero](https://onnx.ai/onnx/operators/onnx__NonZero.html) of a constant: the places of what is not zero, axis by axis.
pub(super) fn non_zero(node: &OnnxNode, pinned: &Pinned) -> Results {
    let own = operand(node, pinned, 0);
    let tensor = own.value.filter(|_| !own.from_weights).ok_or("its operand depends on data")?;
    let found: Vec<usize> = match &tensor.data {
        TensorData::F32(values) => (0..values.len()).filter(|&k| values[k] != 0.0).collect(),
        TensorData::I64(values) => (0..values.len()).filter(|&k| values[k] != 0).collect(),
        TensorData::Bool(values) => (0..values.len()).filter(|&k| values[k]).collect(),
    };
    let mut places = vec![vec![]; tensor.dims.len()];
    for mut element in found.iter().copied() {
        for (along, &size) in places.iter_mut().zip(&tensor.dims).rev() {
            along.push((element % size) as i64);
            element /= size;
        }
    }
    let places = Tensor { dims: vec![tensor.dims.len(), found.len()], data: TensorData::I64(places.concat()) };
    Ok(vec![Some(Known::constant(Elem::I64, &places))])
}
