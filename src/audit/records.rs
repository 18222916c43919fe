//! Records to audit with: ordinary ones, and ones made to move the sum as far as they can.

use std::collections::BTreeMap;

use crate::schema::{InputKind, Schema, TargetKind};
use crate::train::data::{Array, Column, DataError, Dataset, Values};
use crate::train::units::Units;

/// The data of an audit.
pub struct Records {
    /// Ordinary records first, then one adversarial record of each kind.
    pub data: Dataset,
    /// Which records are one unit.
    pub units: Units,
    /// The numbers of the ordinary units.
    pub ordinary: Vec<usize>,
    /// The adversarial units: what their adversarial record is, and their numbers.
    pub adversaries: Vec<(&'static str, usize)>,
}

/// How an adversarial record is made from an ordinary one.
#[derive(Clone, Copy)]
enum Change {
    /// A copy.
    None,
    /// Another label.
    Label,
    /// Every input value.
    Fill(f32),
    /// Every input value, with alternating signs.
    Alternate(f32),
    /// Every input value times this.
    Scale(f32),
    /// One input value.
    One(f32),
    /// Every input value, and real targets, the first of two and the second: cotangents are as large as may be, and those of
    /// different positions, or what they add to a norm, cancel.
    Pair(f32, [f32; 2]),
}

/// Every kind of adversarial record.
const KINDS: &[(&str, Change)] = &[
    ("a copy of another", Change::None),
    ("a copy with another label", Change::Label),
    ("zeros", Change::Fill(0.0)),
    ("ones", Change::Fill(1.0)),
    ("values scaled by 10", Change::Scale(10.0)),
    ("values scaled by 1e3", Change::Scale(1e3)),
    ("alternating ±100", Change::Alternate(100.0)),
    ("values of 1e6", Change::Fill(1e6)),
    ("values of 1e30", Change::Fill(1e30)),
    ("values of 1e-30", Change::Fill(1e-30)),
    ("one value of 1e20", Change::One(1e20)),
    ("values of 1e-19, targets of 9e18", Change::Pair(1e-19, [9e18; 2])),
    ("values of 2.6e-23, targets of 9e18", Change::Pair(2.6e-23, [9e18; 2])),
    ("ones, targets of ±1e10", Change::Pair(1.0, [1e10, -1e10])),
    ("ones, targets of ±1e6 and 100", Change::Pair(1.0, [1e6 + 100.0, 100.0 - 1e6])),
    ("one NaN", Change::One(f32::NAN)),
    ("NaN", Change::Fill(f32::NAN)),
    ("infinities", Change::Fill(f32::INFINITY)),
];

impl Records {
    /// `ordinary` random records of `schema` and the adversarial ones, each a unit.
    ///
    /// # Errors
    /// Where the schema has no records.
    pub fn new(schema: &Schema, ordinary: usize) -> Result<Records, DataError> {
        let ordinary = ordinary.max(1);
        let data = data(schema, ordinary)?;
        Ok(Records::of(Units::single(data.records()), data, ordinary))
    }

    /// `ordinary` units of two records, and units of an ordinary and an adversarial one.
    ///
    /// # Errors
    /// As [`Records::new`].
    pub fn grouped(schema: &Schema, ordinary: usize) -> Result<Records, DataError> {
        let (ordinary, kinds) = (ordinary.max(1), KINDS.len());
        let data = data(schema, 2 * ordinary + kinds)?;
        let pairs = (0..2 * ordinary).map(|record| record / 2);
        let beside_adversaries = || ordinary..ordinary + kinds;
        let ids = pairs.chain(beside_adversaries()).chain(beside_adversaries()).map(|unit| unit as i64);
        Ok(Records::of(Units::grouped(&ids.collect::<Vec<i64>>()), data, ordinary))
    }

