//! What a rule gave, held against what shape inference says of the same outputs.
//!
//! The rules are written by hand, and tract infers by its own code, so that neither repeats a mistake of the other. Only
//! what inference knows is compared.

use super::axes::Axis;
use super::{Import, Refusal, Value};
use crate::graph::DType;
use crate::onnx::{Dim, Elem, OnnxNode};

impl Import<'_> {
    /// The values of a node, if each is what shape inference says of that output, its node holds one record of its axes,
    /// and the batch is in them where its elements depend on the record.
    pub(super) fn checked(&self, node: &OnnxNode, values: Vec<Value>) -> Result<Vec<Value>, Refusal> {
        let lost = |value: &Value| self.graph.ty(value.node).batched && value.axes.batch_axis().is_none();
        if values.iter().any(lost) {
            return Err(self.invalid(node, "its operands do not fit: the axes of the result lose the batch"));
        }
        for (output, value) in node.outputs.iter().zip(&values).filter(|(output, _)| !output.is_empty()) {
            self.agrees(node, output, value)?;
        }
        Ok(values)
    }

    fn agrees(&self, node: &OnnxNode, output: &str, value: &Value) -> Result<(), Refusal> {
        let ty = self.graph.ty(value.node);
        let (elem, dims) = (self.facts.dtype(output), self.facts.shape(output));
        let dtype = |elem: Elem| match elem {
            Elem::Bool => DType::Bool,
            elem if elem.is_float() => DType::F32,
            _ => DType::I32,
        };
        let same_elem = elem.is_none_or(|elem| dtype(elem) == ty.dtype) || self.masks.contains(output);
        let same_dims = dims.is_none_or(|dims| {
            let mut pairs = dims.iter().zip(&value.axes.0);
            dims.len() == value.axes.rank() && pairs.all(|(dim, axis)| is_size(*dim, axis, self.fixed_batch()))
        });
        let record = value.axes.per_record();
        if same_elem && same_dims && ty.dims == record {
            return Ok(());
        }
        let mut rule = format!("{}{}", ty.dtype, value.axes);
        if ty.dims != record {
            rule += &format!(" of records {:?}", ty.dims);
        }
        let elem = elem.map_or("?".to_owned(), |elem| elem.to_string());
        let dims = dims.map(|dims| dims.iter().map(Dim::to_string).collect::<Vec<_>>().join(", "));
        Err(Refusal::Contradicted {
            node: node.name.clone(),
            op: node.op_type.clone(),
            output: output.to_owned(),
            rule,
            inferred: format!("{elem}[{}]", dims.unwrap_or("?".to_owned())),
        })
    }
}

/// Whether an axis has an inferred size. In a file for a fixed number of records inference sees that number in the place
/// of the batch.
fn is_size(dim: Dim, axis: &Axis, fixed_batch: Option<usize>) -> bool {
    let own = axis.per_record();
    match (dim, axis.is_batched()) {
        (Dim::Known(size), false) | (Dim::Batch(size), true) => size == own,
        (Dim::Known(size), true) => fixed_batch.is_some_and(|batch| own.checked_mul(batch) == Some(size)),
        (Dim::Batch(_), false) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::path::Path;

    use super::*;
    use crate::import::Rule;
    use crate::import::axes::{Axes, Factor};
    use crate::import::custom::CustomOps;
    use crate::import::prove::prove_with;
    use crate::import::rules::rules;
    use crate::onnx::{Source, discover};
    use crate::ops::leaf::Fill;
    use crate::ops::movement::Reshape;
    use Factor::{Batch, Size};

    #[test]
    fn multiples_of_the_batch_are_compared_whatever_the_order_of_their_factors() {
        let axis = Axis::of(&[Size(2), Batch, Size(3)]);
        assert!(is_size(Dim::Batch(6), &axis, None));
        assert!(!is_size(Dim::Batch(5), &axis, None));
        assert!(!is_size(Dim::Known(6), &axis, None));
        assert!(!is_size(Dim::Batch(6), &Axis::size(6), None));
        assert!(is_size(Dim::Known(24), &axis, Some(4)));
        assert!(!is_size(Dim::Known(6), &axis, Some(4)));
        assert!(is_size(Dim::Known(1), &Axis::size(1), None));
    }

    /// What is said of a digits network whose rule for `Tanh` is this one.
    fn with_tanh(rule: Rule) -> Vec<String> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/digits_cnn.onnx");
        let source = Source::open(&path).unwrap();
        let parameters = discover(&source, &[], &[]).unwrap();
        let rules: HashMap<&str, Rule> = rules().chain([("Tanh", rule)]).collect();
        let refused = prove_with(&source, &parameters, &[], &rules, &CustomOps::default()).unwrap_err();
        let known = |refusal: &Refusal| matches!(refusal, Refusal::Contradicted { .. });
        assert!(refused.problems.iter().all(known), "{:?}", refused.problems);
        refused.problems.iter().map(Refusal::to_string).collect()
    }

    #[test]
    fn a_rule_that_exchanges_axes_is_caught() {
        let problems = with_tanh(|cx, node| {
            let x = cx.value(node, 0)?;
            let axes = Axes(x.axes.0.iter().take(1).chain(x.axes.0.iter().skip(1).rev()).cloned().collect());
            Ok(vec![cx.relabel(node, x.node, axes)?])
        });
        insta::assert_snapshot!(problems.join("\n"), @"node `/Tanh` (Tanh): its output `/Tanh_output_0` is f32[N, 8, 8, 16] by dpc's rule, and f32[N, 16, 8, 8] by shape inference");
    }

    #[test]
    fn a_rule_that_moves_the_batch_is_caught() {
        let problems = with_tanh(|cx, node| {
            let x = cx.value(node, 0)?;
            let mut axes = x.axes.clone();
            axes.0.swap(0, 1);
            Ok(vec![Value { node: x.node, axes }])
        });
        insta::assert_snapshot!(problems.join("\n"), @"node `/Tanh` (Tanh): its output `/Tanh_output_0` is f32[16, N, 8, 8] by dpc's rule, and f32[N, 16, 8, 8] by shape inference");
    }

    #[test]
    fn a_rule_that_yields_integers_is_caught() {
        let problems = with_tanh(|cx, node| {
            let x = cx.value(node, 0)?;
            let ty = cx.ty(x.node).clone().of(DType::I32);
            Ok(vec![Value { node: cx.emit(node, Fill { ty, value: 0.0 }, &[])?, axes: x.axes }])
        });
        insta::assert_snapshot!(problems.join("\n"), @"node `/Tanh` (Tanh): its output `/Tanh_output_0` is i32[N, 16, 8, 8] by dpc's rule, and f32[N, 16, 8, 8] by shape inference");
    }

    #[test]
    fn a_rule_whose_node_is_no_record_of_its_axes_is_caught() {
        let problems = with_tanh(|cx, node| {
            let x = cx.value(node, 0)?;
            let dims = vec![cx.ty(x.node).len()];
            Ok(vec![Value { node: cx.emit(node, Reshape { dims }, &[x.node])?, axes: x.axes }])
        });
        insta::assert_snapshot!(problems.join("\n"), @"node `/Tanh` (Tanh): its output `/Tanh_output_0` is f32[N, 16, 8, 8] of records [1024] by dpc's rule, and f32[N, 16, 8, 8] by shape inference");
    }
}
