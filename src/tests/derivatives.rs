//! Every op's derivative, and what privatize makes of it, against central differences.

use std::collections::{BTreeMap, BTreeSet};

use super::evaluate::{Values, evaluate};
use super::ops::{SKETCHES, UNDERIVABLE};
use super::sketch::{ROWS, Sketch};
use crate::device::TARGETS;
use crate::device::cases::reference::Floats;
use crate::graph::Violation;
use crate::lower::cost::CostModel;
use crate::lower::kernels::{Half, Sums};
use crate::lower::{host_inputs, host_outputs};
use crate::ops::Graph;
use crate::ops::{Backward, Op, VjpError};
use crate::passes::differentiate::{differentiate, differentiate_mean};
use crate::passes::fuse_sums::fuse_sums;
use crate::passes::narrow::narrow_from;
use crate::passes::privatize::{PER_SAMPLE, PrivateOptions, SUM, privatize, weigh_rows, with_gradient};
use crate::passes::strategy::NormStrategy;
use crate::passes::verify;
use crate::privacy::ClipRule;

/// The weights of the records.
const WEIGHTS: [f64; ROWS] = [1.0, 0.5, 2.0];

/// How far a derivative may be off, of the largest entry: what central differences leave.
const TOLERANCE: f64 = 1e-7;

/// How far a clipped sum may be off: clip factors allow for the rounding of devices, which is not there.
const CLIPPED: f64 = 1e-4;

/// The gradient of each record's loss, by parameter.
type PerRecord = BTreeMap<String, Vec<Floats>>;

fn differences(sketch: &Sketch) -> PerRecord {
    const STEP: f64 = 1e-5;
    let graph = sketch.meant.as_ref().unwrap_or(&sketch.graph);
    let gradient = |name: String| {
        let mut gradients = vec![Floats::new(); ROWS];
        for k in 0..sketch.values[&name].len() {
            let [less, more] = [-STEP, STEP].map(|step| {
                let mut values = sketch.values.clone();
                values.get_mut(&name).expect("a parameter")[k] += step;
                evaluate(graph, ROWS, &values).remove(host_outputs::LOSS).expect("a loss")
            });
            let slopes = less.iter().zip(more).map(|(less, more)| (more - less) / (2.0 * STEP));
            gradients.iter_mut().zip(slopes).for_each(|(gradient, slope)| gradient.push(slope));
        }
        (name, gradients)
    };
    sketch.parameters().into_iter().map(gradient).collect()
}

/// The sum of the records' gradients, each times its factor.
fn weighted(gradients: &[Floats], factors: &[f64]) -> Floats {
    let mut sum = vec![0.0; gradients[0].len()];
    for (gradient, factor) in gradients.iter().zip(factors) {
        sum.iter_mut().zip(gradient).for_each(|(sum, x)| *sum += factor * x);
    }
    sum
}

/// Complains where `found` is further from `expected` than a share of the largest entry.
fn compare(what: &str, found: &[f64], expected: &[f64], tolerance: f64) -> Result<(), String> {
    let largest = expected.iter().fold(1.0f64, |m, x| m.max(x.abs()));
    let close = |(a, b): (&f64, &f64)| (a - b).abs() <= tolerance * largest;
    match found.len() == expected.len() && found.iter().zip(expected).all(close) {
        true => Ok(()),
        false => Err(format!("{what} is {found:.6?} and should be {expected:.6?}")),
    }
}

/// The verifier of a stage.
type Verifier = fn(&Graph, &str) -> Result<(), Vec<Violation>>;

/// The graph of a stage and what becomes of it where sums compute what they sum, both as the verifier has them.
fn verified(verify: Verifier, graph: Graph) -> Result<[Graph; 2], String> {
    let graphs = [fuse_sums(&graph).map_err(|e| e.to_string())?, graph];
    let check = |graph: &Graph| verify(graph, "a test").map_err(|found| format!("{}\n{graph}", found[0]));
    graphs.iter().try_for_each(check)?;
    Ok(graphs)
}

