//! Tests for ops from outside: [`OpCheck`] holds an op to finite differences, devices and strategies to one another, and
//! records apart.

mod bench;

use miette::Diagnostic;
use prost::Message;
use thiserror::Error;

use super::{Error, Model};
use crate::Options;
use crate::device::{Device, DeviceError};
use crate::import::axes::Axes;
use crate::import::custom::CustomOps;
use crate::onnx::proto::{
    AttributeProto, Dimension, DimensionValue, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TensorType, TypeProto, TypeValue, ValueInfoProto,
};
use crate::options::NormChoice;
use bench::{Bench, TOLERANCE};

/// A node of an op with operands made up for it, in a model whose loss is a random combination of the results.
///
/// ```
/// # use dpc::library::{custom::CustomOps, testing::OpCheck};
/// # use dpc::device::cpu::Cpu;
/// # fn check(ops: &CustomOps) -> Result<(), Box<dyn std::error::Error>> {
/// // A node with the attribute `gamma`, of records of 3 numbers and a trained parameter of 4 by 3.
/// OpCheck::new(ops, "com.example", "Rbf").records(&[3]).parameter(&[4, 3]).float("gamma", 0.5).run(&[&Cpu])?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct OpCheck<'a> {
    ops: &'a CustomOps,
    node: NodeProto,
    operands: Vec<Operand>,
    range: [f32; 2],
}

#[derive(Clone, Debug)]
struct Operand {
    dims: Vec<usize>,
    batched: bool,
}

/// What was looked at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Checked {
    /// Derivatives that were held to differences, of all records.
    pub derivatives: usize,
    /// How far the worst was off, of the largest of its operand.
    pub farthest: f32,
}

/// What does not hold.
#[derive(Debug, Error, Diagnostic)]
pub enum CheckError {
    /// The op cannot be compiled in a model.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Model(#[from] Box<Error>),
    /// A device fails.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Device(#[from] DeviceError),
    /// The result has no batch, or has it elsewhere than on axis 0 alone.
    #[error("the result has the axes {axes}, and not the batch alone on the first")]
    #[diagnostic(code(dpc::testing::axes))]
    Axes {
        /// The axes.
        axes: Axes,
    },
    /// Two numbers that should be the same.
    #[error("{what} on {device}: {found} is far from {expected}")]
    #[diagnostic(code(dpc::testing::differs))]
    Differs {
        /// What is compared.
        what: String,
        /// The device.
        device: String,
        /// What is found.
        found: f32,
        /// What should be.
        expected: f32,
    },
    /// One record's data change what another has.
    #[error("on {device}, another record's data change {what}")]
    #[diagnostic(code(dpc::testing::meets))]
    Meets {
        /// What changes.
        what: String,
        /// The device.
        device: String,
    },
}

