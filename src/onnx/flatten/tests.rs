//! Small graphs, written out.

use super::*;
use crate::onnx::proto::ValueInfoProto;

/// Nodes as text, one a line: `Op(a, b) -> c, d`.
fn nodes(text: &str) -> Vec<NodeProto> {
    let names = |list: &str| list.split(',').map(|name| name.trim().to_owned()).collect::<Vec<_>>();
    let node = |line: &str| {
        let (call, output) = line.trim().split_once(" -> ").expect("results");
        let (op, input) = call.trim_end_matches(')').split_once('(').expect("operands");
        NodeProto { input: names(input), output: names(output), ..operator(op) }
    };
    text.lines().filter(|line| !line.trim().is_empty()).map(node).collect()
}

fn graph(inputs: &[&str], text: &str, outputs: &[&str]) -> GraphProto {
    let named = |name: &&str| ValueInfoProto { name: Some((*name).to_owned()), ..ValueInfoProto::default() };
    let (input, output) = (inputs.iter().map(named).collect(), outputs.iter().map(named).collect());
    GraphProto { node: nodes(text), input, output, ..GraphProto::default() }
}

fn holding(mut node: NodeProto, bodies: &[(&str, GraphProto)]) -> NodeProto {
    let attribute = |(name, graph): &(&str, GraphProto)| AttributeProto {
        name: Some((*name).to_owned()),
        r#type: Some(5),
        g: Some(graph.clone()),
        ..AttributeProto::default()
    };
    node.attribute = bodies.iter().map(attribute).collect();
    node
}

