//! The number of a record within its batch, which exporters write to index a value by it: `GatherND(x, [Range(0, N), t])`, and
//! numbers that count the elements of all records together, such as those of MaxPool.
//!
//! Such an index reads the record's own row, and no other, if and only if it is `Range(0, N, 1)` unchanged. The rules mark
//! that value, hand the mark on where nothing but the shape changes, and refuse every other use: a number that is shifted,
//! turned around or compared may name another record.
//!
//! Where a value counts on from record to record, the graph has what it is for the first record, and the mark says by how
//! much it grows with each record ([`OwnRow::Offset`]). It stands for elements of the record's own if that is the number of
//! elements that a record has of what is indexed.

use super::{Import, Refusal};
use crate::onnx::{Elem, OnnxNode};

/// What is known of a value that names records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OwnRow {
    /// Every element is the number of its record.
    Number,
    /// A tuple of indices along the last axis, the first of which is the number of its record.
    Index,
    /// Every element is that of the first record, and so much more for each record before its own.
    Offset(i64),
}

/// How a node may use operands that name records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Use {
    /// Whether its rule may read them as any values.
    pub reads: bool,
    /// What its result is.
    pub mark: Option<OwnRow>,
}

/// Ops that hand elements on as they are.
const MOVES: [&str; 10] =
    ["Reshape", "Squeeze", "Unsqueeze", "Flatten", "Transpose", "Expand", "Identity", "Cast", "CastLike", "Slice"];

/// Whether a type holds large integers.
fn holds(elem: Option<Elem>) -> bool {
    matches!(elem, Some(Elem::I32 | Elem::I64 | Elem::U32 | Elem::U64 | Elem::F32 | Elem::F64))
}

impl OwnRow {
    /// By how much it grows with each record.
    fn step(mark: Option<OwnRow>) -> Option<i64> {
        match mark {
            None => Some(0),
            Some(OwnRow::Number) => Some(1),
            Some(OwnRow::Offset(step)) => Some(step),
            Some(OwnRow::Index) => None,
        }
    }
}

impl Import<'_> {
    /// How a node may use its operands, of which some may name records.
    ///
    /// # Errors
    /// Where they could name another record than their own.
    pub(super) fn own_row_of(&self, node: &OnnxNode) -> Result<Use, Refusal> {
        let of = |i: usize| node.input(i).and_then(|name| self.own_rows.get(name)).copied();
        let marks: Vec<Option<OwnRow>> = (0..node.inputs.len()).map(of).collect();
        let refused = || {
            let why = "it computes with the numbers of the records in the batch";
            Err(self.mixes(node, why, "index a value by Range(0, N) as it is, or better by nothing: a record is alone"))
        };
        let handed_on = |mark| Ok(Use { reads: true, mark });
        let first_alone = || marks[1..].iter().all(Option::is_none);
        // Its indices count on from record to record, and nothing else does.
        let counted = || {
            let others = marks.iter().enumerate().filter(|(i, _)| *i != 1);
            matches!(marks.get(1), Some(Some(OwnRow::Offset(_)))) && others.into_iter().all(|(_, mark)| mark.is_none())
        };
        match node.op_type.as_str() {
            _ if marks.iter().all(Option::is_none) => Ok(Use::default()),
            // Of a number that counts on, a type that does not hold it makes another one.
            "Cast" | "CastLike" if matches!(marks[0], Some(OwnRow::Offset(_))) && !holds(self.output_elem(node, 0)) => {
                refused()
            }
            "Identity" | "Cast" => handed_on(marks[0]),
            op if MOVES.contains(&op) && first_alone() && marks[0] != Some(OwnRow::Index) => handed_on(marks[0]),
            "Concat" if marks.len() == 1 => handed_on(marks[0]),
            "Concat" => {
                let rank = self.input_dims(node, 0).map_or(0, <[_]>::len) as i64;
                let axis = node.require_int("axis").map_err(|e| self.attribute(node, e))?;
                let single = self.input_dims(node, 0).and_then(<[_]>::last) == Some(&crate::onnx::Dim::Known(1));
                let last = axis == -1 || axis == rank - 1;
                let leads = marks[0] == Some(OwnRow::Number) && first_alone();
                if last && single && leads { handed_on(Some(OwnRow::Index)) } else { refused() }
            }
            "GatherND" if marks[0].is_none() && marks[1] == Some(OwnRow::Index) => Ok(Use::default()),
            // These rules hold the step to the elements of a record.
            "ScatterND" | "MaxUnpool" if counted() => Ok(Use::default()),
            // Steps add up as the values do, and may cancel out.
            "Add" | "Sub" if !marks.contains(&Some(OwnRow::Number)) => {
                let steps: Option<Vec<i64>> = marks.iter().map(|&mark| OwnRow::step(mark)).collect();
                let [a, b] = steps.unwrap_or_default()[..] else { return refused() };
                let step = if node.op_type == "Add" { a.checked_add(b) } else { a.checked_sub(b) };
                match step {
                    Some(0) => handed_on(None),
                    Some(step) => handed_on(Some(OwnRow::Offset(step))),
                    None => refused(),
                }
            }
            "Mul" => {
                let &[a, b] = &marks[..] else { return refused() };
                let factor = |i: usize| match self.known(node, i)?.ints()? {
                    &[factor] if factor > 0 => Some(factor),
                    _ => None,
                };
                let step = match (a, b) {
                    (own, None) => OwnRow::step(own).zip(factor(1)),
                    (None, own) => OwnRow::step(own).zip(factor(0)),
                    _ => None,
                };
                let step = step.and_then(|(step, factor)| step.checked_mul(factor));
                step.map_or_else(refused, |step| handed_on(Some(OwnRow::Offset(step))))
            }
            _ => refused(),
        }
    }
}
