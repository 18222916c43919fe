//! [Einsum](https://onnx.ai/onnx/operators/onnx__Einsum.html): operands are multiplied pair by pair, and an index is summed as
//! soon as nothing after it has it.

use std::collections::BTreeMap;

use crate::graph::{DType, NodeId, product as count};
use crate::import::axes::{Axes, Axis};
use crate::import::rows::{apply, reshape, transpose};
use crate::import::select::{elements, selectable};
use crate::import::{Import, Refusal, Rule, Value};
use crate::lower::scalar::Func;
use crate::onnx::OnnxNode;
use crate::ops::contract::Contract;
use crate::ops::reduce::Sum;

pub(super) const RULES: &[(&str, Rule)] = &[("Einsum", einsum)];

/// An index: a letter, or an axis that an ellipsis stands for, counted from the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Index {
    Letter(char),
    Dots(usize),
}

/// A value of one record, with the index of each of its dims.
struct Factor {
    node: NodeId,
    indices: Vec<Index>,
}

/// The indices of a term, of which the ellipsis stands for `dots` axes.
fn indices(term: &str, dots: usize) -> Option<Vec<Index>> {
    let letters = |text: &str| {
        text.chars().map(|c| c.is_ascii_alphabetic().then_some(Index::Letter(c))).collect::<Option<Vec<_>>>()
    };
    match term.split_once("...") {
        Some((before, after)) => {
            Some([letters(before)?, (0..dots).rev().map(Index::Dots).collect(), letters(after)?].concat())
        }
        None => letters(term),
    }
}

/// The terms of an equation for operands of these ranks: those of the operands, and that of the result.
fn terms(equation: &str, ranks: &[usize]) -> Option<(Vec<Vec<Index>>, Vec<Index>)> {
    let equation: String = equation.chars().filter(|c| !c.is_whitespace()).collect();
    let (left, right) = match equation.split_once("->") {
        Some((left, right)) => (left, Some(right)),
        None => (equation.as_str(), None),
    };
    let operands: Vec<&str> = left.split(',').collect();
    if operands.len() != ranks.len() {
        return None;
    }
    let mut most = 0;
    let mut found = Vec::new();
    for (term, &rank) in operands.iter().zip(ranks) {
        let dots = if term.contains("...") { (rank + 3).checked_sub(term.len())? } else { 0 };
        most = most.max(dots);
        found.push(indices(term, dots).filter(|indices| indices.len() == rank)?);
    }
    let result = match right {
        Some(right) => indices(right, most)?,
        None => {
            // The ellipsis, then in alphabetical order what is there once.
            let all: Vec<Index> = found.iter().flatten().copied().collect();
            let mut once: Vec<Index> = all
                .iter()
                .copied()
                .filter(|index| matches!(index, Index::Letter(_)) && all.iter().filter(|i| *i == index).count() == 1)
                .collect();
            once.sort_unstable();
            (0..most).rev().map(Index::Dots).chain(once).collect()
        }
    };
    let mut sorted = result.clone();
    sorted.sort_unstable();
    sorted.dedup();
    let known = result.iter().all(|index| found.iter().any(|term| term.contains(index)));
    (sorted.len() == result.len() && known).then_some((found, result))
}

