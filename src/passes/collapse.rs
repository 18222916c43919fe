//! Collapses the data movement between a parameter and its slot into one permutation.
//!
//! Exporters reorder the gates of recurrent layers with slices and concatenations of the parameter. Where such a chain
//! uses every element of one parameter exactly once, it is a permutation, and the norm of the slot's gradient is that of
//! the parameter's. The pass follows each element back to the parameter that it comes from.

use crate::graph::{NodeId, TypeError, strides};
use crate::ops::Graph;
use crate::ops::Op;
use crate::ops::movement::Rearrange;

/// Where each element of a value comes from: a parameter's node, and the element of it.
type Map = Vec<(NodeId, u32)>;

/// Replaces every chain of slices and concatenations that permutes one parameter.
pub fn collapse(graph: &Graph) -> Result<Graph, TypeError> {
    let mut maps: Vec<Option<Map>> = Vec::with_capacity(graph.len());
    let mut cut: Vec<bool> = Vec::with_capacity(graph.len());
    let (out, _) = graph.rewrite(|out, id, operands| {
        let old = graph.operands(id);
        let node = graph.node(id);
        let map = follow(graph, id, &old, &maps);
        let cuts = matches!(node.op, Op::Slice(_) | Op::Concat(_)) || old.iter().any(|o| cut[o.index()]);
        let new = match permutation(graph, map.as_ref()).filter(|_| cuts) {
            Some((root, map)) => {
                let from_len = map.len();
                // Roots are parameters, copied in place; their ids in the new graph are found by following the operands.
                let parameter = ancestor(out, &operands, graph.op(root));
                match parameter {
                    Some(p) => {
                        let op = Rearrange { map: map.into(), dims: node.ty.dims.clone(), from_len };
                        out.add(op, &[p], node.origin.clone())?
                    }
                    None => out.add(node.op.clone(), &operands, node.origin.clone())?,
                }
            }
            None => out.add(node.op.clone(), &operands, node.origin.clone())?,
        };
        maps.push(map);
        cut.push(cuts);
        Ok(new)
    })?;
    Ok(out.prune())
}

/// The parameter node among the ancestors of `from` that is `parameter`.
fn ancestor(graph: &Graph, from: &[NodeId], parameter: &Op) -> Option<NodeId> {
    let Op::Parameter(wanted) = parameter else { return None };
    let mut stack = from.to_vec();
    while let Some(id) = stack.pop() {
        if let Op::Parameter(p) = graph.op(id)
            && p.name == wanted.name
        {
            return Some(id);
        }
        stack.extend(graph.operands(id));
    }
    None
}

/// The map of a value that is moved parameter elements and nothing else.
fn follow(graph: &Graph, id: NodeId, operands: &[NodeId], maps: &[Option<Map>]) -> Option<Map> {
    let node = graph.node(id);
    let of = |k: usize| maps[operands[k].index()].as_ref();
    let dims = |k: usize| &graph.ty(operands[k]).dims;
    match &node.op {
        Op::Parameter(p) if p.trainable => Some((0..node.ty.len() as u32).map(|i| (id, i)).collect()),
        Op::Reshape(_) => of(0).cloned(),
        Op::Rearrange(r) => of(0).map(|x| r.map.iter().map(|&i| x[i as usize]).collect()),
        Op::Transpose(t) => {
            let from = strides(dims(0));
            let steps: Vec<usize> = t.perm.iter().map(|&p| from[p]).collect();
            of(0).map(|x| walk(&node.ty.dims, &steps, 0).map(|i| x[i]).collect())
        }
        Op::Slice(s) => {
            let from = strides(dims(0));
            of(0).map(|x| walk(&node.ty.dims, &from, s.start * from[s.axis]).map(|i| x[i]).collect())
        }
        Op::Concat(c) => {
            let outer: usize = node.ty.dims[..c.axis].iter().product();
            let parts: Vec<(&Map, usize)> = (0..operands.len())
                .map(|k| of(k).map(|m| (m, dims(k)[c.axis..].iter().product())))
                .collect::<Option<_>>()?;
            Some(
                (0..outer)
                    .flat_map(|o| parts.iter().flat_map(move |(m, n)| m[o * n..(o + 1) * n].iter().copied()))
                    .collect(),
            )
        }
        _ => None,
    }
}

/// The elements of a strided walk over `dims`.
fn walk<'a>(dims: &'a [usize], steps: &'a [usize], offset: usize) -> impl Iterator<Item = usize> + 'a {
    let own = strides(dims);
    (0..dims.iter().product())
        .map(move |i| offset + own.iter().zip(steps).zip(dims).map(|((o, s), d)| (i / o % d) * s).sum::<usize>())
}

/// The parameter that a map permutes, and the permutation, if it is one.
fn permutation(graph: &Graph, map: Option<&Map>) -> Option<(NodeId, Vec<i32>)> {
    let map = map?;
    let &(root, _) = map.first()?;
    let mut seen = vec![false; graph.ty(root).len()];
    if map.len() != seen.len() {
        return None;
    }
    for &(from, i) in map {
        if from != root || std::mem::replace(&mut seen[i as usize], true) {
            return None;
        }
    }
    Some((root, map.iter().map(|&(_, i)| i as i32).collect()))
}
