//! Inference of the operators that tract does not know, or infers otherwise than the ONNX specification.

mod einsum;
mod shapes;

use super::pinned::{Known, LARGEST_VALUE, Pinned};
use crate::onnx::node::OnnxNode;
use crate::onnx::tensor::{Elem, Tensor, TensorData};

/// The results of a rule, one for each output of the node; `None` for an output that is no tensor.
type Results = Result<Vec<Option<Known>>, String>;

const BROADCASTS: [&str; 11] = ["Add", "Sub", "Mul", "Div", "Pow", "And", "Or", "Xor", "Equal", "Less", "Greater"];
const COMPARES: [&str; 6] = ["And", "Or", "Xor", "Equal", "Less", "Greater"];

/// The results of `node`, if there is a rule for its operator.
pub(super) fn infer(node: &OnnxNode, pinned: &mut Pinned) -> Option<Results> {
    if !node.domain.is_empty() {
        let same = node.domain == "ai.onnx.ml" && node.op_type == "Normalizer";
        return same.then(|| Ok(vec![Some(like(operand(node, pinned, 0)))]));
    }
    Some(match node.op_type.as_str() {
        // Before operator set 7, the second operand is broadcast to the first.
        op if BROADCASTS.contains(&op) && node.has("broadcast") => {
            let operand = operand(node, pinned, 0);
            let elem = if COMPARES.contains(&op) { Some(Elem::Bool) } else { operand.elem };
            Ok(vec![Some(Known::new(elem, operand.shape))])
        }
        "Constant" => constant(node),
        "Attention" => attention(node, pinned),
        "Einsum" => return einsum::einsum(node, pinned),
        "Dropout" => dropout(node, pinned),
        "BatchNormalization" => batch_normalization(node, pinned),
        "Size" => elements(node, pinned),
        "EyeLike" => shapes::eye_like(node, pinned),
        "Pad" => return shapes::pad(node, pinned),
        "LpPool" => shapes::lp_pool(node, pinned),
        "Upsample" => shapes::upsample(node, pinned),
        "Compress" => shapes::compress(node, pinned),
        "NonZero" => shapes::non_zero(node, pinned),
        "Col2Im" => shapes::col2im(node, pinned),
        "GridSample" => shapes::grid_sample(node, pinned),
        "MaxUnpool" => shapes::max_unpool(node, pinned),
        "Det" => shapes::det(node, pinned),
        "DequantizeLinear" => dequantized(node, pinned),
        "QuantizeLinear" => quantized(node, pinned),
        "RandomUniformLike" | "RandomNormalLike" if !node.has("dtype") => {
            Ok(vec![Some(like(operand(node, pinned, 0)))])
        }
        "Bernoulli" | "ReverseSequence" | "RotaryEmbedding" => Ok(vec![Some(like(operand(node, pinned, 0)))]),
        "ConstantOfShape" => constant_of_shape(node, pinned),
        "Cast" => return cast_integers(node, pinned),
        "CastLike" => cast_like(node, pinned),
        "Range" => range(node, pinned),
        "SoftmaxCrossEntropyLoss" | "NegativeLogLikelihoodLoss" => loss(node, pinned),
        "SplitToSequence" => split_to_sequence(node, pinned),
        "SequenceAt" => sequence_at(node, pinned),
        _ => return None,
    })
}

fn operand(node: &OnnxNode, pinned: &Pinned, position: usize) -> Known {
    node.input(position).and_then(|name| pinned.values.get(name)).cloned().unwrap_or_default()
}

/// A value of the type and shape of `known`.
fn like(known: Known) -> Known {
    Known::new(known.elem, known.shape)
}

