//! Pictures of the private graph: what a record's gradient goes through before it is part of a sum.
//!
//! The whole graph is drawn by layers: a box for what a node of the model computes, one for its backward pass, and for each layer of
//! parameters one for the norms of its gradients and one for their clipped sums. One layer is drawn node by node, with what it reads.

use std::collections::{BTreeMap, BTreeSet};

use super::MOST_NODES;
use super::layout::{Size, layout};
use super::svg::{self, Shape, Tone};
use crate::graph::{NodeId, Operator, names};
use crate::ops::norm::is_norm;
use crate::ops::{Graph, Op};

/// How many ops a title names.
const OPS: usize = 3;
/// What the host alone fills, and people did not name.
const HOST: &str = "dpc.";

/// What a node is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Input,
    Forward,
    Backward,
    Norm,
    Rounding,
    Clip,
    Sum,
}

impl Part {
    fn tone(self) -> Tone {
        match self {
            Part::Input => Tone::Interface,
            Part::Forward => Tone::Plain,
            Part::Backward => Tone::Backward,
            Part::Norm | Part::Rounding => Tone::Norm,
            Part::Clip => Tone::Clip,
            Part::Sum => Tone::Sum,
        }
    }
}

/// The private graph by layers.
///
/// # Errors
/// What keeps it from being drawn.
pub fn draw_private(graph: &Graph) -> Result<String, String> {
    let Boxes { shapes, edges } = boxes(graph);
    if shapes.len() > MOST_NODES {
        return Err(format!("the private graph has {} boxes; a picture has at most {MOST_NODES}", shapes.len()));
    }
    Ok(drawn(&shapes, &edges))
}

/// The layer of the largest trained parameter, node by node: its name, and the picture; `None` where nothing is trained.
pub fn draw_largest_layer(graph: &Graph) -> Option<(String, String)> {
    let trained = graph.ids().filter_map(|id| match graph.op(id) {
        Op::Parameter(parameter) if parameter.trainable => Some(parameter),
        _ => None,
    });
    let size = |dims: &[usize]| dims.iter().product::<usize>();
    // Of equal ones the first.
    let largest = trained.rev().max_by_key(|parameter| size(&parameter.dims))?;
    let layer = layer_of(&largest.name).to_owned();
    let parts = parts(graph);
    let own = |id: &NodeId| match &parts[id.index()] {
        Some((Part::Norm | Part::Sum, name)) => layer_of(name) == layer,
        Some((Part::Clip, _)) => matches!(graph.op(*id), Op::ClipFactor(_)),
        _ => false,
    };
    let own: BTreeSet<NodeId> = graph.ids().filter(own).collect();
    let read: BTreeSet<NodeId> = own.iter().flat_map(|&id| graph.operands(id)).collect();
    let shown: Vec<NodeId> = own.union(&read).copied().collect();
    let place: BTreeMap<NodeId, usize> = shown.iter().enumerate().map(|(at, &id)| (id, at)).collect();
    // Where its norms are added to those of the other layers.
    let mut added: Vec<(NodeId, NodeId)> = Vec::new();
    for &norm in own.iter().filter(|id| is_norm(graph.op(**id))) {
        let reached = graph.dependents([norm]);
        let of_clip = |id: &NodeId| matches!(parts[id.index()], Some((Part::Clip, _))) && reached[id.index()];
        added.extend(read.difference(&own).copied().filter(of_clip).map(|total| (norm, total)));
    }
    let totals: BTreeSet<NodeId> = added.iter().map(|(_, total)| *total).collect();
    let names = names(graph);
    let name = |id: &NodeId| names[id.index()].clone();
    let shape = |id: &NodeId| {
        let operands: Vec<String> = graph.operands(*id).iter().map(name).collect();
        let tone = parts[id.index()].as_ref().map_or(Tone::Plain, |(part, _)| part.tone());
        let text = match (own.contains(id), totals.contains(id)) {
            (true, _) => graph.op(*id).text(&operands),
            (_, true) => "with the norms of all layers".to_owned(),
            _ => String::new(),
        };
        Shape { title: name(id), name: text, axes: graph.ty(*id).to_string(), tone, marks: vec![] }
    };
    let shapes: Vec<Shape> = shown.iter().map(shape).collect();
    let mut edges = Vec::new();
    for id in &own {
        let from: BTreeSet<NodeId> = graph.operands(*id).into_iter().collect();
        edges.extend(from.iter().map(|from| (place[from], place[id], format!("{} {}", name(from), graph.ty(*from)))));
    }
    edges.extend(added.iter().map(|(norm, total)| (place[norm], place[total], name(norm))));
    Some((layer, drawn(&shapes, &edges)))
}

