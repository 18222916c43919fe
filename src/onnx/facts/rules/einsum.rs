//! The shape of [Einsum](https://onnx.ai/onnx/operators/onnx__Einsum.html) with an ellipsis, which tract loses where it stands
//! for axes of one operand only.

use std::collections::BTreeMap;

use super::{Results, operand};
use crate::onnx::facts::pinned::{Known, Pinned};
use crate::onnx::node::OnnxNode;

const DOTS: &str = "...";

/// The result of an equation that has an ellipsis; `None` for one that has not.
pub(super) fn einsum(node: &OnnxNode, pinned: &Pinned) -> Option<Results> {
    let equation: String = node.string("equation", "").ok()?.split_whitespace().collect();
    equation.contains(DOTS).then(|| result(&equation, node, pinned))
}

fn result(equation: &str, node: &OnnxNode, pinned: &Pinned) -> Results {
    let (operands, wanted) = match equation.split_once("->") {
        Some((operands, wanted)) => (operands, Some(wanted)),
        None => (equation, None),
    };
    let (mut sizes, mut rest): (BTreeMap<char, Vec<usize>>, Vec<usize>) = Default::default();
    for (k, term) in operands.split(',').enumerate() {
        let shape = operand(node, pinned, k).shape.ok_or("the shape of an operand is unknown")?;
        let (before, after) = term.split_once(DOTS).unwrap_or((term, ""));
        let named = before.chars().count() + after.chars().count();
        let between = match shape.len().checked_sub(named) {
            Some(between) if between == 0 || term.contains(DOTS) => between,
            _ => return Err(format!("`{term}` does not fit an operand of rank {}", shape.len())),
        };
        let (first, last) = (before.chars().count(), before.chars().count() + between);
        let letters = before.chars().zip(&shape).chain(after.chars().zip(&shape[last..]));
        letters.for_each(|(letter, &size)| sizes.entry(letter).or_default().push(size));
        rest = broadcast(&rest, &shape[first..last]).ok_or("the axes of its ellipsis do not broadcast")?;
    }
    // Without a result of its own: the ellipsis, then what stands once, in the order of the alphabet.
    let implied =
        || DOTS.to_owned() + &sizes.iter().filter(|(_, of)| of.len() == 1).map(|(c, _)| *c).collect::<String>();
    let wanted = wanted.map_or_else(implied, str::to_owned);
    let mut shape = Vec::new();
    let (before, after) = wanted.split_once(DOTS).unwrap_or((&wanted, ""));
    for (k, letters) in [before, after].into_iter().enumerate() {
        if k == 1 && wanted.contains(DOTS) {
            shape.extend(&rest);
        }
        for letter in letters.chars() {
            let of = sizes.get(&letter).ok_or_else(|| format!("`{letter}` is an index of no operand"))?;
            shape.push(of.iter().copied().find(|&size| size != 1).unwrap_or(1));
        }
    }
    Ok(vec![Some(Known::new(operand(node, pinned, 0).elem, Some(shape)))])
}

fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let at = |dims: &[usize], k: usize| (k + dims.len()).checked_sub(rank).map_or(1, |k| dims[k]);
    (0..rank)
        .map(|k| match (at(a, k), at(b, k)) {
            (x, y) if x == y || y == 1 => Some(x),
            (1, y) => Some(y),
            _ => None,
        })
        .collect()
}
