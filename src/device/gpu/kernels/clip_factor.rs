//! Schedule of [`ClipFactor`].

use super::{Launch, On, Schedule, Specialise, Template, literal};
use crate::lower::kernels::{ClipFactor, ClipFunction};

impl Template for ClipFactor {
    const WGSL: &'static str = include_str!("../../../../shaders/clip_factor.wgsl");
}

impl Schedule for On<'_, ClipFactor> {
    fn specialise(&self, template: &mut Specialise) {
        template.constant("AUTOMATIC", matches!(self.function, ClipFunction::Automatic { .. }));
        template.constant("ROUNDING", self.errors >= 2);
        template.constant("ROW_ERRORS", self.errors >= 3);
        template.constant("GRID", self.grid);
        template.constant("UNITS", format!("{:?}", ClipFactor::UNITS));
        template.constant("INFINITE", literal(f32::INFINITY.to_bits()));
        template.constant("LARGEST", format!("{:?}", ClipFunction::LARGEST));
    }

    fn launches(&self, rows: usize) -> Vec<Launch> {
        let gamma = match self.function {
            ClipFunction::Threshold => 0.0,
            ClipFunction::Automatic { gamma } => gamma as f32,
        };
        let (nan, all) = (f32::NAN.to_bits(), (rows as f32).to_bits());
        let rest = [self.group as u32, self.groups as u32, gamma.to_bits(), nan, all, self.excess().to_bits()];
        Launch::linear(self.records.at(rows), &rest)
    }
}
