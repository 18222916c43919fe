//! Sliding windows: the attributes that convolutions and pools share.
//!
//! Windows have up to three axes, as those of the kernels.

use super::axes::{Axes, Axis};
use super::{Import, Refusal, Value};
use crate::graph::DType;
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

/// Images `[C, spatial…]` that a record holds.
pub struct Images {
    /// The axis before the channels.
    pub lead: Axis,
    /// How many images of a record there are on it.
    pub count: usize,
    /// The dims of an image, with one to three spatial axes.
    pub dims: Vec<usize>,
}

impl Images {
    /// The axes of a value that has other images in the place of these.
    pub fn axes(&self, dims: &[usize]) -> Axes {
        Axes(std::iter::once(self.lead.clone()).chain(dims.iter().map(|&dim| Axis::size(dim))).collect())
    }
}

/// The batch rule of windows over images `[N, C, spatial…]`: the batch is in axis 0 and nowhere else, maybe with other
/// factors; each of a record's images is treated alone.
pub fn images(cx: &Import<'_>, node: &OnnxNode, x: &Value) -> Result<Images, Refusal> {
    if let Some(axis @ 1..) = x.axes.batch_axis() {
        let why =
            format!("the batch is axis {axis} of {}, over which the window slides or which holds channels", x.axes);
        return Err(cx.mixes(node, why, "move the batch to axis 0 with Transpose"));
    }
    if !(3..=5).contains(&x.axes.rank()) {
        let spatial = x.axes.rank().saturating_sub(2);
        return Err(cx.unsupported(node, &format!("{spatial} spatial axes; dpc has one to three")));
    }
    if cx.ty(x.node).dtype != DType::F32 {
        return Err(cx.unsupported(node, "images of integers"));
    }
    let lead = x.axes.0[0].clone();
    let dims = x.axes.0[1..].iter().map(Axis::per_record).collect();
    Ok(Images { count: lead.per_record(), lead, dims })
}

/// A window over images, as one over a value that has `count` images on an axis of its own before the spatial ones: it
/// walks along them one by one.
pub fn over_images(window: &Window, count: usize) -> Window {
    let mut window = *window;
    let at = 2 - window.rank;
    (window.input[at], window.output[at]) = (count, count);
    window.rank += 1;
    window
}