/// [Constant](https://onnx.ai/onnx/operators/onnx__Constant.html).
fn constant(node: &OnnxNode) -> Results {
    let message = |error: crate::onnx::OnnxError| error.to_string();
    let scalar = |data| Tensor { dims: vec![], data };
    let vector = |data: TensorData| Tensor { dims: vec![data.len()], data };
    let elem = node.attributes().find(|a| a.name() == "value").and_then(|a| a.t.as_ref()).map(|t| t.data_type());
    let (elem, tensor) = if let Some(tensor) = node.tensor("value").map_err(message)? {
        (Elem::from_onnx(elem.unwrap_or_default()), tensor)
    } else if node.has("value_int") {
        (Elem::I64, scalar(TensorData::I64(vec![node.require_int("value_int").map_err(message)?])))
    } else if node.has("value_float") {
        (Elem::F32, scalar(TensorData::F32(vec![node.require_float("value_float").map_err(message)?])))
    } else if let Some(values) = node.ints("value_ints").map_err(message)? {
        (Elem::I64, vector(TensorData::I64(values)))
    } else if let Some(values) = node.floats("value_floats").map_err(message)? {
        (Elem::F32, vector(TensorData::F32(values)))
    } else {
        return Err("the constant is neither a number nor a tensor of numbers".to_owned());
    };
    Ok(vec![Some(Known::constant(elem, &tensor))])
}

/// [Size](https://onnx.ai/onnx/operators/onnx__Size.html): the number of elements.
fn elements(node: &OnnxNode, pinned: &Pinned) -> Results {
    let shape = operand(node, pinned, 0).shape.ok_or("the shape of its operand is unknown")?;
    let count = shape.iter().try_fold(1_usize, |count, &size| count.checked_mul(size));
    let count = count.and_then(|count| i64::try_from(count).ok()).ok_or("its operand is too large")?;
    Ok(vec![Some(Known::constant(Elem::I64, &Tensor { dims: vec![], data: TensorData::I64(vec![count]) }))])
}

/// [ConstantOfShape](https://onnx.ai/onnx/operators/onnx__ConstantOfShape.html): a float zero unless `value` says otherwise.
fn constant_of_shape(node: &OnnxNode, pinned: &Pinned) -> Results {
    let fill = node.tensor("value").map_err(|error| error.to_string())?;
    let fill = fill.unwrap_or(Tensor { dims: vec![1], data: TensorData::F32(vec![0.0]) });
    let elem = node.attributes().find_map(|a| a.t.as_ref()).map_or(Elem::F32, |t| Elem::from_onnx(t.data_type()));
    let shape = operand(node, pinned, 0).value.ok_or("its shape depends on data")?;
    let dims = shape.ints().ok_or("its shape is not of integers")?;
    let dims: Vec<usize> = dims
        .iter()
        .map(|&dim| usize::try_from(dim))
        .collect::<Result<_, _>>()
        .map_err(|_| "its shape has a negative size")?;
    let count = dims.iter().try_fold(1_usize, |count, &dim| count.checked_mul(dim)).ok_or("its shape is too large")?;
    let mut known = Known::new(Some(elem), Some(dims.clone()));
    if count <= LARGEST_VALUE {
        let data = match &fill.data {
            TensorData::F32(values) => values.first().map(|&x| TensorData::F32(vec![x; count])),
            TensorData::I64(values) => values.first().map(|&x| TensorData::I64(vec![x; count])),
            TensorData::Bool(values) => values.first().map(|&x| TensorData::Bool(vec![x; count])),
        };
        known.value = Some(Tensor { dims, data: data.ok_or("its value has no element")? });
    }
    Ok(vec![Some(known)])
}

/// [DequantizeLinear](https://onnx.ai/onnx/operators/onnx__DequantizeLinear.html): of the type of its scale, if that is one to
/// compute with.
fn dequantized(node: &OnnxNode, pinned: &Pinned) -> Results {
    let stated = node.int("output_dtype", 0).map_err(|error| error.to_string())?;
    let elem = match (stated, operand(node, pinned, 1).elem) {
        (0, Some(Elem::Other(_))) => Some(Elem::F32),
        (0, scale) => scale,
        (stated, _) => i32::try_from(stated).ok().map(Elem::from_onnx),
    };
    Ok(vec![Some(Known::new(elem, operand(node, pinned, 0).shape))])
}

