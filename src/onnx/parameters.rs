//! Which initialisers are parameters.

use super::error::OnnxError;
use super::glob::Glob;
use super::source::Source;

/// A float initialiser.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// The initialiser's name.
    pub name: String,
    /// The size of each axis.
    pub dims: Vec<usize>,
    /// Whether its values are trained.
    pub trainable: bool,
    /// Where it is used and why it is trained or not, e.g. `Gemm.1 of /fc1/Gemm`.
    pub reason: String,
    /// What the user should know of it, one sentence each.
    pub warnings: Vec<String>,
}

/// The float initialisers of `source`, and which of them are trained.
///
/// # Errors
///
/// [`OnnxError::Patterns`] for patterns that match none.
pub fn discover(
    source: &Source,
    train: &[Glob],
    freeze: &[Glob],
) -> Result<Vec<Parameter>, OnnxError> {
    let _ = (source, train, freeze);
    Ok(Vec::new())
}
