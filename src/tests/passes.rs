//! What each pass promises: in properties that hold for all sketches, and in a small graph before and after it for people to
//! read.

use std::collections::BTreeSet;

use super::evaluate::{Values, evaluate};
use super::ops::SKETCHES;
use super::sketch::{ROWS, SIGNED, Sketch};
use crate::device::TARGETS;
use crate::graph::{NodeId, Type};
use crate::lower::cost::CostModel;
use crate::lower::kernels::{Half, Sums};
use crate::lower::scalar::Func;
use crate::lower::{host_inputs, host_outputs};
use crate::ops::Graph;
use crate::ops::Op;
use crate::ops::contract::Contract;
use crate::ops::dropout::Dropout;
use crate::ops::elementwise::Elementwise;
use crate::ops::leaf::Fill;
use crate::ops::movement::{Concat, Reshape, Slice, Transpose};
use crate::ops::softmax::{Softmax, SoftmaxVjp};
use crate::passes::collapse::collapse;
use crate::passes::differentiate::{GRADIENT, differentiate};
use crate::passes::fuse::fuse;
use crate::passes::fuse_sums::fuse_sums;
use crate::passes::inference::inference;
use crate::passes::narrow::narrow_from;
use crate::passes::privatize::{PER_SAMPLE, PrivateOptions, SUM, privatize, weigh_rows, with_gradient};
use crate::passes::simplify::simplify;
use crate::privacy::ClipRule;

/// Sketches of all ops, with the values of what the compiler adds to them.
fn sketches() -> impl Iterator<Item = Sketch> {
    SKETCHES.iter().flat_map(|(op, sketches)| {
        sketches().into_iter().map(move |mut sketch| {
            sketch.name = format!("{op} {}", sketch.name);
            sketch.values.insert(host_inputs::WEIGHT.into(), vec![1.0, 0.0, 1.0]);
            sketch.values.insert(host_inputs::CLIP_BOUNDS.into(), vec![0.5]);
            sketch
        })
    })
}

/// The forward graph, and those of both trainings.
fn graphs(sketch: &Sketch) -> [Graph; 3] {
    let gradients = differentiate(&sketch.graph).unwrap();
    let plain = weigh_rows(&gradients).unwrap();
    [sketch.graph.clone(), plain, private(&gradients, true)]
}

fn private(gradients: &Graph, per_sample: bool) -> Graph {
    let clip = ClipRule::flat(0.5).unwrap();
    let groups = match with_gradient(gradients).next() {
        Some(_) => clip.resolve(with_gradient(gradients).map(|(name, _)| name)).unwrap(),
        None => vec![],
    };
    if groups.is_empty() {
        return gradients.clone();
    }
    privatize(
        gradients,
        &PrivateOptions {
            clip,
            groups,
            strategy: None,
            costs: CostModel::default(),
            views: 1,
            per_sample,
            sums: Sums::Floats,
        },
        TARGETS,
    )
    .unwrap()
    .graph
}

/// The results of both graphs, which must be the same but for the order of additions.
fn assert_same(what: &str, before: &Graph, after: &Graph, values: &Values) {
    let (before, after) = (evaluate(before, ROWS, values), evaluate(after, ROWS, values));
    assert!(before.keys().eq(after.keys()), "{what}");
    for (name, expected) in &before {
        let largest = expected.iter().fold(1.0f64, |m, x| m.max(x.abs()));
        let close = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-12 * largest;
        assert!(after[name].iter().zip(expected).all(close), "{what}: {name} is {:?}, not {expected:?}", after[name]);
    }
}

#[test]
fn simplify_changes_no_value_and_leaves_nothing_to_simplify() {
    for sketch in sketches() {
        for graph in graphs(&sketch) {
            let simple = simplify(&graph).unwrap();
            assert_same(&sketch.name, &graph, &simple, &sketch.values);
            assert!(simple.len() <= graph.len(), "{}", sketch.name);
            assert_eq!(simplify(&simple).unwrap().to_string(), simple.to_string(), "{}", sketch.name);
        }
    }
}

#[test]
fn simplify_computes_nothing_twice() {
    for sketch in sketches() {
        for graph in graphs(&sketch) {
            let mut twice = graph.clone();
            let mut again: Vec<NodeId> = Vec::new();
            for id in graph.ids() {
                let operands: Vec<NodeId> = graph.operands(id).iter().map(|o| again[o.index()]).collect();
                let function = graph.op(id).rules().is_function();
                again.push(if function { twice.copy(&graph, id, &operands).unwrap() } else { id });
            }
            let outputs = graph.outputs.iter().map(|(name, id)| (format!("{name} again"), again[id.index()]));
            twice.outputs.extend(outputs);
            let simple = simplify(&twice).unwrap();
            for name in graph.outputs.keys() {
                assert_eq!(simple.outputs[name], simple.outputs[&format!("{name} again")], "{}: {name}", sketch.name);
            }
            assert_eq!(simple.len(), simplify(&graph).unwrap().len(), "{}", sketch.name);
            assert_same(&sketch.name, &twice, &simple, &sketch.values);
        }
    }
}