/// [QuantizeLinear](https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html): of the type of its zero point.
fn quantized(node: &OnnxNode, pinned: &Pinned) -> Results {
    let stated = node.int("output_dtype", 0).map_err(|error| error.to_string())?;
    let elem = match (stated, node.input(2)) {
        (0, None) => Some(Elem::U8),
        (0, Some(_)) => operand(node, pinned, 2).elem,
        (stated, _) => i32::try_from(stated).ok().map(Elem::from_onnx),
    };
    Ok(vec![Some(Known::new(elem, operand(node, pinned, 0).shape))])
}

/// [Dropout](https://onnx.ai/onnx/operators/onnx__Dropout.html): the data and the mask.
fn dropout(node: &OnnxNode, pinned: &Pinned) -> Results {
    let data = operand(node, pinned, 0);
    let mask = Known::new(Some(Elem::Bool), data.shape.clone());
    Ok([like(data), mask].into_iter().map(Some).take(node.outputs.len()).collect())
}

/// [BatchNormalization](https://onnx.ai/onnx/operators/onnx__BatchNormalization.html): the data, then in training mode
/// the running statistics.
fn batch_normalization(node: &OnnxNode, pinned: &Pinned) -> Results {
    let results = node.outputs.iter().enumerate().map(|(position, _)| match position {
        0 => Some(like(operand(node, pinned, 0))),
        1 | 3 => Some(like(operand(node, pinned, 3))),
        _ => Some(like(operand(node, pinned, 4))),
    });
    Ok(results.collect())
}

/// [Attention](https://onnx.ai/onnx/operators/onnx__Attention.html): the result, the present keys and values, and the
/// scores. Queries, keys and values are `[N, heads, positions, width]` or, of rank 3, `[N, positions, heads · width]`.
fn attention(node: &OnnxNode, pinned: &Pinned) -> Results {
    let message = |error: crate::onnx::OnnxError| error.to_string();
    let operand = |position| operand(node, pinned, position);
    let heads = |attribute| node.int(attribute, 0).map_err(message);
    let query = split_heads(operand(0).shape, heads("q_num_heads")?)?;
    let key = split_heads(operand(1).shape, heads("kv_num_heads")?)?;
    let value = split_heads(operand(2).shape, heads("kv_num_heads")?)?;
    let merged = operand(0).shape.is_some_and(|shape| shape.len() == 3);
    let past = match node.input(4) {
        Some(_) => {
            operand(4).shape.and_then(|shape| shape.get(2).copied()).ok_or("the shape of its past is unknown")?
        }
        None => 0,
    };
    let ([batch, heads, positions, _], [_, kv_heads, _, key_width]) = (query, key);
    let [_, _, value_positions, width] = value;
    let total = past.checked_add(value_positions).ok_or("it has too many positions")?;
    let result = match merged {
        true => vec![batch, positions, heads.checked_mul(width).ok_or("its result is too wide")?],
        false => vec![batch, heads, positions, width],
    };
    let shapes = [
        result,
        vec![batch, kv_heads, total, key_width],
        vec![batch, kv_heads, total, width],
        vec![batch, heads, positions, total],
    ];
    let elems = [operand(0).elem, operand(1).elem, operand(2).elem, operand(0).elem];
    let results = elems.into_iter().zip(shapes).map(|(elem, shape)| Some(Known::new(elem, Some(shape))));
    Ok(results.take(node.outputs.len()).collect())
}

/// An operand of attention as `[N, heads, positions, width]`.
fn split_heads(shape: Option<Vec<usize>>, heads: i64) -> Result<[usize; 4], String> {
    let shape = shape.ok_or("the shape of an operand is unknown")?;
    match (shape[..].try_into(), &shape[..], usize::try_from(heads)) {
        (Ok(split), _, _) => Ok(split),
        (_, &[batch, positions, width], Ok(heads)) if heads > 0 && width % heads == 0 => {
            Ok([batch, heads, positions, width / heads])
        }
        _ => Err(format!("an operand of shape {shape:?} has no {heads} heads")),
    }
}

/// [CastLike](https://onnx.ai/onnx/operators/onnx__CastLike.html).
fn cast_like(node: &OnnxNode, pinned: &Pinned) -> Results {
    let (data, target) = (operand(node, pinned, 0), operand(node, pinned, 1));
    let value = match (&data.value, target.elem) {
        (Some(tensor), Some(elem)) => cast(tensor, elem),
        _ => None,
    };
    let from_weights = data.from_weights;
    Ok(vec![Some(Known { elem: target.elem, shape: data.shape, value, from_weights })])
}

