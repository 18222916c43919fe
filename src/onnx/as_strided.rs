//! `as_strided` of a value in its own order, as PyTorch's newer exporter writes it after a pool to one place of a value whose
//! channels are last: as a lookup of every element among those of all records. Where, by the strides in the call and the
//! declared shapes, it moves nothing, it becomes an Identity. Every other form stays, and is refused as such a lookup.

use super::aten::{self, AtenCall};
use super::inputs::{Axis, axes};
use super::proto::{GraphProto, NodeProto};

/// The graph with an Identity in the place of such nodes; `None` where there are none.
pub(super) fn recognise(graph: &GraphProto) -> Option<GraphProto> {
    let mut found = false;
    let mut nodes = graph.node.clone();
    for node in &mut nodes {
        if let Some(value) = moved_nowhere(graph, node) {
            found = true;
            node.op_type = Some("Identity".to_owned());
            node.input = vec![value];
            node.attribute.clear();
            aten::forget(node);
        }
    }
    found.then(|| GraphProto { node: nodes, ..graph.clone() })
}

/// The value that `node` yields as it is.
fn moved_nowhere(graph: &GraphProto, node: &NodeProto) -> Option<String> {
    if node.op_type() != "Gather" {
        return None;
    }
    let call = AtenCall::of(node).filter(|call| call.operator == "as_strided")?;
    let offset = call.arguments.get(3).map_or("0", String::as_str);
    let (elements, result) = (node.input.first()?, node.output.first()?);
    let flat = graph.node.iter().find(|other| other.output.first() == Some(elements))?;
    let value = flat.input.first().filter(|_| flat.op_type() == "Reshape")?;
    let (from, to) = (axes(graph, value)?, axes(graph, result)?);
    let strides = call.arguments.get(2)?.trim_matches(['[', ']']).split(',').map(|stride| stride.trim().parse().ok());
    let strides = strides.collect::<Option<Vec<usize>>>()?;
    (from == to && matches!(offset, "0" | "None") && are_dense(&to, &strides)).then(|| value.clone())
}

/// Whether `strides` are those of C order over `axes`, of which only the first may be a symbol, and that one with a name.
fn are_dense(axes: &[Axis], strides: &[usize]) -> bool {
    let mut dense = 1;
    let right = axes.iter().zip(strides).enumerate().rev().all(|(at, (axis, &stride))| match axis {
        Axis::Known(1) => true,
        Axis::Known(size) => {
            let right = stride == dense;
            dense *= size;
            right
        }
        Axis::Symbol(name) => at == 0 && name.is_some() && stride == dense,
    });
    right && axes.len() == strides.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_dense_strides_move_nothing() {
        let batch = || Axis::Symbol(Some("batch".to_owned()));
        let known = |sizes: &[usize]| sizes.iter().map(|&size| Axis::Known(size)).collect::<Vec<_>>();
        let of = |sizes: &[usize]| [vec![batch()], known(sizes)].concat();
        // A pool to one place of six channels, whose strides along one place are whatever they were.
        assert!(are_dense(&of(&[6, 1, 1]), &[6, 1, 6, 6]));
        assert!(are_dense(&of(&[6, 2, 3]), &[36, 6, 3, 1]));
        assert!(are_dense(&known(&[4, 3]), &[3, 1]));
        // Transposed, with every second element, with one record for all, and with too few strides.
        assert!(!are_dense(&of(&[6, 2, 3]), &[36, 1, 18, 6]));
        assert!(!are_dense(&of(&[6]), &[12, 2]));
        assert!(!are_dense(&of(&[6]), &[0, 1]));
        assert!(!are_dense(&of(&[6, 1]), &[6, 1]));
        assert!(!are_dense(&[Axis::Symbol(None), Axis::Known(6)], &[6, 1]));
        assert!(!are_dense(&[Axis::Known(6), batch()], &[1, 6]));
    }
}
