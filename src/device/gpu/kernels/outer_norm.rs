//! Schedule of [`OuterNorm`].

use super::operand::ViewWords;
use super::{Lanes, Launch, On, Schedule, Span, Specialise, Template, linear_grid, specialise_views, words};
use crate::lower::kernels::OuterNorm;
use crate::lower::target::Rounding;

/// Elements of both sides from which on a workgroup is as large as any adapter allows.
const MANY: usize = 1 << 20;

/// Terms that an invocation adds up before it adds their sum to that of others.
const BLOCK: usize = 64;

/// Groups whose products are added up so.
const GROUPS: usize = 64;

/// Invocations that share a side's sum.
fn lanes(kernel: &OuterNorm) -> Lanes {
    let elements = kernel.rows.saturating_add(kernel.cols).saturating_mul(kernel.steps);
    Lanes(if elements < MANY { 64 } else { 256 })
}

impl Template for OuterNorm {
    const WGSL: &'static str = include_str!("../../../../shaders/outer_norm.wgsl");
}

impl Schedule for On<'_, OuterNorm> {
    fn specialise(&self, template: &mut Specialise) {
        lanes(self).specialise(template);
        template.constant("BLOCK", format!("{BLOCK}u"));
        template.constant("GROUPS", format!("{GROUPS}u"));
        template.constant("UNDERFLOW", format!("{:?}", OuterNorm::UNDERFLOW));
        specialise_views(template, [("A_VIEW", &self.a), ("B_VIEW", &self.b)]);
        template.constant("A", ViewWords::from(&self.a).literal());
        template.constant("B", ViewWords::from(&self.b).literal());
        for (name, size) in [("ROWS", self.rows), ("COLS", self.cols), ("STEPS", self.steps)] {
            template.constant(name, format!("{size}u"));
        }
    }

    fn launches(&self, rows: usize) -> Vec<Launch> {
        let launch = |part: &Span| Launch::new(words(&[rows, part.outer[0], part.outer[1]]), linear_grid(rows, 1));
        Span::split(self.groups, 1, self.iterations()).iter().map(launch).collect()
    }

    fn iterations(&self) -> usize {
        let lanes = lanes(self);
        let side = |items: usize| {
            let steps = lanes.steps(items * self.steps);
            steps + 2 * steps.div_ceil(BLOCK)
        };
        side(self.rows) + side(self.cols) + 16
    }

    fn rounding(&self) -> Rounding {
        let side = |items: usize| {
            let steps = lanes(self).steps(items.saturating_mul(self.steps));
            steps.min(BLOCK) + steps.div_ceil(BLOCK) + lanes(self).halvings() + 1
        };
        let launches = Span::split(self.groups, 1, self.iterations()).len();
        let groups = self.groups.min(GROUPS) + self.groups.div_ceil(GROUPS) + 2 * launches;
        Rounding::sum(side(self.rows) + side(self.cols) + groups)
    }
}
