//! Everything between an ONNX file and the compiler's own graph.
//!
//! [`Source::open`](source::Source::open) reads a file, checks it and yields a [`Source`](source::Source): the nodes in
//! topological order with typed attributes, the initialisers, the inputs with their batch axis, and what is known of
//! the shape of every value. [`parameters::discover`] says which initialisers are trained, and [`export::export`]
//! writes trained values back into the file that they came from.

mod as_strided;
pub mod aten;
pub mod batch_norm;
mod embedding_bag;
pub mod error;
pub mod export;
mod exporter;
mod external;
pub mod facts;
pub mod fix;
mod flatten;
pub mod initial;
mod inputs;
pub mod lift;
mod linear;
mod narrow;
pub mod node;
pub mod opset;
pub mod parameters;
pub mod proto;
mod record_loss;
pub mod source;
pub mod tensor;
pub mod trial;
mod wiring;

pub use crate::glob::Glob;
pub use aten::AtenCall;
pub use batch_norm::Substitute;
pub use error::OnnxError;
pub use export::{export, training_dropouts};
pub use exporter::Exporter;
pub use facts::{Facts, Int};
pub use fix::{AxisFix, AxisFixes, Fix};
pub use initial::{Given, Initial};
pub use lift::Lifted;
pub use node::OnnxNode;
pub use parameters::{Padding, Parameter, Parameters, discover};
pub use source::{BatchAxis, Dim, OutputInfo, Reading, Source, ValueInfo};
pub use tensor::{Elem, Tensor, TensorData};
