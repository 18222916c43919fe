//! A random model in the making: the values that there are, and what may be done with them.

use crate::onnx::proto::{
    AttributeProto, Dimension, DimensionValue, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TensorType, TypeProto, TypeValue, ValueInfoProto,
};

/// The type of a value's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    F,
    I,
    B,
}

/// A value of the model.
#[derive(Clone, Debug)]
pub struct Val {
    pub name: String,
    pub kind: Kind,
    /// The sizes of its axes, with 1 for that of the batch.
    pub dims: Vec<usize>,
    /// Its axis that is the batch.
    pub batch: Option<usize>,
    /// About the largest of its elements; of integers between 0 and this, inclusive.
    pub most: f64,
}

impl Val {
    /// An operand that is left out.
    pub fn none() -> Val {
        Val { name: String::new(), kind: Kind::F, dims: vec![], batch: None, most: 0.0 }
    }

    pub fn rank(&self) -> usize {
        self.dims.len()
    }

    /// Elements of one record.
    pub fn len(&self) -> usize {
        self.dims.iter().product()
    }

    /// Whether the batch is on axis 0.
    pub fn leads(&self) -> bool {
        self.batch == Some(0)
    }

    /// The same with other dims, the batch where it was.
    pub fn with(&self, dims: Vec<usize>) -> Val {
        Val { dims, ..self.clone() }
    }

    pub fn of(self, kind: Kind, most: f64) -> Val {
        Val { kind, most, ..self }
    }
}

