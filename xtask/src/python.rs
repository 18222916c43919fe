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

/// Builds the wheel, in `target/wheels`, and tries it in an environment of its own, without Rust on the path.
pub fn wheel() -> Result<(), String> {
    let python = environment("python")?;
    pip(&python, &["maturin>=1.9,<2"])?;
    let mut maturin = Command::new(&python);
    maturin.args(["-m", "maturin", "build", "--release", "--manifest-path", "python/Cargo.toml"]);
    succeeds(&mut maturin, "maturin")?;
    let wheel = newest(&target().join("wheels"))?;
    let clean = environment("wheel")?;
    pip(&clean, &["--force-reinstall", &wheel.display().to_string()])?;
    let mut trial = Command::new(&clean);
    trial.args(["python/tests/wheel.py", "models/mnist_cnn.onnx"]).arg(absolute(Path::new("python"))?);
    if cfg!(unix) {
        trial.env_clear().env("PATH", "/usr/bin:/bin");
    }
    succeeds(&mut trial, "training from the wheel")?;
    pip(&python, &["auditwheel"])?;
    let mut audit = Command::new(&python);
    audit.args(["-m", "auditwheel", "show"]).arg(&wheel);
    if cfg!(target_os = "linux") { succeeds(&mut audit, "auditwheel") } else { Ok(()) }
}

/// The wheel that was built last.
fn newest(folder: &Path) -> Result<PathBuf, String> {
    let entries = folder.read_dir().map_err(|e| format!("{} cannot be read: {e}", folder.display()))?;
    let wheels =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "whl"));
    let newest = wheels.max_by_key(|path| path.metadata().and_then(|data| data.modified()).ok());
    newest.ok_or_else(|| format!("{} has no wheel", folder.display()))
}

fn target() -> PathBuf {
    env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".into()).into()
}

/// A Python with all that the tests need; it is made where there is none.
pub fn interpreter() -> Result<PathBuf, String> {
    if let Some(python) = env::var_os(VARIABLE) {
        return Ok(python.into());
    }
    let python = environment("python")?;
    if !super::runs(Command::new(&python).args([
        "-c",
        "import torch, pytest, onnxscript, pandas, polars, sklearn, opacus, nbclient, matplotlib, transformers",
    ])) {
        println!("xtask: installing {}", PACKAGES.join(", "));
        pip(&python, PACKAGES)?;
    }
    Ok(python)
}

/// The Python of the virtual environment of this name in `target`, which is made where it is not there.
fn environment(name: &str) -> Result<PathBuf, String> {
    let place = target().join(name);
    let python = place.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    if !python.exists() {
        let found = ["python3", "python"].into_iter().find(|name| super::runs(Command::new(name).arg("--version")));
        let found = found.ok_or("there is no Python")?;
        succeeds(Command::new(found).args(["-m", "venv"]).arg(&place), "python -m venv")?;
    }
    absolute(&python)
}

fn absolute(path: &Path) -> Result<PathBuf, String> {
    std::path::absolute(path).map_err(|e| format!("{} has no path: {e}", path.display()))
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
