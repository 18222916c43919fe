//! Fusion: biases and activations into the products that feed them, then chains of element-wise functions into one.
//!
//! A value is fused away if its single user takes it, or if it is a function of one value and each of its few users is a
//! function too: to compute it again from what they read in its place takes less than to keep it, from the forward pass to the
//! backward pass as a rule. So a GELU keeps its argument, and nothing else.

use crate::graph::{NodeId, Type, TypeError};
use crate::lower::scalar::Func;
use crate::ops::Graph;
use crate::ops::Op;
use crate::ops::contract::Contract;
use crate::ops::elementwise::Elementwise;

/// The most operands of a fused chain: with its result they must fit the 8 storage buffers that WebGPU grants a stage.
const MOST_OPERANDS: usize = 6;
/// The longest fused chain.
const MOST_STEPS: usize = 24;
/// The most functions that are computed again for each user of their result, and the most users.
const MOST_AGAIN: usize = 8;
const MOST_USERS: usize = 4;

/// Fuses a graph.
pub fn fuse(graph: &Graph) -> Result<Graph, TypeError> {
    chains(&epilogues(graph)?)
}

/// Whether `user` is the only user of `id`, and `id` is no output.
fn single_use(graph: &Graph, id: NodeId) -> bool {
    let users = graph.users(id);
    users.len() == 1
        && graph.operands(users[0]).iter().filter(|&&o| o == id).count() == 1
        && !graph.outputs.values().any(|&o| o == id)
}

/// Whether all users of `id`, several, can compute it themselves.
fn computed_again(graph: &Graph, id: NodeId) -> bool {
    let (users, ty) = (graph.users(id), graph.ty(id));
    let function = |user: &NodeId| {
        let to = graph.ty(*user);
        matches!(graph.op(*user), Op::Elementwise(_)) && (to.batched, &to.dims) == (ty.batched, &ty.dims)
    };
    matches!(graph.op(id), Op::Elementwise(_))
        && (2..=MOST_USERS).contains(&users.len())
        && users.iter().all(function)
        && !graph.outputs.values().any(|&o| o == id)
}

fn epilogues(graph: &Graph) -> Result<Graph, TypeError> {
    let mut single: Vec<bool> = graph.ids().map(|id| single_use(graph, id)).collect();
    let mut fused = Vec::new();
    let (out, _) = graph.rewrite(|out, id, operands| {
        let node = graph.node(id);
        let old = graph.operands(id);
        let lone = |k: usize| old.get(k).is_some_and(|o| single[o.index()]);
        let with = match &node.op {
            Op::Elementwise(e) => match e.expr.as_call() {
                Some(Func::Add) => {
                    (0..2).filter(|&k| lone(k)).find_map(|k| with_bias(out, operands[k], operands[1 - k], &node.ty))
                }
                Some(f @ (Func::Relu | Func::Tanh | Func::Sigmoid)) if lone(0) => with_activation(out, operands[0], f),
                _ => None,
            },
            _ => None,
        };
        match with {
            Some((op, operands)) => {
                fused.push(id);
                let product = graph.node(old[0]).origin.onnx.clone();
                let origin = if product.is_empty() {
                    node.origin.clone()
                } else {
                    crate::graph::Origin { onnx: product, value: node.origin.value.clone() }
                };
                out.add(op, &operands, origin)
            }
            None => out.add(node.op.clone(), &operands, node.origin.clone()),
        }
    })?;
    single.clear();
    Ok(out.prune())
}

/// A product with a bias that runs along the columns of its result.
fn with_bias(graph: &Graph, product: NodeId, bias: NodeId, result: &Type) -> Option<(Op, Vec<NodeId>)> {
    let ty = graph.ty(bias);
    let mut operands = graph.operands(product);
    if ty.batched || graph.ty(product) != result {
        return None;
    }
    match graph.op(product) {
        Op::Contract(c) if c.takes_bias(graph.ty(operands[1])) => {
            if ty.dims.len() != 1 || result.dims.last() != ty.dims.last() {
                return None;
            }
            operands.push(bias);
            Some((Contract { bias: true, ..c.clone() }.into(), operands))
        }
        Op::Conv(c) if !c.bias && c.activation.is_none() => {
            // A convolution's bias runs along its channels: `[O, 1, 1]`.
            let channels = result.dims.first().copied()?;
            if ty.len() != channels || ty.dims.first() != Some(&channels) || ty.dims.len() != result.dims.len() {
                return None;
            }
            operands.push(bias);
            Some((crate::ops::conv::Conv { bias: true, ..c.clone() }.into(), operands))
        }
        _ => None,
    }
}

