//! Channels as blocks of the image: [DepthToSpace](https://onnx.ai/onnx/operators/onnx__DepthToSpace.html) and
//! [SpaceToDepth](https://onnx.ai/onnx/operators/onnx__SpaceToDepth.html).

use crate::import::rows::{reshape, transpose};
use crate::import::window::images;
use crate::import::{Import, Refusal, Rule, Value};
use crate::onnx::OnnxNode;

pub(super) const RULES: &[(&str, Rule)] =
    &[("DepthToSpace", |cx, n| moved(cx, n, true)), ("SpaceToDepth", |cx, n| moved(cx, n, false))];

fn moved(cx: &mut Import<'_>, node: &OnnxNode, to_space: bool) -> Result<Vec<Value>, Refusal> {
    let x = cx.value(node, 0)?;
    let images = images(cx, node, &x)?;
    let block = node.require_int("blocksize").map_err(|e| cx.attribute(node, e))?;
    let mode = node.string("mode", "DCR").map_err(|e| cx.attribute(node, e))?;
    let block = usize::try_from(block).ok().filter(|&b| b > 0 && b < 1 << 16);
    let (Some(b), &[c, h, w]) = (block, &images.dims[..]) else {
        return Err(cx.invalid(node, format!("blocks of {block:?} of {}", x.axes)));
    };
    let fits = if to_space { c.is_multiple_of(b * b) } else { h.is_multiple_of(b) && w.is_multiple_of(b) };
    if !fits {
        return Err(cx.invalid(node, format!("blocks of {b} do not divide {}", x.axes)));
    }
    let count = images.count;
    let (apart, perm, dims) = match (to_space, mode) {
        (true, "DCR") => (
            [count, b, b, c / (b * b), h, w],
            [0, 3, 4, 1, 5, 2],
            [c / (b * b), h.saturating_mul(b), w.saturating_mul(b)],
        ),
        (true, "CRD") => (
            [count, c / (b * b), b, b, h, w],
            [0, 1, 4, 2, 5, 3],
            [c / (b * b), h.saturating_mul(b), w.saturating_mul(b)],
        ),
        (false, _) => ([count, c, h / b, b, w / b, b], [0, 3, 5, 1, 2, 4], [c.saturating_mul(b * b), h / b, w / b]),
        (true, other) => return Err(cx.invalid(node, format!("mode `{other}` is not one of ONNX's"))),
    };
    let y = reshape(cx, node, x.node, apart)?;
    let y = transpose(cx, node, y, perm.to_vec())?;
    Ok(vec![cx.relabel(node, y, images.axes(&dims))?])
}
