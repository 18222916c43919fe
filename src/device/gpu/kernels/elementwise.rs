//! Schedule of [`Elementwise`].

use super::{Launch, On, Schedule, Specialise, Template, words};
use crate::graph::strides;
use crate::lower::kernels::{Broadcast, Elementwise};
use crate::lower::scalar;

impl Elementwise {
    /// Whether every operand is read in the order of the result.
    fn is_flat(&self) -> bool {
        let (len, order) = (self.elements(), strides(&self.dims));
        let in_order = |o: &Broadcast| {
            (o.record == len || !self.batched)
                && self.dims.iter().zip(o.strides.iter().zip(&order)).all(|(&size, (a, b))| size == 1 || a == b)
        };
        self.operands.iter().all(in_order)
    }
}

impl Template for Elementwise {
    const WGSL: &'static str = include_str!("../../../../shaders/elementwise.wgsl");
}

impl Schedule for On<'_, Elementwise> {
    fn specialise(&self, template: &mut Specialise) {
        template.constant("RANK", format!("{}u", self.dims.len().max(1)));
        template.constant("FLAT", self.is_flat());
        let count = self.operands.len();
        let word = |k: usize| self.expr.operand_type(k).wgsl_word();
        let mut bindings: String = (0..count)
            .map(|k| format!("@group(0) @binding({}) var<storage, read> x{k}: array<{}>;\n", k + 1, word(k)))
            .collect();
        let (at, word) = (count + 1, self.expr.dtype().wgsl_word());
        bindings += &format!("@group(0) @binding({at}) var<storage, read_write> y: array<{word}>;");
        template.block("operands", &bindings);
        let component = |k: usize| ["low", "high"][k / 4].to_string() + [".x", ".y", ".z", ".w"][k % 4];
        let (body, result) = self.expr.wgsl(|k| format!("x{k}[{}]", component(k)));
        template.block("prelude", &scalar::prelude(&body));
        template.block("expr", &format!("{body}    y[i] = {result};"));
    }

    fn launches(&self, rows: usize) -> Vec<Launch> {
        let len = self.elements();
        let stride = |k: usize, axis: usize| self.operands.get(k).map_or(0, |o| o.strides[axis]);
        let mut rest = words(&[len, 0, 0]);
        rest.extend((0..8).map(|k| self.operands.get(k).map_or(0, |o| o.record) as u32));
        for (axis, &size) in self.dims.iter().enumerate() {
            rest.extend(words(&[size, 0, 0, 0]));
            rest.extend((0..8).map(|k| stride(k, axis) as u32));
        }
        if self.dims.is_empty() {
            rest.extend([1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        }
        Launch::linear(if self.batched { rows } else { 1 } * len, &rest)
    }
}