fn with_activation(graph: &Graph, product: NodeId, f: Func) -> Option<(Op, Vec<NodeId>)> {
    let operands = graph.operands(product);
    match graph.op(product) {
        Op::Contract(c) if c.activation.is_none() => {
            Some((Contract { activation: Some(f), ..c.clone() }.into(), operands))
        }
        Op::Conv(c) if c.activation.is_none() => {
            Some((crate::ops::conv::Conv { activation: Some(f), ..c.clone() }.into(), operands))
        }
        _ => None,
    }
}

fn chains(graph: &Graph) -> Result<Graph, TypeError> {
    let single: Vec<bool> = graph.ids().map(|id| single_use(graph, id)).collect();
    let again: Vec<bool> = graph.ids().map(|id| computed_again(graph, id)).collect();
    let (out, _) = graph.rewrite(|out, id, mut operands| {
        let node = graph.node(id);
        let Op::Elementwise(e) = &node.op else { return out.add(node.op.clone(), &operands, node.origin.clone()) };
        let mut expr = e.expr.clone();
        let mut old: Vec<Option<NodeId>> = graph.operands(id).into_iter().map(Some).collect();
        let alike = |ty: &Type| ty.batched == node.ty.batched && ty.dims == node.ty.dims;
        while let Some((k, inner)) = (0..operands.len()).find_map(|k| match (old[k], out.op(operands[k])) {
            (Some(o), Op::Elementwise(inner)) if alike(out.ty(operands[k])) => {
                let cheap = inner.expr.operands() == 1 && inner.expr.calls() <= MOST_AGAIN;
                if !(single[o.index()] || again[o.index()] && cheap) {
                    return None;
                }
                let count = (operands.len() - 1) + inner.expr.operands();
                let fits = count <= MOST_OPERANDS && expr.steps().len() + inner.expr.steps().len() <= MOST_STEPS;
                fits.then(|| (k, inner.expr.clone()))
            }
            _ => None,
        }) {
            let inner_nodes = out.operands(operands[k]);
            let mut merged: Vec<NodeId> = Vec::new();
            let mut merged_old: Vec<Option<NodeId>> = Vec::new();
            let mut slot = |node: NodeId, was: Option<NodeId>| {
                merged.iter().position(|m| *m == node).unwrap_or_else(|| {
                    merged.push(node);
                    merged_old.push(was);
                    merged.len() - 1
                })
            };
            let outer: Vec<usize> =
                (0..operands.len()).map(|j| if j == k { 0 } else { slot(operands[j], old[j]) }).collect();
            let inner_slots: Vec<usize> = inner_nodes.iter().map(|&n| slot(n, None)).collect();
            let Ok(fused) = expr.substitute(k, &outer, &inner, &inner_slots) else { break };
            expr = fused;
            (operands, old) = (merged, merged_old);
        }
        let (expr, kept) = expr.compact();
        let operands: Vec<NodeId> = kept.iter().map(|&k| operands[k]).collect();
        out.add(Elementwise { expr }, &operands, node.origin.clone())
    })?;
    Ok(out.prune())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Origin;
    use crate::ops::leaf;

    /// The functions that are left of `exp x`, which is used in `x + exp x` and in `x · exp x`, and as an output if `kept`.
    fn left(kept: bool) -> Vec<String> {
        let mut graph = Graph::default();
        let x = graph.add(leaf::Input { name: "x".into(), ty: Type::batched([4]) }, &[], Origin::value("x"));
        let x = x.expect("an input");
        let mut call =
            |f, operands: &[NodeId]| graph.add(Elementwise::call(f), operands, Origin::value("")).expect("f");
        let exp = call(Func::Exp, &[x]);
        let (sum, product) = (call(Func::Add, &[x, exp]), call(Func::Mul, &[x, exp]));
        graph.outputs = [("sum", sum), ("product", product)].map(|(name, id)| (name.to_owned(), id)).into();
        if kept {
            graph.outputs.insert("exp".into(), exp);
        }
        let fused = fuse(&graph).expect("a graph");
        let text = |id| match fused.op(id) {
            Op::Elementwise(e) => Some(e.expr.to_string()),
            _ => None,
        };
        fused.ids().filter_map(text).collect()
    }

    #[test]
    fn a_function_of_one_value_is_computed_again_where_it_is_used() {
        assert_eq!(left(false), ["add x0, exp(x0)", "mul x0, exp(x0)"]);
        assert_eq!(left(true), ["exp x0", "add x0, x1", "mul x0, x1"]);
    }
}