impl<'a> OpCheck<'a> {
    /// A node of this domain and type.
    pub fn new(ops: &'a CustomOps, domain: &str, op_type: &str) -> OpCheck<'a> {
        let node = NodeProto {
            op_type: Some(op_type.to_owned()),
            domain: Some(domain.to_owned()),
            output: vec!["y".to_owned()],
            ..NodeProto::default()
        };
        OpCheck { ops, node, operands: Vec::new(), range: [-1.5, 1.5] }
    }

    /// With another operand, which each record has for itself: the batch, and then these axes.
    pub fn records(mut self, dims: &[usize]) -> Self {
        self.operands.push(Operand { dims: dims.to_vec(), batched: true });
        self
    }

    /// With another operand, a trained parameter of these axes.
    pub fn parameter(mut self, dims: &[usize]) -> Self {
        self.operands.push(Operand { dims: dims.to_vec(), batched: false });
        self
    }

    /// With operands from another range than −1.5 to 1.5: one on which the op is smooth.
    pub fn between(mut self, low: f32, high: f32) -> Self {
        self.range = [low, high];
        self
    }

    /// With a float attribute.
    pub fn float(self, name: &str, value: f32) -> Self {
        self.attribute(name, |attribute| (attribute.r#type, attribute.f) = (Some(1), Some(value)))
    }

    /// With an integer attribute.
    pub fn int(self, name: &str, value: i64) -> Self {
        self.attribute(name, |attribute| (attribute.r#type, attribute.i) = (Some(2), Some(value)))
    }

    /// With an attribute of integers.
    pub fn ints(self, name: &str, values: &[i64]) -> Self {
        self.attribute(name, |attribute| (attribute.r#type, attribute.ints) = (Some(7), values.to_vec()))
    }

    fn attribute(mut self, name: &str, set: impl FnOnce(&mut AttributeProto)) -> Self {
        let mut attribute = AttributeProto { name: Some(name.to_owned()), ..AttributeProto::default() };
        set(&mut attribute);
        self.node.attribute.push(attribute);
        self
    }

    /// Compiles the model and checks, on each of `devices`, that every record's gradient is that of finite differences of its
    /// loss, whichever way norms are taken; that norms are those of the gradients; that devices agree; and that another
    /// record's data change nothing of a record's, to the last bit.
    ///
    /// # Errors
    /// The first thing that does not hold.
    pub fn run(&self, devices: &[&dyn Device]) -> Result<Checked, CheckError> {
        let axes = self.model(None)?.check().map_err(Box::new)?.outputs.remove("y").unwrap_or_default();
        if axes.batch_axis() != Some(0) || !axes.0[0].is_batch() {
            return Err(CheckError::Axes { axes });
        }
        let model = self.model(Some(&axes.per_record()))?;
        let mut checked = Checked { derivatives: 0, farthest: 0.0 };
        let mut losses: Option<Vec<f32>> = None;
        for norm in [NormChoice::Auto, NormChoice::Materialize, NormChoice::Ghost, NormChoice::Tile] {
            let loss = "output:loss".parse().map_err(|_| Box::new(Error::NoLoss))?;
            let compiled =
                model.compile(&Options { norm, per_sample: true, ..Options::private(loss) }).map_err(Box::new)?;
            for device in devices {
                let mut bench = Bench::new(*device, compiled.artifact(), self.range)?;
                let found = bench.loss()?;
                let expected = losses.get_or_insert_with(|| found.clone());
                bench.compare("a loss", &found, expected, TOLERANCE)?;
                bench.derivatives(&mut checked)?;
                bench.independence()?;
            }
        }
        Ok(checked)
    }

    /// `y` of the operands, and where its dims are known the loss of it. An operand that records have is shifted by a
    /// parameter, by which it is differentiated.
    fn model(&self, result: Option<&[usize]>) -> Result<Model, Box<Error>> {
        let (mut graph, mut node) = (GraphProto::default(), self.node.clone());
        let mut trained = Vec::new();
        for (k, Operand { dims, batched }) in self.operands.iter().enumerate() {
            let name = format!("p{k}");
            let own: Vec<usize> = if *batched { [&[1], dims.as_slice()].concat() } else { dims.clone() };
            let len = own.iter().product();
            let values = match batched {
                true => vec![0.0; len],
                false => Numbers(k as u32 + 1).take(len, self.range),
            };
            graph.initializer.push(tensor(&name, &own, values));
            if *batched {
                let (x, shifted) = (format!("x{k}"), format!("h{k}"));
                graph.input.push(value(&x, Some(dims)));
                graph.node.push(call("Add", &[&x, &name], &shifted));
                node.input.push(shifted);
            } else {
                node.input.push(name.clone());
            }
            trained.push(name);
        }
        graph.node.push(node);
        let output = match result {
            None => "y",
            Some(dims) => {
                graph.input.push(value("cotangent", Some(dims)));
                graph.node.push(call("Mul", &["y", "cotangent"], "weighted"));
                let last = TensorProto {
                    name: Some("last".to_owned()),
                    data_type: Some(7),
                    dims: vec![1],
                    int64_data: vec![1],
                    ..TensorProto::default()
                };
                graph.initializer.push(last);
                graph.node.push(call("Flatten", &["weighted"], "rows"));
                graph.node.push(call("ReduceSum", &["rows", "last"], "loss"));
                "loss"
            }
        };
        graph.output.push(value(output, None));
        let set =
            |domain: &str, version| OperatorSetIdProto { domain: Some(domain.to_owned()), version: Some(version) };
        let model = ModelProto {
            ir_version: Some(8),
            opset_import: vec![set("", 17), set(self.node.domain(), 1)],
            graph: Some(graph),
            ..ModelProto::default()
        };
        let trained: Vec<&str> = trained.iter().map(String::as_str).collect();
        let model = Model::with_ops(model.encode_to_vec(), self.ops)?;
        Ok(model.choosing(&trained, &[])?)
    }
}

fn call(op: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        op_type: Some(op.to_owned()),
        input: inputs.iter().map(|&input| input.to_owned()).collect(),
        output: vec![output.to_owned()],
        ..NodeProto::default()
    }
}

fn tensor(name: &str, dims: &[usize], values: Vec<f32>) -> TensorProto {
    TensorProto {
        name: Some(name.to_owned()),
        data_type: Some(1),
        dims: dims.iter().map(|&size| size as i64).collect(),
        float_data: values,
        ..TensorProto::default()
    }
}

/// A float of the batch and these axes.
fn value(name: &str, dims: Option<&[usize]>) -> ValueInfoProto {
    let axis = |value| Dimension { value: Some(value), ..Dimension::default() };
    let shape = dims.map(|dims| TensorShapeProto {
        dim: std::iter::once(axis(DimensionValue::Param("N".to_owned())))
            .chain(dims.iter().map(|&size| axis(DimensionValue::Value(size as i64))))
            .collect(),
    });
    let ty = TypeValue::Tensor(TensorType { elem_type: Some(1), shape });
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto { value: Some(ty), ..TypeProto::default() }),
        ..ValueInfoProto::default()
    }
}

/// A stream of numbers without much of a pattern.
struct Numbers(u32);

impl Numbers {
    fn take(&mut self, len: usize, [low, high]: [f32; 2]) -> Vec<f32> {
        let mut next = || {
            self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            low + (high - low) * ((self.0 >> 8) as f32 / (1 << 24) as f32)
        };
        next();
        (0..len).map(|_| next()).collect()
    }
}
