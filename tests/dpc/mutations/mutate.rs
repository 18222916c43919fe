//! Changes to a model that leave it a message of the format, and often a model.

use dpc::onnx::proto::{
    AttributeProto, Dimension, DimensionValue, GraphProto, ModelProto, NodeProto, TensorProto, TensorShapeProto,
    TypeValue, ValueInfoProto,
};

/// Numbers that follow from a seed (SplitMix64).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x2545_f491_4f6c_dd1d).wrapping_add(1))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    /// One of some things.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// A small integer, or one that is extreme.
    fn int(&mut self) -> i64 {
        const EXTREME: [i64; 10] = [i64::MIN, -(1 << 40), -65, 13, 17, 65, 1 << 16, 1 << 31, 1 << 40, i64::MAX];
        match self.one_in(4) {
            true => *self.pick(&EXTREME),
            false => self.below(10) as i64 - 3,
        }
    }
}

/// Every operator that dpc reads, and others of ONNX whose inference is worth visiting.
const OPERATORS: &str = "Gemm MatMul Conv Add Sub Mul Div Neg Exp Log Sqrt Relu Tanh Sigmoid Identity Cast CastLike Dropout \
    ReduceSum ReduceMean Softmax LogSoftmax MaxPool AveragePool GlobalAveragePool Reshape Flatten Transpose Squeeze \
    Unsqueeze Concat Split Slice Expand SplitToSequence SequenceAt Gather LSTM Constant ConstantOfShape Shape Size \
    Where Equal Less Greater Not And Or Range Tile Pad Pow Clip Min Max ReduceMax ReduceProd ReduceL2 ArgMax TopK \
    OneHot CumSum GatherElements GatherND ScatterND ScatterElements Trilu EyeLike NonZero Mod Floor Round Erf Gelu \
    Einsum GRU RNN ConvTranspose BatchNormalization LayerNormalization InstanceNormalization GroupNormalization \
    Attention Resize Upsample DepthToSpace SpaceToDepth If Loop Scan SequenceConstruct SequenceEmpty ConcatFromSequence \
    RandomUniformLike Bernoulli DequantizeLinear QuantizeLinear ReverseSequence Compress Unique Hardmax PRelu LeakyRelu \
    SoftmaxCrossEntropyLoss NegativeLogLikelihoodLoss LRN GlobalMaxPool LpPool MaxUnpool Sum Mean IsNaN BitShift";

const ATTRIBUTES: &str = "axis axes perm keepdims noop_with_empty_axes to alpha beta transA transB kernel_shape strides pads \
    dilations group auto_pad ceil_mode count_include_pad split num_outputs starts ends allowzero direction hidden_size \
    layout activations clip input_forget value value_int value_ints value_float value_floats mode ratio epsilon start end \
    batch_dims largest sorted training_mode then_branch else_branch body num_scan_inputs equation stash_type reduction";

/// Changes one thing about `model`; parts may come from `donor`.
pub fn mutate(model: &mut ModelProto, donor: &ModelProto, random: &mut Random) {
    let kind = random.below(20);
    if kind == 0 {
        let version = if random.one_in(8) { random.int() } else { 7 + random.below(22) as i64 };
        model.opset_import.iter_mut().for_each(|set| set.version = Some(version));
        return;
    }
    let Some(graph) = &mut model.graph else { return };
    if graph.node.is_empty() {
        return;
    }
    match kind {
        1..=2 => node_of(graph, random).op_type = Some(word(OPERATORS, random)),
        3 => drop_node(graph, random),
        4 => duplicate(graph, random),
        5..=6 => rewire(graph, random),
        7..=10 => attribute(graph, random),
        11..=12 => initializer(graph, random),
        13 => integers(graph, random),
        14..=15 => input(graph, random),
        16 => output(graph, random),
        17 => branch(graph, random),
        18 => splice(graph, donor, random),
        _ => name(graph, random),
    }
}

