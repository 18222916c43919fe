//! ONNX's conformance cases: fetched once with the PyPI package onnx, and run by `tests/dpc/conformance.rs`.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::cargo_with;

/// The variable that tells the test where the cases are.
pub const VARIABLE: &str = "DPC_CONFORMANCE";

const PACKAGE: &str = "onnx==1.22.0";

/// Where the cases are inside of the package: those of single operators, and others and known networks beside them.
const CASES: &str = "onnx/backend/test/data/node";
const BESIDE: &str = "pytorch-converted";

/// Runs the cases and shows what passes.
pub fn run() -> Result<(), String> {
    let cases = cases()?;
    cargo_with(&["test", "--test", "dpc", "conformance", "--", "--nocapture"], &[(VARIABLE, &cases)])
}

/// The folder of the cases: the one that the variable names, or else one under the build folder, filled where it is not there.
pub fn cases() -> Result<PathBuf, String> {
    if let Some(named) = env::var_os(VARIABLE) {
        return Ok(named.into());
    }
    let target = env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".into());
    let absolute = |path: &Path| path.canonicalize().map_err(|e| format!("{}: {e}", path.display()));
    let package = Path::new(&target).join("conformance");
    let cases = package.join(CASES);
    let parent = |path: &Path| path.parent().map(Path::to_owned).unwrap_or_default();
    if parent(&cases).join(BESIDE).is_dir() {
        return absolute(&cases);
    }
    println!("xtask: fetching ONNX's conformance cases: the package {PACKAGE}, about 20 MB");
    let parts = Path::new(&target).join("conformance.part");
    let _ = std::fs::remove_dir_all(&parts);
    let arguments = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--target"];
    let status = Command::new("python3").args(arguments).arg(&parts).arg(PACKAGE).status();
    if !status.map_err(|e| format!("python3 does not run: {e}"))?.success() {
        return Err(format!(
            "pip cannot install {PACKAGE}, as where there is no network; unpack the package to {}, or name the folder of its \
             cases in {VARIABLE}",
            package.display()
        ));
    }
    // What else is in the package is not needed.
    let (from, to) = (parent(&parts.join(CASES)), parent(&cases));
    let _ = std::fs::remove_dir_all(&to);
    let above = parent(&to);
    std::fs::create_dir_all(&above).map_err(|e| format!("{}: {e}", above.display()))?;
    std::fs::rename(&from, &to).map_err(|e| format!("{}: {e}", from.display()))?;
    let _ = std::fs::remove_dir_all(&parts);
    absolute(&cases)
}
