//! [Trilu](https://onnx.ai/onnx/operators/onnx__Trilu.html): the upper or the lower triangle of matrices.

use crate::graph::DType;
use crate::import::rows::{along, apply, floats, integers};
use crate::import::select::selectable;
use crate::import::{Import, Refusal, Rule, Value};
use crate::lower::scalar::Func;
use crate::onnx::OnnxNode;

pub(super) const RULES: &[(&str, Rule)] = &[("Trilu", trilu)];

fn trilu(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let x = cx.value(node, 0)?;
    let upper = node.int("upper", 1).map_err(|e| cx.attribute(node, e))? != 0;
    let k = match cx.ints(node, 1)?.as_deref() {
        None => 0,
        Some(&[k]) => k,
        Some(_) => return Err(cx.invalid(node, "k is not one number")),
    };
    let rank = x.axes.rank();
    if rank < 2 {
        return Err(cx.invalid(node, format!("{} is no matrix", x.axes)));
    }
    for axis in [rank - 2, rank - 1] {
        along(cx, node, &x, axis, "takes a triangle")?;
    }
    let [rows, columns] = [rank - 2, rank - 1].map(|axis| x.axes.0[axis].per_record());
    selectable(cx, node, rows.saturating_mul(columns))?;
    let inside = |row: usize, column: usize| {
        let diagonal = column as i64 - row as i64;
        if upper { diagonal >= k } else { diagonal <= k }
    };
    let mask = (0..rows).flat_map(|row| (0..columns).map(move |column| i32::from(inside(row, column)))).collect();
    let mask = integers(cx, node, [rows, columns], mask)?;
    let mask = apply(cx, node, Func::I32ToBool, &[mask])?;
    let y = match cx.ty(x.node).dtype {
        DType::F32 => {
            let zero = floats(cx, node, [], vec![0.0])?;
            apply(cx, node, Func::Select, &[mask, x.node, zero])?
        }
        DType::I32 => {
            let zero = integers(cx, node, [], vec![0])?;
            apply(cx, node, Func::SelectI32, &[mask, x.node, zero])?
        }
        DType::Bool => apply(cx, node, Func::And, &[mask, x.node])?,
    };
    Ok(vec![Value { node: y, axes: x.axes }])
}
