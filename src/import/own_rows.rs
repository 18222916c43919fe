//! The number of a record within its batch, which exporters write to index a value by it: `GatherND(x, [Range(0, N), t])`.
//!
//! Such an index reads the record's own row, and no other, if and only if it is `Range(0, N, 1)` unchanged. The rules mark
//! that value, hand the mark on where nothing but the shape changes, and refuse every other use: a number that is shifted,
//! turned around or compared may name another record.

use super::{Import, Refusal};
use crate::onnx::OnnxNode;

/// What is known of a value that names records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OwnRow {
    /// Every element is the number of its record.
    Number,
    /// A tuple of indices along the last axis, the first of which is the number of its record.
    Index,
}

/// Ops that hand elements on as they are.
const MOVES: [&str; 8] = ["Reshape", "Squeeze", "Unsqueeze", "Flatten", "Transpose", "Expand", "Identity", "Cast"];

impl Import<'_> {
    /// What a node's results are known to be, of which some operand names records.
    ///
    /// # Errors
    /// Where they could name another record than their own.
    pub(super) fn own_row_of(&self, node: &OnnxNode) -> Result<Option<OwnRow>, Refusal> {
        let of = |i: usize| node.input(i).and_then(|name| self.own_rows.get(name)).copied();
        let marks: Vec<Option<OwnRow>> = (0..node.inputs.len()).map(of).collect();
        let refused = || {
            let why = "it computes with the numbers of the records in the batch";
            Err(self.mixes(node, why, "index a value by Range(0, N) as it is, or better by nothing: a record is alone"))
        };
        match node.op_type.as_str() {
            _ if marks.iter().all(Option::is_none) => Ok(None),
            "Identity" | "Cast" => Ok(marks[0]),
            op if MOVES.contains(&op)
                && marks == [&[Some(OwnRow::Number)], &vec![None; marks.len() - 1][..]].concat() =>
            {
                Ok(Some(OwnRow::Number))
            }
            "Concat" => {
                let rank = self.input_dims(node, 0).map_or(0, <[_]>::len) as i64;
                let axis = node.require_int("axis").map_err(|e| self.attribute(node, e))?;
                let single = self.input_dims(node, 0).and_then(<[_]>::last) == Some(&crate::onnx::Dim::Known(1));
                let last = axis == -1 || axis == rank - 1;
                let leads = marks[0] == Some(OwnRow::Number) && marks[1..].iter().all(Option::is_none);
                if last && single && leads { Ok(Some(OwnRow::Index)) } else { refused() }
            }
            "GatherND" if marks[0].is_none() && marks[1] == Some(OwnRow::Index) => Ok(None),
            _ => refused(),
        }
    }
}
