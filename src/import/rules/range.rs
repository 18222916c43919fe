//! [Range](https://onnx.ai/onnx/operators/onnx__Range.html) over the batch: the number of each record, or of each of so many
//! elements of a record. Any other range is a constant, which takes no rule.

use crate::import::axes::{Axes, Axis, Factor};
use crate::import::rows::integers;
use crate::import::select::selectable;
use crate::import::{Import, Refusal, Rule, Value};
use crate::onnx::{Int, OnnxNode};
use crate::ops::leaf::{Constant, Data};

pub(super) const RULES: &[(&str, Rule)] = &[("Range", range)];

fn range(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let [start, limit, step] = [0, 1, 2].map(|i| cx.symbolic(node, i).and_then(|ints| ints.first().copied()));
    match (start, limit, step) {
        (Some(Int::Known(0)), Some(Int::Batch(1)), Some(Int::Known(1))) => {
            cx.mark_own_rows(node);
            // Its elements are not read: all that may be done with it is to name the record's own row.
            let number = cx.emit(node, Constant { dims: vec![], data: Data::I32([0].into()) }, &[])?;
            Ok(vec![Value { node: number, axes: Axes(vec![Axis::batch()]) }])
        }
        (Some(Int::Known(0)), Some(Int::Batch(each @ 2..)), Some(Int::Known(1))) => {
            // Those of the first record; those of each record after it are so many more.
            let each = i32::try_from(each).map_err(|_| cx.unsupported(node, "a range of more than 2³¹ elements"))?;
            selectable(cx, node, each as usize)?;
            cx.mark_offset(node, 0, each as usize)?;
            let numbers = integers(cx, node, [each as usize], (0..each).collect())?;
            Ok(vec![Value { node: numbers, axes: Axes(vec![Axis::of(&[Factor::Batch, Factor::Size(each as usize)])]) }])
        }
        (Some(_), Some(_), Some(_)) => Err(cx.mixes(
            node,
            "it counts records, but not each by its own number from 0 on",
            "use a range of constant bounds, or Range(0, N)",
        )),
        _ => Err(cx.unsupported(node, "bounds that depend on the data")),
    }
}