    fn of(units: Units, data: Dataset, ordinary: usize) -> Records {
        let adversaries = KINDS.iter().enumerate().map(|(i, (name, _))| (*name, ordinary + i)).collect();
        Records { data, units, ordinary: (0..ordinary).collect(), adversaries }
    }
}

/// `ordinary` random records of `schema`, and after them the adversarial ones.
fn data(schema: &Schema, ordinary: usize) -> Result<Dataset, DataError> {
    let random = Dataset::random(schema, ordinary);
    let mut arrays = BTreeMap::new();
    for column in random.inputs() {
        let kind = schema.inputs.iter().find(|input| input.name == column.name).map(|input| &input.kind);
        let values = column.values()?;
        let adversary = |change| input(&values, column.width(), kind, change);
        arrays.insert(column.name.clone(), extended(column, &values, ordinary, adversary));
    }
    for (column, target) in random.targets().iter().zip(&schema.targets) {
        let values = column.values()?;
        let adversary = |change| label(&values, &column.dims, &target.kind, change);
        arrays.insert(column.name.clone(), extended(column, &values, ordinary, adversary));
    }
    Dataset::from_arrays("the audit's records", &arrays, schema)
}

/// The values of `column` for the ordinary records, and after them those of each kind of adversarial record.
fn extended(column: &Column, values: &Values, ordinary: usize, adversary: impl Fn(Change) -> Values) -> Array {
    let dims: Vec<usize> = [ordinary + KINDS.len()].into_iter().chain(column.dims.iter().copied()).collect();
    let (mut floats, mut ids) = (Vec::new(), Vec::new());
    for values in [values.clone()].into_iter().chain(KINDS.iter().map(|(_, change)| adversary(*change))) {
        match values {
            Values::F32(values) => floats.extend(values),
            Values::I32(values) => ids.extend(values.into_iter().map(i64::from)),
        }
    }
    match column.is_float() {
        true => Array::from_f32(dims, &floats),
        false => Array::from_i64(dims, &ids),
    }
}

/// One adversarial record's part of an input, made from the first record.
fn input(values: &Values, width: usize, kind: Option<&InputKind>, change: Change) -> Values {
    let sign = |i: usize| if i.is_multiple_of(2) { 1.0 } else { -1.0 };
    match values {
        Values::F32(values) => {
            let each = |(i, &value): (usize, &f32)| match change {
                Change::None | Change::Label => value,
                Change::Fill(to) | Change::Pair(to, _) => to,
                Change::Alternate(to) => sign(i) * to,
                Change::Scale(by) => by * value,
                Change::One(to) => {
                    if i == 0 {
                        to
                    } else {
                        value
                    }
                }
            };
            Values::F32(values[..width].iter().enumerate().map(each).collect())
        }
        Values::I32(values) => {
            let last = match kind {
                Some(InputKind::I32 { table: Some(rows) }) => rows.saturating_sub(1).min(i32::MAX as usize) as i32,
                _ => 1,
            };
            let each = |(i, &id): (usize, &i32)| match change {
                Change::Fill(to) | Change::Pair(to, _) => {
                    if to == 0.0 {
                        0
                    } else {
                        last
                    }
                }
                Change::Alternate(_) => {
                    if i % 2 == 0 {
                        0
                    } else {
                        last
                    }
                }
                _ => id,
            };
            Values::I32(values[..width].iter().enumerate().map(each).collect())
        }
    }
}

/// Whether records of a kind are made so that little of their norm is left in floating point: what rounding may hide of it
/// can then be as much as the norm.
pub fn defies_rounding(kind: &str) -> bool {
    KINDS.iter().any(|(name, change)| *name == kind && matches!(change, Change::Pair(..)))
}

/// One adversarial record's target, made from the first record's.
fn label(values: &Values, dims: &[usize], kind: &TargetKind, change: Change) -> Values {
    let width = dims.iter().product();
    // Positions come before what is at each of them.
    let last = if let [_, .., last] = *dims { last.max(1) } else { 1 };
    match (values, kind) {
        (Values::F32(values), TargetKind::Real { within }) => {
            let each = |(i, &value): (usize, &f32)| match (change, within) {
                (Change::None, _) => value,
                (_, Some([low, high])) => {
                    if value - low < high - value {
                        *high
                    } else {
                        *low
                    }
                }
                (Change::Fill(to) | Change::Alternate(to) | Change::One(to), None) => to,
                (Change::Pair(_, targets), None) => targets[i / last % 2],
                (Change::Scale(by), None) => -by * value,
                (Change::Label, None) => -value,
            };
            Values::F32(values[..width].iter().enumerate().map(each).collect())
        }
        // Shares may be of any size, so that cotangents are as large as may be.
        (Values::F32(values), TargetKind::Probabilities) => {
            let each = |(i, &value): (usize, &f32)| match change {
                Change::None => value,
                Change::Label => values[..width][width - 1 - i],
                Change::Fill(to) | Change::Alternate(to) | Change::One(to) => {
                    if to.is_finite() {
                        to.abs()
                    } else {
                        1e30
                    }
                }
                Change::Pair(_, targets) => targets[i / last % 2].abs(),
                Change::Scale(by) => by * value,
            };
            Values::F32(values[..width].iter().enumerate().map(each).collect())
        }
        (Values::I32(values), TargetKind::Class { classes, .. }) => {
            let other = |&class: &i32| match change {
                Change::None => class,
                _ => (class + 1) % (*classes).clamp(1, i32::MAX as usize) as i32,
            };
            Values::I32(values[..width].iter().map(other).collect())
        }
        (values, _) => values.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{InputSchema, LABEL, TargetSchema};

    fn schema() -> Schema {
        let input = InputSchema { name: "x".to_owned(), dims: vec![3], kind: InputKind::F32 };
        let target = TargetSchema::new(LABEL, &[], TargetKind::Class { classes: 2, ignore_index: None });
        Schema { inputs: vec![input], targets: vec![target] }
    }

    #[test]
    fn adversaries_follow_the_ordinary_records() {
        let records = Records::new(&schema(), 4).unwrap();
        assert_eq!(records.units.len(), 4 + KINDS.len());
        let Values::F32(values) = records.data.inputs()[0].values().unwrap() else { panic!("floats") };
        let of = |kind: &str| {
            let (_, unit) = records.adversaries.iter().find(|(name, _)| *name == kind).unwrap();
            &values[3 * unit..3 * unit + 3]
        };
        assert_eq!(of("a copy of another"), &values[..3]);
        assert_eq!(of("alternating ±100"), [100.0, -100.0, 100.0]);
        assert!(of("one NaN")[0].is_nan() && of("one NaN")[1..] == values[1..3]);
        assert!(of("infinities").iter().all(|value| *value == f32::INFINITY));
    }

    #[test]
    fn targets_of_a_pair_alternate_over_positions() {
        let input = InputSchema { name: "x".to_owned(), dims: vec![2], kind: InputKind::F32 };
        let target = TargetSchema::new(LABEL, &[3, 2], TargetKind::Real { within: None });
        let records = Records::new(&Schema { inputs: vec![input], targets: vec![target] }, 1).unwrap();
        let (_, unit) = records.adversaries.iter().find(|(name, _)| name.ends_with("±1e10")).unwrap();
        let Values::F32(inputs) = records.data.inputs()[0].values().unwrap() else { panic!("floats") };
        assert_eq!(inputs[2 * unit..2 * unit + 2], [1.0; 2]);
        let Values::F32(targets) = records.data.targets()[0].values().unwrap() else { panic!("floats") };
        assert_eq!(targets[6 * unit..6 * unit + 6], [1e10, 1e10, -1e10, -1e10, 1e10, 1e10]);
    }

    #[test]
    fn every_kind_of_label_has_adversaries() {
        let target = |name: &str, dims: &[usize], kind| TargetSchema::new(name, dims, kind);
        let input = InputSchema { name: "x".to_owned(), dims: vec![2], kind: InputKind::F32 };
        let targets = vec![
            target(LABEL, &[], TargetKind::Class { classes: 3, ignore_index: Some(-100) }),
            target("label.a", &[3, 2], TargetKind::Probabilities),
            target("label.b", &[2], TargetKind::Real { within: Some([0.0, 1.0]) }),
        ];
        let records = Records::new(&Schema { inputs: vec![input], targets }, 4).unwrap();
        let names: Vec<&str> = records.data.targets().iter().map(|column| column.name.as_str()).collect();
        assert_eq!(names, [LABEL, "label.a", "label.b"]);
    }

    #[test]
    fn every_adversary_is_in_a_unit_with_an_ordinary_record() {
        let records = Records::grouped(&schema(), 4).unwrap();
        assert_eq!(records.units.len(), 4 + KINDS.len());
        assert_eq!(records.units.records(3), [6, 7]);
        for (i, (_, unit)) in records.adversaries.iter().enumerate() {
            assert_eq!(records.units.records(*unit), [8 + i, 8 + KINDS.len() + i]);
        }
    }
}
