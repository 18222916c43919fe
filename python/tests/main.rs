//! Runs the tests of the Python package: `tests/test_*.py`, by pytest, with the extension that was built beside this program.
//!
//! `DPC_PYTHON` names a Python that has what they need; `cargo xtask python` makes one. Without it nothing is tested here,
//! so that `cargo test` needs no Python.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs, io};

fn main() -> ExitCode {
    let Some(python) = env::var_os("DPC_PYTHON") else {
        println!("the Python package is NOT TESTED: DPC_PYTHON names no Python; `cargo xtask python` makes one");
        return ExitCode::SUCCESS;
    };
    match tested(Path::new(&python)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("the tests of the Python package cannot be run: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether pytest, given what arguments there are, is content.
fn tested(python: &Path) -> io::Result<bool> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let beside = env::current_exe()?.parent().map(PathBuf::from).unwrap_or_default();
    let built = beside.join(format!("{}_dpc{}", env::consts::DLL_PREFIX, env::consts::DLL_SUFFIX));
    fs::copy(&built, folder.join("dpc").join(if cfg!(windows) { "_dpc.pyd" } else { "_dpc.abi3.so" }))?;
    let program = beside.with_file_name(format!("dpc{}", env::consts::EXE_SUFFIX));
    let mut tests = Command::new(python);
    tests.args(["-m", "pytest", "-q", "--durations=8"]).args(env::args_os().skip(1)).current_dir(folder);
    Ok(tests.env("PYTHONPATH", folder).env("DPC_PROGRAM", program).status()?.success())
}