fn drawn(shapes: &[Shape], edges: &[(usize, usize, String)]) -> String {
    let sizes: Vec<Size> = shapes.iter().map(svg::size).collect();
    let ends: Vec<(usize, usize)> = edges.iter().map(|(from, to, _)| (*from, *to)).collect();
    svg::text(&layout(&sizes, &ends), shapes, edges, &[])
}

/// Boxes, and the values that go from one to another.
struct Boxes {
    shapes: Vec<Shape>,
    edges: Vec<(usize, usize, String)>,
}

/// A box that is being filled.
struct Group {
    part: Part,
    name: String,
    ops: Vec<String>,
    /// What is said of the parameters of the layer, or of the last value.
    last: Vec<String>,
}

fn boxes(graph: &Graph) -> Boxes {
    let parts = parts(graph);
    let names = names(graph);
    let mut groups: Vec<Group> = Vec::new();
    let mut latest: BTreeMap<(Part, String), usize> = BTreeMap::new();
    let mut of: Vec<Option<usize>> = vec![None; graph.len()];
    let mut edges: BTreeMap<(usize, usize), Vec<String>> = BTreeMap::new();
    for id in graph.ids() {
        let Some((part, name)) = &parts[id.index()] else { continue };
        let key = match part {
            Part::Norm | Part::Sum => (*part, layer_of(name).to_owned()),
            _ => (*part, name.clone()),
        };
        let operands = graph.operands(id);
        let after = operands.iter().filter_map(|operand| of[operand.index()]).max();
        // What follows something that came after its box begins another, so that edges go one way.
        let open = latest.get(&key).copied().filter(|&at| after.is_none_or(|after| after <= at));
        let at = open.unwrap_or(groups.len());
        if open.is_none() {
            groups.push(Group { part: *part, name: key.1.clone(), ops: Vec::new(), last: Vec::new() });
            latest.insert(key, at);
        }
        let group = &mut groups[at];
        let mnemonic = graph.op(id).mnemonic();
        if !group.ops.contains(&mnemonic) {
            group.ops.push(mnemonic);
        }
        match part {
            Part::Norm => {
                let text = graph.op(id).text(&[]);
                let own = &name[layer_of(name).len()..].trim_start_matches(['.', '/']);
                group.last.push(format!("{own} {}", text.split_whitespace().last().unwrap_or_default()));
            }
            _ => group.last = vec![graph.ty(id).to_string()],
        }
        of[id.index()] = Some(at);
        for operand in operands {
            if let Some(from) = of[operand.index()].filter(|&from| from != at) {
                let label = format!("{} {}", names[operand.index()], graph.ty(operand));
                let labels = edges.entry((from, at)).or_default();
                if !labels.contains(&label) {
                    labels.push(label);
                }
            }
        }
    }
    let shapes = groups.into_iter().map(|group| {
        let ops = group.ops.iter().take(OPS).cloned().collect::<Vec<_>>().join(", ");
        let title = match group.part {
            Part::Input => "input".to_owned(),
            Part::Forward => ops + if group.ops.len() > OPS { ", …" } else { "" },
            Part::Backward => "backward".to_owned(),
            Part::Norm => "square norms".to_owned(),
            Part::Rounding => "bound of what rounding hides".to_owned(),
            Part::Clip => "clip factor".to_owned(),
            Part::Sum => "clipped sums".to_owned(),
        };
        Shape { title, name: group.name, axes: group.last.join(", "), tone: group.part.tone(), marks: vec![] }
    });
    let edges = edges.into_iter().map(|((from, to), labels)| (from, to, labels.join("; ")));
    Boxes { shapes: shapes.collect(), edges: edges.collect() }
}