/// Holds the plain and the private gradients of a sketch to the differences; returns the graphs that were run.
fn check(sketch: &Sketch) -> Result<Vec<Graph>, String> {
    let text = |e: &dyn std::fmt::Display| e.to_string();
    let expected = differences(sketch);
    let gradients = differentiate(&sketch.graph).map_err(|errors| text(&errors[0]))?;
    verify::gradients(&gradients, "differentiate").map_err(|found| format!("{}\n{gradients}", found[0]))?;
    let mut values = sketch.values.clone();
    values.insert(host_inputs::WEIGHT.into(), WEIGHTS.into());
    let plain = verified(verify::plain, weigh_rows(&gradients).map_err(|e| text(&e))?)?;
    for results in plain.each_ref().map(|plain| evaluate(plain, ROWS, &values)) {
        for (name, gradients) in &expected {
            match results.get(&format!("{SUM}{name}")) {
                Some(sum) => compare(name, sum, &weighted(gradients, &WEIGHTS), TOLERANCE)?,
                // No path from the parameter to the loss has a derivative.
                None => gradients.iter().try_for_each(|g| compare(name, &vec![0.0; g.len()], g, TOLERANCE))?,
            }
        }
    }
    let mut graphs = vec![gradients.clone()];
    graphs.extend(plain);
    if with_gradient(&gradients).next().is_some() {
        for strategy in [None, Some(NormStrategy::Materialize), Some(NormStrategy::Ghost), Some(NormStrategy::Tile)] {
            graphs.extend(
                check_private(&gradients, &expected, &values, strategy).map_err(|e| format!("{strategy:?}: {e}"))?,
            );
            let views = check_views(sketch, &expected, &values, strategy);
            graphs.extend(views.map_err(|e| format!("{strategy:?}, in views: {e}"))?);
        }
    }
    Ok(graphs)
}

/// Holds per-sample gradients, norms and clipped sums, with the median norm for the bound, to the differences.
fn check_private(
    gradients: &Graph,
    expected: &PerRecord,
    values: &Values,
    strategy: Option<NormStrategy>,
) -> Result<[Graph; 2], String> {
    let square = |n: usize| expected.values().flat_map(|g| &g[n]).map(|x| x * x).sum::<f64>();
    let norms: Floats = (0..ROWS).map(|n| square(n).sqrt()).collect();
    let mut sorted = norms.clone();
    sorted.sort_by(f64::total_cmp);
    // Where most gradients are 0, none is clipped.
    let bound = Some(sorted[ROWS / 2]).filter(|median| *median > 0.0).unwrap_or(1e3);
    let clip = ClipRule::flat(bound).map_err(|e| e.to_string())?;
    let groups = clip.resolve(with_gradient(gradients).map(|(name, _)| name)).map_err(|e| e.to_string())?;
    let options = PrivateOptions {
        clip,
        groups,
        strategy,
        costs: CostModel::default(),
        views: 1,
        per_sample: true,
        sums: Sums::Floats,
    };
    let private = verified(verify::private, privatize(gradients, &options, TARGETS).map_err(|e| e.to_string())?.graph)?;
    let mut values = values.clone();
    values.insert(host_inputs::CLIP_BOUNDS.into(), vec![bound]);
    let factors: Floats = norms.iter().zip(WEIGHTS).map(|(norm, weight)| (bound / norm).min(1.0) * weight).collect();
    for results in private.each_ref().map(|private| evaluate(private, ROWS, &values)) {
        compare("the norm", &results[host_outputs::NORM], &norms, TOLERANCE)?;
        for (name, gradients) in expected {
            let Some(each) = results.get(&format!("{PER_SAMPLE}{name}")) else { continue };
            compare(&format!("each record's {name}"), each, &gradients.concat(), TOLERANCE)?;
            let sum = &results[&format!("{SUM}{name}")];
            compare(&format!("the clipped sum of {name}"), sum, &weighted(gradients, &factors), CLIPPED)?;
        }
    }
    Ok(private)
}

