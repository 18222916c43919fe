//! Schedules of [`Recurrence`] and [`RecurrenceVjp`].

use std::ops::Range;

use super::{Lanes, Launch, On, Schedule, Span, Specialise, Template, linear_grid, words};
use crate::lower::cells::Direction;
use crate::lower::kernels::{Recurrence, RecurrenceVjp};
use crate::lower::scalar;

impl Recurrence {
    /// Invocations that share a record's units.
    fn lanes(&self) -> Lanes {
        Lanes::workgroup(self.hidden, 256)
    }

    /// Launches of sweeps over the stages of all steps in which a unit sums `gates · hidden` terms.
    fn sweeps(&self, rows: usize, gates: usize) -> Vec<Launch> {
        let launch = |part: &Span| {
            let sizes = [rows, self.steps, self.hidden, self.initial_record];
            Launch::new(words(&[&sizes[..], &part.outer, &part.inner].concat()), linear_grid(rows, 1))
        };
        let blocks = self.lanes().steps(self.hidden);
        let stages = self.steps.saturating_mul(self.cell.stages().len());
        Span::split(stages, blocks, gates * self.hidden + 2).iter().map(launch).collect()
    }

    fn constants(&self, template: &mut Specialise) {
        self.lanes().specialise(template);
        template.constant("COLUMNS", format!("{}u", self.cell.columns()));
        template.constant("STAGES", format!("{}u", self.cell.stages().len()));
        template.constant("PLANES", format!("{}u", self.cell.planes()));
        template.constant("REVERSE", self.direction == Direction::Reverse);
    }

    /// The statements that give the value of plane `p` before the first step, of those states that have a buffer.
    fn first(&self, states: &[usize]) -> String {
        let state = |&k: &usize| {
            let plane = self.cell.plane(k);
            format!("    if (p == {plane}u) {{\n        return initial{k}[n * params.initial_record + u];\n    }}\n")
        };
        states.iter().map(state).collect::<String>() + "    return 0.0;"
    }
}

/// Statements for each stage.
fn staged(stages: usize, statements: impl Fn(usize) -> String) -> String {
    match stages {
        1 => statements(0),
        _ => (0..stages).map(|stage| format!("    if (stage == {stage}u) {{\n{}    }}\n", statements(stage))).collect(),
    }
}

/// Declares the buffers from binding 3 on, of which the last is written.
fn bindings(names: &[String]) -> String {
    let line = |(k, name): (usize, &String)| {
        let access = if k + 1 == names.len() { "read_write" } else { "read" };
        format!("@group(0) @binding({}) var<storage, {access}> {name}: array<f32>;\n", k + 3)
    };
    names.iter().enumerate().map(line).collect()
}

impl Template for Recurrence {
    const WGSL: &'static str = include_str!("../../../../shaders/recurrence.wgsl");
}

impl Schedule for On<'_, Recurrence> {
    fn specialise(&self, template: &mut Specialise) {
        self.constants(template);
        let (columns, count, cell) = (self.cell.columns(), self.cell.states(), self.cell);
        let stages = cell.stages();
        let states: Vec<usize> = (0..cell.states()).rev().filter(|_| self.initial).collect();
        let names: Vec<String> = states.iter().map(|k| format!("initial{k}")).chain(["tape".into()]).collect();
        template.block("results", &bindings(&names));
        template.block("first", &self.first(&states));
        let sum = |k: usize| format!("    var z{k} = pre[at + {k}u * size];\n");
        template.block("sums", &(0..columns).map(sum).collect::<String>());
        let product = |k: usize| format!("        z{k} += h * recurrent[r + {k}u * all];\n");
        let products = |stage: usize| stages[stage].clone().map(product).collect();
        template.block("products", &staged(stages.len(), products));
        let multiplied = |stage: usize| {
            let plane = format!("tape[plane(n, {}u, time(made), k)]", cell.multiplied(stage));
            format!("    if (stage == {stage}u) {{\n        return {plane};\n    }}\n")
        };
        template.block("multiplied", &(1..stages.len()).map(multiplied).collect::<String>());
        let operand = |k: usize| match (k.checked_sub(columns), k.checked_sub(columns + count)) {
            (_, Some(plane)) => format!("tape[plane(n, {plane}u, t, u)]"),
            (Some(state), _) => format!("before(n, made, {}u, u)", cell.plane(state)),
            (None, _) => format!("z{k}"),
        };
        let body = staged(stages.len(), |stage| {
            let (mut body, planes) = cell.forward(stage).wgsl(operand);
            for (p, plane) in cell.made(stage).zip(planes) {
                body += &format!("    tape[plane(n, {p}u, t, u)] = {plane};\n");
            }
            body
        });
        template.block("prelude", &scalar::prelude(&body));
        template.block("step", &body);
    }

    fn launches(&self, rows: usize) -> Vec<Launch> {
        self.sweeps(rows, 1)
    }

    fn iterations(&self) -> usize {
        self.hidden + 1_000
    }
}

