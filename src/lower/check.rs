//! What must hold of a program before any device runs it: a program may come from a file.
//!
//! - Whatever a program refers to is there, and no length overflows.
//! - A buffer fits into its memory slot, whose elements are as large as its own, and constants are as many as its elements.
//! - A dispatch has the buffers of its kernel's contract, of its types and at least of its lengths; what it writes shares
//!   memory with no other of them; and the kernel's sizes make sense and fit the 32 bits of a shader's word.
//! - A dispatch runs for every view of a record, or for records where it clips them or sums over them.

use std::collections::BTreeSet;

use miette::Diagnostic;
use serde_json::Value;
use thiserror::Error;

use super::kernels::{Access, Kernel};
use super::program::{BufferId, Dispatch, Extent, Program, Role};
use crate::graph::DType;

/// The most rows of a physical batch.
pub const MAX_ROWS: usize = 65_535;

/// The most rows that memory is counted for. Machines of 32 bits, as browsers are, count fewer: there the memory of most networks
/// has no number at [`MAX_ROWS`].
pub const COUNTED_ROWS: usize = if cfg!(target_pointer_width = "64") { MAX_ROWS } else { 1_024 };

/// A program that no device can run.
#[derive(Clone, Debug, Error, Diagnostic, PartialEq, Eq)]
#[error("the program cannot be run: {what}")]
#[diagnostic(code(dpc::program::invalid), help("compile the model again"))]
pub struct Invalid {
    /// The first thing that does not hold.
    pub what: String,
}

/// Checks `program` at physical batches of each of `rows`; what holds of the smallest and the largest holds in between.
///
/// # Errors
/// The first thing that does not hold, in words.
pub fn check(program: &Program, rows: &[usize]) -> Result<(), Invalid> {
    structure(program).map_err(|what| Invalid { what })?;
    for dispatch in program.phases.values().flatten() {
        contract(program, dispatch, rows)
            .map_err(|what| Invalid { what: format!("dispatch `{}` {what}", dispatch.label) })?;
    }
    Ok(())
}

fn structure(program: &Program) -> Result<(), String> {
    for extent in program.slots.iter().flat_map(|slot| &slot.tenants) {
        length(extent).ok_or_else(|| format!("a memory slot cannot have the length {extent:?}"))?;
    }
    for buffer in &program.buffers {
        let problem = |what: String| format!("buffer `{}` {what}", buffer.name);
        let len = buffer.len;
        length(&len).ok_or_else(|| problem(format!("cannot have the length {len:?}")))?;
        let constants = match &buffer.role {
            Role::ConstantF32(values) => Some((values.len(), DType::F32)),
            Role::ConstantI32(values) => Some((values.len(), DType::I32)),
            _ => None,
        };
        // Truth values are the integers 0 and 1.
        let held = if buffer.dtype == DType::Bool { DType::I32 } else { buffer.dtype };
        if let Some((found, dtype)) = constants
            && (len, held) != (Extent::fixed(found), dtype)
        {
            return Err(problem(format!("has {found} constants of {dtype} for the length {len:?}")));
        }
    }
    let used = program.phases.values().flatten().flat_map(|dispatch| &dispatch.buffers);
    let used: BTreeSet<&BufferId> = used.collect();
    for id in program.ids().filter(|_| !program.slots.is_empty()) {
        let buffer = program.buffer(id);
        let problem = |what: String| format!("buffer `{}` {what}", buffer.name);
        let Some(slot) = program.slots.get(buffer.slot as usize) else {
            return Err(problem(format!("is in memory slot {}, which does not exist", buffer.slot)));
        };
        // A temporary that nothing uses has no memory.
        if buffer.role == Role::Temporary && !used.contains(&id) {
            continue;
        }
        if slot.dtype.size() != buffer.dtype.size() {
            return Err(problem(format!("of {} is in a memory slot of {}", buffer.dtype, slot.dtype)));
        }
        let Extent { per_row, fixed } = buffer.len;
        if !slot.tenants.iter().any(|tenant| tenant.per_row >= per_row && tenant.fixed >= fixed) {
            return Err(problem("is longer than its memory slot".into()));
        }
    }
    Ok(())
}

fn contract(program: &Program, dispatch: &Dispatch, rows: &[usize]) -> Result<(), String> {
    if let Some(id) = dispatch.buffers.iter().find(|id| id.0 as usize >= program.buffers.len()) {
        return Err(format!("uses buffer {}, which does not exist", id.0));
    }
    if dispatch.views != program.views && dispatch.views != 1 {
        return Err(format!("runs for {} views of {}", dispatch.views, program.views));
    }
    let rules = dispatch.kernel.rules();
    if dispatch.views != 1 && rules.is_of_records() {
        return Err(format!("({}) takes each view for a record of its own", rules.name()));
    }
    if let Some(size) = oversized(&dispatch.kernel) {
        return Err(format!("({}) has the size {size}, which does not fit 32 bits", rules.name()));
    }
    if let Some(problem) = rules.problem() {
        return Err(format!("({}) {problem}", rules.name()));
    }
    let bindings = rules.buffers();
    if bindings.len() != dispatch.buffers.len() {
        let count = dispatch.buffers.len();
        return Err(format!("({}) has {count} buffers in place of {}", rules.name(), bindings.len()));
    }
    let mut moved = None;
    for (i, (binding, &id)) in bindings.iter().zip(&dispatch.buffers).enumerate() {
        let buffer = program.buffer(id);
        let dtype = binding.dtype.unwrap_or(*moved.get_or_insert(buffer.dtype));
        if buffer.dtype != dtype {
            return Err(format!("has `{}` of {} for `{}` of {dtype}", buffer.name, buffer.dtype, binding.name));
        }
        let reach = |rows: usize| binding.len.at(rows.saturating_mul(dispatch.views));
        if let Some(&rows) = rows.iter().find(|&&rows| buffer.len.at(rows) < reach(rows)) {
            let (len, reach) = (buffer.len.at(rows), reach(rows));
            return Err(format!(
                "reaches {reach} elements of `{}` in `{}`, which has {len} for {rows} rows",
                binding.name, buffer.name
            ));
        }
        let others = dispatch.buffers.iter().enumerate().filter(|(j, _)| *j != i);
        let shared = others.map(|(_, id)| *id).find(|&other| program.home(other) == program.home(id));
        if let Some(other) = shared.filter(|_| binding.access == Access::Write) {
            let other = &program.buffer(other).name;
            return Err(format!("writes `{}`, which shares memory with `{other}`", buffer.name));
        }
    }
    Ok(())
}