/// The nodes that a graph is written out to, with integers that the file knows.
fn flattened(nodes: Vec<NodeProto>, functions: &[FunctionProto], known: &[(&str, i64)]) -> String {
    let graph = GraphProto { node: nodes, ..GraphProto::default() };
    let tensor = |value| Tensor { dims: vec![], data: TensorData::I64(vec![value]) };
    let known = known.iter().map(|(name, value)| ((*name).to_owned(), tensor(*value))).collect();
    let flat = flatten(&graph, functions, &known, 17);
    let line =
        |node: &NodeProto| format!("{}({}) -> {}", node.op_type(), node.input.join(", "), node.output.join(", "));
    flat.node.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn only(text: &str) -> NodeProto {
    nodes(text).remove(0)
}

#[test]
fn a_known_condition_chooses_a_branch() {
    let branches = [
        ("then_branch", graph(&[], "Relu(x) -> r", &["r"])),
        ("else_branch", graph(&[], "Tanh(x) -> r\nNeg(r) -> s", &["s"])),
    ];
    let text = |known: &[(&str, i64)]| {
        flattened([nodes("Exp(x) -> e"), vec![holding(only("If(c) -> y"), &branches)]].concat(), &[], known)
    };
    insta::assert_snapshot!(text(&[("c", 1)]), @r"
    Exp(x) -> e
    Relu(x) -> y/r
    Identity(y/r) -> y
    ");
    insta::assert_snapshot!(text(&[("c", 0)]), @r"
    Exp(x) -> e
    Tanh(x) -> y/r
    Neg(y/r) -> y/s
    Identity(y/s) -> y
    ");
    insta::assert_snapshot!(text(&[]), @r"
    Exp(x) -> e
    If(c) -> y
    ");
}

#[test]
fn a_loop_of_known_length_is_its_turns() {
    let body = graph(
        &["i", "go", "w_in", "state"],
        "Gather(x, i) -> part\nMatMul(part, w_in) -> z\nAdd(z, state) -> next\nIdentity(w_in) -> w_out\nIdentity(go) -> on",
        &["on", "w_out", "next", "z"],
    );
    let turns = |known: &[(&str, i64)]| {
        flattened(vec![holding(only("Loop(n, go_on, w, h0) -> _w, last, all"), &[("body", body.clone())])], &[], known)
    };
    insta::assert_snapshot!(turns(&[("n", 2), ("go_on", 1)]), @r"
    Constant() -> _w[0]/turn
    Gather(x, _w[0]/turn) -> _w[0]/part
    MatMul(_w[0]/part, w) -> _w[0]/z
    Add(_w[0]/z, h0) -> _w[0]/next
    Constant() -> _w[1]/turn
    Gather(x, _w[1]/turn) -> _w[1]/part
    MatMul(_w[1]/part, w) -> _w[1]/z
    Add(_w[1]/z, _w[0]/next) -> _w[1]/next
    Constant() -> _w/scan0/axes
    Unsqueeze(_w[0]/z, _w/scan0/axes) -> _w/scan0/0
    Unsqueeze(_w[1]/z, _w/scan0/axes) -> _w/scan0/1
    Concat(_w/scan0/0, _w/scan0/1) -> _w/scan0
    Identity(w) -> _w
    Identity(_w[1]/next) -> last
    Identity(_w/scan0) -> all
    ");
    for known in [&[("n", 2)][..], &[("go_on", 1)], &[("n", 0), ("go_on", 1)], &[("n", 1 << 40), ("go_on", 1)]] {
        assert_eq!(turns(known), "Loop(n, go_on, w, h0) -> _w, last, all");
    }
}

#[test]
fn a_node_of_every_turn_is_one_of_the_file() {
    assert_eq!(without_turns("y[0]/MatMul_1"), without_turns("y[13]/MatMul_1"));
    assert_eq!(without_turns("y[0]/z[2]/Add"), "y/z/Add");
    assert_eq!(without_turns("layers[0].Add[1]"), "layers[0].Add[1]");
}

#[test]
fn a_loop_that_the_data_ends_stays() {
    let body = graph(&["i", "go", "h"], "Tanh(h) -> next\nLess(h, x) -> on", &["on", "next"]);
    let text = flattened(vec![holding(only("Loop(n, , h0) -> y"), &[("body", body)])], &[], &[("n", 3)]);
    assert_eq!(text, "Loop(n, , h0) -> y");
}

#[test]
fn a_function_is_its_body_with_the_attributes_of_the_call() {
    let text = "LeakyRelu(a) -> b\nAdd(b, c) -> d";
    let mut function = FunctionProto {
        name: Some("Step".to_owned()),
        domain: Some("local".to_owned()),
        input: vec!["a".to_owned(), "c".to_owned()],
        output: vec!["d".to_owned()],
        attribute: vec!["slope".to_owned()],
        node: nodes(text),
        ..FunctionProto::default()
    };
    function.node[0].attribute = vec![AttributeProto {
        name: Some("alpha".to_owned()),
        ref_attr_name: Some("slope".to_owned()),
        r#type: Some(1),
        ..AttributeProto::default()
    }];
    let mut call = NodeProto { domain: Some("local".to_owned()), ..only("Step(x, w) -> y") };
    call.attribute = vec![AttributeProto {
        name: Some("slope".to_owned()),
        r#type: Some(1),
        f: Some(0.5),
        ..AttributeProto::default()
    }];
    let twice = NodeProto { domain: Some("local".to_owned()), ..only("Step(y, w) -> z") };
    insta::assert_snapshot!(flattened(vec![call.clone(), twice], &[function.clone()], &[]), @r"
    LeakyRelu(x) -> y/b
    Add(y/b, w) -> y/d
    Identity(y/d) -> y
    LeakyRelu(y) -> z/b
    Add(z/b, w) -> z/d
    Identity(z/d) -> z
    ");
    let graph = GraphProto { node: vec![call], ..GraphProto::default() };
    let flat = flatten(&graph, std::slice::from_ref(&function), &BTreeMap::new(), 17);
    assert_eq!((flat.node[0].attribute[0].name(), flat.node[0].attribute[0].f()), ("alpha", 0.5));
    // One that calls itself stays.
    function.node = vec![NodeProto { domain: Some("local".to_owned()), ..only("Step(a, c) -> d") }];
    let text =
        flattened(vec![NodeProto { domain: Some("local".to_owned()), ..only("Step(x, w) -> y") }], &[function], &[]);
    assert!(text.contains("Step("), "{text}");
}

fn with_ints(mut node: NodeProto, attributes: &[(&str, &[i64])]) -> NodeProto {
    node.attribute.extend(attributes.iter().map(|(name, values)| AttributeProto {
        name: Some((*name).to_owned()),
        r#type: Some(if values.len() == 1 && !name.ends_with("axes") && !name.ends_with("directions") { 2 } else { 7 }),
        i: values.first().copied(),
        ints: values.to_vec(),
        ..AttributeProto::default()
    }));
    node
}

#[test]
fn sequences_are_the_names_of_their_elements() {
    let mut all = nodes(
        "SequenceEmpty() -> none\nSequenceInsert(none, a) -> one\nSequenceInsert(one, b, first) -> two\n\
         SequenceConstruct(c, d, e) -> three\nSequenceErase(three, first) -> rest\nSequenceAt(two, last) -> y\n\
         SequenceLength(rest) -> count",
    );
    all.push(with_ints(only("ConcatFromSequence(rest) -> whole"), &[("axis", &[1])]));
    all.push(with_ints(only("ConcatFromSequence(two) -> stacked"), &[("axis", &[0]), ("new_axis", &[1])]));
    insta::assert_snapshot!(flattened(all, &[], &[("first", 0), ("last", -1)]), @r"
    Identity(a) -> y
    Constant() -> count
    Concat(d, e) -> whole
    Constant() -> stacked/axes
    Unsqueeze(b, stacked/axes) -> stacked/0
    Unsqueeze(a, stacked/axes) -> stacked/1
    Concat(stacked/0, stacked/1) -> stacked
    ");
    // A position that the file does not know leaves the node.
    let text = flattened(nodes("SequenceConstruct(c, d) -> s\nSequenceAt(s, k) -> y"), &[], &[]);
    assert_eq!(text, "SequenceConstruct(c, d) -> s\nSequenceAt(s, k) -> y");
}

#[test]
fn a_loop_fills_a_sequence() {
    let body = graph(&["i", "go", "filled"], "Neg(x) -> z\nSequenceInsert(filled, z) -> more", &["go", "more"]);
    let mut all = nodes("SequenceEmpty() -> none");
    all.push(holding(only("Loop(n, , none) -> all"), &[("body", body)]));
    all.push(with_ints(only("ConcatFromSequence(all) -> y"), &[("axis", &[0])]));
    insta::assert_snapshot!(flattened(all, &[], &[("n", 2)]), @r"
    Constant() -> all[0]/turn
    Constant() -> all[0]/condition
    Neg(x) -> all[0]/z
    Constant() -> all[1]/turn
    Constant() -> all[1]/condition
    Neg(x) -> all[1]/z
    Concat(all[0]/z, all[1]/z) -> y
    ");
}

#[test]
fn a_loop_goes_on_while_a_computed_condition_holds() {
    let body = graph(
        &["i", "go", "count", "state"],
        "Add(count, one) -> next\nNeg(state) -> z\nLess(next, limit) -> on",
        &["on", "next", "z"],
    );
    let all = vec![holding(only("Loop(, yes, zero, x) -> counted, y"), &[("body", body)])];
    let known = [("yes", 1), ("zero", 0), ("one", 1), ("limit", 3)];
    let text = flattened(all, &[], &known);
    assert_eq!(text.matches("Neg(").count(), 3, "{text}");
    assert!(text.ends_with("Identity(counted[2]/z) -> y"), "{text}");
}

#[test]
fn a_scan_is_its_steps() {
    let body = graph(&["state", "part"], "Add(state, part) -> next\nNeg(next) -> out", &["next", "out"]);
    let scan = |directions: &[i64]| {
        let mut node = holding(only("Scan(init, w) -> last, all"), &[("body", body.clone())]);
        node = with_ints(node, &[("num_scan_input", &[1]), ("scan_input_directions", directions)]);
        node.attribute
            .iter_mut()
            .filter(|a| a.name() == "num_scan_input")
            .for_each(|a| a.name = Some("num_scan_inputs".into()));
        let graph = GraphProto { node: vec![node], ..GraphProto::default() };
        let w = Tensor { dims: vec![2, 3], data: TensorData::F32(vec![0.0; 6]) };
        let flat = flatten(&graph, &[], &BTreeMap::from([("w".to_owned(), w)]), 17).into_owned();
        let starts: Vec<i64> = flat
            .node
            .iter()
            .filter(|node| node.op_type() == "Constant" && node.output[0].contains("/at"))
            .map(|node| node.attribute[0].t.as_ref().expect("a number").int64_data[0])
            .collect();
        (starts, flat.node.iter().filter(|node| node.op_type() == "Add").count(), flat.node.last().cloned())
    };
    let (starts, steps, last) = scan(&[0]);
    assert_eq!((starts, steps), (vec![0, 1], 2));
    assert_eq!(last.expect("a node").output, ["all"]);
    assert_eq!(scan(&[1]).0, [1, 0]);
}
