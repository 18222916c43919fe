//! Schedule of [`Custom`].

use std::fmt::Write;

use super::{Launch, On, Schedule, Specialise, Template, literal, words};
use crate::lower::kernels::Custom;

impl Template for Custom {
    const WGSL: &'static str = include_str!("../../../../shaders/custom.wgsl");
}

impl Schedule for On<'_, Custom> {
    fn specialise(&self, template: &mut Specialise) {
        // Loading refuses a kernel whose code is not known.
        let Some(code) = self.code.0 else { return };
        let (mut buffers, mut operands) = (String::new(), String::new());
        for (k, (name, reads)) in code.operands.iter().zip(&self.operands).enumerate() {
            let [record, len, last] =
                [reads.record, reads.len, reads.len.saturating_sub(1)].map(|n| literal(words(&[n])[0]));
            let _ = writeln!(buffers, "@group(0) @binding({}) var<storage, read> dpc_{k}: array<f32>;", k + 1);
            let _ = writeln!(
                operands,
                "fn {name}(i: u32) -> f32 {{\n    return dpc_{k}[dpc_record * {record} + min(i, {last})];\n}}\n\n\
                 fn {name}_len() -> u32 {{\n    return {len};\n}}\n"
            );
        }
        let y = self.operands.len() + 1;
        let _ = writeln!(buffers, "@group(0) @binding({y}) var<storage, read_write> dpc_y: array<f32>;");
        operands.push_str("fn number(k: u32) -> f32 {\n");
        for (k, number) in self.numbers.iter().enumerate() {
            let number = literal(number.to_bits());
            let _ = writeln!(operands, "    if (k == {k}u) {{\n        return bitcast<f32>({number});\n    }}");
        }
        operands.push_str("    return 0.0;\n}\n");
        template.block("buffers", &buffers);
        template.block("operands", &operands);
        template.block("element", code.wgsl);
    }

    fn launches(&self, rows: usize) -> Vec<Launch> {
        let count = self.len.saturating_mul(if self.batched { rows } else { 1 });
        Launch::linear(count, &words(&[self.len]))
    }
}
