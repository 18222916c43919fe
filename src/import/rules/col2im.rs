//! [Col2Im](https://onnx.ai/onnx/operators/onnx__Col2Im.html): blocks added up where they lie in an image, which is the transpose of
//! taking them out, and so a transposed convolution with a constant weight.

use crate::import::axes::{Axes, Axis};
use crate::import::rows::{floats, reshape};
use crate::import::select::{run, selectable};
use crate::import::window::window;
use crate::import::{Import, Refusal, Rule, Value};
use crate::lower::kernels::ConvGeometry;
use crate::onnx::OnnxNode;
use crate::ops::conv::ConvInputGradient;
use crate::ops::movement::Concat;

pub(super) const RULES: &[(&str, Rule)] = &[("Col2Im", col2im)];

fn col2im(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let x = cx.value(node, 0)?;
    let sizes = |cx: &Import<'_>, i: usize| -> Result<Vec<usize>, Refusal> {
        let sizes = cx.ints(node, i)?.unwrap_or_default();
        let sizes: Option<Vec<usize>> =
            sizes.iter().map(|&size| usize::try_from(size).ok().filter(|&s| s > 0)).collect();
        sizes.filter(|sizes| !sizes.is_empty()).ok_or_else(|| cx.invalid(node, format!("operand {i} holds no sizes")))
    };
    let (image, block) = (sizes(cx, 1)?, sizes(cx, 2)?);
    if let Some(axis @ 1..) = x.axes.batch_axis() {
        let why = format!("the batch is axis {axis} of {}, which holds blocks", x.axes);
        return Err(cx.mixes(node, why, "move the batch to axis 0 with Transpose"));
    }
    if x.axes.rank() != 3 || image.len() != block.len() || image.len() > 3 {
        return Err(cx.unsupported(node, &format!("blocks {block:?} of axes {} in an image {image:?}", x.axes)));
    }
    let window = window(cx, node, &image, Some(&block))?;
    let [rows, positions] = [1, 2].map(|axis: usize| x.axes.0[axis].per_record());
    let taps = window.taps();
    if !rows.is_multiple_of(taps) || positions != window.positions() {
        return Err(cx.invalid(node, format!("blocks {block:?} of axes {} do not make an image {image:?}", x.axes)));
    }
    let channels = rows / taps;
    let geometry = ConvGeometry { channels, filters: rows, groups: channels, window };
    if let Some(problem) = geometry.problem() {
        return Err(cx.unsupported(node, &format!("a convolution that {problem}")));
    }
    selectable(cx, node, rows.saturating_mul(taps))?;
    // Row `c·taps + k` is element k of the blocks of channel c.
    let ones = (0..rows * taps).map(|at| if at / taps % taps == at % taps { 1.0 } else { 0.0 }).collect();
    let weight = floats(cx, node, [&[rows, 1], &block[..]].concat(), ones)?;
    let count = x.axes.0[0].per_record();
    let all = reshape(cx, node, x.node, [count, rows * positions])?;
    let mut parts = Vec::new();
    for k in 0..count {
        let blocks = run(cx, node, all, 0, k, 1)?;
        let blocks = reshape(cx, node, blocks, window.dims(rows, window.output))?;
        let whole = cx.emit(node, ConvInputGradient { geometry }, &[blocks, weight])?;
        parts.push(reshape(cx, node, whole, [&[1, channels], &image[..]].concat())?);
    }
    let all = if let [only] = parts[..] { only } else { cx.emit(node, Concat { axis: 0 }, &parts)? };
    let spatial = image.iter().map(|&size| Axis::size(size));
    let axes = Axes([x.axes.0[0].clone(), Axis::size(channels)].into_iter().chain(spatial).collect());
    Ok(vec![cx.relabel(node, all, axes)?])
}
