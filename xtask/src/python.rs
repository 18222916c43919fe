//! The Python package: its tests in a virtual environment of their own, and its wheel.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Names a Python that has what the tests need, to be used in place of a new environment.
const VARIABLE: &str = "DPC_PYTHON";

/// What the tests need.
const PACKAGES: &[&str] = &[
    "ipykernel",
    "matplotlib",
    "nbclient",
    "numpy",
    "onnx",
    "onnxscript",
    "opacus",
    "pandas",
    "polars",
    "pytest",
    "scikit-learn",
    "torch",
    "tqdm",
    "transformers",
];

/// Runs the tests of the package.
pub fn run() -> Result<(), String> {
    tested(&interpreter()?)
}

/// Runs the tests of the package by this Python, with the features of dependencies that all other tests have.
pub fn tested(python: &Path) -> Result<(), String> {
    super::cargo_with(&["test", "--workspace", "--test", "python"], &[(VARIABLE, python)])
}

/// Builds the wheel, in `target/wheels`.
pub fn wheel() -> Result<(), String> {
    let python = environment()?;
    pip(&python, &["maturin>=1.9,<2"])?;
    let mut maturin = Command::new(&python);
    maturin.args(["-m", "maturin", "build", "--release", "--manifest-path", "python/Cargo.toml"]);
    succeeds(&mut maturin, "maturin")
}

fn target() -> PathBuf {
    env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".into()).into()
}

/// A Python with all that the tests need; it is made where there is none.
pub fn interpreter() -> Result<PathBuf, String> {
    if let Some(python) = env::var_os(VARIABLE) {
        return Ok(python.into());
    }
    let python = environment()?;
    if !super::runs(Command::new(&python).args([
        "-c",
        "import torch, pytest, onnxscript, pandas, polars, sklearn, opacus, nbclient, matplotlib, transformers",
    ])) {
        println!("xtask: installing {}", PACKAGES.join(", "));
        pip(&python, PACKAGES)?;
    }
    Ok(python)
}

/// The Python of the virtual environment in `target/python`, which is made where it is not there.
fn environment() -> Result<PathBuf, String> {
    let place = target().join("python");
    let python = place.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    if !python.exists() {
        let found = ["python3", "python"].into_iter().find(|name| super::runs(Command::new(name).arg("--version")));
        let found = found.ok_or("there is no Python")?;
        succeeds(Command::new(found).args(["-m", "venv"]).arg(&place), "python -m venv")?;
    }
    std::path::absolute(&python).map_err(|e| format!("{} has no path: {e}", python.display()))
}

fn pip(python: &Path, packages: &[&str]) -> Result<(), String> {
    let mut command = Command::new(python);
    command.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(packages);
    succeeds(&mut command, "pip install")
}

fn succeeds(command: &mut Command, what: &str) -> Result<(), String> {
    let status = command.status().map_err(|e| format!("{what} cannot be run: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("{what} failed")) }
}
