//! From an array of a file to a column of the data set: shape, dtype and range.

use std::fmt::Display;

use super::array::DType;
use super::column::{Becomes, Column};
use super::error::{BadRows, DataError};
use super::stored::Stored;
use crate::schema::{Dims, GROUP, InputKind, InputSchema, OtherLabels, TargetKind, TargetSchema};

/// Whether an array holds the bytes of pictures, or of what else is measured so: its elements are divided by 255.
pub fn is_bytes(schema: &InputSchema, dtype: DType) -> bool {
    schema.kind == InputKind::F32 && dtype == DType::U8
}

/// The column of a model's input, and its number of records.
pub(super) fn input(source_name: &str, schema: &InputSchema, array: Stored) -> Result<(usize, Column), DataError> {
    let records = check_shape(source_name, &schema.name, &schema.dims, array.dims())?;
    let becomes = match schema.kind {
        InputKind::F32 if is_bytes(schema, array.dtype()) => Becomes::UnitFloats,
        InputKind::F32 => Becomes::Floats,
        InputKind::I32 { table } => {
            check_integers(source_name, &schema.name, &array)?;
            check_ids(source_name, &schema.name, table, schema.dims.iter().product(), &array)?;
            Becomes::Integers
        }
    };
    Ok((records, Column::new(&schema.name, &schema.dims, array, becomes)))
}

/// The column of some labels, and its number of records.
pub(super) fn target(source_name: &str, schema: &TargetSchema, array: Stored) -> Result<(usize, Column), DataError> {
    let name = &schema.name;
    if let Some(other) = &schema.otherwise
        && has_other_form(schema, other, &array)
    {
        return Err(DataError::OtherLabels {
            source_name: source_name.to_owned(),
            name: name.clone(),
            found: array.dims().to_vec(),
            dtype: array.dtype().name(),
            probabilities: schema.kind != TargetKind::Probabilities,
            loss: Box::new(other.loss.clone()),
        });
    }
    let records = check_shape(source_name, name, &schema.dims, array.dims())?;
    let width = schema.dims.iter().product();
    let check = |bad, wanted: &dyn Fn() -> String| check_label(source_name, name, bad, wanted);
    let becomes = match schema.kind {
        TargetKind::Real { within } => {
            if let Some([low, high]) = within {
                let bad = floats_where(&array, width, |v| v < low || v > high)?;
                check(bad, &|| format!("between {low} and {high}"))?;
            }
            Becomes::Floats
        }
        TargetKind::Probabilities => {
            let bad = floats_where(&array, width, |v| !(0.0..=f32::MAX).contains(&v))?;
            check(bad, &|| "probabilities of the classes: finite, and at least 0".to_owned())?;
            Becomes::Floats
        }
        TargetKind::Class { classes, ignore_index } => {
            check_integers(source_name, name, &array)?;
            let ignored = |v: i64| ignore_index.is_some_and(|ignore| v == i64::from(ignore));
            let in_range = |v: i64| usize::try_from(v).is_ok_and(|v| v < classes);
            let bad = integers_where(&array, width, |v| !in_range(v) && !ignored(v))?;
            check(bad, &|| match ignore_index {
                Some(ignore) => format!("class ids in [0, {classes}) or {ignore} (ignored)"),
                None => format!("class ids in [0, {classes})"),
            })?;
            Becomes::Integers
        }
    };
    Ok((records, Column::new(name, &schema.dims, array, becomes)))
}

/// Whether an array has the shape of labels of the other form, and not of its own or, where it might be either, the dtype:
/// probabilities are floats, as in PyTorch.
fn has_other_form(schema: &TargetSchema, other: &OtherLabels, array: &Stored) -> bool {
    let fits = |dims: &[usize]| check_shape("", "", dims, array.dims()).is_ok();
    let is_other = match schema.kind {
        TargetKind::Class { .. } => array.dtype().is_float(),
        _ => !array.dtype().is_float(),
    };
    fits(&other.dims) && (is_other || !fits(&schema.dims))
}

/// The group of each record.
pub(super) fn groups(source_name: &str, array: &Stored) -> Result<Vec<i64>, DataError> {
    check_shape(source_name, GROUP, &[], array.dims())?;
    let mut groups = Vec::new();
    let dtype = array.dtype();
    check_integers(source_name, GROUP, array)?;
    array.read(0..array.dims()[0], &mut |bytes| {
        dtype.decode_labels(bytes, &mut groups);
    })?;
    Ok(groups)
}