/// An attribute's value.
pub enum Attr<'a> {
    Int(i64),
    Ints(Vec<i64>),
    Float(f32),
    Text(&'a str),
    Texts(Vec<&'a str>),
}

/// An input of the model, with a range of its elements.
#[derive(Clone, Debug)]
pub struct Fed {
    pub value: Val,
    pub low: f64,
    pub high: f64,
}

/// The most elements that a value has of one record.
const MOST: usize = 700;

/// A random model.
pub struct Net {
    state: u64,
    pub opset: i64,
    pub values: Vec<Val>,
    pub inputs: Vec<Fed>,
    pub parameters: Vec<Val>,
    nodes: Vec<NodeProto>,
    tensors: Vec<TensorProto>,
    used: Vec<String>,
    count: usize,
}

impl Net {
    pub fn new(seed: u64) -> Net {
        let mut net = Net {
            state: seed.wrapping_mul(0x2545_f491_4f6c_dd1d).wrapping_add(1),
            opset: 0,
            values: vec![],
            inputs: vec![],
            parameters: vec![],
            nodes: vec![],
            tensors: vec![],
            used: vec![],
            count: 0,
        };
        net.opset = *net.one_of(&[13, 15, 17, 18, 20, 21, 22, 23, 24]);
        net
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn one_of<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// A number of the range.
    pub fn real(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A size at an edge: 1, a prime, one that shape inference stands in for the batch, or one past a tile.
    pub fn size(&mut self) -> usize {
        *self.one_of(&[1, 1, 2, 2, 3, 3, 3, 4, 5, 5, 6, 7, 8, 11, 13, 17, 33, 65])
    }

    /// A smaller one.
    pub fn small(&mut self) -> usize {
        *self.one_of(&[1, 2, 3, 3, 4, 5])
    }

    /// Some value that satisfies the condition, late ones more often.
    pub fn pick(&mut self, fits: impl Fn(&Val) -> bool) -> Option<Val> {
        let found: Vec<Val> = self.values.iter().filter(|value| fits(value)).cloned().collect();
        if found.is_empty() {
            return None;
        }
        let from = if self.one_in(3) { 0 } else { found.len().saturating_sub(4) };
        let at = from + self.below(found.len() - from);
        Some(found[at].clone())
    }

    /// A float.
    pub fn float(&mut self) -> Option<Val> {
        self.pick(|value| value.kind == Kind::F)
    }

    /// A float that records have along axis 0.
    pub fn record(&mut self) -> Option<Val> {
        self.pick(|value| value.kind == Kind::F && value.leads())
    }

    /// A float of this rank that records have along axis 0; another one brought to it, if need be.
    pub fn of_rank(&mut self, rank: usize) -> Option<Val> {
        if let Some(value) = self.pick(|value| value.kind == Kind::F && value.leads() && value.rank() == rank)
            && !self.one_in(4)
        {
            return Some(value);
        }
        let value = self.record()?;
        let mut left = value.len();
        let mut dims = vec![1];
        for _ in 2..rank {
            let divisors: Vec<usize> = (1..=left).filter(|d| left.is_multiple_of(*d) && *d <= 13).collect();
            let d = *self.one_of(&divisors);
            dims.push(d);
            left /= d;
        }
        dims.push(left);
        Some(self.reshaped(&value, dims))
    }

    /// The value with other dims, the batch staying on axis 0.
    pub fn reshaped(&mut self, value: &Val, dims: Vec<usize>) -> Val {
        let mut to: Vec<i64> = dims.iter().map(|&size| size as i64).collect();
        if value.leads() {
            to[0] = if self.one_in(2) { -1 } else { 0 };
        }
        let to = self.ints(&to);
        self.emit("Reshape", &[value, &to], vec![], value.with(dims))
    }

    /// An axis that is not the batch.
    pub fn axis(&mut self, value: &Val) -> Option<usize> {
        let axes: Vec<usize> = (0..value.rank()).filter(|&axis| value.batch != Some(axis)).collect();
        (!axes.is_empty()).then(|| *self.one_of(&axes))
    }

    /// The axis, counted from either end.
    pub fn signed(&mut self, axis: usize, rank: usize) -> i64 {
        if self.one_in(2) { axis as i64 } else { axis as i64 - rank as i64 }
    }

    fn name(&mut self, prefix: &str) -> String {
        self.count += 1;
        format!("{prefix}{}", self.count)
    }

    /// Integers of the file.
    pub fn ints(&mut self, values: &[i64]) -> Val {
        self.int_tensor(&[values.len()], values)
    }

    pub fn int_tensor(&mut self, dims: &[usize], values: &[i64]) -> Val {
        let name = self.name("i");
        let dims_i = dims.iter().map(|&size| size as i64).collect();
        let tensor = TensorProto { name: Some(name.clone()), data_type: Some(7), dims: dims_i, ..Default::default() };
        self.tensors.push(TensorProto { int64_data: values.to_vec(), ..tensor });
        let most = values.iter().copied().max().unwrap_or(0) as f64;
        Val { name, kind: Kind::I, dims: dims.into(), batch: None, most }
    }

    pub fn bools(&mut self, values: &[bool]) -> Val {
        let name = self.name("b");
        let values: Vec<i32> = values.iter().map(|&value| value.into()).collect();
        let dims = vec![values.len()];
        self.tensors.push(TensorProto {
            name: Some(name.clone()),
            data_type: Some(9),
            dims: vec![values.len() as i64],
            int32_data: values,
            ..Default::default()
        });
        Val { name, kind: Kind::B, dims, batch: None, most: 1.0 }
    }

    /// Floats of the file that are not trained.
    pub fn constant(&mut self, dims: &[usize], low: f64, high: f64) -> Val {
        let name = self.name("c");
        self.tensor(name, dims, low, high)
    }

    /// One number that is not trained.
    pub fn number(&mut self, value: f64) -> Val {
        self.constant(&[], value, value)
    }

    fn tensor(&mut self, name: String, dims: &[usize], low: f64, high: f64) -> Val {
        let len = dims.iter().product();
        let float_data = (0..len).map(|_| self.real(low, high) as f32).collect();
        let dims_i = dims.iter().map(|&size| size as i64).collect();
        self.tensors.push(TensorProto {
            name: Some(name.clone()),
            data_type: Some(1),
            dims: dims_i,
            float_data,
            ..Default::default()
        });
        Val { name, kind: Kind::F, dims: dims.into(), batch: None, most: low.abs().max(high.abs()) }
    }

    /// A trained parameter: a new one, or one that there is already.
    pub fn parameter(&mut self, dims: &[usize]) -> Val {
        let same: Vec<Val> = self.parameters.iter().filter(|own| own.dims == dims).cloned().collect();
        if !same.is_empty() && self.one_in(2) {
            return self.one_of(&same).clone();
        }
        let name = self.name("p");
        let value = self.tensor(name, dims, -0.9, 0.9);
        self.parameters.push(value.clone());
        value
    }

    /// A parameter for a weight, possibly one that is computed of others.
    pub fn weight(&mut self, dims: &[usize]) -> Val {
        let weight = self.parameter(dims);
        match self.below(8) {
            0 => {
                let factor = self.parameter(&[*dims.last().unwrap_or(&1)]);
                self.hidden("Mul", &[&weight, &factor], vec![], weight.with(dims.into()))
            }
            1 => self.hidden("Tanh", &[&weight], vec![], weight.clone()),
            2 if dims.len() == 2 => {
                let turned = self.parameter(&[dims[1], dims[0]]);
                self.hidden("Transpose", &[&turned], vec![], weight.clone())
            }
            _ => weight,
        }
    }

    /// An input that records have.
    pub fn input(&mut self, kind: Kind, dims: &[usize], low: f64, high: f64) -> Val {
        let name = self.name("x");
        let dims = [&[1], dims].concat();
        let value = Val { name, kind, dims, batch: Some(0), most: high.abs().max(low.abs()) };
        self.inputs.push(Fed { value: value.clone(), low, high });
        value
    }

    /// A node of one output, which is a value to go on with.
    pub fn emit(&mut self, op: &str, inputs: &[&Val], attributes: Vec<(&str, Attr<'_>)>, like: Val) -> Val {
        let value = self.hidden(op, inputs, attributes, like);
        self.values.push(value.clone());
        value
    }

    /// A node of one output, which no other node is to take.
    pub fn hidden(&mut self, op: &str, inputs: &[&Val], attributes: Vec<(&str, Attr<'_>)>, like: Val) -> Val {
        self.several(op, inputs, attributes, vec![Some(like)]).remove(0)
    }

    /// A node of several outputs.
    pub fn several(
        &mut self,
        op: &str,
        inputs: &[&Val],
        attributes: Vec<(&str, Attr<'_>)>,
        like: Vec<Option<Val>>,
    ) -> Vec<Val> {
        let named = |like: Option<Val>| like.map_or(Val::none(), |like| Val { name: self.name("t"), ..like });
        let outputs: Vec<Val> = like.into_iter().map(named).collect();
        self.used.extend(inputs.iter().map(|value| value.name.clone()));
        let mut input: Vec<String> = inputs.iter().map(|value| value.name.clone()).collect();
        while input.last().is_some_and(String::is_empty) {
            input.pop();
        }
        self.nodes.push(NodeProto {
            name: Some(format!("{op}_{}", self.nodes.len())),
            op_type: Some(op.into()),
            input,
            output: outputs.iter().map(|value| value.name.clone()).collect(),
            attribute: attributes.into_iter().map(attribute).collect(),
            ..Default::default()
        });
        outputs
    }

    /// Whether a value of these dims may be made.
    pub fn fits(dims: &[usize]) -> bool {
        dims.iter().product::<usize>() <= MOST && dims.len() <= 5 && !dims.contains(&0)
    }

    /// The value, brought within ±`most`.
    pub fn within(&mut self, value: &Val, most: f64) -> Val {
        if value.most <= most {
            return value.clone();
        }
        let op = *self.one_of(&["Tanh", "Softsign"]);
        let squashed = self.hidden(op, &[value], vec![], value.clone().of(Kind::F, 1.0));
        if most >= 1.0 {
            return squashed;
        }
        let scale = self.number(most);
        self.hidden("Mul", &[&squashed, &scale], vec![], squashed.clone().of(Kind::F, most))
    }

    /// The value, made positive.
    pub fn positive(&mut self, value: &Val) -> Val {
        let absolute = self.hidden("Abs", &[value], vec![], value.clone());
        let least = self.number(0.4);
        self.hidden("Add", &[&absolute, &least], vec![], value.clone().of(Kind::F, value.most + 0.4))
    }

    /// The values that no node takes.
    pub fn leaves(&self) -> Vec<Val> {
        self.values.iter().filter(|value| !self.used.contains(&value.name)).cloned().collect()
    }

    /// The nodes.
    pub fn nodes(&self) -> &[NodeProto] {
        &self.nodes
    }

    /// The operators that the nodes have.
    pub fn ops(&self) -> impl Iterator<Item = &str> {
        self.nodes.iter().map(|node| node.op_type())
    }

    /// The file, with these outputs.
    pub fn model(&self, outputs: &[&Val]) -> ModelProto {
        let info = |value: &Val, typed: bool| {
            let dim = |(axis, &size): (usize, &usize)| {
                let size = match value.batch == Some(axis) {
                    true => DimensionValue::Param("N".into()),
                    false => DimensionValue::Value(size as i64),
                };
                Dimension { value: Some(size), ..Default::default() }
            };
            let shape = typed.then(|| TensorShapeProto { dim: value.dims.iter().enumerate().map(dim).collect() });
            let elem_type = Some(match value.kind {
                Kind::F => 1,
                Kind::I => 7,
                Kind::B => 9,
            });
            let tensor = TypeValue::Tensor(TensorType { elem_type, shape });
            ValueInfoProto {
                name: Some(value.name.clone()),
                r#type: Some(TypeProto { value: Some(tensor), ..Default::default() }),
                ..Default::default()
            }
        };
        let graph = GraphProto {
            name: Some("random".into()),
            node: self.nodes.clone(),
            initializer: self.tensors.clone(),
            input: self.inputs.iter().map(|fed| info(&fed.value, true)).collect(),
            output: outputs.iter().map(|value| info(value, false)).collect(),
            ..Default::default()
        };
        ModelProto {
            ir_version: Some(9),
            opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(self.opset) }],
            graph: Some(graph),
            ..Default::default()
        }
    }
}

fn attribute((name, value): (&str, Attr<'_>)) -> AttributeProto {
    let mut attribute = AttributeProto { name: Some(name.into()), ..Default::default() };
    let bytes = |text: &str| text.as_bytes().to_vec().into();
    attribute.r#type = Some(match value {
        Attr::Float(value) => {
            attribute.f = Some(value);
            1
        }
        Attr::Int(value) => {
            attribute.i = Some(value);
            2
        }
        Attr::Text(value) => {
            attribute.s = Some(bytes(value));
            3
        }
        Attr::Ints(values) => {
            attribute.ints = values;
            7
        }
        Attr::Texts(values) => {
            attribute.strings = values.into_iter().map(bytes).collect();
            8
        }
    });
    attribute
}
