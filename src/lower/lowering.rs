//! From a graph to the dispatches of a phase.

use super::check::length;
use super::kernels::{Copy, CopyAxis, Kernel};
use super::program::{Buffer, BufferId, Dispatch, Extent, Phase, Program, Role};
use crate::graph::{DType, Graph, NodeId, Operator, Origin, Type, of_records};

/// A graph that cannot be lowered.
#[derive(Debug, Clone, thiserror::Error, miette::Diagnostic)]
pub enum LowerError {
    /// An op in a form that no kernel computes.
    #[error("{op}{}: no kernel for {what}", if .onnx.is_empty() { String::new() } else { format!(" (node `{}`)", .onnx) })]
    #[diagnostic(code(dpc::lower::no_kernel), help("this is a limit of dpc; rewrite this part of the model"))]
    NoKernel {
        /// Mnemonic of the op.
        op: String,
        /// Name of the ONNX node it came from.
        onnx: String,
        /// The form.
        what: String,
    },
}

/// An op that kernels compute.
pub trait Lower: Operator {
    /// Appends the kernels that compute the node to the program.
    fn lower(&self, cx: &mut Lowering<'_>) -> Result<(), LowerError>;
}

/// What an op's lowering sees: its node, the buffers of its operands, and the program to append to.
pub struct Lowering<'a> {
    program: &'a mut Program,
    phase: Phase,
    ty: &'a Type,
    mnemonic: String,
    origin: &'a Origin,
    operands: Vec<(&'a Type, BufferId)>,
    /// The buffer of the node's own value.
    value: Option<BufferId>,
    /// For how many rows of a record the node is computed.
    views: usize,
}

impl Lowering<'_> {
    /// The type of the node being lowered.
    pub fn ty(&self) -> &Type {
        self.ty
    }

    /// The type of operand `i`.
    pub fn operand_ty(&self, i: usize) -> &Type {
        self.operands[i].0
    }

    /// Number of operands.
    pub fn arity(&self) -> usize {
        self.operands.len()
    }

    /// The buffer of operand `i`.
    pub fn operand(&self, i: usize) -> BufferId {
        self.operands[i].1
    }

    /// Elements between records of operand `i`: its length, or 0 if it is shared.
    pub fn record_stride(&self, i: usize) -> usize {
        self.operand_ty(i).record_stride()
    }

    /// Makes the node's own buffer.
    pub fn output(&mut self) -> BufferId {
        let ty = self.ty().clone();
        self.output_as(ty.dtype, Extent::of(ty.len(), ty.batched))
    }

    /// Makes the node's own buffer, whose elements are other than those of its type.
    pub fn output_as(&mut self, dtype: DType, len: Extent) -> BufferId {
        let id = self.buffer(self.name(), dtype, len, Role::Temporary);
        self.value = Some(id);
        id
    }

    /// The buffer of `width` floats per record that the host reads by name; nodes that share it each write a part.
    pub fn result(&mut self, name: &str, width: usize) -> BufferId {
        let role = Role::Output(name.into());
        let found = self.program.find(&role);
        found.unwrap_or_else(|| self.buffer(name.into(), DType::F32, Extent::rows(width), role))
    }

    /// Lets the node share the buffer of operand `i`: the same elements in the same order under another shape.
    pub fn alias(&mut self, i: usize) {
        self.value = Some(self.operand(i));
    }

    /// Makes a buffer for a kernel's intermediate result.
    pub fn temporary(&mut self, what: &str, dtype: DType, len: Extent) -> BufferId {
        let name = format!("{}.{what}", self.name());
        self.buffer(name, dtype, len, Role::Temporary)
    }

    /// The buffer of integers that never change.
    pub fn constant(&mut self, what: &str, data: Vec<i32>) -> BufferId {
        let (name, len) = (format!("{}.{what}", self.name()), Extent::fixed(data.len()));
        let role = Role::ConstantI32(data);
        self.program.find(&role).unwrap_or_else(|| self.buffer(name, DType::I32, len, role))
    }

