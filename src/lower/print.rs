//! The textual form of a program: one line a dispatch, phase by phase, then the buffers.

use std::fmt;

use super::program::{Buffer, BufferId, Dispatch, Extent, Program, Role};

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (phase, dispatches) in &self.phases {
            writeln!(f, "{} {{", phase.name())?;
            for dispatch in dispatches {
                writeln!(f, "  {}", line(self, dispatch))?;
            }
            writeln!(f, "}}")?;
        }
        for id in self.ids() {
            let Buffer { name, dtype, len, role, slot } = self.buffer(id);
            writeln!(f, "%{} {name}: {dtype}[{len}] {} slot {slot}", id.0, describe(role))?;
        }
        Ok(())
    }
}

/// `written = kernel(read) text ; label`
fn line(program: &Program, dispatch: &Dispatch) -> String {
    let names = |ids: &[BufferId]| {
        let names: Vec<String> = ids.iter().map(|id| format!("%{} {}", id.0, program.buffer(*id).name)).collect();
        names.join(", ")
    };
    let rules = dispatch.kernel.rules();
    let (read, written) = dispatch.buffers.split_at(dispatch.buffers.len().saturating_sub(rules.writes()));
    let line = format!("{} = {}({}) {}", names(written), rules.template(), names(read), rules.text());
    match dispatch.label.is_empty() {
        true => line.trim_end().to_owned(),
        false => format!("{}  ; {}", line.trim_end(), dispatch.label),
    }
}

fn describe(role: &Role) -> String {
    match role {
        Role::Input(name) => format!("input {name}"),
        Role::Parameter(name) => format!("parameter {name}"),
        Role::ConstantF32(_) | Role::ConstantI32(_) => "constant".to_owned(),
        Role::GradientSum(name) => format!("gradient sum of {name}"),
        Role::Noise(name) => format!("noise of {name}"),
        Role::OptimizerState(name, state) => format!("{state} of {name}"),
        Role::Output(name) => format!("output {name}"),
        Role::Temporary => "temporary".to_owned(),
    }
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.per_row, self.every, self.fixed) {
            (0, _, fixed) => write!(f, "{fixed}"),
            (per_row, 1, 0) => write!(f, "{per_row}·P"),
            (per_row, 1, fixed) => write!(f, "{per_row}·P + {fixed}"),
            (per_row, every, 0) => write!(f, "{per_row}·⌈P/{every}⌉"),
            (per_row, every, fixed) => write!(f, "{per_row}·⌈P/{every}⌉ + {fixed}"),
        }
    }
}
