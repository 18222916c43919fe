//! The op table: one line an op family, each in a file of its own.
//!
//! A family's file holds, in this order: the ops, their types, the VJP and the lowering. To add an op, write such a file
//! and add its line to [`op_table!`]; the README has a worked example. What ONNX makes of them is in [`crate::import`].

use std::fmt::Debug;

use crate::graph::{self, NodeId, Operator, Origin, Type, TypeError};
use crate::lower::{Lower, LowerError, Lowering};

/// What an op is: its text, its types, its derivative and its kernels.
pub trait OpRules: Debug + Send + Sync {
    /// The name in the textual form.
    fn mnemonic(&self) -> String;

    /// Attributes in the textual form, after the operands; empty by default.
    fn attributes(&self) -> String {
        String::new()
    }

    /// The right-hand side of the node's line in the textual form.
    fn text(&self, operands: &[String]) -> String {
        [self.mnemonic(), operands.join(", "), self.attributes()]
            .into_iter()
            .filter(|s| !s.is_empty())
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// The type of the result, or why these operands cannot be taken.
    ///
    /// The rule works on the dims of one record; the result is batched where an operand is, unless the op
    /// [crosses the batch](OpRules::crosses_batch).
    fn infer(&self, operands: &[&Type]) -> Result<Type, String>;

    /// The cotangents of the operands, given that of the result; `None` where [`Backward::needs`] says no, or where the
    /// operand carries no data that can be differentiated.
    fn vjp(&self, bw: &mut Backward<'_>) -> Result<Vec<Option<NodeId>>, VjpError> {
        Err(bw.not_differentiable())
    }

    /// Whether the value depends on attributes and operands alone, so that of two equal nodes one is enough. Not so what comes
    /// from outside, nor what is random.
    fn is_function(&self) -> bool {
        true
    }

    /// Appends the kernels that compute the node to the program.
    fn lower(&self, cx: &mut Lowering<'_>) -> Result<(), LowerError>;

    /// Whether the op takes batched values and yields a shared one, so that records meet in it.
    fn crosses_batch(&self) -> bool {
        false
    }

    /// How many rows of the batch its value takes for one record, where it takes several.
    fn rows_joined(&self) -> Option<usize> {
        None
    }
}

/// A graph of ops.
pub type Graph = graph::Graph<Op>;

/// A node of a [`Graph`].
pub type Node = graph::Node<Op>;

impl Operator for Op {
    fn mnemonic(&self) -> String {
        self.rules().mnemonic()
    }

    fn text(&self, operands: &[String]) -> String {
        self.rules().text(operands)
    }

    fn infer(&self, operands: &[&Type]) -> Result<Type, String> {
        self.rules().infer(operands)
    }

    fn crosses_batch(&self) -> bool {
        self.rules().crosses_batch()
    }

    fn rows_joined(&self) -> Option<usize> {
        self.rules().rows_joined()
    }

    fn is_input(&self) -> bool {
        matches!(self, Op::Input(_))
    }
}

impl Lower for Op {
    fn lower(&self, cx: &mut Lowering<'_>) -> Result<(), LowerError> {
        self.rules().lower(cx)
    }
}

/// Why a gradient cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum VjpError {
    /// The op has no derivative.
    #[error("{op} has no derivative")]
    NotDifferentiable {
        /// Mnemonic of the op.
        op: String,
        /// Name of the ONNX node.
        onnx: String,
    },
    /// A derivative rule emitted a node that does not type-check: a defect of the compiler.
    #[error(transparent)]
    Type(#[from] TypeError),
}

/// What a VJP rule sees: a node, the cotangent of its value, and the graph to append to.
pub struct Backward<'a> {
    graph: &'a mut Graph,
    node: NodeId,
    cotangent: NodeId,
    operands: Vec<NodeId>,
    needs: Vec<bool>,
}

impl<'a> Backward<'a> {
    /// A view on `node`; `needs[i]` says whether the cotangent of operand `i` is wanted.
    pub fn new(graph: &'a mut Graph, node: NodeId, cotangent: NodeId, needs: Vec<bool>) -> Self {
        let operands = graph.operands(node);
        Backward { graph, node, cotangent, operands, needs }
    }

    /// Whether the cotangent of operand `i` is wanted.
    pub fn needs(&self, i: usize) -> bool {
        self.needs[i]
    }

    /// Operand `i` of the node.
    pub fn operand(&self, i: usize) -> NodeId {
        self.operands[i]
    }

    /// Number of operands.
    pub fn arity(&self) -> usize {
        self.operands.len()
    }

    /// The node's own value.
    pub fn value(&self) -> NodeId {
        self.node
    }