fn einsum(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    const HELP: &str = "give the batch one letter, the same in every operand that has it and in the result";
    let equation = node.require_string("equation").map_err(|e| cx.attribute(node, e))?;
    let values = (0..node.inputs.len()).map(|i| cx.value(node, i)).collect::<Result<Vec<_>, _>>()?;
    let ranks: Vec<usize> = values.iter().map(|value| value.axes.rank()).collect();
    let Some((terms, result)) = terms(equation, &ranks) else {
        return Err(cx.invalid(node, format!("equation `{equation}` does not fit its operands")));
    };
    // The axis of each index; one of size 1 gives way to another where an ellipsis broadcasts.
    let mut axes: BTreeMap<Index, Axis> = BTreeMap::new();
    for (value, term) in values.iter().zip(&terms) {
        if cx.ty(value.node).dtype != DType::F32 {
            return Err(cx.unsupported(node, "products of values that are no floats"));
        }
        for (axis, &index) in value.axes.0.iter().zip(term) {
            let known = axes.entry(index).or_insert_with(|| axis.clone());
            if *known == Axis::size(1) {
                *known = axis.clone();
            }
            if known != axis && *axis != Axis::size(1) {
                let why = format!("an index of `{equation}` has the axes {known} and {axis}");
                let batched = known.is_batched() || axis.is_batched();
                return Err(if batched { cx.mixes(node, why, HELP) } else { cx.invalid(node, why) });
            }
        }
    }
    if let Some((_, axis)) = axes.iter().find(|(index, axis)| axis.is_batched() && !result.contains(index)) {
        return Err(cx.mixes(node, format!("it sums over an axis {axis}, which holds the batch"), HELP));
    }
    if axes.values().filter(|axis| axis.is_batched()).count() > 1 {
        return Err(cx.mixes(node, "two indices hold the batch, so it pairs records with each other", HELP));
    }
    let mut factors = Vec::new();
    for (value, term) in values.iter().zip(&terms) {
        factors.push(factor(cx, node, value, term, &axes)?);
    }
    let own: Vec<Index> = result.iter().copied().filter(|index| !axes[index].is_batch()).collect();
    let mut rest = factors.into_iter();
    let Some(mut product) = rest.next() else { return Err(cx.invalid(node, "it has no operands")) };
    while let Some(next) = rest.next() {
        let later = |index: &Index| own.contains(index) || rest.as_slice().iter().any(|f| f.indices.contains(index));
        let needed: Vec<Index> = axes.keys().copied().filter(later).collect();
        product = multiplied(cx, node, product, next, &needed)?;
    }
    let product = summed(cx, node, product, &own)?;
    let perm = own.iter().filter_map(|index| product.indices.iter().position(|i| i == index)).collect::<Vec<_>>();
    if perm.len() != product.indices.len() {
        return Err(cx.invalid(node, format!("equation `{equation}` does not fit its operands")));
    }
    let node_of = transpose(cx, node, product.node, perm)?;
    let axes = Axes(result.iter().map(|index| axes[index].clone()).collect());
    Ok(vec![cx.relabel(node, node_of, axes)?])
}

/// An operand without its batch, without axes that only broadcast, and with its diagonal where an index is there twice.
fn factor(
    cx: &mut Import<'_>,
    node: &OnnxNode,
    value: &Value,
    term: &[Index],
    axes: &BTreeMap<Index, Axis>,
) -> Result<Factor, Refusal> {
    let mut own: Vec<(Index, usize)> = Vec::new();
    for (axis, &index) in value.axes.0.iter().zip(term) {
        let broadcasts = *axis == Axis::size(1) && axes[&index] != *axis;
        if !axis.is_batch() && !broadcasts {
            own.push((index, axis.per_record()));
        }
    }
    let sizes: Vec<usize> = own.iter().map(|&(_, size)| size).collect();
    let mut indices: Vec<Index> = Vec::new();
    own.iter().for_each(|&(index, _)| {
        if !indices.contains(&index) {
            indices.push(index);
        }
    });
    let whole = reshape(cx, node, value.node, sizes.clone())?;
    if indices.len() == own.len() {
        return Ok(Factor { node: whole, indices });
    }
    if axes.iter().any(|(index, axis)| axis.is_batched() && term.iter().filter(|i| *i == index).count() > 1) {
        return Err(cx.mixes(node, "an operand has the batch twice", "give the batch one axis"));
    }
    let dims: Vec<usize> = indices.iter().map(|index| axes[index].per_record()).collect();
    selectable(cx, node, count(&dims))?;
    let places = super::gather_elements::coordinates(&dims).map(|at| {
        let along = own.iter().map(|(index, _)| indices.iter().position(|i| i == index).map_or(0, |k| at[k]));
        Some(super::gather_elements::flat(&along.collect::<Vec<_>>(), &sizes))
    });
    let places: Vec<Option<usize>> = places.collect();
    Ok(Factor { node: elements(cx, node, whole, &places, &dims)?, indices })
}

/// The sum over all indices but these.
fn summed(cx: &mut Import<'_>, node: &OnnxNode, x: Factor, kept: &[Index]) -> Result<Factor, Refusal> {
    let axes: Vec<usize> = (0..x.indices.len()).filter(|&k| !kept.contains(&x.indices[k])).collect();
    if axes.is_empty() {
        return Ok(x);
    }
    let node = cx.emit(node, Sum { axes }, &[x.node])?;
    Ok(Factor { node, indices: x.indices.into_iter().filter(|index| kept.contains(index)).collect() })
}