/// The number of records, where each has the shape `wanted` but for axes of length 1, or one of
/// the two shapes is flat.
fn check_shape(source_name: &str, name: &str, wanted: &[usize], found: &[usize]) -> Result<usize, DataError> {
    let wrong = |help: String| DataError::WrongShape {
        source_name: source_name.to_owned(),
        name: name.to_owned(),
        found: found.to_vec(),
        wanted: wanted.to_vec(),
        help,
    };
    let Some((&records, record)) = found.split_first() else {
        return Err(wrong("the first axis of every array counts the records".to_owned()));
    };
    let squeezed = |dims: &[usize]| -> Vec<usize> { dims.iter().copied().filter(|&dim| dim != 1).collect() };
    let (have, want) = (squeezed(record), squeezed(wanted));
    let same_size = checked_product(record) == checked_product(wanted);
    if have == want || same_size && (have.len() <= 1 || want.len() <= 1) {
        return Ok(records);
    }
    let sorted = |mut dims: Vec<usize>| {
        dims.sort_unstable();
        dims
    };
    Err(wrong(if sorted(have) == sorted(want) {
        let transposed = match order(record, wanted) {
            Some(order) => format!("{name}.transpose({order})"),
            None => "x.transpose(…)".to_owned(),
        };
        // Without the copy, safetensors 0.8.0 writes the elements in their old order, and nobody can see it afterwards.
        format!(
            "the axes are in another order: numpy.ascontiguousarray({transposed}) has the shape [{records}, {}; a \
             transposed array that is not copied is written in its old order by some versions of safetensors",
            &Dims(wanted).to_string()[1..]
        )
    } else if let Some((axis, have, want)) = other_length(record, wanted) {
        let change = if have < want {
            "pad its records to that size, with what the model does not heed"
        } else {
            "cut its records to that size"
        };
        format!(
            "axis {axis} has {have} elements, and a compiled model takes {want}: {change}, or compile the model for {have}, by \
             --dim where the file leaves the axis free"
        )
    } else {
        format!("store it as [records, {}", &Dims(wanted).to_string()[1..])
    }))
}

/// The only axis in which records have another size than is wanted, counted with the axis of records, and both sizes.
fn other_length(have: &[usize], want: &[usize]) -> Option<(usize, usize, usize)> {
    let mut others = have.iter().zip(want).enumerate().filter(|(_, (have, want))| have != want);
    match (have.len() == want.len(), others.next(), others.next()) {
        (true, Some((axis, (&have, &want))), None) => Some((axis + 1, have, want)),
        _ => None,
    }
}

/// The arguments of `transpose` that bring records of shape `found` into the shape `wanted`, where the ranks agree.
fn order(found: &[usize], wanted: &[usize]) -> Option<String> {
    let mut left: Vec<(usize, usize)> = found.iter().copied().enumerate().collect();
    let mut axes = vec!["0".to_owned()];
    for want in wanted {
        let at = left.iter().position(|(_, size)| size == want)?;
        axes.push((left.remove(at).0 + 1).to_string());
    }
    left.is_empty().then(|| axes.join(", "))
}

fn checked_product(dims: &[usize]) -> Option<usize> {
    dims.iter().try_fold(1usize, |product, &dim| product.checked_mul(dim))
}

fn check_integers(source_name: &str, name: &str, array: &Stored) -> Result<(), DataError> {
    if array.dtype().is_float() { Err(not_integers(source_name, name, array)) } else { Ok(()) }
}

fn not_integers(source_name: &str, name: &str, array: &Stored) -> DataError {
    DataError::WrongDtype {
        source_name: source_name.to_owned(),
        name: name.to_owned(),
        found: array.dtype().name(),
        wanted: "integers",
        help: format!("convert it, for example with {name}.astype(numpy.int64)"),
    }
}

/// Checks that ids fit in i32 as they are, and in their table: below zero, each op that reads them counts from the end of
/// its own table.
fn check_ids(source_name: &str, name: &str, table: Option<usize>, width: usize, ids: &Stored) -> Result<(), DataError> {
    let source_name = source_name.to_owned();
    let name = name.to_owned();
    let Some(table) = table else {
        return match integers_where(ids, width, |id| i32::try_from(id).is_err())? {
            None => Ok(()),
            Some(rows) => Err(DataError::WideId { source_name, name, rows }),
        };
    };
    // Ids are 32-bit on the devices, so a longer table is only reached in its first 2^31 rows.
    let size = table.min(i32::MAX as usize) as i64;
    match integers_where(ids, width, |id| !(-size..size).contains(&id))? {
        None => Ok(()),
        Some(rows) => Err(DataError::BadId { source_name, name, table, rows }),
    }
}

