//! Ops from outside: of a domain of their own, added by who uses dpc as a library.
//!
//! An op is a [`CustomOp`]: its name, and what a node of it yields as a formula of its operands. A formula is made of scalar
//! functions, sums and means, whose batch rules and derivatives dpc has; and of [`Kernel`]s, with which an op brings code of its
//! own: WGSL and its native twin for one record, and the derivative as another formula. Neither can make records meet: a
//! formula's parts refuse to, and a kernel sees one record. [`CustomOps`] is the list of those that a model may use.

mod kernel;
mod node;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use miette::Diagnostic;
use thiserror::Error;

pub use super::formula::{Formula, Term};
pub use crate::lower::kernels::{Code, Record};
pub use crate::lower::scalar::Func;
pub use kernel::{Call, Kernel, RecordDims, Shape};
pub(super) use kernel::{Called, Owner};
pub use node::Node;

use super::{Import, Refusal, Value};
use crate::lower::kernels;
use crate::lower::kernels::Link;
use crate::lower::program::Program;
use crate::onnx::OnnxNode;

/// An op of a domain of its own.
pub trait CustomOp: fmt::Debug + Send + Sync {
    /// The domain, as the file has it; not that of ONNX.
    fn domain(&self) -> &str;

    /// The op's type, as the file has it.
    fn op_type(&self) -> &str;

    /// What a node yields, an output each, as formulas of its operands; or why it cannot be taken, in words.
    ///
    /// Axes are those of ONNX, with the batch among them.
    fn formula<'f>(&self, node: &Node<'f>) -> Result<Vec<Term<'f>>, String>;

    /// The kernels that the formula, and the derivatives of kernels, are made of.
    fn kernels(&self) -> Vec<&'static Kernel> {
        vec![]
    }
}

/// The name of an op in texts and programs.
fn name(domain: &str, op_type: &str) -> String {
    format!("{domain}::{op_type}")
}

/// The ops that models may use beside those of ONNX.
#[derive(Clone, Debug, Default)]
pub struct CustomOps {
    ops: Vec<Arc<dyn CustomOp>>,
}

impl CustomOps {
    /// None.
    pub fn new() -> CustomOps {
        CustomOps::default()
    }

    /// With another op.
    ///
    /// # Errors
    /// Where it cannot be registered.
    pub fn with(mut self, op: impl CustomOp + 'static) -> Result<CustomOps, RegistrationError> {
        let (domain, op_type) = (op.domain(), op.op_type());
        let name = name(domain, op_type);
        if domain.is_empty() || domain == "ai.onnx" || domain.starts_with("ai.onnx.") {
            return Err(RegistrationError::OfOnnx { op: name });
        }
        if self.get(domain, op_type).is_some() {
            return Err(RegistrationError::Twice { op: name });
        }
        let mut names = BTreeSet::new();
        for kernel in op.kernels() {
            let twice = (!names.insert(kernel.name)).then(|| "there is another kernel of that name".to_owned());
            if let Some(problem) = twice.or_else(|| kernel.code.problem()) {
                return Err(RegistrationError::Kernel { op: name, kernel: kernel.name, problem });
            }
        }
        self.ops.push(Arc::new(op));
        Ok(self)
    }

    /// The op of this domain and type.
    pub fn get(&self, domain: &str, op_type: &str) -> Option<&dyn CustomOp> {
        let found = self.ops.iter().find(|op| op.domain() == domain && op.op_type() == op_type);
        found.map(|op| &**op)
    }

