//! Private graphs broken on purpose, each in one way.

use super::private;
use crate::device::TARGETS;
use crate::graph::{NodeId, Origin, Type};
use crate::lower::cost::CostModel;
use crate::lower::host_outputs::LOSS;
use crate::lower::kernels::Sums;
use crate::lower::scalar::Func;
use crate::ops::Graph;
use crate::ops::Op;
use crate::ops::contract::Contract;
use crate::ops::elementwise::Elementwise;
use crate::ops::leaf::{Input, Parameter};
use crate::ops::movement::Reshape;
use crate::ops::reduce::Sum;
use crate::ops::sum_batch::SumBatch;
use crate::passes::differentiate::differentiate;
use crate::passes::fuse_sums::fuse_sums;
use crate::passes::privatize::{PrivateOptions, privatize, with_gradient};
use crate::passes::strategy::NormStrategy;
use crate::privacy::clipping::ClipRule;

/// Gradients of `(W V W x)²` summed over 3 positions, for a square matrix `W` that is used twice and a `V` used once.
fn gradients() -> Graph {
    let mut graph = Graph::default();
    let mut add = |op: Op, operands: &[NodeId]| graph.add(op, operands, Origin::default()).expect("well typed");
    let x = add(Input { name: "x".into(), ty: Type::batched([3, 5]) }.into(), &[]);
    let matrix = |name: &str| Parameter { name: name.into(), dims: vec![5, 5], trainable: true };
    let (w, v) = (add(matrix("w").into(), &[]), add(matrix("v").into(), &[]));
    let mut y = x;
    for parameter in [w, v, w] {
        y = add(Contract::new(false, false).into(), &[y, parameter]);
    }
    let square = add(Elementwise::call(Func::Mul).into(), &[y, y]);
    let loss = add(Sum { axes: vec![0, 1] }.into(), &[square]);
    graph.outputs.insert(LOSS.into(), loss);
    differentiate(&graph).expect("differentiable")
}

fn rewritten(rule: &str, strategy: Option<NormStrategy>) -> Graph {
    in_views(rule, strategy, 1)
}

/// The same, where each record has so many rows.
fn in_views(rule: &str, strategy: Option<NormStrategy>, views: usize) -> Graph {
    let gradients = gradients();
    let clip: ClipRule = rule.parse().expect("a rule");
    let groups = clip.resolve(with_gradient(&gradients).map(|(name, _)| name)).expect("groups");
    privatize(
        &gradients,
        &PrivateOptions {
            clip,
            groups,
            strategy,
            costs: CostModel::default(),
            views,
            per_sample: false,
            sums: Sums::Floats,
        },
        TARGETS,
    )
    .expect("rewritten")
    .graph
}

const RULES: [&str; 2] = ["flat:1", "per-layer:1"];
const STRATEGIES: [Option<NormStrategy>; 4] =
    [None, Some(NormStrategy::Materialize), Some(NormStrategy::Ghost), Some(NormStrategy::Tile)];

/// Every rewritten graph, as the passes leave it.
fn every() -> impl Iterator<Item = Graph> {
    let graphs = RULES.iter().flat_map(|rule| STRATEGIES.iter().map(|&strategy| rewritten(rule, strategy)));
    graphs.flat_map(|graph| [fuse_sums(&graph).expect("fused"), graph])
}

/// The graph with some nodes changed: `change` gets the new graph, the old node and its new operands.
fn broken(graph: &Graph, change: impl Fn(&mut Graph, NodeId, &mut Op, &mut Vec<NodeId>)) -> Graph {
    let changed = graph.rewrite(|out, id, mut operands| {
        let mut op = graph.op(id).clone();
        change(out, id, &mut op, &mut operands);
        out.add(op, &operands, graph.node(id).origin.clone())
    });
    changed.expect("well typed").0
}

/// What the verifier says of a graph.
fn said(graph: &Graph) -> String {
    private(graph, "test").err().unwrap_or_default().iter().map(|v| format!("{v}\n")).collect()
}

fn ids(graph: &Graph, what: impl Fn(&Op) -> bool) -> Vec<NodeId> {
    graph.ids().filter(|&id| what(graph.op(id))).collect()
}

