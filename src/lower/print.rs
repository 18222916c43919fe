//! The textual form of a program: its phases, one line a dispatch, then its buffers.
//!
//! A dispatch shows what it writes, the kernel and what it reads, the kernel's sizes as functions of the physical batch
//! `P`, what a device remarks, and the ONNX node that it came from.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::program::{BufferId, Dispatch, Extent, Program, Role};

/// What a listing says of a dispatch beside what the program says.
type Remark<'a> = &'a dyn Fn(&Dispatch) -> String;

/// A program to be printed with a device's remarks.
pub struct Listing<'a> {
    program: &'a Program,
    remark: Remark<'a>,
}

impl Program {
    /// The program's text with a column of remarks.
    pub fn listing<'a>(&'a self, remark: Remark<'a>) -> Listing<'a> {
        Listing { program: self, remark }
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.listing(&|_| String::new()).fmt(f)
    }
}

impl fmt::Display for Listing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Listing { program, remark } = *self;
        let names = names(program);
        for (phase, dispatches) in &program.phases {
            writeln!(f, "{} {{", phase.name())?;
            let rows: Vec<[String; 4]> =
                dispatches.iter().map(|dispatch| row(program, &names, dispatch, remark(dispatch))).collect();
            write_rows(f, &rows, [72, 56, 12])?;
            writeln!(f, "}}")?;
        }
        writeln!(f, "buffers {{")?;
        let used: BTreeSet<BufferId> =
            program.phases.values().flatten().flat_map(|d| d.buffers.iter().copied()).collect();
        let rows: Vec<[String; 4]> = program
            .ids()
            .filter(|id| used.contains(id))
            .map(|id| {
                let buffer = program.buffer(id);
                let ty = format!("{}[{}]", buffer.dtype, buffer.len);
                [name(&names, id), ty, format!("slot {}", buffer.slot), describe(&buffer.role)]
            })
            .collect();
        write_rows(f, &rows, [32, 24, 8])?;
        writeln!(f, "}}")
    }
}

/// Writes rows with aligned columns; a cell that is wider than its column's limit moves the rest of its row.
fn write_rows(f: &mut fmt::Formatter<'_>, rows: &[[String; 4]], limits: [usize; 3]) -> fmt::Result {
    let width =
        |k: usize| rows.iter().map(|row| row[k].chars().count()).filter(|&width| width <= limits[k]).max().unwrap_or(0);
    let [a, b, c] = [0, 1, 2].map(width);
    for [first, second, third, last] in rows {
        writeln!(f, "{}", format!("  {first:<a$}  {second:<b$}  {third:<c$}  {last}").trim_end())?;
    }
    Ok(())
}

/// The name of each buffer, made unique.
fn names(program: &Program) -> Vec<String> {
    let mut taken: BTreeMap<&str, usize> = BTreeMap::new();
    program
        .ids()
        .map(|id| {
            let given = program.buffer(id).name.as_str();
            let uses = taken.entry(given).or_default();
            *uses += 1;
            if *uses == 1 { format!("%{given}") } else { format!("%{given}.{uses}") }
        })
        .collect()
}

fn name(names: &[String], id: BufferId) -> String {
    names.get(id.0 as usize).cloned().unwrap_or_default()
}

fn row(program: &Program, names: &[String], dispatch: &Dispatch, remark: String) -> [String; 4] {
    let list = |ids: &[BufferId]| ids.iter().map(|&id| name(names, id)).collect::<Vec<_>>().join(", ");
    let rules = dispatch.kernel.rules();
    let (read, written) = dispatch.split();
    let line = format!("{} = {} {}", list(written), rules.name(), list(read));
    let own = written.first().map_or("", |&id| program.buffer(id).name.as_str());
    let (value, onnx) = dispatch.label.split_once(' ').unwrap_or((&dispatch.label, ""));
    let origin = match (own.contains(value), onnx) {
        (true, "") => String::new(),
        (true, onnx) => format!("; {onnx}"),
        (false, _) => format!("; {}", dispatch.label),
    };
    let sizes = match dispatch.views {
        1 => rules.text(),
        views => format!("{}, for {views} rows each", rules.text()),
    };
    [line, sizes, remark, origin]
}

fn describe(role: &Role) -> String {
    match role {
        Role::Input(name) => format!("input {name}"),
        Role::Parameter(name) => format!("parameter {name}"),
        Role::ConstantF32(_) | Role::ConstantI32(_) => "constant".to_owned(),
        Role::GradientSum(name) => format!("gradient sum of {name}"),
        Role::GridSum(name) => format!("integer gradient sum of {name}"),
        Role::GridNoise(name) => format!("integer noise of {name}"),
        Role::UnitSum(name) => format!("unit sum of {name}"),
        Role::Noise(name) => format!("noise of {name}"),
        Role::OptimizerState(name, state) => format!("{state} of {name}"),
        Role::Output(name) => format!("output {name}"),
        Role::Temporary => "temporary".to_owned(),
    }
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.per_row, self.fixed) {
            (0, fixed) => write!(f, "{fixed}"),
            (1, 0) => f.write_str("P"),
            (per_row, 0) => write!(f, "{per_row}·P"),
            (per_row, fixed) => write!(f, "{per_row}·P + {fixed}"),
        }
    }
}