/// What each node is for, by its index, and of what: a node of the model, or a parameter; `None` for what is not drawn.
fn parts(graph: &Graph) -> Vec<Option<(Part, String)>> {
    let of = |wanted: fn(&Op) -> bool| graph.ids().filter(|&id| wanted(graph.op(id))).collect::<Vec<_>>();
    let clips = of(|op| matches!(op, Op::ClipFactor(_)));
    let norms = of(is_norm);
    let clipped = graph.dependents(clips.iter().copied());
    let before_clip = graph.ancestors(clips.iter().copied());
    let of_norms = graph.dependents(norms.iter().copied());
    let of_bounds = graph.dependents(of(|op| matches!(op, Op::LengthBound(_))));
    let beside = |id: &NodeId| clipped[id.index()] || of_norms[id.index()] || of_bounds[id.index()];
    let outputs = graph.outputs.values().copied().filter(|id| !beside(id));
    let forward = graph.ancestors(outputs);
    let of_clip: Vec<(NodeId, Vec<bool>)> = clips.iter().map(|&clip| (clip, graph.ancestors([clip]))).collect();
    let part = |id: NodeId| {
        let node = graph.node(id);
        let of_model = || match (&*node.origin.onnx, &*node.origin.value) {
            ("", _) => "loss".to_owned(),
            (onnx, _) => onnx.to_owned(),
        };
        let at = id.index();
        match &node.op {
            Op::Input(input) if input.name.starts_with(HOST) => None,
            Op::Input(input) => Some((Part::Input, input.name.clone())),
            Op::Parameter(_) | Op::Constant(_) | Op::Fill(_) => None,
            Op::ClipFactor(_) => Some((Part::Clip, node.origin.value.clone())),
            _ if clipped[at] => Some((Part::Sum, parameter_of(graph, id, "g."))),
            op if is_norm(op) => Some((Part::Norm, parameter_of(graph, id, "sq."))),
            // Sums of norms belong to what reads them.
            _ if of_norms[at] && before_clip[at] => {
                let (clip, _) = of_clip.iter().find(|(_, before)| before[at])?;
                Some((Part::Clip, graph.node(*clip).origin.value.clone()))
            }
            _ if of_bounds[at] => Some((Part::Rounding, String::new())),
            _ if forward[at] => Some((Part::Forward, of_model())),
            _ => Some((Part::Backward, of_model())),
        }
    };
    graph.ids().map(part).collect()
}

/// The parameter whose norm or sum a node is, or is a part of: by the name of its value, or of what it becomes.
fn parameter_of(graph: &Graph, id: NodeId, prefix: &str) -> String {
    let mut next = vec![id];
    while let Some(id) = next.pop() {
        if let Some(name) = graph.node(id).origin.value.strip_prefix(prefix) {
            return name.to_owned();
        }
        next.extend(graph.users(id).into_iter().rev());
    }
    String::new()
}

/// The layer of a parameter: its name up to the last `.` or `/`, as clip rules have it.
fn layer_of(name: &str) -> &str {
    name.rfind(['.', '/']).map_or(name, |end| &name[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::{Options, compile};
    use crate::lower::target::Targets;
    use crate::onnx::{Source, discover};

    fn private(model: &str) -> Graph {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(model);
        let source = Source::open(&path).expect("a model");
        let parameters = discover(&source, &[], &[]).expect("parameters");
        let options = Options::private("cross-entropy".parse().expect("a loss"));
        let targets: Targets<'_> = crate::device::TARGETS;
        compile(&source, &parameters, &options, targets).expect("compiled").private
    }

    #[test]
    fn every_layer_has_its_norms_and_sums() {
        let graph = private("zoo/mlp.ts.onnx");
        let found = boxes(&graph);
        let count = |title: &str| found.shapes.iter().filter(|shape| shape.title == title).count();
        assert_eq!((count("square norms"), count("clipped sums"), count("clip factor")), (3, 3, 1));
        assert!(found.edges.iter().all(|(from, to, _)| from < to));
        let norms =
            found.shapes.iter().find(|shape| shape.title == "square norms" && shape.name == "3").expect("a box");
        assert!(norms.axes.contains("weight outer") && norms.axes.contains("bias materialize"), "{}", norms.axes);
        let text = draw_private(&graph).expect("a picture");
        let pairs = [("<svg", "</svg>"), ("<g", "</g>"), ("<text", "</text>")];
        assert!(pairs.iter().all(|(open, close)| text.matches(open).count() == text.matches(close).count()));
    }

    /// Every way from a record to a sum goes through a box of norms and the clip factor.
    #[test]
    fn recurrent_networks_and_convolutions_are_drawn() {
        for model in ["zoo/lstm_small.ts.onnx", "zoo/mnist_small.ts.onnx"] {
            let found = boxes(&private(model));
            let sums = found.shapes.iter().enumerate().filter(|(_, shape)| shape.tone == Tone::Sum);
            for (sum, shape) in sums {
                let clipped =
                    |(from, to, _): &(usize, usize, String)| *to == sum && found.shapes[*from].tone == Tone::Clip;
                assert!(found.edges.iter().any(clipped), "{model}: {}", shape.name);
            }
            assert!(found.shapes.len() < 60, "{model}: {}", found.shapes.len());
            let nameless =
                found.shapes.iter().filter(|shape| shape.name.is_empty() && !shape.title.starts_with("bound"));
            assert_eq!(nameless.count(), 0, "{model}");
        }
    }

    #[test]
    fn the_largest_layer_is_drawn_node_by_node() {
        let (layer, text) = draw_largest_layer(&private("zoo/mlp.ts.onnx")).expect("a layer");
        assert_eq!(layer, "0");
        for name in ["%sq.0.weight", "%g.0.weight", "%clip", "%input"] {
            assert!(text.contains(&format!(">{name}<")), "{name}");
        }
        assert!(!text.contains("%sq.3.weight<") && text.contains(">with the norms of all layers<"));
    }
}