#[test]
fn what_differs_and_what_is_random_stay_apart() {
    let mut sketch = Sketch::new("alike");
    let (x, y, keys) =
        (sketch.value(true, &[3], &SIGNED), sketch.value(true, &[3], &SIGNED), sketch.ids(true, &[2], 0..9));
    let fill = |value| Fill { ty: Type::shared([3]), value };
    let dropout = Dropout { ratio: 0.5, layer: 0 };
    let apart = [
        sketch.add(fill(0.0), &[]),
        sketch.add(fill(-0.0), &[]),
        sketch.add(Elementwise::scale(0.0), &[x]),
        sketch.add(Elementwise::scale(-0.0), &[x]),
        sketch.add(Concat { axis: 0 }, &[x, y]),
        sketch.add(Concat { axis: 0 }, &[y, x]),
        sketch.add(dropout.clone(), &[x, keys]),
        sketch.add(dropout, &[x, keys]),
    ];
    sketch.graph.outputs.extend((0..).map(|k: usize| k.to_string()).zip(apart));
    let simple = simplify(&sketch.graph).unwrap();
    let ids: BTreeSet<NodeId> = simple.outputs.values().copied().collect();
    assert_eq!(ids.len(), apart.len(), "{simple}");
}

#[test]
fn narrow_rounds_what_is_kept_and_changes_no_loss() {
    for sketch in sketches() {
        let gradients = differentiate(&sketch.graph).unwrap();
        let plain = weigh_rows(&gradients).unwrap();
        let narrowed = weigh_rows(&narrow_from(&gradients, Half::F16, 1).unwrap()).unwrap();
        let [exact, rounded] = [&plain, &narrowed].map(|graph| evaluate(graph, ROWS, &sketch.values));
        assert_eq!(exact[host_outputs::LOSS], rounded[host_outputs::LOSS], "{}", sketch.name);
        for (name, expected) in &exact {
            let largest = expected.iter().fold(1.0f64, |m, x| m.max(x.abs()));
            let close = |(a, b): (&f64, &f64)| (a - b).abs() <= 2e-2 * largest;
            assert!(rounded[name].iter().zip(expected).all(close), "{}: {name}: {expected:?}", sketch.name);
        }
    }
}

#[test]
fn fuse_changes_no_value() {
    for sketch in sketches() {
        for graph in graphs(&sketch) {
            let simple = simplify(&graph).unwrap();
            let fused = fuse(&simple).unwrap();
            assert_same(&sketch.name, &simple, &fused, &sketch.values);
            assert!(fused.len() <= simple.len(), "{}", sketch.name);
        }
    }
}

#[test]
fn fuse_sums_changes_no_value() {
    for sketch in sketches() {
        for graph in graphs(&sketch) {
            assert_same(&sketch.name, &graph, &fuse_sums(&graph).unwrap(), &sketch.values);
        }
    }
}

#[test]
fn collapse_changes_no_value() {
    for mut sketch in sketches().chain([reordered()]) {
        sketch.values.entry(host_inputs::WEIGHT.into()).or_insert(vec![1.0; ROWS]);
        let collapsed = collapse(&sketch.graph).unwrap();
        assert_same(&sketch.name, &sketch.graph, &collapsed, &sketch.values);
        let plain = |graph: &Graph| weigh_rows(&differentiate(graph).unwrap()).unwrap();
        assert_same(&sketch.name, &plain(&sketch.graph), &plain(&collapsed), &sketch.values);
    }
}

/// The loss of a row is there whether it counts or not; all else is of the rows that do.
#[test]
fn privatize_leaves_out_rows_without_weight_whatever_they_hold() {
    let mut sketch = layer();
    sketch.values.insert(host_inputs::WEIGHT.into(), vec![1.0, 0.0, 1.0]);
    sketch.values.insert(host_inputs::CLIP_BOUNDS.into(), vec![0.5]);
    let private = private(&differentiate(&sketch.graph).unwrap(), true);
    let before = evaluate(&private, ROWS, &sketch.values);
    let row = sketch.values["x"].len() / ROWS;
    sketch.values.get_mut("x").unwrap()[row..2 * row].fill(f64::NAN);
    let after = evaluate(&private, ROWS, &sketch.values);
    let sums: Vec<&String> = before.keys().filter(|name| name.starts_with(SUM)).collect();
    assert_eq!(sums.len(), 2);
    for sum in sums {
        assert_eq!(before[sum], after[sum]);
        assert!(after[sum].iter().all(|x| x.is_finite()));
    }
    assert!(after[host_outputs::LOSS][1].is_nan());
}

#[test]
fn privatize_leaves_no_gradient_that_is_not_clipped() {
    for sketch in sketches() {
        let gradients = differentiate(&sketch.graph).unwrap();
        let private = private(&gradients, true);
        for (name, _) in with_gradient(&gradients) {
            assert!(private.outputs.contains_key(&format!("{SUM}{name}")), "{}: {name}", sketch.name);
            assert!(private.outputs.contains_key(&format!("{PER_SAMPLE}{name}")), "{}: {name}", sketch.name);
        }
        assert!(!private.outputs.keys().any(|name| name.starts_with(GRADIENT)), "{}", sketch.name);
    }
}