/// A size of a kernel that no word of a shader holds.
fn oversized(kernel: &Kernel) -> Option<u64> {
    fn largest(value: &Value) -> u64 {
        match value {
            Value::Number(number) => number.as_u64().unwrap_or(0),
            Value::Array(values) => values.iter().map(largest).max().unwrap_or(0),
            Value::Object(values) => values.values().map(largest).max().unwrap_or(0),
            _ => 0,
        }
    }
    let largest = serde_json::to_value(kernel).map_or(u64::MAX, |value| largest(&value));
    (largest > u64::from(u32::MAX)).then_some(largest)
}

/// The bytes at the largest physical batch that is counted, if they can be.
pub(super) fn length(extent: &Extent) -> Option<usize> {
    let len = extent.per_row.checked_mul(COUNTED_ROWS)?.checked_add(extent.fixed)?;
    len.checked_mul(4).filter(|&bytes| isize::try_from(bytes).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lower::kernels::{Accumulate, Fill, Gather};
    use crate::lower::program::{Buffer, Phase, Slot};

    fn program() -> Program {
        let len = Extent::fixed(2);
        let buffer = |role, slot| Buffer { name: "x".to_owned(), dtype: DType::F32, len, role, slot };
        let fill = Dispatch {
            kernel: Fill { len, value: 0.0 }.into(),
            buffers: vec![BufferId(0)],
            label: "fill".to_owned(),
            views: 1,
        };
        let slot = Slot { dtype: DType::F32, tenants: vec![len] };
        Program {
            buffers: vec![buffer(Role::Temporary, 0), buffer(Role::ConstantF32(vec![1.0, 2.0]), 1)],
            slots: vec![slot.clone(), slot],
            phases: [(Phase::Forward, vec![fill])].into(),
            targets: vec![],
            views: 1,
        }
    }

    #[test]
    fn what_is_not_there_and_what_overflows_is_named() {
        let rows = [1, MAX_ROWS];
        assert_eq!(check(&program(), &rows), Ok(()));
        type Break = fn(&mut Program);
        fn fill(program: &mut Program) -> &mut Dispatch {
            &mut program.phases.get_mut(&Phase::Forward).unwrap()[0]
        }
        let broken: [(Break, &str); 15] = [
            (|p| p.buffers[0].len.per_row = usize::MAX / 2, "buffer `x` cannot have the length"),
            (|p| p.slots[0].tenants[0].fixed = usize::MAX / 3, "a memory slot cannot have the length"),
            (|p| p.buffers[0].slot = 2, "buffer `x` is in memory slot 2"),
            (|p| p.buffers[1].len = Extent::rows(2), "buffer `x` has 2 constants"),
            (|p| p.buffers[1].dtype = DType::I32, "buffer `x` has 2 constants of f32"),
            (|p| p.buffers[0].len.per_row = 1, "buffer `x` is longer than its memory slot"),
            (|p| p.buffers[0].dtype = DType::I32, "has `x` of i32 for `y` of f32"),
            (|p| fill(p).buffers[0] = BufferId(2), "uses buffer 2"),
            (|p| fill(p).buffers.clear(), "(fill) has 0 buffers in place of 1"),
            (|p| fill(p).buffers.push(BufferId(1)), "(fill) has 2 buffers in place of 1"),
            (
                |p| fill(p).kernel = Fill { len: Extent::fixed(3), value: 0.0 }.into(),
                "reaches 3 elements of `y` in `x`",
            ),
            (|p| fill(p).kernel = Fill { len: Extent::rows(1), value: 0.0 }.into(), "which has 2 for 65535 rows"),
            (|p| fill(p).kernel = Fill { len: Extent::fixed(1 << 32), value: 0.0 }.into(), "does not fit 32 bits"),
            (
                |p| {
                    *fill(p) = Dispatch {
                        kernel: Accumulate { len: 2 }.into(),
                        buffers: vec![BufferId(0), BufferId(1)],
                        label: String::new(),
                        views: 1,
                    };
                    p.buffers[1].slot = 0;
                },
                "writes `x`, which shares memory with `x`",
            ),
            (
                |p| {
                    fill(p).kernel =
                        Gather { batched: true, table_record: 0, ids_record: 1, count: 1, width: 1, table_rows: 0 }
                            .into()
                },
                "(gather) has no table rows",
            ),
        ];
        for (breaks, said) in broken {
            let mut program = program();
            breaks(&mut program);
            let error = check(&program, &rows).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