    /// The cotangent of the node's value; it has the value's dims, and may be shared where the value is batched.
    pub fn cotangent(&self) -> NodeId {
        self.cotangent
    }

    /// The type of a value.
    pub fn ty(&self, id: NodeId) -> Type {
        self.graph.ty(id).clone()
    }

    /// The graph so far, for rules that look at what stands behind an operand.
    pub fn graph(&self) -> &Graph {
        self.graph
    }

    /// Appends a node that carries the origin of the node being differentiated.
    pub fn emit(&mut self, op: impl Into<Op>, operands: &[NodeId]) -> Result<NodeId, VjpError> {
        let onnx = self.graph.node(self.node).origin.onnx.clone();
        Ok(self.graph.add(op, operands, Origin { onnx, value: String::new() })?)
    }

    /// Reduces a cotangent to the type of operand `i`: sums the axes along which the operand was broadcast, and
    /// [over the batch](Backward::sum_batch_to) where the operand is shared and the cotangent is not.
    pub fn reduce_to_operand(&mut self, i: usize, cotangent: NodeId) -> Result<NodeId, VjpError> {
        let target = self.ty(self.operands[i]);
        let ty = self.ty(cotangent);
        let lead = ty.dims.len() - target.dims.len();
        let axes: Vec<usize> =
            (0..ty.dims.len()).filter(|&k| k < lead || (target.dims[k - lead] == 1 && ty.dims[k] != 1)).collect();
        let mut value = cotangent;
        if !axes.is_empty() {
            value = self.emit(reduce::Sum { axes }, &[value])?;
        }
        if self.ty(value).dims != target.dims {
            value = self.emit(movement::Reshape { dims: target.dims.clone() }, &[value])?;
        }
        self.sum_batch_to(i, value)
    }

    /// Sums a cotangent over the batch if operand `i` is shared and the cotangent is batched.
    pub fn sum_batch_to(&mut self, i: usize, cotangent: NodeId) -> Result<NodeId, VjpError> {
        if self.ty(cotangent).batched && !self.ty(self.operands[i]).batched {
            return self.emit(sum_batch::SumBatch::default(), &[cotangent]);
        }
        Ok(cotangent)
    }

    /// The error of an op without a derivative.
    pub fn not_differentiable(&self) -> VjpError {
        let node = self.graph.node(self.node);
        VjpError::NotDifferentiable { op: node.op.rules().mnemonic(), onnx: node.origin.onnx.clone() }
    }
}

/// Declares the families and the ops in them.
macro_rules! op_table {
    ($($module:ident { $($op:ident),* })*) => {
        $(pub mod $module;)*

        /// An op of the graph. Passes match on it; everything else goes through [`OpRules`]. Two that are equal
        /// make the same of the same operands, to the bit.
        #[derive(Clone, Debug, PartialEq)]
        #[allow(clippy::large_enum_variant)]
        pub enum Op {
            $($(#[doc = concat!("See [`", stringify!($module), "::", stringify!($op), "`].")] $op($module::$op),)*)*
        }

        impl Op {
            /// The rules of the op.
            pub fn rules(&self) -> &dyn OpRules {
                match self { $($(Op::$op(op) => op,)*)* }
            }
        }

        #[cfg(test)]
        impl Op {
            /// The names of all ops.
            pub const NAMES: &[&str] = &[$($(stringify!($op),)*)*];

            /// The op's name in the table.
            pub fn name(&self) -> &'static str {
                match self { $($(Op::$op(_) => stringify!($op),)*)* }
            }
        }

        $($(impl From<$module::$op> for Op {
            fn from(op: $module::$op) -> Op { Op::$op(op) }
        })*)*
    };
}

pub mod reverse;

op_table! {
    leaf { Input, Parameter, Constant, Fill }
    elementwise { Elementwise }
    reduce { Sum }
    sum_batch { SumBatch }
    movement { Reshape, Transpose, Slice, Pad, Concat, Broadcast, Rearrange }
    contract { Contract }
    outer { Outer }
    conv { Conv, ConvInputGradient }
    pool { Pool, PoolVjp }
    softmax { Softmax, SoftmaxVjp }
    embedding { Gather, Scatter }
    recurrence { Recurrence, RecurrenceVjp }
    dropout { Dropout }
    random { Uniform }
    detach { Detach }
    narrow { Narrow }
    custom { Custom }
    loss { CrossEntropy, CrossEntropyVjp }
    views { Views }
    norm { SquareNorm, OuterNorm, GhostNorm, TileNorm, SegmentNorm, SegmentCross, LengthBound }
    clip { ClipFactor }
}
