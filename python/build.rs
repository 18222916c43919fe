//! What a linker has to be told of an extension module on macOS, where Python's symbols are found when it is loaded.

fn main() {
    pyo3_build_config::add_extension_module_link_args();
}
