//! Images in columns of Arrow: the bytes of their files, alone or as `struct{bytes, path}`, which `datasets` writes.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, Field};
use rayon::prelude::*;

use super::super::images::{decode, described};
use super::{Cells, Numbers, Want};

/// Whether cells of this type are images.
pub fn is_image(kind: &DataType) -> bool {
    match kind {
        DataType::Struct(fields) => {
            fields.iter().any(|field| is_bytes(field)) && fields.iter().all(|field| is_bytes(field) || is_path(field))
        }
        kind => is_binary(kind),
    }
}

fn is_binary(kind: &DataType) -> bool {
    matches!(kind, DataType::Binary | DataType::LargeBinary | DataType::BinaryView)
}

fn is_bytes(field: &Field) -> bool {
    field.name() == "bytes" && is_binary(field.data_type())
}

fn is_path(field: &Field) -> bool {
    field.name() == "path"
}

/// Adds a batch of images to cells, as what is wanted of them; `place` says where one of them is.
pub fn push(array: &ArrayRef, want: Want<'_>, cells: &mut Cells, place: &dyn Fn(usize) -> String) {
    let files = files(array);
    let start = cells.values.len();
    match (&mut cells.values, want) {
        (Numbers::Bytes(values), Want::Pixels(form)) => {
            let width = form.bytes();
            let decoded: Vec<_> = files.par_iter().map(|file| file.map(|bytes| decode(bytes, &form))).collect();
            for (row, image) in decoded.into_iter().enumerate() {
                match image {
                    Some(Ok(image)) => values.extend_from_slice(&image),
                    Some(Err(what)) => {
                        values.resize(values.len() + width, 0);
                        cells.bad.add(format_args!("{} {what}", place(row)));
                    }
                    None => {
                        values.resize(values.len() + width, 0);
                        cells.missing.extend(start + row * width..start + (row + 1) * width);
                    }
                }
            }
        }
        (Numbers::Texts(texts), _) => {
            let all: Vec<String> = files.par_iter().map(|file| file.map(described).unwrap_or_default()).collect();
            all.iter().for_each(|text| texts.push(text));
        }
        _ => unreachable!("images become bytes or texts"),
    }
}

/// The bytes of each image, where there is one.
fn files(array: &ArrayRef) -> Vec<Option<&[u8]>> {
    let bytes = match array.as_struct_opt() {
        Some(fields) => fields.column_by_name("bytes").expect("an image of two fields has one of its bytes"),
        None => array,
    };
    let one = |row: usize| match bytes.data_type() {
        DataType::Binary => bytes.as_binary::<i32>().value(row),
        DataType::LargeBinary => bytes.as_binary::<i64>().value(row),
        _ => bytes.as_binary_view().value(row),
    };
    (0..array.len()).map(|row| (!array.is_null(row) && !bytes.is_null(row)).then(|| one(row))).collect()
}