#[test]
fn differentiate_reports_every_op_without_a_derivative() {
    let mut sketch = Sketch::new("two of them");
    let mut x = sketch.value(true, &[2, 3], &SIGNED);
    for axis in [0, 1] {
        let y = sketch.add(Softmax { axis, log: false }, &[x]);
        x = sketch.add(SoftmaxVjp { axis, log: false }, &[y, x]);
    }
    let errors = differentiate(&sketch.loss_of(x).graph).unwrap_err();
    assert_eq!(errors.len(), 1, "what stands before an op without a derivative is not reached: {errors:?}");
    let mut sketch = Sketch::new("two side by side");
    let x = sketch.value(true, &[2, 3], &SIGNED);
    let parts: Vec<NodeId> =
        [0, 1].into_iter().map(|axis| sketch.add(SoftmaxVjp { axis, log: false }, &[x, x])).collect();
    let y = sketch.call(Func::Add, &parts);
    assert_eq!(differentiate(&sketch.loss_of(y).graph).unwrap_err().len(), 2);
}

#[test]
fn differentiate_leaves_alone_what_no_loss_depends_on() {
    let mut sketch = Sketch::new("an unused parameter");
    let (x, unused) = (sketch.value(true, &[3], &SIGNED), sketch.parameter(&[3], &SIGNED));
    // Without a derivative, but not on the way.
    sketch.add(SoftmaxVjp { axis: 0, log: false }, &[unused, unused]);
    let gradients = differentiate(&sketch.loss_of(x).graph).unwrap();
    assert_eq!(with_gradient(&gradients).count(), 1);
}

/// A linear layer over positions with a function behind it.
fn layer() -> Sketch {
    let mut sketch = Sketch::new("layer");
    let x = sketch.input("x", crate::graph::Type::batched([4, 5]), &SIGNED);
    let (weight, bias) = (sketch.parameter(&[2, 5], &SIGNED), sketch.parameter(&[2], &SIGNED));
    let weight = sketch.add(Transpose { perm: vec![1, 0] }, &[weight]);
    let y = sketch.add(Contract::new(false, false), &[x, weight]);
    let y = sketch.call(Func::Add, &[y, bias]);
    let y = sketch.call(Func::Tanh, &[y]);
    sketch.loss_of(y)
}

/// A layer whose weight's rows are exchanged on the way to it, as exporters write the gates of recurrences.
fn reordered() -> Sketch {
    let mut sketch = Sketch::new("reordered");
    let (x, weight) = (sketch.value(true, &[3], &SIGNED), sketch.parameter(&[4, 3], &SIGNED));
    let halves: Vec<NodeId> =
        [2, 0].into_iter().map(|start| sketch.add(Slice { axis: 0, start, len: 2 }, &[weight])).collect();
    let weight = sketch.add(Concat { axis: 0 }, &halves);
    let y = sketch.add(Contract::new(false, true), &[x, weight]);
    sketch.loss_of(y)
}

fn snapshot(pass: &str, before: &Graph, after: &Graph) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(format!("pass.{pass}"), format!("{before}\nbecomes\n\n{after}")));
}

#[test]
fn each_pass_does_what_its_snapshot_shows() {
    let roundabout = {
        let mut sketch = Sketch::new("roundabout");
        let x = sketch.value(true, &[2, 3], &SIGNED);
        let mut y = x;
        for _ in 0..2 {
            y = sketch.add(Transpose { perm: vec![1, 0] }, &[y]);
        }
        y = sketch.add(Reshape { dims: vec![6] }, &[y]);
        y = sketch.add(Reshape { dims: vec![2, 3] }, &[y]);
        y = sketch.add(Elementwise::scale(1.0), &[y]);
        let flipped = sketch.add(Transpose { perm: vec![1, 0] }, &[x]);
        let y = sketch.add(Contract::new(false, false), &[y, flipped]);
        sketch.loss_of(y).graph
    };
    snapshot("simplify", &roundabout, &simplify(&roundabout).unwrap());
    let reordered = reordered().graph;
    snapshot("collapse", &reordered, &collapse(&reordered).unwrap());

    let layer = simplify(&layer().graph).unwrap();
    let gradients = simplify(&differentiate(&layer).unwrap()).unwrap();
    snapshot("differentiate", &layer, &gradients);
    let private = private(&gradients, false);
    snapshot("privatize", &gradients, &private);
    let summed = fuse_sums(&private).unwrap();
    snapshot("fuse_sums", &private, &summed);
    snapshot("fuse", &summed, &fuse(&summed).unwrap());

    let mut sketch = Sketch::new("dropout");
    let (x, keys) = (sketch.value(true, &[3], &SIGNED), sketch.ids(true, &[2], 0..9));
    let y = sketch.add(Dropout { ratio: 0.5, layer: 0 }, &[x, keys]);
    let trained = sketch.loss_of(y).graph;
    let inferred = inference(&trained).unwrap();
    assert!(inferred.ids().all(|id| !matches!(inferred.op(id), Op::Dropout(_))));
    snapshot("inference", &trained, &inferred);
}
