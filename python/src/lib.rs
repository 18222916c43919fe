//! The compiled half of the Python package `dpc`: the library's public API for `python/dpc`, which has what needs Python.

mod account;
mod arrays;
mod errors;
mod fit;
mod private;
mod session;

use pyo3::prelude::*;

#[pymodule]
fn _dpc(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<private::Private>()?;
    module.add_class::<session::Session>()?;
    module.add_function(wrap_pyfunction!(account::epsilon, module)?)?;
    module.add_function(wrap_pyfunction!(account::noise_multiplier, module)?)?;
    Ok(())
}