fn floats_where(array: &Stored, width: usize, bad: impl Fn(f32) -> bool) -> Result<Option<BadRows>, DataError> {
    rows_where(array, width, |bytes, values| array.dtype().decode_f32(bytes, values), bad)
}

fn integers_where(array: &Stored, width: usize, bad: impl Fn(i64) -> bool) -> Result<Option<BadRows>, DataError> {
    let decode = |bytes: &[u8], values: &mut Vec<i64>| {
        array.dtype().decode_i64(bytes, values);
    };
    rows_where(array, width, decode, bad)
}

/// The elements that are `bad`, by the row they are in.
fn rows_where<T: Copy + Display>(
    array: &Stored,
    width: usize,
    decode: impl Fn(&[u8], &mut Vec<T>),
    bad: impl Fn(T) -> bool,
) -> Result<Option<BadRows>, DataError> {
    let mut rows = BadRows::default();
    let (mut at, mut values) = (0, Vec::new());
    array.read(0..array.dims().iter().product(), &mut |bytes| {
        values.clear();
        decode(bytes, &mut values);
        for &value in &values {
            if bad(value) {
                rows.add(at / width, value);
            }
            at += 1;
        }
    })?;
    Ok((rows.count > 0).then_some(rows))
}

fn check_label(
    source_name: &str,
    name: &str,
    bad: Option<BadRows>,
    wanted: &dyn Fn() -> String,
) -> Result<(), DataError> {
    let (source_name, name) = (source_name.to_owned(), name.to_owned());
    match bad {
        None => Ok(()),
        Some(rows) => Err(DataError::BadLabel { source_name, name, wanted: wanted(), rows }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Array, Values};
    use super::*;
    use crate::schema::LABEL;
    use miette::Diagnostic;

    fn ids(table: Option<usize>, values: &[i64]) -> Result<Values, DataError> {
        let schema = InputSchema { name: "ids".to_owned(), dims: vec![2], kind: InputKind::I32 { table } };
        let array = Array::from_i64(vec![values.len() / 2, 2], values);
        input("memory", &schema, array.into()).map(|(_, column)| column.values().unwrap())
    }

    #[test]
    fn bytes_for_floats_are_divided_by_255() {
        let bytes = Array::new(DType::U8, vec![2, 2], vec![0, 255, 51, 102]).unwrap();
        let read = |kind| {
            let schema = InputSchema { name: "x".to_owned(), dims: vec![2], kind };
            input("memory", &schema, bytes.clone().into()).unwrap().1.values().unwrap()
        };
        assert_eq!(read(InputKind::F32), Values::F32(vec![0.0, 1.0, 0.2, 0.4]));
        assert_eq!(read(InputKind::I32 { table: None }), Values::I32(vec![0, 255, 51, 102]));
        let label = TargetSchema::new(LABEL, &[2], TargetKind::Real { within: None });
        assert_eq!(
            target("memory", &label, bytes.into()).unwrap().1.values().unwrap(),
            Values::F32(vec![0.0, 255.0, 51.0, 102.0])
        );
    }

    /// Hashes of users, say.
    #[test]
    fn different_groups_stay_different() {
        let values = [0, 1 << 63, (1 << 63) + 1, u64::MAX];
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let mut found = groups("memory", &Array::new(DType::U64, vec![4], bytes).unwrap().into()).unwrap();
        found.sort_unstable();
        found.dedup();
        assert_eq!(found.len(), 4);
    }

    #[test]
    fn ids_lie_in_the_table_counted_from_either_end() {
        let values = ids(Some(10), &[0, 9, -1, -10]).unwrap();
        assert_eq!(values, Values::I32(vec![0, 9, -1, -10]));
        let error = ids(Some(10), &[0, 9, -11, 10]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "2 values out of range (-11 at row 1, 10 at row 1) of `ids` in memory: ids must be \
             in [-10, 10)"
        );
        assert!(matches!(ids(None, &[0, 1 << 31]), Err(DataError::WideId { .. })));
    }

    #[test]
    fn shapes_agree_up_to_axes_of_one_and_flattening() {
        let check = |wanted: &[usize], found: &[usize]| check_shape("memory", "x", wanted, found);
        assert_eq!(check(&[1, 28, 28], &[5, 28, 28]).unwrap(), 5);
        assert_eq!(check(&[28, 28], &[5, 1, 28, 28]).unwrap(), 5);
        assert_eq!(check(&[784], &[5, 28, 28]).unwrap(), 5);
        assert_eq!(check(&[], &[5]).unwrap(), 5);
        assert_eq!(check(&[], &[5, 1]).unwrap(), 5);
        let help = |error: DataError| error.help().unwrap().to_string();
        let swapped = check(&[3, 32, 32], &[5, 32, 32, 3]).unwrap_err();
        assert!(
            help(swapped).contains("numpy.ascontiguousarray(x.transpose(0, 3, 1, 2)) has the shape [5, 3, 32, 32];")
        );
        let other_rank = check(&[3, 32, 1, 16], &[5, 16, 32, 3]).unwrap_err();
        assert!(help(other_rank).contains("numpy.ascontiguousarray(x.transpose(…)) has the shape [5, 3, 32, 1, 16];"));
        assert!(check(&[2], &[]).is_err());
        assert!(check(&[], &[5, 2]).is_err());
    }

    #[test]
    fn targets_are_checked_by_kind() {
        let labels = |kind, array: Array| {
            target("memory", &TargetSchema::new(LABEL, &[], kind), array.into())
                .map(|(_, column)| column.values().unwrap())
        };
        let class = || TargetKind::Class { classes: 2, ignore_index: None };
        let floats = labels(class(), Array::from_f32(vec![1], &[1.0])).unwrap_err();
        assert_eq!(floats.to_string(), "array `label` of memory is float32, but the model needs integers");
        let unit = TargetKind::Real { within: Some([0.0, 1.0]) };
        let kept = labels(unit.clone(), Array::from_i64(vec![2], &[0, 1])).unwrap();
        assert_eq!(kept, Values::F32(vec![0.0, 1.0]));
        assert!(labels(unit, Array::from_f32(vec![2], &[0.5, 2.0])).is_err());
    }

    #[test]
    fn labels_of_the_other_form_say_which_loss_takes_them() {
        let loss = |text: &str| text.parse::<crate::options::Loss>().unwrap();
        let schema = |dims: &[usize], kind, other: &[usize], text: &str| TargetSchema {
            otherwise: Some(OtherLabels { dims: other.to_vec(), loss: loss(text) }),
            ..TargetSchema::new("label.y", dims, kind)
        };
        let ids =
            schema(&[], TargetKind::Class { classes: 3, ignore_index: None }, &[3], "y=cross-entropy:probabilities");
        let one_hot = Array::from_i64(vec![2, 3], &[0, 1, 0, 1, 0, 0]);
        let error = target("memory", &ids, one_hot.clone().into()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`label.y` of memory, int64[2, 3], holds probabilities of the classes, but the model is compiled for class ids"
        );
        assert!(error.help().unwrap().to_string().contains("--loss 'y=cross-entropy:probabilities'"));
        // Neither float ids nor ids of another shape are probabilities.
        let wrong = target("memory", &ids, Array::from_f32(vec![2], &[0.0, 1.0]).into()).unwrap_err();
        assert!(matches!(wrong, DataError::WrongDtype { .. }), "{wrong}");
        let soft = schema(&[3], TargetKind::Probabilities, &[], "y=cross-entropy");
        let (_, column) = target("memory", &soft, one_hot.into()).unwrap();
        assert_eq!(column.values().unwrap(), Values::F32(vec![0.0, 1.0, 0.0, 1.0, 0.0, 0.0]));
        let error = target("memory", &soft, Array::from_i64(vec![2], &[0, 1]).into()).unwrap_err();
        assert_eq!(error.other_loss(), Some(&loss("y=cross-entropy")));
    }

    #[test]
    fn probabilities_need_not_sum_to_one_but_are_numbers_of_at_least_zero() {
        let schema = TargetSchema::new(LABEL, &[2], TargetKind::Probabilities);
        assert!(target("memory", &schema, Array::from_f32(vec![2, 2], &[0.5, 2.0, 0.0, 0.0]).into()).is_ok());
        let values = [0.5, 0.5, -0.1, 1.1, f32::NAN, 1.0, f32::INFINITY, 0.0];
        let error = target("memory", &schema, Array::from_f32(vec![4, 2], &values).into()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "3 values out of range (-0.1 at row 1, NaN at row 2, inf at row 3) of `label` in memory: labels must be \
             probabilities of the classes: finite, and at least 0"
        );
    }
}
