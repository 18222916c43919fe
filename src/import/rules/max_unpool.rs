//! [MaxUnpool](https://onnx.ai/onnx/operators/onnx__MaxUnpool.html): elements put where MaxPool found them, zeros elsewhere.

use crate::graph::product;
use crate::import::rows::reshape;
use crate::import::select::{ALONG_BATCH, selectable};
use crate::import::window::images;
use crate::import::{Import, Refusal, Rule, Value};
use crate::onnx::{Int, OnnxNode};
use crate::ops::embedding::Scatter;

pub(super) const RULES: &[(&str, Rule)] = &[("MaxUnpool", max_unpool)];

fn max_unpool(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let x = cx.value(node, 0)?;
    let images = images(cx, node, &x)?;
    let spatial = unpooled(cx, node, &images.dims[1..])?;
    let dims = [&images.dims[..1], &spatial[..]].concat();
    let each = product(&dims).saturating_mul(images.count);
    selectable(cx, node, each)?;
    let ids = cx.value_or_own_row(node, 1)?;
    if ids.axes != x.axes {
        return Err(cx.invalid(node, format!("indices of axes {} do not fit {}", ids.axes, x.axes)));
    }
    let own = match x.axes.batch_axis() {
        Some(_) => cx.offset(node, 1) == Some(each) && images.lead.leads_with_batch(),
        None => cx.offset(node, 1).is_none(),
    };
    if !own {
        let why = "its indices are not known to name elements of the record's own: they are not those of a MaxPool over \
                   images of the size that it restores";
        return Err(cx.mixes(node, why, ALONG_BATCH));
    }
    let count = cx.ty(x.node).len();
    let (ids, x) = (reshape(cx, node, ids.node, [count])?, reshape(cx, node, x.node, [count])?);
    let y = cx.emit(node, Scatter { table: vec![each] }, &[ids, x])?;
    Ok(vec![cx.relabel(node, y, images.axes(&dims))?])
}

/// The spatial dims that were pooled.
fn unpooled(cx: &Import<'_>, node: &OnnxNode, input: &[usize]) -> Result<Vec<usize>, Refusal> {
    let rank = input.len();
    let list = |name: &str, usual: Option<i64>, count: usize| {
        let given = node.ints(name).map_err(|e| cx.attribute(node, e))?.or_else(|| Some(vec![usual?; count]));
        let sizes = given.filter(|sizes| sizes.len() == count && sizes.iter().all(|size| (0..1 << 31).contains(size)));
        sizes.ok_or_else(|| cx.invalid(node, format!("`{name}` does not fit {rank} spatial axes")))
    };
    let (kernel, strides) = (list("kernel_shape", None, rank)?, list("strides", Some(1), rank)?);
    let pads = list("pads", Some(0), 2 * rank)?;
    let size = |k: usize| (input[k] as i64 - 1) * strides[k] + kernel[k] - pads[k] - pads[rank + k];
    let sizes: Option<Vec<usize>> = (0..rank).map(|k| usize::try_from(size(k)).ok().filter(|&n| n > 0)).collect();
    let sizes = sizes.ok_or_else(|| cx.invalid(node, "its pads leave nothing"))?;
    if node.input(2).is_none() {
        return Ok(sizes);
    }
    let shape = cx.symbolic(node, 2).and_then(|shape| shape.get(2..));
    let given: Option<Vec<usize>> = shape.and_then(|shape| {
        let known = |size: &Int| if let Int::Known(size) = size { usize::try_from(*size).ok() } else { None };
        shape.iter().map(known).collect()
    });
    match given {
        Some(given) if given == sizes => Ok(given),
        // Of which of the two shapes the indices are is nowhere said, and implementations differ.
        _ => Err(cx.unsupported(node, &format!("an output_shape other than {sizes:?}, which its windows make"))),
    }
}
