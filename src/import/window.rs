//! Sliding windows: the attributes that convolutions and pools share.
//!
//! The kernels' windows have up to three axes; ONNX models may have one and two.

use super::{Import, Refusal, Value};
use crate::lower::kernels::Window;
use crate::onnx::OnnxNode;

/// Reads the attributes of a node for an input of these spatial dims; `kernel` is the kernel's shape where an operand
/// gives it. The output is rounded down, or up if `ceil_mode` is set; a window that starts in the padding after the
/// input is left out.
pub fn window(cx: &Import<'_>, node: &OnnxNode, input: &[usize], kernel: Option<&[usize]>) -> Result<Window, Refusal> {
    let rank = input.len();
    let list = |name: &str, count: usize, least: i64| -> Result<Option<Vec<usize>>, Refusal> {
        let Some(values) = node.ints(name).map_err(|e| cx.attribute(node, e))? else { return Ok(None) };
        let fits = values.len() == count && values.iter().all(|&v| v >= least && v <= i64::from(i32::MAX));
        let sizes = values.iter().map(|&v| v as usize).collect();
        if fits { Ok(Some(sizes)) } else { Err(cx.invalid(node, format!("{name} {values:?} do not fit its input"))) }
    };
    let ones = || vec![1; rank];
    let kernel = match (list("kernel_shape", rank, 1)?, kernel) {
        (Some(shape), Some(kernel)) if shape != kernel => {
            return Err(cx.invalid(node, format!("kernel_shape {shape:?} is not that of its weight, {kernel:?}")));
        }
        (_, Some(kernel)) => kernel.to_vec(),
        (Some(shape), None) => shape,
        (None, None) => return Err(cx.invalid(node, "attribute `kernel_shape` is required and absent")),
    };
    let stride = list("strides", rank, 1)?.unwrap_or_else(ones);
    let dilation = list("dilations", rank, 1)?.unwrap_or_else(ones);
    let pads = list("pads", 2 * rank, 0)?.unwrap_or_else(|| vec![0; 2 * rank]);
    let auto = node.string("auto_pad", "NOTSET").map_err(|e| cx.attribute(node, e))?;
    let ceil = node.int("ceil_mode", 0).map_err(|e| cx.attribute(node, e))? != 0;
    let mut window = Window::point(rank);
    for k in 0..rank {
        let extent = (kernel[k] - 1) * dilation[k] + 1;
        let (before, after) = match auto {
            "NOTSET" | "" => (pads[k], pads[rank + k]),
            "VALID" => (0, 0),
            "SAME_UPPER" | "SAME_LOWER" => {
                let last = (input[k].div_ceil(stride[k]).max(1) - 1) * stride[k];
                let total = (last + extent).saturating_sub(input[k]);
                let less = total / 2;
                if auto == "SAME_UPPER" { (less, total - less) } else { (total - less, less) }
            }
            other => return Err(cx.invalid(node, format!("auto_pad `{other}` is not one of ONNX's"))),
        };
        let padded = input[k] + before + after;
        if kernel[k] == 0 || input[k] == 0 || padded < extent {
            let why = format!("a window of {extent} does not fit an axis of {} with padding", input[k]);
            return Err(cx.invalid(node, why));
        }
        let steps = padded - extent;
        let mut output = steps / stride[k] + 1;
        if ceil && !steps.is_multiple_of(stride[k]) && output * stride[k] < input[k] + before {
            output += 1;
        }
        let at = 3 - rank + k;
        window.input[at] = input[k];
        window.output[at] = output;
        window.kernel[at] = kernel[k];
        window.stride[at] = stride[k];
        window.dilation[at] = dilation[k];
        window.pad[at] = before;
        window.pad_end[at] = after;
    }
    Ok(window)
}

/// The batch rule of windows over an image `[N, C, spatial…]`: the batch is axis 0 and nothing else. Returns the dims of
/// one record, `[C, spatial…]`, with one or two spatial axes.
pub fn image(cx: &Import<'_>, node: &OnnxNode, x: &Value) -> Result<Vec<usize>, Refusal> {
    match x.axes.batch_axis() {
        Some(0) if x.axes.0[0].is_batch() => {}
        Some(0) => return Err(cx.unsupported(node, &format!("the batch of {} is merged with another axis", x.axes))),
        Some(axis) => {
            let why =
                format!("the batch is axis {axis} of {}, over which the window slides or which holds channels", x.axes);
            return Err(cx.mixes(node, why, "move the batch to axis 0 with Transpose"));
        }
        None => return Err(cx.unsupported(node, "an image that does not depend on the record")),
    }
    let dims = x.axes.per_record();
    if matches!(dims.len(), 2 | 3) {
        Ok(dims)
    } else {
        Err(cx.unsupported(node, &format!("{} spatial axes; dpc has one and two", dims.len().saturating_sub(1))))
    }
}
