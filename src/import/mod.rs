//! Proves that the model treats every record alone, and builds the graph as the proof goes.
//!
//! Every ONNX value carries factored [`Axes`]. An op's import rule takes its operands' axes to its result's, or refuses:
//! no op may make the batch factor vanish, move within itself or meet itself. In the same step the rule emits the op on
//! the values of *one record*, the batch factor hoisted out. Ops of the graph cannot name the batch axis at all, so a
//! graph that comes out is per-sample independent by construction, and equal shapes are never taken for proof.
//!
//! All problems are reported at once, those behind a refused node too; a node that only fails because an earlier one did is
//! not reported.
//!
//! | | |
//! |---|---|
//! | [`axes`] | the axes of an ONNX value, with the batch among their factors |
//! | `rules/` | one file an ONNX op family |
//! | [`Import`] | what a rule sees of the model, and how it refuses |
//! | `interface` | the inputs and outputs of the model |
//! | `beyond` | what is supposed of a refused node, so that what follows it is looked at too |
//! | `check` | what a rule gave, held against shape inference |
//! | `own_rows` | the number of a record within its batch, and what may be done with it |
//! | `formula` | function ops as formulas |
//! | [`custom`] | ops from outside |
//! | `interpolate` | the coefficients of resized axes |
//! | `broadcast`, `reduction`, `rows`, `select`, `window`, `fixed_batch` | batch rules that several families share |

pub mod axes;
mod beyond;
mod broadcast;
mod check;
mod context;
pub mod custom;
mod fixed_batch;
pub mod formula;
mod interface;
mod interpolate;
mod own_rows;
mod prove;
mod reduction;
mod refusal;
mod rows;
mod rules;
mod select;
mod window;

use axes::Axes;

use crate::graph::NodeId;
use crate::onnx::OnnxNode;

pub use context::Import;
pub use prove::{Proved, prove, prove_for, prove_with_ops};
pub use refusal::{Refusal, Refused};
pub use rules::rules;

/// An import rule: the values of a node's outputs, in order. Trailing outputs that nobody uses may be left out.
pub type Rule = fn(&mut Import<'_>, &OnnxNode) -> Result<Vec<Value>, Refusal>;

/// An ONNX value: the graph node that holds it for one record, and its axes.
#[derive(Clone, Debug)]
pub struct Value {
    /// The node; its dims are `axes.per_record()`, and it is shared where no record's data went into it.
    pub node: NodeId,
    /// The axes as ONNX sees them.
    pub axes: Axes,
}
