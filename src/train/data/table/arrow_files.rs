//! Columns of Arrow files that can be read record by record where they lie.
//!
//! Those are columns of numbers, and of lists of one fixed size of them, without nulls and without compression: their
//! elements lie one after another in each batch of a file.
//! Format: <https://arrow.apache.org/docs/format/Columnar.html#ipc-file-format>.

use std::path::PathBuf;

use arrow_ipc::convert::try_fb_to_schema;
use arrow_ipc::{Endianness, root_as_footer, root_as_message};
use arrow_schema::{DataType, Field};

use super::super::array::DType;
use super::super::stored::{DataFile, Pieces, Stored};
use super::Want;
use crate::panics::contained;

/// How a file ends: the length of its footer, and a mark.
const TAIL: usize = 10;
const MARK: &[u8] = b"ARROW1";

/// The column `name` of `files`, one after another, to be read as what is wanted of it; `None` where it has to be read as a
/// whole, or anything is not as it should be, which reading tells.
pub fn stored(files: &[PathBuf], name: &str, want: Want<'_>) -> Option<Stored> {
    contained(|| of_files(files, name, want)).ok()?
}

fn of_files(files: &[PathBuf], name: &str, want: Want<'_>) -> Option<Stored> {
    let mut pieces = Pieces::new(false);
    let mut known: Option<(DType, Vec<usize>)> = None;
    let mut records = 0;
    for path in files {
        let file = DataFile::open(path).ok()?;
        let bytes = |offset: u64, length: usize| {
            let mut bytes = vec![0; length];
            (offset.checked_add(length as u64)? <= file.length()).then_some(())?;
            file.read(offset, &mut bytes).ok()?;
            Some(bytes)
        };
        let tail = bytes(file.length().checked_sub(TAIL as u64)?, TAIL).filter(|tail| tail.ends_with(MARK))?;
        let footer_length = usize::try_from(i32::from_le_bytes(tail[..4].try_into().ok()?)).ok()?;
        let footer = bytes(file.length().checked_sub((TAIL + footer_length) as u64)?, footer_length)?;
        let footer = root_as_footer(&footer).ok()?;
        if footer.schema()?.endianness() != Endianness::Little {
            return None;
        }
        let schema = try_fb_to_schema(footer.schema()?).ok()?;
        let at = schema.index_of(name).ok()?;
        let (dtype, dims) = elements(schema.field(at), want)?;
        match &known {
            None => known = Some((dtype, dims.clone())),
            Some(known) if *known == (dtype, dims.clone()) => {}
            Some(_) => return None,
        }
        let width: usize = dims.iter().product();
        for block in footer.recordBatches()? {
            let (offset, length) = (u64::try_from(block.offset()).ok()?, usize::try_from(block.metaDataLength()).ok()?);
            let message = bytes(offset, length)?;
            // Older files have no mark before the length.
            let before = if message.starts_with(&[0xff; 4]) { 8 } else { 4 };
            let message = root_as_message(message.get(before..)?).ok()?;
            let batch = message.header_as_record_batch().filter(|batch| batch.compression().is_none())?;
            let (mut node, mut buffer) = (0, 0);
            for field in &schema.fields()[..at] {
                skip(field.data_type(), &mut node, &mut buffer)?;
            }
            // Each list has a buffer of nulls, and so have the elements, before that of their values.
            let nodes = batch.nodes()?;
            if (node..=node + dims.len()).any(|node| node >= nodes.len() || nodes.get(node).null_count() != 0) {
                return None;
            }
            let rows = usize::try_from(batch.length()).ok()?;
            let size = rows.checked_mul(width)?.checked_mul(dtype.size())?;
            let buffers = batch.buffers()?;
            let values = buffer + dims.len() + 1;
            let values = (values < buffers.len()).then(|| buffers.get(values))?;
            if u64::try_from(values.length()).ok()? < size as u64 {
                return None;
            }
            let start = offset.checked_add(length as u64)?.checked_add(u64::try_from(values.offset()).ok()?)?;
            pieces.push(&file, start, size).ok()?;
            records += rows;
        }
    }
    let (dtype, dims) = known?;
    Stored::in_files(dtype, [vec![records], dims].concat(), pieces)
}

/// The type of the elements and the shape of a record, where they become what is wanted as they are.
fn elements(field: &Field, want: Want<'_>) -> Option<(DType, Vec<usize>)> {
    let (mut kind, mut dims) = (field.data_type(), Vec::new());
    while let DataType::FixedSizeList(item, size) = kind {
        dims.push(usize::try_from(*size).ok()?);
        kind = item.data_type();
    }
    let dtype = match kind {
        DataType::Int8 => DType::I8,
        DataType::Int16 => DType::I16,
        DataType::Int32 => DType::I32,
        DataType::Int64 => DType::I64,
        DataType::UInt8 => DType::U8,
        DataType::UInt16 => DType::U16,
        DataType::UInt32 => DType::U32,
        DataType::Float16 => DType::F16,
        DataType::Float32 => DType::F32,
        DataType::Float64 => DType::F64,
        _ => return None,
    };
    let as_it_is = match want {
        // Numbers of their own are numbers, whatever their type; lists of bytes are what arrays of bytes are.
        Want::Floats(_) => dtype != DType::U8 || !dims.is_empty(),
        Want::Integers => !dtype.is_float(),
        Want::Passages | Want::Pixels(_) | Want::Texts | Want::Labels => false,
    };
    as_it_is.then_some((dtype, dims))
}

/// Counts the nodes and buffers of a column; `None` where their number is not the type's to say.
fn skip(kind: &DataType, node: &mut usize, buffer: &mut usize) -> Option<()> {
    *node += 1;
    *buffer += match kind {
        DataType::Null => 0,
        DataType::Struct(_) | DataType::FixedSizeList(..) => 1,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Binary | DataType::LargeBinary => 3,
        DataType::List(_) | DataType::LargeList(_) | DataType::Map(..) | DataType::Dictionary(..) => 2,
        kind if kind.is_primitive() => 2,
        DataType::Boolean | DataType::FixedSizeBinary(_) => 2,
        _ => return None,
    };
    match kind {
        DataType::Struct(fields) => fields.iter().try_for_each(|field| skip(field.data_type(), node, buffer)),
        DataType::FixedSizeList(field, _)
        | DataType::List(field)
        | DataType::LargeList(field)
        | DataType::Map(field, _) => skip(field.data_type(), node, buffer),
        _ => Some(()),
    }
}
