//! The integration tests, one module a subject.

mod accounting;
mod onnx;