#[test]
fn what_the_passes_make_is_right() {
    for graph in every() {
        assert_eq!(said(&graph), "", "{graph}");
    }
}

#[test]
fn a_missing_weight_is_refused() {
    for graph in every() {
        let first = ids(&graph, |op| matches!(op, Op::SumBatch(_)))[0];
        let wrong = broken(&graph, |_, id, op, operands| {
            if let Op::SumBatch(sum) = op
                && id == first
            {
                sum.weighted = false;
                operands.pop();
            }
        });
        assert!(said(&wrong).contains("records are summed without a clip factor"), "{}", said(&wrong));
    }
}

#[test]
fn weights_of_the_rows_alone_are_refused() {
    let graph = rewritten("flat:1", None);
    let wrong = broken(&graph, |out, _, op, operands| {
        if matches!(op, Op::SumBatch(_)) {
            let weights = out.ids().find(|&id| super::is_row_weight(out, id)).expect("weights");
            operands[1] = weights;
        }
    });
    assert!(said(&wrong).contains("records are summed without a clip factor"), "{}", said(&wrong));
}

#[test]
fn the_weight_of_another_group_is_refused() {
    for strategy in STRATEGIES {
        let graph = rewritten("per-layer:1", strategy);
        let factors = ids(&graph, |op| matches!(op, Op::ClipFactor(_)));
        assert_eq!(factors.len(), 2);
        let wrong = broken(&graph, |out, id, op, operands| {
            if matches!(op, Op::SumBatch(_)) {
                let of = graph.operands(id)[1];
                let group = |graph: &Graph, id| matches!(graph.op(id), Op::ClipFactor(f) if f.group == 0);
                let other = out
                    .ids()
                    .find(|&id| matches!(out.op(id), Op::ClipFactor(_)) && group(out, id) != group(&graph, of));
                operands[1] = other.unwrap_or(operands[1]);
            }
        });
        assert!(said(&wrong).contains("not among those of the factor"), "{}", said(&wrong));
    }
}

#[test]
fn a_path_around_the_sum_is_refused() {
    // By an op that drops the batch: the structure itself.
    let graph = rewritten("flat:1", None);
    let changed = broken(&graph, |_, _, op, _| {
        if let Op::SumBatch(sum) = op {
            sum.weighted = true;
        }
    });
    assert_eq!(said(&changed), "");
    // By another, unclipped sum that is added to the clipped one.
    let (mut wrong, each) = (graph.clone(), ids(&graph, |op| matches!(op, Op::Outer(_)))[0]);
    let around = wrong.add(SumBatch::default(), &[each], Origin::default()).expect("a sum");
    let sum = wrong.outputs["sum/v"];
    let both = wrong.add(Elementwise::call(Func::Add), &[sum, around], Origin::default()).expect("well typed");
    wrong.outputs.insert("sum/v".into(), both);
    assert!(said(&wrong).contains("records are summed without a clip factor"), "{}", said(&wrong));
    // By an output of its own.
    let mut wrong = graph.clone();
    let around = wrong.add(SumBatch::default(), &[each], Origin::default()).expect("a sum");
    wrong.outputs.insert("extra".into(), around);
    assert!(said(&wrong).contains("it depends on a sum over the batch"), "{}", said(&wrong));
    // Scaled after it was clipped.
    let mut wrong = graph.clone();
    let scaled = wrong.add(Elementwise::scale(2.0), &[sum], Origin::default()).expect("well typed");
    wrong.outputs.insert("sum/v".into(), scaled);
    assert!(said(&wrong).contains("a sum of clipped gradients is changed"), "{}", said(&wrong));
}

#[test]
fn records_that_met_before_are_refused() {
    let graph = rewritten("flat:1", None);
    let mut wrong = graph.clone();
    let sum = wrong.outputs["sum/v"];
    let each = ids(&graph, |op| matches!(op, Op::Outer(_)))[0];
    let factor = ids(&graph, |op| matches!(op, Op::ClipFactor(_)))[0];
    let mixed = wrong.add(Elementwise::call(Func::Add), &[each, sum], Origin::default()).expect("well typed");
    let again = wrong.add(SumBatch::weighted(Sums::Floats), &[mixed, factor], Origin::default()).expect("a sum");
    wrong.outputs.insert("sum/v".into(), again);
    assert!(said(&wrong).contains("records have met before"), "{}", said(&wrong));
}

