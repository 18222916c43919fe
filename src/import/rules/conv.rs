//! [Conv](https://onnx.ai/onnx/operators/onnx__Conv.html) over one or two spatial axes.

use crate::import::axes::{Axes, Axis};
use crate::import::window::{image, window};
use crate::import::{Import, Refusal, Rule, Value};
use crate::lower::kernels::ConvGeometry;
use crate::lower::scalar::Func;
use crate::onnx::OnnxNode;
use crate::ops::conv::Conv;
use crate::ops::elementwise::Elementwise;
use crate::ops::movement::{self, Reshape};

pub(super) const RULES: &[(&str, Rule)] = &[("Conv", conv)];

fn conv(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let (x, w, bias) = (cx.value(node, 0)?, cx.value(node, 1)?, cx.optional(node, 2)?);
    let dims = image(cx, node, &x)?;
    let (spatial, shape) = (dims.len() - 1, cx.ty(w.node).dims.clone());
    if w.axes.batch_axis().is_some() || cx.ty(w.node).batched {
        return Err(cx.unsupported(node, "a weight that depends on the record"));
    }
    let groups = usize::try_from(node.int("group", 1).map_err(|e| cx.attribute(node, e))?).unwrap_or(0);
    let fits = shape.len() == spatial + 2
        && groups > 0
        && shape[0].is_multiple_of(groups)
        && shape[1].checked_mul(groups) == Some(dims[0]);
    if !fits {
        let why = format!("a weight of dims {shape:?} in {groups} groups does not fit an input of axes {}", x.axes);
        return Err(cx.invalid(node, why));
    }
    let window = window(cx, node, &dims[1..], Some(&shape[2..]))?;
    let geometry = ConvGeometry { channels: dims[0], filters: shape[0], groups, window };
    let mut y = cx.emit(node, Conv::new(geometry), &[x.node, w.node])?;
    if let Some(bias) = bias.filter(|b| !movement::is_zero(cx.graph(), b.node)) {
        if bias.axes != Axes::shared(&[geometry.filters]) {
            return Err(cx.invalid(node, format!("a bias of axes {} for {} filters", bias.axes, geometry.filters)));
        }
        let bias = cx.emit(node, Reshape { dims: window.dims(geometry.filters, [1; 3]) }, &[bias.node])?;
        y = cx.emit(node, Elementwise::call(Func::Add), &[y, bias])?;
    }
    let mut axes = vec![Axis::batch()];
    axes.extend(window.dims(geometry.filters, window.output).into_iter().map(Axis::size));
    Ok(vec![cx.relabel(node, y, Axes(axes))?])
}
