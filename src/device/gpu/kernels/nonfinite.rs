//! Schedule of [`Nonfinite`].

use super::{Launch, On, Schedule, Specialise, Template, literal};
use crate::lower::kernels::Nonfinite;

impl Template for Nonfinite {
    const WGSL: &'static str = include_str!("../../../../shaders/nonfinite.wgsl");
}

impl Schedule for On<'_, Nonfinite> {
    fn specialise(&self, template: &mut Specialise) {
        template.constant("INFINITE", literal(Nonfinite::INFINITY));
        let read = |k: usize| format!("@group(0) @binding({}) var<storage, read> x{k}: array<u32>;\n", k + 1);
        let mut buffers: String = (0..self.buffers).map(read).collect();
        let binding = self.buffers + 1;
        buffers += &format!("@group(0) @binding({binding}) var<storage, read_write> flags: array<atomic<u32>>;");
        template.block("buffers", &buffers);
        let bits: Vec<String> = (0..self.buffers).map(|k| format!("    bits |= bit(x{k}[i], {k}u);")).collect();
        template.block("bits", &bits.join("\n"));
    }

    fn launches(&self, _rows: usize) -> Vec<Launch> {
        Launch::linear(self.len, &[self.at as u32])
    }
}
