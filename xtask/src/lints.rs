//! Clippy's lints of all packages and targets.
//!
//! `cargo clippy` checks every dependency anew, which takes longer than all lints. Here its driver compiles the project's own
//! packages, not optimised, with the dependencies that the tests were built with.

use std::path::Path;
use std::process::Command;

/// What `cargo clippy` hands to its driver, each argument followed by this.
const SEPARATOR: &str = "__CLIPPY_HACKERY__";

/// What no line of the compiler's begins with where nothing is wrong: that the driver heeds its arguments is not taken on trust.
const COMPLAINTS: [&str; 2] = ["warning", "error"];

/// The compiler's lints and Clippy's, as `cargo clippy --workspace --all-targets -- -D warnings` has them.
pub fn run() -> Result<(), String> {
    let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]))?.0;
    let driver = Path::new(sysroot.trim()).join("bin").join(format!("clippy-driver{}", std::env::consts::EXE_SUFFIX));
    if !driver.exists() {
        return Err(format!("{} is not there; `rustup component add clippy` brings it", driver.display()));
    }
    let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
    for setting in ["opt-level=0", "debug=false"] {
        cargo.args(["--config", &format!("profile.dev.package.dpc.{setting}")]);
    }
    cargo.args(["test", "--workspace", "--all-targets", "--no-run"]);
    cargo.env("RUSTC_WORKSPACE_WRAPPER", driver).env("CLIPPY_ARGS", ["-D", "warnings", ""].join(SEPARATOR));
    let (_, said) = output(&mut cargo)?;
    match said.lines().any(|line| COMPLAINTS.iter().any(|complaint| line.starts_with(complaint))) {
        false => Ok(()),
        true => Err(said),
    }
}

/// What a command puts out and says, where it does not fail.
fn output(command: &mut Command) -> Result<(String, String), String> {
    let run = command.output().map_err(|e| format!("{} does not run: {e}", command.get_program().display()))?;
    let [out, said] = [run.stdout, run.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    if run.status.success() { Ok((out, said)) } else { Err(said) }
}