/// The product of two factors, summed over the indices that are in both and not needed after it.
fn multiplied(cx: &mut Import<'_>, node: &OnnxNode, a: Factor, b: Factor, needed: &[Index]) -> Result<Factor, Refusal> {
    let alone = |x: &Factor, other: &Factor| -> Vec<Index> {
        x.indices.iter().copied().filter(|i| needed.contains(i) || other.indices.contains(i)).collect()
    };
    let (kept_a, kept_b) = (alone(&a, &b), alone(&b, &a));
    let (a, b) = (summed(cx, node, a, &kept_a)?, summed(cx, node, b, &kept_b)?);
    let of = |x: &Factor, take: &dyn Fn(&Index) -> bool| -> Vec<Index> {
        x.indices.iter().copied().filter(|index| take(index)).collect()
    };
    let both = of(&a, &|i| b.indices.contains(i) && needed.contains(i));
    let inner = of(&a, &|i| b.indices.contains(i) && !needed.contains(i));
    let (free_a, free_b) = (of(&a, &|i| !b.indices.contains(i)), of(&b, &|i| !a.indices.contains(i)));
    let indices = [&both[..], &free_a, &free_b].concat();
    let sizes = |cx: &Import<'_>, x: &Factor, of: &[Index]| -> Vec<usize> {
        let at = |index: &Index| x.indices.iter().position(|i| i == index);
        of.iter().filter_map(|index| Some(cx.ty(x.node).dims[at(index)?])).collect()
    };
    let (lead, dims_a, dims_b) = (sizes(cx, &a, &both), sizes(cx, &a, &free_a), sizes(cx, &b, &free_b));
    if inner.is_empty() {
        // Every pair of elements is multiplied once.
        let left = ordered(cx, node, &a, &[&both[..], &free_a].concat())?;
        let right = ordered(cx, node, &b, &[&both[..], &free_b].concat())?;
        let left = reshape(cx, node, left, [&lead[..], &dims_a, &vec![1; dims_b.len()]].concat())?;
        let right = reshape(cx, node, right, [&lead[..], &vec![1; dims_a.len()], &dims_b].concat())?;
        return Ok(Factor { node: apply(cx, node, Func::Mul, &[left, right])?, indices });
    }
    let (rows, columns, shared) = (count(&dims_a), count(&dims_b), count(&sizes(cx, &a, &inner)));
    let stack = if both.is_empty() { vec![] } else { vec![count(&lead)] };
    let left = ordered(cx, node, &a, &[&both[..], &free_a, &inner].concat())?;
    let left = reshape(cx, node, left, [&stack[..], &[rows, shared]].concat())?;
    // A weight that lies so already is taken as it is.
    let plain = [&both[..], &inner, &free_b].concat() == b.indices;
    let order = if plain { [&both[..], &inner, &free_b].concat() } else { [&both[..], &free_b, &inner].concat() };
    let right = ordered(cx, node, &b, &order)?;
    let matrix = if plain { [shared, columns] } else { [columns, shared] };
    let right = reshape(cx, node, right, [&stack[..], &matrix].concat())?;
    let product = cx.emit(node, Contract::new(false, !plain), &[left, right])?;
    let product = reshape(cx, node, product, [lead, dims_a, dims_b].concat())?;
    Ok(Factor { node: product, indices })
}

/// A factor with its axes in this order.
fn ordered(cx: &mut Import<'_>, node: &OnnxNode, x: &Factor, order: &[Index]) -> Result<NodeId, Refusal> {
    let perm = order.iter().filter_map(|index| x.indices.iter().position(|i| i == index)).collect();
    transpose(cx, node, x.node, perm)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(equation: &str, ranks: &[usize]) -> Option<String> {
        let (operands, result) = terms(equation, ranks)?;
        let word = |term: &Vec<Index>| {
            let letter = |index: &Index| match index {
                Index::Letter(letter) => letter.to_string(),
                Index::Dots(k) => k.to_string(),
            };
            term.iter().map(letter).collect::<String>()
        };
        Some(operands.iter().chain([&result]).map(word).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn equations_name_the_axes() {
        assert_eq!(text("bij, bjk -> bik", &[3, 3]).as_deref(), Some("bij bjk bik"));
        assert_eq!(text("ba", &[2]).as_deref(), Some("ba ab"));
        assert_eq!(text("i,i", &[1, 1]).as_deref(), Some("i i "));
        assert_eq!(text("...ii->...i", &[4]).as_deref(), Some("10ii 10i"));
        assert_eq!(text("...ij,jk", &[3, 2]).as_deref(), Some("0ij jk 0ik"));
        assert_eq!(text("ij->ii", &[2]), None);
        assert_eq!(text("ij->k", &[2]), None);
        assert_eq!(text("ij", &[3]), None);
        assert_eq!(text("i,j", &[1]), None);
    }
}
