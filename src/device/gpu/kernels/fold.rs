//! Schedule of [`Fold`].

use super::{Launch, On, Schedule, Specialise, Template};
use crate::lower::kernels::Fold;

/// Adds the rounded product to an integer of 64 bits, as the shader of the kernel `carry` does.
const GRID: &str = "\
        let rounded = i32(round(factor[0] * sum[i]));
        let low = bitcast<u32>(unit[2u * i]) + bitcast<u32>(rounded);
        let carry = select(0u, 1u, low < bitcast<u32>(rounded));
        let high = bitcast<u32>(unit[2u * i + 1u]) + bitcast<u32>(rounded >> 31u) + carry;
        unit[2u * i] = bitcast<i32>(low);
        unit[2u * i + 1u] = bitcast<i32>(high);";

impl Template for Fold {
    const WGSL: &'static str = include_str!("../../../../shaders/fold.wgsl");
}

impl Schedule for On<'_, Fold> {
    fn specialise(&self, template: &mut Specialise) {
        if self.grid {
            template.block("unit", "@group(0) @binding(2) var<storage, read_write> unit: array<i32>;");
            template.block("add", GRID);
        }
    }

    fn launches(&self, _rows: usize) -> Vec<Launch> {
        Launch::linear(self.len, &[])
    }
}