#[test]
fn a_norm_that_leaves_out_a_use_is_refused() {
    for graph in every() {
        let added = |graph: &Graph, id: NodeId| {
            let norm = |&o: &NodeId| crate::ops::norm::is_norm(graph.op(o));
            graph.operands(id).len() == 2 && graph.operands(id).iter().any(norm)
        };
        let adds: Vec<NodeId> = ids(&graph, super::as_add);
        for total in adds.into_iter().filter(|&id| added(&graph, id)) {
            // Zero in place of the last norm that is added.
            let wrong = broken(&graph, |out, id, _, operands| {
                if id == total {
                    let zero = crate::ops::leaf::Fill { ty: Type::batched([]), value: 0.0 };
                    operands[1] = out.add(zero, &[], Origin::default()).expect("zeros");
                }
            });
            let said = said(&wrong);
            assert!(said.contains("not among those of the factor"), "{said}");
        }
    }
}

#[test]
fn a_norm_of_something_else_is_refused() {
    for graph in every() {
        let Some(&norm) = ids(&graph, |op| matches!(op, Op::SquareNorm(_))).first() else { continue };
        let wrong = broken(&graph, |out, id, _, operands| {
            if id == norm {
                let half = out.add(Elementwise::scale(0.5), &[operands[0]], Origin::default()).expect("well typed");
                operands[0] = half;
            }
        });
        assert!(said(&wrong).contains("not among those of the factor"), "{}", said(&wrong));
        assert!(said(&wrong).contains("is the norm of nothing that it weighs"), "{}", said(&wrong));
        // The same in another shape is the same norm.
        let dims = vec![graph.ty(graph.operands(norm)[0]).len()];
        let same = broken(&graph, |out, id, _, operands| {
            if id == norm {
                let flat = Reshape { dims: dims.clone() };
                operands[0] = out.add(flat, &[operands[0]], Origin::default()).expect("well typed");
            }
        });
        assert_eq!(said(&same), "");
    }
}

#[test]
fn rounding_that_is_left_out_is_refused() {
    for strategy in [NormStrategy::Ghost, NormStrategy::Tile] {
        let graph = rewritten("flat:1", Some(strategy));
        let wrong = broken(&graph, |_, _, op, operands| {
            if matches!(op, Op::ClipFactor(_)) {
                operands.drain(1..operands.len() - 2);
            }
        });
        assert!(said(&wrong).contains("what rounding hides"), "{}", said(&wrong));
    }
}

#[test]
fn other_row_weights_are_refused() {
    let graph = rewritten("flat:1", None);
    let wrong = broken(&graph, |out, _, op, operands| {
        if matches!(op, Op::ClipFactor(_)) {
            let ones = crate::ops::leaf::Fill { ty: Type::batched([]), value: 1.0 };
            let at = operands.len() - 2;
            operands[at] = out.add(ones, &[], Origin::default()).expect("ones");
        }
    });
    assert!(said(&wrong).contains("weights of the rows"), "{}", said(&wrong));
}

#[test]
fn rows_that_are_taken_for_records_are_refused() {
    for strategy in STRATEGIES {
        let graph = in_views("flat:1", strategy, 3);
        assert_eq!(said(&graph), "", "{graph}");
        assert_eq!(said(&fuse_sums(&graph).expect("fused")), "");
        let row = graph.operands(ids(&graph, |op| matches!(op, Op::Views(_)))[0])[0];
        let factor = ids(&graph, |op| matches!(op, Op::ClipFactor(_)))[0];
        for (weights, why) in [
            (&[factor][..], "takes values of rows with values of records"),
            (&[], "it takes each row for a record of its own"),
        ] {
            let mut wrong = graph.clone();
            let sum = SumBatch { weighted: !weights.is_empty(), ..SumBatch::default() };
            let around = wrong.add(sum, &[&[row], weights].concat(), Origin::default()).expect("a sum");
            wrong.outputs.insert("sum/v".into(), around);
            assert!(said(&wrong).contains(why), "{}", said(&wrong));
        }
    }
}
