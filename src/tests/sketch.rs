//! A graph in the making, with the values of its inputs and parameters.

use std::ops::Range;

use super::evaluate::Values;
use crate::graph::{DType, NodeId, Origin, Type};
use crate::lower::host_outputs::LOSS;
use crate::lower::scalar::Func;
use crate::ops::Graph;
use crate::ops::elementwise::Elementwise;
use crate::ops::reduce::Sum;
use crate::ops::{Op, leaf};

/// Records of a batch.
pub const ROWS: usize = 3;

/// Values on both sides of zero.
pub const SIGNED: Range<f64> = -1.5..1.5;

/// A graph whose loss depends on the value of an op, with made-up data.
#[derive(Clone, Debug)]
pub struct Sketch {
    /// What is special about it.
    pub name: String,
    /// The graph.
    pub graph: Graph,
    /// The graph that finite differences are taken of, with the same values: another one only where the op is said to have
    /// other derivatives than its value has.
    pub meant: Option<Graph>,
    /// The contents of inputs and parameters.
    pub values: Values,
    state: u64,
}

impl Sketch {
    /// An empty graph.
    pub fn new(name: impl Into<String>) -> Sketch {
        Sketch { name: name.into(), graph: Graph::default(), meant: None, values: Values::new(), state: 7 }
    }

    /// A number from the range: [SplitMix64](https://prng.di.unimi.it/splitmix64.c).
    fn draw(&mut self, range: &Range<f64>) -> f64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let unit = ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64;
        range.start + (range.end - range.start) * unit
    }

    fn draws(&mut self, ty: &Type, range: &Range<f64>) -> Vec<f64> {
        let len = ty.len() * if ty.batched { ROWS } else { 1 };
        (0..len).map(|_| self.draw(range)).collect()
    }

    /// Appends a node.
    pub fn add(&mut self, op: impl Into<Op>, operands: &[NodeId]) -> NodeId {
        self.graph.add(op, operands, Origin::default()).unwrap_or_else(|e| panic!("{}: {e}", self.name))
    }

    /// Appends one scalar function.
    pub fn call(&mut self, func: Func, operands: &[NodeId]) -> NodeId {
        self.add(Elementwise::call(func), operands)
    }

    /// An input with values from the range.
    pub fn input(&mut self, name: impl Into<String>, ty: Type, range: &Range<f64>) -> NodeId {
        let (name, values) = (name.into(), self.draws(&ty, range));
        self.values.insert(name.clone(), values);
        self.add(leaf::Input { name, ty }, &[])
    }

    /// Integers from the range.
    pub fn ids(&mut self, batched: bool, dims: &[usize], range: Range<i32>) -> NodeId {
        self.integers(DType::I32, batched, dims, range)
    }

    /// Integers from the range, or booleans as such.
    pub fn integers(&mut self, dtype: DType, batched: bool, dims: &[usize], range: Range<i32>) -> NodeId {
        let name = format!("i{}", self.graph.len());
        let ty = Type { dtype, batched, dims: dims.into() };
        let id = self.input(name.clone(), ty, &(range.start.into()..range.end.into()));
        self.values.entry(name).or_default().iter_mut().for_each(|x| *x = x.floor());
        id
    }

    /// A trained parameter with values from the range.
    pub fn parameter(&mut self, dims: &[usize], range: &Range<f64>) -> NodeId {
        let name = format!("p{}", self.graph.len());
        let values = self.draws(&Type::shared(dims), range);
        self.values.insert(name.clone(), values);
        let id = self.add(leaf::Parameter { name: name.clone(), dims: dims.into(), trainable: true }, &[]);
        self.graph.name(id, name);
        id
    }

    /// A value from the range that is computed, from a parameter and an input that each record has for itself if `batched`:
    /// whatever has it as an operand stands in the middle of the graph, and each element's cotangent shows in the gradient.
    pub fn value(&mut self, batched: bool, dims: &[usize], range: &Range<f64>) -> NodeId {
        let factor = self.input(format!("x{}", self.graph.len()), Type { batched, ..Type::shared(dims) }, range);
        let parameter = self.parameter(dims, &(0.5..1.5));
        let [x, p] = [factor, parameter].map(|id| match self.graph.op(id) {
            Op::Input(input) => input.name.clone(),
            Op::Parameter(parameter) => parameter.name.clone(),
            _ => String::new(),
        });
        // The product is in the range, whatever the parameter.
        let parameters = self.values[&p].clone();
        let factors = self.values.entry(x).or_default().iter_mut();
        factors.zip(parameters.iter().cycle()).for_each(|(x, p)| *x /= p);
        self.call(Func::Mul, &[factor, parameter])
    }

    /// The loss: the sum of a value's elements, each times a random number of its record, so that the cotangent of the value
    /// is random.
    pub fn loss_of(mut self, y: NodeId) -> Sketch {
        let dims = self.graph.ty(y).dims.clone();
        let cotangent = self.input("cotangent", Type::batched(dims.clone()), &SIGNED);
        let weighted = self.call(Func::Mul, &[y, cotangent]);
        let loss = self.add(Sum { axes: (0..dims.len()).collect() }, &[weighted]);
        self.graph.outputs.insert(LOSS.into(), loss);
        self
    }

    /// The same graph with other finite differences: of `meant`'s graph, whose values this one takes up.
    pub fn meaning(mut self, meant: Sketch) -> Sketch {
        self.values.extend(meant.values);
        self.meant = Some(meant.graph);
        self
    }

    /// The trained parameters.
    pub fn parameters(&self) -> Vec<String> {
        let name = |id| match self.graph.op(id) {
            Op::Parameter(parameter) => Some(parameter.name.clone()),
            _ => None,
        };
        self.graph.ids().filter_map(name).collect()
    }
}