/// [Cast](https://onnx.ai/onnx/operators/onnx__Cast.html) of known integers to 64 bits, which changes none; tract makes −1 of
/// the largest, by which exporters say "to the end". Other casts are left to tract.
fn cast_integers(node: &OnnxNode, pinned: &Pinned) -> Option<Results> {
    let data = operand(node, pinned, 0);
    let to = node.int("to", 0).ok().and_then(|to| i32::try_from(to).ok()).map(Elem::from_onnx);
    let integers = data.elem.is_some_and(|elem| elem.is_integer()) && data.value.is_some();
    (integers && to == Some(Elem::I64)).then(|| Ok(vec![Some(Known { elem: to, ..data })]))
}

/// The elements as others of type `elem`; `None` of a type that dpc does not compute with.
fn cast(tensor: &Tensor, elem: Elem) -> Option<Tensor> {
    let numbers: Vec<f64> = match &tensor.data {
        TensorData::F32(values) => values.iter().map(|&x| f64::from(x)).collect(),
        TensorData::I64(values) if elem.is_integer() => {
            let data = TensorData::I64(values.iter().map(|&x| elem.wrap(x)).collect());
            return Some(Tensor { dims: tensor.dims.clone(), data });
        }
        TensorData::I64(values) => values.iter().map(|&x| x as f64).collect(),
        TensorData::Bool(values) => values.iter().map(|&x| f64::from(u8::from(x))).collect(),
    };
    let data = match elem {
        Elem::Other(_) => return None,
        Elem::Bool => TensorData::Bool(numbers.iter().map(|&x| x != 0.0).collect()),
        elem if elem.is_float() => TensorData::F32(numbers.iter().map(|&x| x as f32).collect()),
        _ => TensorData::I64(numbers.iter().map(|&x| elem.wrap(x as i64)).collect()),
    };
    Some(Tensor { dims: tensor.dims.clone(), data })
}

/// [Range](https://onnx.ai/onnx/operators/onnx__Range.html): `max(⌈(limit − start)/delta⌉, 0)` elements.
fn range(node: &OnnxNode, pinned: &Pinned) -> Results {
    let operands = [0, 1, 2].map(|position| operand(node, pinned, position));
    let elem = operands[0].elem;
    let [Some(start), Some(limit), Some(delta)] = [0, 1, 2].map(|i| operands[i].value.as_ref()) else {
        return Err("its bounds depend on data".to_owned());
    };
    let from_weights = operands.iter().any(|operand| operand.from_weights);
    let too_long = || "it has too many elements".to_owned();
    let data = match (&start.data, &limit.data, &delta.data) {
        (TensorData::I64(start), TensorData::I64(limit), TensorData::I64(delta)) => {
            let (&[start], &[limit], &[delta]) = (&start[..], &limit[..], &delta[..]) else {
                return Err("its bounds are not scalars".to_owned());
            };
            if delta == 0 {
                return Err("its step is zero".to_owned());
            }
            let (start, limit, delta) = (i128::from(start), i128::from(limit), i128::from(delta));
            let span = (limit - start) * delta.signum();
            let length = (span + delta.abs() - 1).div_euclid(delta.abs()).max(0);
            let length = usize::try_from(length).ok().filter(|&n| n <= LARGEST_VALUE).ok_or_else(too_long)?;
            TensorData::I64((0..length as i128).map(|i| (start + i * delta) as i64).collect())
        }
        (TensorData::F32(start), TensorData::F32(limit), TensorData::F32(delta)) => {
            let (&[start], &[limit], &[delta]) = (&start[..], &limit[..], &delta[..]) else {
                return Err("its bounds are not scalars".to_owned());
            };
            let length = ((f64::from(limit) - f64::from(start)) / f64::from(delta)).ceil();
            if length.is_nan() || length > LARGEST_VALUE as f64 {
                return Err(too_long());
            }
            TensorData::F32((0..length.max(0.0) as usize).map(|i| start + i as f32 * delta).collect())
        }
        _ => return Err("its bounds are of different types".to_owned()),
    };
    let tensor = Tensor { dims: vec![data.len()], data };
    Ok(vec![Some(Known { elem, shape: Some(tensor.dims.clone()), value: Some(tensor), from_weights })])
}