    /// The buffer of operand `i` with one copy for each record where the node is batched and the operand is shared.
    pub fn spread(&mut self, i: usize) -> BufferId {
        let (ty, read) = (self.operand_ty(i).clone(), self.operand(i));
        if ty.batched || !self.ty().batched {
            return read;
        }
        let len = ty.len();
        let copies = self.temporary("spread", ty.dtype, Extent::rows(len));
        let axes = vec![CopyAxis { size: len, from: 1, to: 1 }];
        let kernel = Copy { batched: true, from_record: 0, to_record: len, from_offset: 0, to_offset: 0, axes };
        self.launch(kernel, &[read], &[copies]);
        copies
    }

    /// Binds the node to a buffer that outlives the phase: the one that has the role, or a new one.
    pub fn external(&mut self, role: Role) {
        let ty = self.ty().clone();
        let found = self.program.find(&role);
        let id = found.unwrap_or_else(|| self.buffer(self.name(), ty.dtype, Extent::of(ty.len(), ty.batched), role));
        self.value = Some(id);
    }

    /// Appends a dispatch: `reads` in the order of the kernel's doc, then `writes`.
    pub fn launch(&mut self, kernel: impl Into<Kernel>, reads: &[BufferId], writes: &[BufferId]) {
        let kernel = kernel.into();
        debug_assert_eq!(kernel.writes(), writes.len(), "{kernel:?}");
        let label = self.label();
        let buffers = reads.iter().chain(writes).copied().collect();
        self.program.phases.entry(self.phase).or_default().push(Dispatch { kernel, buffers, label, views: self.views });
    }

    /// The error of a form that no kernel computes.
    pub fn no_kernel(&self, what: impl Into<String>) -> LowerError {
        LowerError::NoKernel { op: self.mnemonic.clone(), onnx: self.origin.onnx.clone(), what: what.into() }
    }

    fn buffer(&mut self, name: String, dtype: DType, len: Extent, role: Role) -> BufferId {
        let len = Extent { per_row: len.per_row.saturating_mul(self.views), ..len };
        self.program.buffers.push(Buffer { name, dtype, len, role, slot: 0 });
        BufferId(self.program.buffers.len() as u32 - 1)
    }

    fn name(&self) -> String {
        if self.origin.value.is_empty() { self.mnemonic.clone() } else { self.origin.value.clone() }
    }

    fn label(&self) -> String {
        let onnx = &self.origin.onnx;
        if onnx.is_empty() { self.name() } else { format!("{} {onnx}", self.name()) }
    }
}

/// Appends the dispatches of a graph to a phase of the program, and returns the buffer of each of its outputs, by name. What is
/// of rows is computed for every [view](Program::views) of a record.
pub fn lower_graph<O: Lower>(
    graph: &Graph<O>,
    program: &mut Program,
    phase: Phase,
) -> Result<std::collections::BTreeMap<String, BufferId>, LowerError> {
    program.phases.entry(phase).or_default();
    let mut buffers: Vec<Option<BufferId>> = vec![None; graph.len()];
    let (of_records, views) = (of_records(graph), program.views);
    // What is of no batch at all is computed once.
    let of_rows = |id: NodeId| {
        let all = || [id].into_iter().chain(graph.operands(id)).filter(|&id| graph.ty(id).batched);
        let joins = graph.op(id).rows_joined().is_some();
        all().next().is_some() && !joins && !all().any(|id| of_records[id.index()])
    };
    for id in graph.ids() {
        let before = program.buffers.len();
        let node = graph.node(id);
        let operand = |id: NodeId| (graph.ty(id), buffers[id.index()].unwrap_or(BufferId(u32::MAX)));
        let mut cx = Lowering {
            program,
            phase,
            ty: &node.ty,
            mnemonic: node.op.mnemonic(),
            origin: &node.origin,
            operands: graph.operands(id).into_iter().map(operand).collect(),
            value: None,
            views: if of_rows(id) { views } else { 1 },
        };
        if node.op.rows_joined().is_some_and(|rows| rows != views) {
            return Err(cx.no_kernel(format!("other than {views} rows of a record")));
        }
        node.op.lower(&mut cx)?;
        if cx.program.buffers[before..].iter().any(|buffer| length(&buffer.len).is_none()) {
            return Err(cx.no_kernel("values of this size"));
        }
        buffers[id.index()] = cx.value;
    }
    Ok(graph.outputs.iter().filter_map(|(name, id)| buffers[id.index()].map(|b| (name.clone(), b))).collect())
}
