//! Dropout as the newer exporter writes it where PyTorch draws a mask of its own (in place, of whole channels, of whole
//! branches): `Cast(RandomUniformLike(x) < p) / p`. The mask is that of [`Dropout`], so that it depends on the record's key
//! alone, and there is none where the model is evaluated. Random numbers of any other use are refused.

use super::dropout::keys;
use super::elementwise::scalar;
use crate::graph::Type;
use crate::import::{Import, Refusal, Rule, Value};
use crate::onnx::OnnxNode;
use crate::ops::dropout::Dropout;
use crate::ops::leaf::Fill;

pub(super) const RULES: &[(&str, Rule)] = &[("RandomUniformLike", uniform)];

fn uniform(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let bound = |name: &str, default| node.float(name, default).map_err(|e| cx.attribute(node, e));
    if (bound("low", 0.0)?, bound("high", 1.0)?) != (0.0, 1.0) {
        return Err(cx.unsupported(node, "random numbers that are not between 0 and 1"));
    }
    let x = cx.value(node, 0)?;
    if x.axes.batch_axis().is_none() {
        return Err(cx.unsupported(node, "random numbers that all records share"));
    }
    let layer = cx.next_dropout();
    cx.mark_random(node, layer);
    // What is compared with a number is not read: the comparison draws the mask.
    let zero = cx.emit(node, Fill { ty: Type::shared(x.axes.per_record()), value: 0.0 }, &[])?;
    Ok(vec![Value { node: zero, axes: x.axes }])
}

/// `u < p` of random numbers: 1 where the mask keeps an element, and `p` where nothing is dropped, so that the quotient by
/// `p` is a dropout in either case.
pub(super) fn kept(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Option<Value>, Refusal> {
    let Some((layer, axes)) = cx.random(node, 0) else { return Ok(None) };
    let share = cx.value(node, 1)?;
    let Some(share) = scalar(cx, &share).filter(|share| *share > 0.0 && *share <= 1.0) else {
        return Err(cx.unsupported(node, "a mask that keeps a share of elements outside of (0, 1]"));
    };
    let whole = cx.emit(node, Fill { ty: Type::shared(axes.per_record()), value: share }, &[])?;
    let keys = keys(cx, node)?;
    let mask = cx.emit(node, Dropout { ratio: 1.0 - share, layer }, &[whole, keys])?;
    cx.mark_mask(node);
    Ok(Some(Value { node: mask, axes }))
}