    /// Gives the kernels of a program that was read from a file their code.
    ///
    /// # Errors
    /// Where the program has kernels of ops that are not registered, or whose code is another.
    pub fn link(&self, program: &mut Program) -> Result<(), UnknownOps> {
        let mut unknown = BTreeSet::new();
        for dispatch in program.phases.values_mut().flatten() {
            let kernels::Kernel::Custom(custom) = &mut dispatch.kernel else { continue };
            custom.code = Link(self.code(custom).map(|kernel| &kernel.code));
            if custom.code.0.is_none() {
                let known = custom.op.split_once("::").is_some_and(|(domain, op)| self.get(domain, op).is_some());
                unknown.insert(match known {
                    true => format!("`{}` with the kernel `{}` {}", custom.op, custom.name, custom.digest),
                    false => format!("`{}`", custom.op),
                });
            }
        }
        if unknown.is_empty() { Ok(()) } else { Err(UnknownOps { ops: unknown.into_iter().collect() }) }
    }

    fn code(&self, custom: &kernels::Custom) -> Option<&'static Kernel> {
        let (domain, op_type) = custom.op.split_once("::")?;
        let kernels = self.get(domain, op_type)?.kernels();
        kernels.into_iter().find(|kernel| kernel.name == custom.name && kernel.code.digest() == custom.digest)
    }
}

/// Ops are told apart by their names.
impl PartialEq for CustomOps {
    fn eq(&self, other: &CustomOps) -> bool {
        let names =
            |ops: &CustomOps| -> Vec<String> { ops.ops.iter().map(|op| name(op.domain(), op.op_type())).collect() };
        names(self) == names(other)
    }
}

/// An op that cannot be registered.
#[derive(Debug, Error, Diagnostic)]
#[allow(missing_docs)]
pub enum RegistrationError {
    #[error("`{op}` is of ONNX's own domain")]
    #[diagnostic(code(dpc::custom::domain), help("ops from outside have a domain of their own"))]
    OfOnnx { op: String },
    #[error("`{op}` is registered already")]
    #[diagnostic(code(dpc::custom::twice))]
    Twice { op: String },
    #[error("the kernel `{kernel}` of `{op}` cannot be taken: {problem}")]
    #[diagnostic(
        code(dpc::custom::kernel),
        help(
            "its WGSL is functions, one of which is `element(i: u32) -> f32`, and reads its operands by functions of their names"
        )
    )]
    Kernel { op: String, kernel: &'static str, problem: String },
}

/// A program with ops that nobody has registered.
#[derive(Clone, Debug, Error, Diagnostic, PartialEq, Eq)]
#[error("the program needs ops that are not registered: {}", .ops.join(", "))]
#[diagnostic(
    code(dpc::custom::unknown),
    help("load it by the library, with the ops that it was compiled with; the command line has none but dpc's own")
)]
pub struct UnknownOps {
    /// The ops; with the kernel and its digest where there is an op of that name with other code.
    pub ops: Vec<String>,
}

/// Imports a node of an op from outside.
pub(super) fn import(cx: &mut Import<'_>, node: &OnnxNode, op: &dyn CustomOp) -> Result<Vec<Value>, Refusal> {
    let operands = (0..node.inputs.len()).map(|i| cx.optional(node, i)).collect::<Result<Vec<_>, _>>()?;
    let formula = Formula { owner: Some(Owner::of(op)), ..Formula::default() };
    let wanted = node.outputs.iter().rposition(|output| !output.is_empty()).map_or(0, |last| last + 1);
    let results: Vec<usize> = match op.formula(&Node::new(node, &formula, operands)) {
        Ok(terms) if terms.len() >= wanted => terms.iter().map(|term| term.at).collect(),
        Ok(terms) => {
            return Err(cx.invalid(node, format!("it has {wanted} outputs, and its op yields {}", terms.len())));
        }
        Err(why) => return Err(cx.unsupported(node, &why)),
    };
    let parts = formula.emit(cx, node)?;
    results.into_iter().map(|at| parts[at].value(cx, node)).collect()
}

/// The graph's op of a kernel with numbers.
#[cfg(test)]
pub fn called(op: &dyn CustomOp, kernel: &'static Kernel, numbers: &[f32]) -> crate::ops::custom::Custom {
    let called = Called { owner: Some(Owner::of(op)), kernel, numbers: numbers.to_vec() };
    crate::ops::custom::Custom(Arc::new(called))
}
