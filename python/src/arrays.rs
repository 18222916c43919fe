//! Arrays between Python and the library: a dtype's name, a shape, and bytes in C order, which are not copied on their way
//! in.

use std::collections::BTreeMap;
use std::sync::Arc;

use dpc::tensors::{Tensor, Tensors};
use dpc::train::data::{Array, DType};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::errors::Kind;

/// An array for Python: dtype, shape, bytes.
pub type Given<'py> = (String, Vec<usize>, Bound<'py, PyBytes>);

/// An array from Python: dtype, shape, and the contiguous NumPy array, whose memory is not copied.
pub type Taken = (String, Vec<usize>, Memory);

/// The memory of a NumPy array in C order, which is kept for as long as it is referred to.
pub struct Memory {
    _array: Py<PyAny>,
    address: usize,
    length: usize,
}

impl<'py> FromPyObject<'_, 'py> for Memory {
    type Error = PyErr;

    fn extract(array: Borrowed<'_, 'py, PyAny>) -> PyResult<Memory> {
        let contiguous = array.getattr("flags")?.get_item("C_CONTIGUOUS")?.is_truthy()?;
        let (address, _): (usize, bool) = array.getattr("__array_interface__")?.get_item("data")?.extract()?;
        let length = array.getattr("nbytes")?.extract()?;
        match contiguous {
            true => Ok(Memory { _array: array.to_owned().unbind(), address, length }),
            false => Err(Kind::Data.says("an array is not in C order", "dpc::python::array", None)),
        }
    }
}

impl AsRef<[u8]> for Memory {
    fn as_ref(&self) -> &[u8] {
        if self.length == 0 {
            return &[];
        }
        // SAFETY: NumPy says that `length` bytes of a contiguous array begin at `address`, and keeps them there as long as the
        // array is, which is referred to here. Python code that writes into an array while it is trained on would break
        // this; what the package documents is that it must not.
        unsafe { std::slice::from_raw_parts(self.address as *const u8, self.length) }
    }
}

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
pub fn taken(given: BTreeMap<String, Taken>) -> PyResult<BTreeMap<String, Array>> {
    let arrays = given.into_iter().map(|(name, given)| {
        let array = array(&name, given)?;
        Ok((name, array))
    });
    arrays.collect()
}

fn array(name: &str, (dtype, dims, memory): Taken) -> PyResult<Array> {
    let unfit = |what: &str| {
        let help = "give numbers in an array of NumPy, or of what NumPy reads";
        Kind::Data.says(&format!("array `{name}` {what}"), "dpc::python::array", Some(help))
    };
    let known = DTYPES.into_iter().find(|known| known.name() == dtype);
    let known = known.ok_or_else(|| unfit(&format!("has the dtype {dtype}, which dpc does not read")))?;
    let array = Array::shared(known, dims, Arc::new(memory));
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
