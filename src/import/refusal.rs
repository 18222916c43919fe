//! Why a model is refused: every reason, by ONNX node, with what to do.

use std::fmt;

use miette::Diagnostic;
use thiserror::Error;

/// Why a node cannot be taken.
#[derive(Debug, Clone, Error, Diagnostic)]
pub enum Refusal {
    /// The op would let records meet.
    #[error("node `{node}` ({op}): the result for one record would depend on other records: {why}{seen}")]
    #[diagnostic(code(dpc::prove::mixes_records))]
    Mixes {
        /// Name of the ONNX node.
        node: String,
        /// Its op type.
        op: String,
        /// What it does to the batch axis.
        why: String,
        /// What it reads.
        seen: Seen,
        /// What to do about it.
        #[help]
        help: String,
    },
    /// dpc has no rule for the op, or not for this form of it.
    #[error("node `{node}` ({op}) is not supported: {why}{seen}")]
    #[diagnostic(code(dpc::prove::unsupported))]
    Unsupported {
        /// Name of the ONNX node.
        node: String,
        /// Its op type.
        op: String,
        /// Which op or form.
        why: String,
        /// What it reads.
        seen: Seen,
        /// What to do about it.
        #[help]
        help: String,
    },
    /// The node is not valid ONNX, or its operands do not fit.
    #[error("node `{node}` ({op}): {why}{seen}")]
    #[diagnostic(code(dpc::prove::invalid), help("the file may be damaged; check it with `onnx.checker.check_model`"))]
    Invalid {
        /// Name of the ONNX node.
        node: String,
        /// Its op type.
        op: String,
        /// What is wrong.
        why: String,
        /// What it reads.
        seen: Seen,
    },
    /// A rule and shape inference disagree on an output, so that one of them misreads the node.
    #[error("node `{node}` ({op}): its output `{output}` is {rule} by dpc's rule, and {inferred} by shape inference")]
    #[diagnostic(
        code(dpc::prove::contradicted),
        help(
            "check the file with `onnx.checker.check_model`; if that accepts it, this is a defect of dpc: please report it \
             with the model"
        )
    )]
    Contradicted {
        /// Name of the ONNX node.
        node: String,
        /// Its op type.
        op: String,
        /// Name of the output.
        output: String,
        /// Its dtype and axes by the rule.
        rule: String,
        /// Its dtype and dims by inference, with `?` for what that does not know.
        inferred: String,
    },
    /// An operand comes from a node that was refused already; not reported.
    #[error("node `{node}` follows a refused node")]
    Blocked {
        /// Name of the ONNX node.
        node: String,
    },
}

impl Refusal {
    /// The name of the ONNX node; of an input or output, its own.
    pub fn node(&self) -> &str {
        match self {
            Refusal::Mixes { node, .. }
            | Refusal::Unsupported { node, .. }
            | Refusal::Invalid { node, .. }
            | Refusal::Contradicted { node, .. }
            | Refusal::Blocked { node } => node,
        }
    }

    /// The same, with what the node reads.
    pub(super) fn with(mut self, what: Seen) -> Refusal {
        if let Refusal::Mixes { seen, .. } | Refusal::Unsupported { seen, .. } | Refusal::Invalid { seen, .. } =
            &mut self
        {
            *seen = what;
        }
        self
    }
}

/// What a node reads, and its attributes, in lines of their own; nothing is shown where nothing is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen(String);

impl Seen {
    /// Of operands such as `x f32[N, 5]` and attributes such as `axis=0`.
    pub(super) fn new(operands: &[String], attributes: &[String]) -> Seen {
        let mut text = String::new();
        for (what, listed) in [("reads", operands), ("with", attributes)] {
            if !listed.is_empty() {
                text += &format!("\n  {what} {}", listed.join(", "));
            }
        }
        Seen(text)
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A model that dpc cannot train, with every reason.
#[derive(Debug, Error, Diagnostic)]
#[error("the model cannot be compiled: {} problem{} found", .problems.len(), if .problems.len() == 1 { "" } else { "s" })]
#[diagnostic(code(dpc::prove::refused))]
pub struct Refused {
    /// Every problem, in the order of the graph.
    #[related]
    pub problems: Vec<Refusal>,
}