/// Holds norm and clipped sum of one record, which has all rows for its views, to the mean of the differences.
fn check_views(
    sketch: &Sketch,
    expected: &PerRecord,
    values: &Values,
    strategy: Option<NormStrategy>,
) -> Result<[Graph; 2], String> {
    let gradients = differentiate_mean(&sketch.graph, ROWS).map_err(|errors| errors[0].to_string())?;
    let mean = |gradients: &Vec<Floats>| weighted(gradients, &[1.0 / ROWS as f64; ROWS]);
    let means: BTreeMap<&String, Floats> = expected.iter().map(|(name, of_rows)| (name, mean(of_rows))).collect();
    let norm = means.values().flatten().map(|x| x * x).sum::<f64>().sqrt();
    let mut graphs = Vec::new();
    for bound in [0.5 * norm.max(1e-3), 1e3] {
        let clip = ClipRule::flat(bound).map_err(|e| e.to_string())?;
        let groups = clip.resolve(with_gradient(&gradients).map(|(name, _)| name)).map_err(|e| e.to_string())?;
        let costs = CostModel::default();
        let options =
            PrivateOptions { clip, groups, strategy, costs, views: ROWS, per_sample: false, sums: Sums::Floats };
        let private = privatize(&gradients, &options, TARGETS).map_err(|e| e.to_string())?.graph;
        graphs = verified(verify::private, private)?.into();
        let mut values = values.clone();
        values.insert(host_inputs::CLIP_BOUNDS.into(), vec![bound]);
        let factor = [(bound / norm).min(1.0) * WEIGHTS[0]];
        for results in graphs.iter().map(|private| evaluate(private, 1, &values)) {
            compare("the norm", &results[host_outputs::NORM], &[norm], TOLERANCE)?;
            for (name, mean) in &means {
                let Some(sum) = results.get(&format!("{SUM}{name}")) else { continue };
                let expected = weighted(std::slice::from_ref(mean), &factor);
                compare(&format!("the clipped sum of {name}"), sum, &expected, CLIPPED)?;
            }
        }
    }
    graphs.try_into().map_err(|_| "no graphs".to_owned())
}

fn ops_of(graph: &Graph) -> impl Iterator<Item = &Op> {
    graph.ids().map(|id| graph.op(id))
}

/// The op that a node of the graph has, differentiated with all of its operands wanted, must refuse.
fn refuses(graph: &Graph, op: &str) -> bool {
    let mut graph = graph.clone();
    let nodes: Vec<_> = graph.ids().filter(|&id| graph.op(id).name() == op).collect();
    nodes.into_iter().all(|id| {
        let (node, needs) = (graph.op(id).clone(), vec![true; graph.operands(id).len()]);
        let refusal = node.rules().vjp(&mut Backward::new(&mut graph, id, id, needs));
        matches!(refusal, Err(VjpError::NotDifferentiable { .. }))
    })
}

#[test]
fn every_op_is_in_the_table_of_sketches_or_has_no_derivative() {
    let mut listed: Vec<&str> = SKETCHES.iter().map(|(op, _)| *op).chain(UNDERIVABLE.iter().copied()).collect();
    let mut all = Op::NAMES.to_vec();
    listed.sort_unstable();
    all.sort_unstable();
    assert_eq!(listed, all);
}

#[test]
fn derivatives_are_those_of_finite_differences() {
    let (mut problems, mut graphs) = (Vec::new(), Vec::new());
    for (op, sketches) in SKETCHES {
        let sketches = sketches();
        assert!(!sketches.is_empty(), "{op} has no sketch");
        for sketch in sketches {
            assert!(ops_of(&sketch.graph).any(|node| node.name() == *op), "{op} {}: no such node", sketch.name);
            match check(&sketch) {
                Ok(found) => graphs.extend(found),
                Err(problem) => problems.push(format!("{op} {}: {problem}", sketch.name)),
            }
        }
    }
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
    let narrowed = |(_, sketches): &(&str, fn() -> Vec<Sketch>)| {
        let gradients = differentiate(&sketches()[0].graph).expect("a derivative");
        narrow_from(&gradients, Half::Bf16, 1).expect("values in 16 bits")
    };
    graphs.extend(SKETCHES.iter().map(narrowed));
    // The ops without a derivative are run here too: privatize makes them, or a derivative.
    let seen: BTreeSet<&str> = graphs.iter().flat_map(ops_of).map(Op::name).collect();
    for op in UNDERIVABLE {
        assert!(seen.contains(op), "{op} is in none of the graphs");
        assert!(graphs.iter().all(|graph| refuses(graph, op)), "{op} has a derivative, and no sketch");
    }
}
