//! The rows of a record that is seen in several views, taken as one value of the record.
//!
//! Up to it a record has several rows of the batch, each like a record of its own; all that is made of its value is the
//! record's. So the gradient that is clipped is that of all views together.

use super::OpRules;
use crate::graph::Type;
use crate::lower::{LowerError, Lowering};

/// The values of a record's rows, one behind the other along a new first axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Views {
    /// Rows of a record.
    pub count: usize,
}

impl OpRules for Views {
    fn mnemonic(&self) -> String {
        "views".into()
    }

    fn infer(&self, operands: &[&Type]) -> Result<Type, String> {
        match operands {
            [x] if x.batched => Ok(x.with_dims([&[self.count], x.dims.as_slice()].concat())),
            _ => Err("takes one value of the rows".into()),
        }
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<(), LowerError> {
        cx.alias(0);
        Ok(())
    }

    fn rows_joined(&self) -> Option<usize> {
        Some(self.count)
    }
}
