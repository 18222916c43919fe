//! Schedule of [`Copy`].

use super::{Launch, On, Schedule, Specialise, Template, words};
use crate::lower::kernels::Copy;

impl Template for Copy {
    const WGSL: &'static str = include_str!("../../../../shaders/copy.wgsl");
}

impl Schedule for On<'_, Copy> {
    fn specialise(&self, template: &mut Specialise) {
        template.constant("RANK", format!("{}u", self.axes.len().max(1)));
    }

    fn launches(&self, rows: usize) -> Vec<Launch> {
        let records = if self.batched { rows } else { 1 };
        let len: usize = self.axes.iter().map(|a| a.size).product();
        let mut rest = words(&[len, self.from_record, self.to_record, self.from_offset, self.to_offset, 0, 0]);
        if self.axes.is_empty() {
            rest.extend([1, 0, 0, 0]);
        }
        rest.extend(self.axes.iter().flat_map(|a| words(&[a.size, a.from, a.to, 0])));
        Launch::linear(records * len, &rest)
    }
}
