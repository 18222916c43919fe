//! What must hold of a program before any device looks at it: a program may come from a file.

use super::program::{Dispatch, Extent, Program, Role};

/// The most rows of a physical batch.
pub const MAX_ROWS: usize = 65_535;

/// Checks that everything `program` refers to is there, and that no length overflows.
///
/// # Errors
/// The first thing that does not hold, in words.
pub fn check(program: &Program) -> Result<(), String> {
    for extent in program.slots.iter().flatten() {
        length(extent).ok_or_else(|| format!("a memory slot cannot have the length {extent:?}"))?;
    }
    for buffer in &program.buffers {
        let problem = |what: String| format!("buffer `{}` {what}", buffer.name);
        let len = buffer.len;
        length(&len).ok_or_else(|| problem(format!("cannot have the length {len:?}")))?;
        if !program.slots.is_empty() && buffer.slot as usize >= program.slots.len() {
            return Err(problem(format!("is in memory slot {}, which does not exist", buffer.slot)));
        }
        let constants = match &buffer.role {
            Role::ConstantF32(values) => Some(values.len()),
            Role::ConstantI32(values) => Some(values.len()),
            _ => None,
        };
        if let Some(found) = constants.filter(|&found| len != Extent::fixed(found)) {
            return Err(problem(format!("has {found} constants for the length {len:?}")));
        }
    }
    program.phases.values().flatten().try_for_each(|dispatch| of_dispatch(program, dispatch))
}

fn of_dispatch(program: &Program, dispatch: &Dispatch) -> Result<(), String> {
    let problem = |what: String| Err(format!("dispatch `{}` {what}", dispatch.label));
    if let Some(id) = dispatch.buffers.iter().find(|id| id.0 as usize >= program.buffers.len()) {
        return problem(format!("uses buffer {}, which does not exist", id.0));
    }
    if dispatch.buffers.len() < dispatch.kernel.writes() {
        return problem(format!("writes more than its {} buffers", dispatch.buffers.len()));
    }
    if dispatch.shader as usize >= program.shaders.len() {
        return problem(format!("runs shader {}, which does not exist", dispatch.shader));
    }
    Ok(())
}

/// The bytes at the largest physical batch, if they can be counted.
pub(super) fn length(extent: &Extent) -> Option<usize> {
    let groups = MAX_ROWS.div_ceil(Some(extent.every).filter(|&every| every > 0)?);
    let len = extent.per_row.checked_mul(groups)?.checked_add(extent.fixed)?;
    len.checked_mul(4).filter(|&bytes| isize::try_from(bytes).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::DType;
    use crate::lower::kernels::Fill;
    use crate::lower::program::{Buffer, BufferId, Phase, Shader};

    fn program() -> Program {
        let len = Extent::fixed(2);
        let buffer = |role| Buffer { name: "x".to_owned(), dtype: DType::F32, len, role, slot: 0 };
        let fill = Dispatch {
            kernel: Fill { len, value: 0.0 }.into(),
            buffers: vec![BufferId(0)],
            label: "fill".to_owned(),
            shader: 0,
        };
        Program {
            buffers: vec![buffer(Role::Temporary), buffer(Role::ConstantF32(vec![1.0, 2.0]))],
            slots: vec![vec![len]],
            phases: [(Phase::Forward, vec![fill])].into(),
            shaders: vec![Shader { name: "fill".to_owned(), wgsl: String::new() }],
        }
    }

    #[test]
    fn what_is_not_there_and_what_overflows_is_named() {
        assert_eq!(check(&program()), Ok(()));
        type Break = fn(&mut Program);
        let broken: [(Break, &str); 8] = [
            (|p| p.buffers[0].len.every = 0, "buffer `x` cannot have the length"),
            (|p| p.buffers[0].len.per_row = usize::MAX / 2, "buffer `x` cannot have the length"),
            (|p| p.slots[0][0].fixed = usize::MAX / 3, "a memory slot cannot have the length"),
            (|p| p.buffers[0].slot = 1, "buffer `x` is in memory slot 1"),
            (|p| p.buffers[1].len = Extent::rows(2), "buffer `x` has 2 constants"),
            (|p| p.phases.get_mut(&Phase::Forward).unwrap()[0].buffers[0] = BufferId(2), "uses buffer 2"),
            (|p| p.phases.get_mut(&Phase::Forward).unwrap()[0].buffers.clear(), "writes more than its 0 buffers"),
            (|p| p.shaders.clear(), "runs shader 0"),
        ];
        for (breaks, said) in broken {
            let mut program = program();
            breaks(&mut program);
            let error = check(&program).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }
}
