//! Schedules of [`Recurrence`] and [`RecurrenceVjp`].

use super::{Lanes, Launch, Schedule, Span, Specialise, Template, linear_grid, words};
use crate::lower::cells::Direction;
use crate::lower::kernels::{Recurrence, RecurrenceVjp};
use crate::lower::scalar;

impl Recurrence {
    /// Invocations that share a record's units.
    fn lanes(&self) -> Lanes {
        Lanes::workgroup(self.hidden, 256)
    }

    /// Launches of sweeps over time in which a unit sums `gates · hidden` terms.
    fn sweeps(&self, rows: usize, gates: usize) -> Vec<Launch> {
        let launch = |part: &Span| {
            let sizes = [rows, self.steps, self.hidden, self.initial_record];
            Launch::new(words(&[&sizes[..], &part.outer, &part.inner].concat()), linear_grid(rows, 1))
        };
        let blocks = self.lanes().steps(self.hidden);
        Span::split(self.steps, blocks, gates * self.hidden + 2).iter().map(launch).collect()
    }

    fn constants(&self, template: &mut Specialise) {
        self.lanes().specialise(template);
        template.constant("GATES", format!("{}u", self.cell.gates()));
        template.constant("PLANES", format!("{}u", self.cell.planes()));
        template.constant("REVERSE", self.direction == Direction::Reverse);
    }

    /// The statements that give the value of plane `p` before the first step, of those states that have a buffer.
    fn first(&self, states: &[usize]) -> String {
        let state = |&k: &usize| {
            let plane = self.cell.gates() + k;
            format!("    if (p == {plane}u) {{\n        return initial{k}[n * params.initial_record + u];\n    }}\n")
        };
        states.iter().map(state).collect::<String>() + "    return 0.0;"
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

impl Schedule for Recurrence {
    fn specialise(&self, template: &mut Specialise) {
        self.constants(template);
        let (gates, cell) = (self.cell.gates(), self.cell);
        let states: Vec<usize> = (0..cell.states()).rev().filter(|_| self.initial).collect();
        let names: Vec<String> = states.iter().map(|k| format!("initial{k}")).chain(["tape".into()]).collect();
        template.block("results", &bindings(&names));
        template.block("first", &self.first(&states));
        let each = |f: fn(usize) -> String| (0..gates).map(f).collect::<String>();
        template.block("sums", &each(|k| format!("    var z{k} = pre[at + {k}u * size];\n")));
        template.block("products", &each(|k| format!("        z{k} += h * recurrent[r + {k}u * all];\n")));
        let operand = |k: usize| if k < gates { format!("z{k}") } else { format!("before(n, made, {k}u, u)") };
        let (mut body, planes) = cell.forward().wgsl(operand);
        for (p, plane) in planes.iter().enumerate() {
            body += &format!("    tape[plane(n, {p}u, t, u)] = {plane};\n");
        }
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

impl Schedule for RecurrenceVjp {
    fn specialise(&self, template: &mut Specialise) {
        self.of.constants(template);
        let cell = self.of.cell;
        let (gates, count, carried) = (cell.gates(), cell.states(), cell.carried());
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
        let operand = |k: usize| match (k.checked_sub(gates), k.checked_sub(gates + 2 * count)) {
            (_, Some(state)) => format!("d{state}"),
            (Some(state), _) if state >= count => format!("tape[plane(n, {}u, t, u)]", k - count),
            (Some(_), _) => format!("before(n, made, {k}u, u)"),
            (None, _) => format!("tape[plane(n, {k}u, t, u)]"),
        };
        let (mut body, results) = cell.backward().wgsl(operand);
        for (k, result) in results[..gates].iter().enumerate() {
            let result = if result.is_empty() { "0.0" } else { result };
            body += &format!("    dpre[out + {k}u * size] = {result};\n");
        }
        for (slot, k) in carried.iter().enumerate() {
            let result = &results[gates + k];
            body += &format!("    if (made != 0u) {{\n        dpre[earlier + {slot}u * size] = {result};\n    }}\n");
        }
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
