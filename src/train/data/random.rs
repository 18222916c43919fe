//! Made-up records of a schema's shapes, for measurements.

use super::column::{Becomes, Column};
use super::{Array, Dataset};
use crate::schema::{InputKind, Schema, TargetKind};

/// Ids that a column draws from where no table bounds them.
const IDS: usize = 2;

impl Dataset {
    /// `records` records that fit `schema`: floats in [0, 1), ids and labels in range. The same every time.
    pub fn random(schema: &Schema, records: usize) -> Self {
        let mut draw = Draw(0x9e37_79b9_7f4a_7c15);
        let mut column = |name: &str, dims: &[usize], ids: Option<usize>| {
            let all = [&[records], dims].concat();
            let count = all.iter().product();
            let (array, becomes) = match ids {
                None => {
                    let values: Vec<f32> = (0..count).map(|_| draw.unit()).collect();
                    (Array::from_f32(all, &values), Becomes::Floats)
                }
                Some(ids) => {
                    let values: Vec<i32> = (0..count).map(|_| draw.below(ids)).collect();
                    (Array::from_i32(all, &values), Becomes::Integers)
                }
            };
            Column::new(name, dims, array, becomes)
        };
        let inputs = schema.inputs.iter().map(|input| match input.kind {
            InputKind::F32 => column(&input.name, &input.dims, None),
            InputKind::I32 { table } => column(&input.name, &input.dims, Some(table.unwrap_or(IDS))),
        });
        let inputs = inputs.collect();
        let targets = schema.targets.iter().map(|target| match target.kind {
            TargetKind::Real { .. } | TargetKind::Probabilities => column(&target.name, &target.dims, None),
            TargetKind::Class { classes, .. } => column(&target.name, &target.dims, Some(classes)),
        });
        let targets = targets.collect();
        Self { records, inputs, targets, groups: None, bytes: vec![], fitted: Default::default(), held: vec![] }
    }
}

/// Xorshift64 (Marsaglia 2003).
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 24) as f32
    }

    fn below(&mut self, bound: usize) -> i32 {
        (self.next() % bound.max(1) as u64) as i32
    }
}

#[cfg(test)]
mod tests {
    use super::super::Values;
    use super::*;
    use crate::schema::{InputSchema, LABEL, TargetSchema};

    #[test]
    fn values_are_in_range() {
        let ids = InputSchema { name: "ids".to_owned(), dims: vec![7], kind: InputKind::I32 { table: Some(3) } };
        let target = TargetSchema::new(LABEL, &[], TargetKind::Real { within: Some([0.0, 1.0]) });
        let data = Dataset::random(&Schema { inputs: vec![ids], targets: vec![target] }, 50);
        let Values::I32(ids) = data.inputs()[0].values().unwrap() else { panic!("ids are integers") };
        assert_eq!(ids.len(), 350);
        assert!((0..3).all(|id| ids.contains(&id)) && ids.iter().all(|id| (0..3).contains(id)));
        let Values::F32(target) = data.targets()[0].values().unwrap() else { panic!("targets are floats") };
        assert!(target.iter().all(|t| (0.0..1.0).contains(t)));
    }
}
