//! Arrays between Python and the library: a dtype's name, a shape, and bytes in C order.

use std::collections::BTreeMap;

use dpc::tensors::{Tensor, Tensors};
use dpc::train::data::{Array, DType};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::errors::Kind;

/// An array from Python: dtype, shape, bytes.
pub type Given<'py> = (String, Vec<usize>, Bound<'py, PyBytes>);

const DTYPES: [DType; 13] = [
    DType::Bool,
    DType::U8,
    DType::I8,
    DType::U16,
    DType::I16,
    DType::U32,
    DType::I32,
    DType::U64,
    DType::I64,
    DType::F16,
    DType::Bf16,
    DType::F32,
    DType::F64,
];

/// The library's arrays of those from Python.
pub fn taken(given: &BTreeMap<String, Given<'_>>) -> PyResult<BTreeMap<String, Array>> {
    given.iter().map(|(name, given)| Ok((name.clone(), array(name, given)?))).collect()
}

fn array(name: &str, (dtype, dims, bytes): &Given<'_>) -> PyResult<Array> {
    let unfit = |what: &str| {
        let help = "give numbers in an array of NumPy, or of what NumPy reads";
        Kind::Data.new(&format!("array `{name}` {what}"), "dpc::python::array", Some(help))
    };
    let known = DTYPES.into_iter().find(|known| known.name() == dtype);
    let known = known.ok_or_else(|| unfit(&format!("has the dtype {dtype}, which dpc does not read")))?;
    let array = Array::new(known, dims.clone(), bytes.as_bytes().to_vec());
    array.ok_or_else(|| unfit("has more or fewer bytes than its shape says"))
}

/// An array for Python.
pub fn given<'py>(py: Python<'py>, array: &Array) -> Given<'py> {
    (array.dtype().name().to_owned(), array.dims().to_vec(), PyBytes::new(py, array.bytes()))
}

/// Tensors for Python.
pub fn tensors<'py>(py: Python<'py>, tensors: &Tensors) -> BTreeMap<String, Given<'py>> {
    let one = |tensor: &Tensor| given(py, &Array::from_f32(tensor.dims.clone(), &tensor.data));
    tensors.iter().map(|(name, tensor)| (name.clone(), one(tensor))).collect()
}
