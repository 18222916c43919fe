//! An artifact's program for records that are seen in several views each.

use miette::Diagnostic;
use thiserror::Error;

use super::Artifact;
use crate::compile::{CompileError, Options, compile_with_ops};
use crate::lower::program::{Program, Role};
use crate::lower::target::Targets;
use crate::onnx::OnnxError;
use crate::options::Precision;

/// Why a model has no program in which views are rows of one record.
#[derive(Debug, Error, Diagnostic)]
pub enum NoViews {
    /// The source cannot be read.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Source(#[from] OnnxError),
    /// It does not compile so.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Compile(#[from] Box<CompileError>),
    /// A physical batch has fewer rows than a record views.
    #[error("a physical batch has {rows} rows")]
    #[diagnostic(code(dpc::artifact::many_views))]
    Rows { rows: usize },
    /// What is kept in 16 bits does not lie one view behind the other.
    #[error("values are kept in 16 bits")]
    #[diagnostic(code(dpc::artifact::narrow_views), help("compile it with --precision f32"))]
    Precision,
    /// Its sums would not be those that the artifact's plan is for.
    #[error("its sums differ from those of the artifact in {what}")]
    #[diagnostic(code(dpc::artifact::other_views), help("compile the model again with this version of dpc"))]
    Other { what: &'static str },
}

impl NoViews {
    /// What whoever trains so is told.
    pub fn note(&self, views: u64) -> String {
        format!("the {views} views of a record are computed one record after the other, which takes longer: {self}")
    }
}

impl Artifact {
    /// The program in which each record has `views` rows of a batch, one behind the other, whose mean gradient is clipped as one.
    /// Its parameters, clip groups and sums are those of the artifact's own, and a record moves its sums by no more. Any of `targets` can run it.
    ///
    /// # Errors
    /// Where there is none.
    pub fn in_views(&self, views: usize, targets: Targets<'_>) -> Result<Program, NoViews> {
        let manifest = &self.manifest;
        if manifest.precision != Precision::F32 {
            return Err(NoViews::Precision);
        }
        let reopened = self.reopened()?;
        let options = Options { views, ..reopened.options };
        let compiled =
            compile_with_ops(&reopened.source, &reopened.parameters, &options, targets, &self.ops).map_err(Box::new)?;
        let within = match (&compiled.grid, &manifest.grid) {
            (Some(grid), Some(own)) => {
                let most = own.excess.iter().zip(&grid.excess).all(|(own, grid)| grid <= own);
                most && (grid.elements, grid.excess.len()) == (own.elements, own.excess.len())
            }
            (None, None) => true,
            _ => false,
        };
        let what = [
            ("their grid", within),
            ("clip groups", compiled.clip_groups == manifest.clip_groups),
            ("parameters", parameters(&compiled.program) == parameters(&self.program)),
        ];
        match what.into_iter().find(|(_, same)| !same) {
            Some((what, _)) => Err(NoViews::Other { what }),
            None => Ok(compiled.program),
        }
    }
}

/// The parameters in the order of the program, which is that of their noise.
fn parameters(program: &Program) -> Vec<&str> {
    program
        .buffers
        .iter()
        .filter_map(|buffer| match &buffer.role {
            Role::Parameter(name) => Some(&**name),
            _ => None,
        })
        .collect()
}