impl Template for RecurrenceVjp {
    const WGSL: &'static str = include_str!("../../../../shaders/recurrence_vjp.wgsl");
}

impl Schedule for On<'_, RecurrenceVjp> {
    fn specialise(&self, template: &mut Specialise) {
        self.of.constants(template);
        let cell = self.of.cell;
        let (planes, count, carried, stages) = (cell.planes(), cell.states(), cell.carried(), cell.stages());
        template.constant("BEHIND", format!("{}u", u32::from(self.before)));
        template.constant("FIRST", format!("{}u", stages[0].len()));
        let mut states = if self.of.initial { cell.reread() } else { vec![] };
        states.reverse();
        let mut names: Vec<String> = states.iter().map(|k| format!("initial{k}")).collect();
        names.extend((0..count).rev().take(if self.inner { count } else { 1 }).map(|k| format!("outer{k}")));
        names.push("dpre".into());
        template.block("results", &bindings(&names));
        template.block("first", &self.of.first(&states));
        let outer = |k: usize| if self.inner || k + 1 == count { format!("outer{k}[at]") } else { "0.0".into() };
        let sums: String = (0..count).map(|k| format!("    var d{k} = {};\n", outer(k))).collect();
        template.block("cotangents", &sums);
        let carry = |(slot, k): (usize, &usize)| format!("        d{k} += dpre[out + {slot}u * size];\n");
        template.block("carried", &carried.iter().enumerate().map(carry).collect::<String>());
        template.block("product", &format!("            d{} += recurrent[r * size + u] * dpre[next + r];", count - 1));
        // What a stage has multiplied gets its cotangent at the stages before.
        let multiplied = |stage: usize| {
            let Range { start, end } = stages[stage];
            let rows = format!("for (var r = {start}u * size; r < {end}u * size; r += 1u)");
            let product = format!("m{stage} += recurrent[r * size + u] * dpre[here + r];");
            format!(
                "    var m{stage} = 0.0;\n    if (stage < {stage}u) {{\n        {rows} {{\n            {product}\n        }}\n    }}\n"
            )
        };
        template.block("multiplied", &(1..stages.len()).map(multiplied).collect::<String>());
        let operand = |k: usize| match k.checked_sub(planes) {
            None => format!("tape[plane(n, {k}u, t, u)]"),
            Some(k) if k >= 2 * count => format!("m{}", k - 2 * count + 1),
            Some(k) if k >= count => format!("d{}", k - count),
            Some(k) => format!("before(n, made, {}u, u)", cell.plane(k)),
        };
        let body = staged(stages.len(), |stage| {
            let (mut body, results) = cell.backward(stage).wgsl(operand);
            let further = if stage == 0 { cell.gates()..cell.columns() } else { 0..0 };
            for k in stages[stage].clone().chain(further) {
                let result = if results[k].is_empty() { "0.0" } else { &results[k] };
                body += &format!("    dpre[out + {k}u * size] = {result};\n");
            }
            let write = if self.before { "true" } else { "made != 0u" };
            for (slot, k) in carried.iter().enumerate().filter(|_| stage == 0) {
                let result = &results[cell.columns() + k];
                body += &format!("    if ({write}) {{\n        dpre[earlier + {slot}u * size] = {result};\n    }}\n");
            }
            if self.before && stage == 0 {
                let nothing = |k: usize| format!("        dpre[earlier + {k}u * size] = 0.0;\n");
                let rest: String = (carried.len()..cell.columns()).map(nothing).collect();
                body += &format!("    if (made == 0u) {{\n{rest}    }}\n");
            }
            body
        });
        template.block("prelude", &scalar::prelude(&body));
        template.block("step", &body);
    }

    fn launches(&self, rows: usize) -> Vec<Launch> {
        self.of.sweeps(rows, self.of.cell.gates())
    }

    fn iterations(&self) -> usize {
        self.of.cell.gates() * self.of.hidden + 1_000
    }
}
