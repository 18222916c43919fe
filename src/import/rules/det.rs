//! [Det](https://onnx.ai/onnx/operators/onnx__Det.html) of small matrices, by the minors of the first rows, the first two, and so
//! on: sums of products, whose derivative is that of the determinant also where it is 0.

use crate::graph::DType;
use crate::import::rows::{along, apply, floats, rows};
use crate::import::select::{selectable, take};
use crate::import::{Import, Refusal, Rule, Value};
use crate::lower::scalar::Func;
use crate::onnx::OnnxNode;
use crate::ops::movement::Reshape;
use crate::ops::reduce::Sum;

pub(super) const RULES: &[(&str, Rule)] = &[("Det", det)];

/// There are `2ⁿ` minors.
const LARGEST: usize = 12;

fn det(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let x = cx.value(node, 0)?;
    let rank = x.axes.rank();
    if rank < 2 || cx.ty(x.node).dtype != DType::F32 {
        return Err(cx.invalid(node, format!("an operand of axes {}", x.axes)));
    }
    let (n, m) = (x.axes.0[rank - 2].per_record(), x.axes.0[rank - 1].per_record());
    let at =
        [along(cx, node, &x, rank - 2, "takes a determinant")?, along(cx, node, &x, rank - 1, "takes a determinant")?];
    if n != m {
        return Err(cx.invalid(node, format!("a matrix of {n} rows and {m} columns")));
    }
    if n > LARGEST {
        return Err(cx.unsupported(node, &format!("matrices of more than {LARGEST} rows")));
    }
    let matrix = rows(cx, node, x.node, &at)?;
    let count = cx.ty(matrix).dims[0];
    selectable(cx, node, count.saturating_mul(n << n))?;
    // The minors of the first `row` rows, one for each set of as many columns.
    let mut sets: Vec<u32> = (0..n).map(|column| 1 << column).collect();
    let mut minors = take(cx, node, matrix, 1, &(0..n).collect::<Vec<_>>())?;
    for row in 1..n {
        let before = sets;
        let place = |set: u32| before.binary_search(&set).unwrap_or_default();
        sets = (0..1_u32 << n).filter(|set| set.count_ones() as usize == row + 1).collect();
        let columns = |set: u32| (0..n as u32).filter(move |column| set >> column & 1 == 1);
        let terms = || sets.iter().flat_map(|&set| columns(set).map(move |column| (set, column)));
        let entries: Vec<usize> = terms().map(|(_, column)| row * n + column as usize).collect();
        let smaller: Vec<usize> = terms().map(|(set, column)| place(set & !(1 << column))).collect();
        // Developed by its last row, of which each entry changes the sign once for each column of the set behind it.
        let sign = |(set, column): (u32, u32)| if (set >> column).count_ones() % 2 == 1 { 1.0 } else { -1.0 };
        let signs = floats(cx, node, [1, entries.len()], terms().map(sign).collect())?;
        let (entries, smaller) = (take(cx, node, matrix, 1, &entries)?, take(cx, node, minors, 1, &smaller)?);
        let products = apply(cx, node, Func::Mul, &[entries, smaller])?;
        let products = apply(cx, node, Func::Mul, &[products, signs])?;
        let products = cx.emit(node, Reshape { dims: vec![count, sets.len(), row + 1] }, &[products])?;
        minors = cx.emit(node, Sum { axes: vec![2] }, &[products])?;
    }
    let mut axes = x.axes;
    axes.0.truncate(rank - 2);
    Ok(vec![cx.relabel(node, minors, axes)?])
}