/// [SoftmaxCrossEntropyLoss](https://onnx.ai/onnx/operators/onnx__SoftmaxCrossEntropyLoss.html): the loss, of the
/// labels' shape or a scalar, and the log-probabilities.
fn loss(node: &OnnxNode, pinned: &Pinned) -> Results {
    let (scores, labels) = (operand(node, pinned, 0), operand(node, pinned, 1));
    let reduction = node.string("reduction", "mean").map_err(|error| error.to_string())?;
    let shape = if reduction == "none" { labels.shape } else { Some(vec![]) };
    let loss = Known::new(scores.elem, shape);
    Ok([loss, like(scores)].into_iter().map(Some).take(node.outputs.len()).collect())
}

/// [SplitToSequence](https://onnx.ai/onnx/operators/onnx__SplitToSequence.html).
fn split_to_sequence(node: &OnnxNode, pinned: &mut Pinned) -> Results {
    let message = |error: crate::onnx::OnnxError| error.to_string();
    let data = operand(node, pinned, 0);
    let shape = data.shape.ok_or("the shape of its operand is unknown")?;
    let axis = from_end(node.int("axis", 0).map_err(message)?, shape.len()).ok_or("its axis is out of range")?;
    let keep = node.int("keepdims", 1).map_err(message)? != 0;
    let size = shape[axis];
    let mut parts: Vec<Vec<usize>> = Vec::new();
    let mut part = |size: usize| {
        let mut shape = shape.clone();
        shape[axis] = size;
        parts.push(shape);
    };
    const TOO_MANY: &str = "it splits into too many parts";
    match node.input(1) {
        None if size > LARGEST_VALUE => return Err(TOO_MANY.to_owned()),
        None => (0..size).for_each(|_| part(1)),
        Some(_) => {
            let split = operand(node, pinned, 1).value.ok_or("how it splits depends on data")?;
            let equal = split.dims.is_empty();
            let split = split.ints().ok_or("how it splits is not an integer")?;
            let lengths: Vec<usize> = split
                .iter()
                .map(|&n| usize::try_from(n))
                .collect::<Result<_, _>>()
                .map_err(|_| "it splits into negative parts")?;
            match lengths[..] {
                [length] if equal && length > 0 && size.div_ceil(length) <= LARGEST_VALUE => {
                    (0..size).step_by(length).for_each(|start| part(length.min(size - start)));
                }
                [_] if equal => return Err(TOO_MANY.to_owned()),
                _ => lengths.into_iter().for_each(part),
            }
        }
    }
    if node.input(1).is_none() && !keep {
        parts.iter_mut().for_each(|shape| {
            shape.remove(axis);
        });
    }
    let elements = parts.into_iter().map(|shape| Known::new(data.elem, Some(shape))).collect();
    if let Some(name) = node.output(0) {
        pinned.sequences.insert(name.to_owned(), elements);
    }
    Ok(vec![None])
}

/// [SequenceAt](https://onnx.ai/onnx/operators/onnx__SequenceAt.html).
fn sequence_at(node: &OnnxNode, pinned: &Pinned) -> Results {
    let position = operand(node, pinned, 1).value;
    let position = match position.as_ref().and_then(Tensor::ints) {
        Some(&[position]) => position,
        _ => return Err("its position depends on data".to_owned()),
    };
    let sequence =
        node.input(0).and_then(|name| pinned.sequences.get(name)).ok_or("the elements of its sequence are unknown")?;
    let element = from_end(position, sequence.len()).ok_or("its position is behind the end of the sequence")?;
    Ok(vec![Some(sequence[element].clone())])
}

/// A position that counts from the end if it is negative.
fn from_end(position: i64, length: usize) -> Option<usize> {
    let length = i64::try_from(length).ok()?;
    let position = if position < 0 { position.checked_add(length)? } else { position };
    usize::try_from(position).ok().filter(|_| position < length)
}
