//! Schedules of [`Lstm`] and [`LstmVjp`].

use super::{Lanes, Launch, Schedule, Span, Specialise, Template, linear_grid, words};
use crate::lower::kernels::{Lstm, LstmSizes, LstmVjp};
use crate::lower::scalar;

impl LstmSizes {
    /// Invocations that share a record's units.
    fn lanes(&self) -> Lanes {
        Lanes::workgroup(self.hidden, 256)
    }

    /// Launches of sweeps over time in which a unit sums `gates · hidden` terms.
    fn launches(&self, rows: usize, gates: usize) -> Vec<Launch> {
        let launch = |part: &Span| {
            let sizes = [rows, self.steps, self.hidden, self.initial_record];
            Launch::new(words(&[&sizes[..], &part.outer, &part.inner].concat()), linear_grid(rows, 1))
        };
        let blocks = self.lanes().steps(self.hidden);
        Span::split(self.steps, blocks, gates * self.hidden + 2).iter().map(launch).collect()
    }
}

impl Template for Lstm {
    const WGSL: &'static str = include_str!("../../../../shaders/lstm.wgsl");
}

impl Schedule for Lstm {
    fn specialise(&self, template: &mut Specialise) {
        self.0.lanes().specialise(template);
        template.block("prelude", scalar::WGSL_PRELUDE);
        if self.0.initial {
            template.block(
                "results",
                "@group(0) @binding(3) var<storage, read> h0: array<f32>;\n\
                 @group(0) @binding(4) var<storage, read> c0: array<f32>;\n\
                 @group(0) @binding(5) var<storage, read_write> tape: array<f32>;",
            );
            template.block("first_h", "    return h0[n * params.initial_record + u];");
            template.block("first_c", "    return c0[n * params.initial_record + u];");
        }
    }

    fn launches(&self, rows: usize) -> Vec<Launch> {
        self.0.launches(rows, 1)
    }

    fn iterations(&self) -> usize {
        self.0.hidden + 1_000
    }
}

impl Template for LstmVjp {
    const WGSL: &'static str = include_str!("../../../../shaders/lstm_vjp.wgsl");
}

impl Schedule for LstmVjp {
    fn specialise(&self, template: &mut Specialise) {
        self.sizes.lanes().specialise(template);
        template.block("prelude", scalar::WGSL_PRELUDE);
        let mut names = Vec::new();
        if self.sizes.initial {
            names.push("c0");
            template.block("first_c", "    return c0[n * params.initial_record + u];");
        }
        names.push("dh");
        if self.cell {
            names.push("dc");
            template.block("outer_dc", "    return dc[at];");
        }
        let mut bindings = String::new();
        for (k, name) in names.iter().enumerate() {
            bindings += &format!("@group(0) @binding({}) var<storage, read> {name}: array<f32>;\n", k + 3);
        }
        bindings += &format!("@group(0) @binding({}) var<storage, read_write> dpre: array<f32>;", names.len() + 3);
        template.block("results", &bindings);
    }

    fn launches(&self, rows: usize) -> Vec<Launch> {
        self.sizes.launches(rows, 4)
    }

    fn iterations(&self) -> usize {
        4 * self.sizes.hidden + 1_000
    }
}
