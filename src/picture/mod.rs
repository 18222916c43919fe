//! A picture of a model as an SVG file: what depends on its inputs, from top to bottom, with the nodes that are refused
//! marked and the reasons below; and pictures of what it is compiled to, the [private graph](private).

mod layout;
mod private;
mod svg;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::import::Refusal;
use crate::onnx::{OnnxNode, Source};
use layout::{Size, layout};
pub use private::{draw_largest_layer, draw_private};
use svg::{Shape, Tone};

/// The most nodes that a picture has.
const MOST_NODES: usize = 5000;

/// The picture of a model whose nodes have these problems.
///
/// # Errors
///
/// What keeps the model from being drawn.
pub fn draw(source: &Source, problems: &[Refusal]) -> Result<String, String> {
    let drawing = Drawing::of(source, problems);
    if drawing.shapes.len() > MOST_NODES {
        return Err(format!("the model has {} nodes; a picture has at most {MOST_NODES}", drawing.shapes.len()));
    }
    let sizes: Vec<Size> = drawing.shapes.iter().map(svg::size).collect();
    let edges: Vec<(usize, usize)> = drawing.edges.iter().map(|(from, to, _)| (*from, *to)).collect();
    Ok(svg::text(&layout(&sizes, &edges), &drawing.shapes, &drawing.edges, &drawing.reasons))
}

/// Boxes, and the values that go from one to another.
struct Drawing {
    shapes: Vec<Shape>,
    edges: Vec<(usize, usize, String)>,
    reasons: Vec<(Tone, String)>,
}

impl Drawing {
    fn of(source: &Source, problems: &[Refusal]) -> Drawing {
        let mut drawing = Drawing { shapes: Vec::new(), edges: Vec::new(), reasons: Vec::new() };
        // The numbers of the problems of each node, and the tone of the first.
        let mut marks: BTreeMap<&str, (Tone, Vec<usize>)> = BTreeMap::new();
        for problem in problems {
            let tone = tone(problem);
            drawing.reasons.push((tone, problem.to_string()));
            marks.entry(problem.node()).or_insert((tone, vec![])).1.push(drawing.reasons.len());
        }
        let mark = |name: &str, plain: Tone| marks.get(name).cloned().unwrap_or((plain, Vec::new()));
        let axes = |value: &str| match source.facts.shape(value) {
            Some(dims) => format!("[{}]", dims.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
            None => String::new(),
        };
        // Which box makes a value.
        let mut makers: HashMap<&str, usize> = HashMap::new();
        for input in &source.inputs {
            let (tone, marks) = mark(&input.name, Tone::Interface);
            makers.insert(&input.name, drawing.shapes.len());
            drawing.shapes.push(Shape {
                title: input.name.clone(),
                name: "input".into(),
                axes: axes(&input.name),
                tone,
                marks,
            });
        }
        let shown = shown(source, &marks.keys().copied().collect());
        for node in source.nodes.iter().filter(|node| shown.contains(node.name.as_str())) {
            let (tone, marks) = mark(&node.name, Tone::Plain);
            let at = drawing.shapes.len();
            let shape = node.output(0).map(axes).unwrap_or_default();
            drawing.shapes.push(Shape {
                title: node.op_type.clone(),
                name: node.name.clone(),
                axes: shape,
                tone,
                marks,
            });
            let read: BTreeSet<&str> = node.inputs.iter().map(String::as_str).collect();
            let made = read.into_iter().filter_map(|input| Some((*makers.get(input)?, input)));
            drawing.edges.extend(made.map(|(from, value)| (from, at, format!("{value} {}", axes(value)))));
            makers.extend(node.outputs.iter().filter(|o| !o.is_empty()).map(|output| (output.as_str(), at)));
        }
        for output in &source.outputs {
            let Some(&from) = makers.get(output.name.as_str()) else { continue };
            let (tone, marks) = mark(&output.name, Tone::Interface);
            let at = drawing.shapes.len();
            drawing.shapes.push(Shape {
                title: output.name.clone(),
                name: "output".into(),
                axes: axes(&output.name),
                tone,
                marks,
            });
            drawing.edges.push((from, at, output.name.clone()));
        }
        drawing
    }
}

fn tone(problem: &Refusal) -> Tone {
    match problem {
        Refusal::Mixes { .. } => Tone::Mixes,
        _ => Tone::Refused,
    }
}

/// The nodes that depend on the elements of an input, and those of `marked`: not the arithmetic on shapes and weights.
fn shown<'s>(source: &'s Source, marked: &BTreeSet<&str>) -> BTreeSet<&'s str> {
    let mut fed: BTreeSet<&str> = source.inputs.iter().map(|input| input.name.as_str()).collect();
    let mut shown = BTreeSet::new();
    let by_elements = |node: &&OnnxNode| !matches!(node.op_type.as_str(), "Shape" | "Size");
    for node in source.nodes.iter() {
        let reads = by_elements(&node) && node.inputs.iter().any(|input| fed.contains(input.as_str()));
        if reads || marked.contains(node.name.as_str()) {
            shown.insert(node.name.as_str());
            fed.extend(node.outputs.iter().filter(|output| !output.is_empty()).map(String::as_str));
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(name: &str) -> Source {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(name);
        Source::open(&path).expect("a model")
    }

    #[test]
    fn refused_nodes_are_marked_and_the_reasons_listed() {
        let source = model("refused/batch_norm.ts.onnx");
        let parameters = crate::onnx::discover(&source, &[], &[]).expect("parameters");
        let problems = crate::import::prove(&source, &parameters).expect_err("refused").problems;
        let text = draw(&source, &problems).expect("a picture");
        assert_eq!(text.matches("class=\"mixes\"").count(), 2 + 2, "two boxes and two reasons");
        assert!(text.contains("the result for one record would depend on other records"));
        for node in &source.nodes {
            assert!(!node.op_type.ends_with("Normalization") || text.contains(&format!(">{}<", node.name)), "{text}");
        }
        let pairs = [("<svg", "</svg>"), ("<g", "</g>"), ("<text", "</text>")];
        assert!(pairs.iter().all(|(open, close)| text.matches(open).count() == text.matches(close).count()));
    }

    #[test]
    fn a_model_without_problems_is_drawn_from_inputs_to_outputs() {
        let text = draw(&model("zoo/mlp.ts.onnx"), &[]).expect("a picture");
        assert!(!text.contains("class=\"mixes\"") && text.contains(">input<") && text.contains(">logits<"), "{text}");
    }
}