fn word(words: &str, random: &mut Random) -> String {
    let words: Vec<&str> = words.split_whitespace().collect();
    (*random.pick(&words)).to_owned()
}

fn node_of<'a>(graph: &'a mut GraphProto, random: &mut Random) -> &'a mut NodeProto {
    let at = random.below(graph.node.len());
    &mut graph.node[at]
}

/// The names of the values that are there before the node in this position.
fn values(graph: &GraphProto, before: usize) -> Vec<String> {
    let inputs = graph.input.iter().map(|input| input.name());
    let stored = graph.initializer.iter().map(|tensor| tensor.name());
    let made = graph.node[..before].iter().flat_map(|node| &node.output).map(String::as_str);
    inputs.chain(stored).chain(made).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// Leaves a node out; its readers read what it read first, or nothing that there is.
fn drop_node(graph: &mut GraphProto, random: &mut Random) {
    let at = random.below(graph.node.len());
    let node = graph.node.remove(at);
    let (Some(input), Some(output)) = (node.input.first(), node.output.first()) else { return };
    if !random.one_in(8) {
        for reader in &mut graph.node {
            reader.input.iter_mut().filter(|name| *name == output).for_each(|name| name.clone_from(input));
        }
        graph.output.iter_mut().filter(|o| o.name() == output).for_each(|o| o.name = Some(input.clone()));
    }
}

/// Puts a node after itself, on its own result or beside it.
fn duplicate(graph: &mut GraphProto, random: &mut Random) {
    let at = random.below(graph.node.len());
    let mut copy = graph.node[at].clone();
    copy.output.iter_mut().for_each(|name| *name += "_again");
    if let (Some(input), Some(output), true) = (copy.input.first_mut(), graph.node[at].output.first(), random.one_in(2))
    {
        input.clone_from(output);
    }
    if let (Some(from), Some(to)) = (graph.node[at].output.first().cloned(), copy.output.first()) {
        for reader in &mut graph.node[at + 1..] {
            reader.input.iter_mut().filter(|name| **name == from).for_each(|name| name.clone_from(to));
        }
        graph.output.iter_mut().filter(|o| o.name() == from).for_each(|o| o.name = Some(to.clone()));
    }
    graph.node.insert(at + 1, copy);
}

fn rewire(graph: &mut GraphProto, random: &mut Random) {
    let at = random.below(graph.node.len());
    let before = if random.one_in(10) { graph.node.len() } else { at };
    let values = values(graph, before);
    if values.is_empty() {
        return;
    }
    let value = random.pick(&values).clone();
    let inputs = &mut graph.node[at].input;
    match random.below(6) {
        0 => inputs.push(value),
        1 => _ = inputs.pop(),
        2 if inputs.len() > 1 => inputs.swap(0, 1),
        3 if !inputs.is_empty() => {
            let input = random.below(inputs.len());
            inputs[input].clear();
        }
        _ if !inputs.is_empty() => {
            let input = random.below(inputs.len());
            inputs[input] = value;
        }
        _ => {}
    }
}

fn attribute(graph: &mut GraphProto, random: &mut Random) {
    let node = node_of(graph, random);
    if node.attribute.is_empty() || random.one_in(3) {
        let name = word(ATTRIBUTES, random);
        let count = random.below(5);
        let new = match random.below(4) {
            0 | 1 => AttributeProto { r#type: Some(2), i: Some(random.int()), ..AttributeProto::default() },
            2 => AttributeProto {
                r#type: Some(7),
                ints: (0..count).map(|_| random.int()).collect(),
                ..AttributeProto::default()
            },
            _ => AttributeProto { r#type: Some(1), f: Some(random.int() as f32), ..AttributeProto::default() },
        };
        node.attribute.retain(|attribute| attribute.name() != name);
        node.attribute.push(AttributeProto { name: Some(name), ..new });
        return;
    }
    let at = random.below(node.attribute.len());
    if random.one_in(6) {
        node.attribute.remove(at);
        return;
    }
    let attribute = &mut node.attribute[at];
    let (number, count) = (random.int(), random.below(5));
    match random.below(5) {
        0 => attribute.ints.push(number),
        1 => _ = attribute.ints.pop(),
        2 if !attribute.ints.is_empty() => {
            let at = random.below(attribute.ints.len());
            attribute.ints[at] = number;
        }
        3 => attribute.r#type = Some(count as i32),
        _ => {
            attribute.i = attribute.i.map(|_| number);
            attribute.f = attribute.f.map(|_| *random.pick(&[0.0, -1.0, f32::NAN, f32::INFINITY, 1e30, 0.5]));
            attribute.s =
                attribute.s.take().map(|_| word("SAME_UPPER VALID bidirectional linear x Relu", random).into());
            attribute.t.iter_mut().for_each(|tensor| fill(tensor, number));
        }
    }
}

/// Another shape, element type or content of a stored tensor, whose data still fill it as a rule.
fn initializer(graph: &mut GraphProto, random: &mut Random) {
    if graph.initializer.is_empty() {
        return;
    }
    let at = random.below(graph.initializer.len());
    let tensor = &mut graph.initializer[at];
    match random.below(6) {
        0 => tensor.dims.reverse(),
        1 => tensor.dims.insert(random.below(tensor.dims.len() + 1), 1),
        2 => tensor.dims = vec![tensor.dims.iter().fold(1, |count: i64, &dim| count.saturating_mul(dim))],
        3 => resize(tensor, random),
        4 => tensor.data_type = Some(*random.pick(&[1, 6, 7, 9, 10, 11, 12, 16, 17])),
        _ => {
            let special = *random.pick(&[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, 1.0, 1e-40]);
            if let (1, Some(raw)) = (tensor.data_type(), &tensor.raw_data) {
                tensor.raw_data = Some(special.to_le_bytes().repeat(raw.len() / 4).into());
            }
        }
    }
}

/// Gives one axis of a float tensor another size, and the tensor as many elements.
fn resize(tensor: &mut TensorProto, random: &mut Random) {
    if tensor.dims.is_empty() || tensor.data_type() != 1 {
        return;
    }
    let axis = random.below(tensor.dims.len());
    tensor.dims[axis] = random.below(9) as i64;
    let count: i64 = tensor.dims.iter().product();
    tensor.float_data.clear();
    tensor.raw_data = Some(0.25_f32.to_le_bytes().repeat(count as usize).into());
}

fn integers(graph: &mut GraphProto, random: &mut Random) {
    let stored = graph.initializer.iter_mut();
    let constants = graph.node.iter_mut().flat_map(|node| &mut node.attribute).filter_map(|a| a.t.as_mut());
    let mut tensors: Vec<&mut TensorProto> = stored.chain(constants).filter(|t| t.data_type() == 7).collect();
    if tensors.is_empty() {
        return;
    }
    let at = random.below(tensors.len());
    let Some(raw) = tensors[at].raw_data.clone().filter(|raw| raw.len() >= 8) else { return };
    let mut bytes = raw.to_vec();
    let element = random.below(bytes.len() / 8) * 8;
    let number = random.int();
    bytes[element..element + 8].copy_from_slice(&number.to_le_bytes());
    tensors[at].raw_data = Some(bytes.into());
}

/// Gives an integer tensor one value throughout.
fn fill(tensor: &mut TensorProto, number: i64) {
    if let (7, Some(raw)) = (tensor.data_type(), &tensor.raw_data) {
        tensor.raw_data = Some(number.to_le_bytes().repeat(raw.len() / 8).into());
    }
}

fn input(graph: &mut GraphProto, random: &mut Random) {
    if graph.input.is_empty() {
        return;
    }
    let at = random.below(graph.input.len());
    let Some(TypeValue::Tensor(tensor)) = graph.input[at].r#type.as_mut().and_then(|t| t.value.as_mut()) else {
        return;
    };
    if random.one_in(5) {
        tensor.elem_type = Some(*random.pick(&[1, 6, 7, 9, 10, 11]));
        return;
    }
    let shape = tensor.shape.get_or_insert_with(TensorShapeProto::default);
    let value = match random.below(4) {
        0 => None,
        1 => Some(DimensionValue::Param(word("batch seq N x", random))),
        _ => Some(DimensionValue::Value(random.int())),
    };
    let dimension = Dimension { value, ..Dimension::default() };
    let axis = random.below(shape.dim.len() + 1);
    match random.below(4) {
        0 => shape.dim.insert(axis, dimension),
        1 => _ = shape.dim.pop(),
        _ => shape.dim.iter_mut().skip(axis.min(1)).take(1).for_each(|dim| *dim = dimension.clone()),
    }
}

fn output(graph: &mut GraphProto, random: &mut Random) {
    let values = values(graph, graph.node.len());
    if values.is_empty() {
        return;
    }
    let value = ValueInfoProto { name: Some(random.pick(&values).clone()), ..ValueInfoProto::default() };
    match random.one_in(2) {
        true => graph.output.push(value),
        false => graph.output.insert(0, value),
    }
}

/// A node with a graph of its own, on what is there.
fn branch(graph: &mut GraphProto, random: &mut Random) {
    let at = random.below(graph.node.len());
    let values = values(graph, at);
    if values.is_empty() {
        return;
    }
    let inner = GraphProto {
        node: vec![graph.node[at].clone()],
        output: graph.node[at]
            .output
            .iter()
            .map(|name| ValueInfoProto { name: Some(name.clone()), ..ValueInfoProto::default() })
            .collect(),
        ..GraphProto::default()
    };
    let graph_of = |name: &str| AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(5),
        g: Some(inner.clone()),
        ..AttributeProto::default()
    };
    let (op_type, attribute) = match random.below(3) {
        0 => ("If", vec![graph_of("then_branch"), graph_of("else_branch")]),
        1 => ("Loop", vec![graph_of("body")]),
        _ => ("Scan", vec![graph_of("body")]),
    };
    let input = (0..1 + random.below(3)).map(|_| random.pick(&values).clone()).collect();
    let node = &mut graph.node[at];
    *node = NodeProto { op_type: Some(op_type.to_owned()), input, attribute, ..node.clone() };
}

/// A node of another model, on what is there, before one that then reads its result.
fn splice(graph: &mut GraphProto, donor: &ModelProto, random: &mut Random) {
    let Some(other) = donor.graph.as_ref().filter(|graph| !graph.node.is_empty()) else { return };
    let at = random.below(graph.node.len());
    let mut node = random.pick(&other.node).clone();
    let values = values(graph, at);
    if values.is_empty() {
        return;
    }
    for input in node.input.iter_mut().filter(|input| !input.is_empty()) {
        match other.initializer.iter().find(|tensor| tensor.name() == input) {
            Some(tensor) => {
                *input = format!("donated_{input}");
                if graph.initializer.iter().all(|own| own.name() != input.as_str()) {
                    graph.initializer.push(TensorProto { name: Some(input.clone()), ..tensor.clone() });
                }
            }
            None => input.clone_from(random.pick(&values)),
        }
    }
    node.output.iter_mut().for_each(|name| *name = format!("donated_{name}_{at}"));
    if let (Some(input), Some(output)) = (graph.node[at].input.first_mut(), node.output.first()) {
        input.clone_from(output);
    }
    graph.node.insert(at, node);
}

fn name(graph: &mut GraphProto, random: &mut Random) {
    let names: Vec<Option<String>> = graph.node.iter().map(|node| node.name.clone()).collect();
    let other = random.pick(&names).clone();
    let node = node_of(graph, random);
    match random.below(4) {
        0 => node.name = None,
        1 => node.name = other,
        2 => node.domain = Some(word("ai.onnx com.microsoft ai.onnx.ml x", random)),
        _ => node.output.push("one_more".to_owned()),
    }
}
