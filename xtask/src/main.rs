//! `cargo xtask test`: everything that a change must pass, with one command.
//!
//! The steps, in order: a Vulkan adapter for the gpu tests (installed where apt can, since they are never skipped), a Chromium that
//! opens reports (installed likewise), ONNX's conformance cases, the layers of the sources, the formatting of every file, the tests, the examples in the documentation,
//! the lints, the library without an operating system, the guide to adding an op, the Python package.
//!
//! `cargo xtask lints`: the lints alone, with the dependencies that the tests were built with.
//!
//! `cargo xtask guide`: README's guide to adding an op, followed in a copy of the sources.
//!
//! `cargo xtask python`: the Python package and its tests alone. `cargo xtask wheel`: the package as a wheel.
//!
//! `cargo xtask conformance`: the conformance cases alone, with what each operator passes.
//!
//! `cargo xtask mpi [KILLS]`: training by several processes, under an MPI that is installed where apt can.
//!
//! `cargo xtask web [test]`: the page that trains in a browser; with `test` it is tried in Chromium.

mod conformance;
mod guide;
mod layers;
mod lints;
mod mpi;
mod python;
mod web;

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread;

const USAGE: &str = "usage: cargo xtask test | lints | guide | python | wheel | conformance | mpi | web";

/// A step: what it is for, and the arguments of cargo.
const STEPS: &[(&str, &[&str])] = &[
    ("tests", &["test", "--workspace", "--lib", "--bins", "--tests"]),
    ("examples in the documentation", &["test", "--workspace", "--doc"]),
];

fn main() -> ExitCode {
    let result = match env::args().nth(1).as_deref() {
        Some("test") => test(),
        Some("guide") => guide::run(),
        Some("lints") => lints::run(),
        Some("python") => python::run(),
        Some("wheel") => python::wheel(),
        Some("conformance") => conformance::run(),
        Some("web") => web::run(env::args().nth(2).as_deref() == Some("test")),
        Some("mpi") => mpi::run(env::args().nth(2).and_then(|kills| kills.parse().ok())),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("xtask: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn test() -> Result<(), String> {
    // Downloads, meanwhile.
    let python = thread::spawn(python::interpreter);
    println!("xtask: building dpc and its tests");
    cargo(&["test", "--workspace", "--no-run"])?;
    ensure_adapter()?;
    let chromium = ensure_browser();
    let cases = conformance::cases();
    println!("xtask: the layers of the sources");
    let problems = layers::problems(Path::new("src"))?;
    if !problems.is_empty() {
        return Err(format!("src/ breaks its layers:\n{}", problems.join("\n")));
    }
    formatting()?;
    for (what, arguments) in STEPS {
        println!("xtask: {what}: cargo {}", arguments.join(" "));
        let cases = cases.as_deref().ok().map(|cases| (conformance::VARIABLE, cases));
        cargo_with(arguments, cases.as_slice())?;
    }
    println!("xtask: lints");
    lints::run()?;
    browser()?;
    println!("xtask: the guide to adding an op, followed in a copy of the sources");
    guide::run()?;
    println!("xtask: the Python package");
    let python = python.join().unwrap_or_else(|_| Err("setting it up failed".into()));
    if let Ok(python) = &python {
        python::tested(python)?;
    }
    println!("xtask: all of it passed");
    if let Err(why) = chromium {
        println!("xtask: but reports were NOT OPENED in a browser: {why}");
    }
    if let Err(why) = cases {
        println!("xtask: but ONNX's conformance cases were NOT RUN: {why}");
    }
    if let Err(why) = python {
        println!(
            "xtask: but the Python package was NOT TESTED, since there is no Python with what its tests need: {why}"
        );
    }
    Ok(())
}

/// Checks that the library without devices and operating system builds for the browser; `cargo xtask web test`, which builds all of
/// it once more, tries the page. Where the target cannot be installed, that is said and nothing more.
fn browser() -> Result<(), String> {
    println!("xtask: the library for the browser ({})", web::TARGET);
    if !web::has_target() {
        println!("xtask: NOT CHECKED: rustup cannot add the target {}", web::TARGET);
        return Ok(());
    }
    cargo(&["check", "--package", "dpc", "--lib", "--no-default-features", "--target", web::TARGET])
}

/// Folders that hold Rust files.
const SOURCES: &[&str] = &["src", "tests", "benches", "fuzz", "xtask/src", "python/src", "web/src"];

/// Checks every file by itself: `cargo fmt` follows `mod` lines, and so sees none of the modules that a macro declares.
fn formatting() -> Result<(), String> {
    let files = SOURCES.iter().map(|folder| layers::rust_files(Path::new(folder)));
    let files: Vec<PathBuf> = files.collect::<Result<Vec<_>, _>>()?.concat();
    println!("xtask: formatting: rustfmt --check on {} files", files.len());
    let arguments = ["--edition", "2024", "--check"];
    let status = Command::new("rustfmt").args(arguments).args(&files).status();
    match status.map_err(|e| format!("rustfmt does not run: {e}"))?.success() {
        true => Ok(()),
        false => Err("some files are not formatted as `rustfmt --edition 2024` does".into()),
    }
}

/// Makes sure that some Vulkan, Metal or DX12 adapter answers: the machine's own, or Mesa's software one.
fn ensure_adapter() -> Result<(), String> {
    println!("xtask: looking for a GPU adapter");
    if adapter_answers()? {
        return Ok(());
    }
    if !cfg!(target_os = "linux") || !runs(Command::new("apt-get").arg("--version")) {
        return Err("no GPU adapter answers; install a Vulkan driver (on Linux Mesa's software one will do)".into());
    }
    println!(
        "xtask: no adapter answers; installing Mesa's software Vulkan driver (apt-get install mesa-vulkan-drivers)"
    );
    install(&["mesa-vulkan-drivers"])?;
    if adapter_answers()? { Ok(()) } else { Err("the driver is installed, and still no GPU adapter answers".into()) }
}

/// Makes sure that there is a Chromium, which opens reports in the tests; they do without it where there is none.
fn ensure_browser() -> Result<(), String> {
    const NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
    let answers = || NAMES.iter().any(|name| runs(Command::new(name).arg("--version")));
    if env::var_os("DPC_CHROMIUM").is_some() || answers() {
        return Ok(());
    }
    if !cfg!(target_os = "linux") || !runs(Command::new("apt-get").arg("--version")) {
        return Err("there is no Chromium on the path, and DPC_CHROMIUM names none".into());
    }
    println!("xtask: there is no Chromium; installing it (apt-get install chromium)");
    install(&["chromium"])?;
    if answers() { Ok(()) } else { Err("the package chromium is installed, and still no Chromium answers".into()) }
}

/// Installs packages by apt.
fn install(packages: &[&str]) -> Result<(), String> {
    let root = runs(Command::new("sh").args(["-c", "test \"$(id -u)\" = 0"]));
    let install = [&["install", "-y", "--no-install-recommends"], packages].concat();
    for arguments in [&["update"][..], &install] {
        let mut command = if root { Command::new("apt-get") } else { Command::new("sudo") };
        if !root {
            command.arg("apt-get");
        }
        let status = command.env("DEBIAN_FRONTEND", "noninteractive").args(arguments).status();
        if !status.is_ok_and(|s| s.success()) {
            return Err(format!("apt-get {} failed; install {} by hand", arguments.join(" "), packages.join(", ")));
        }
    }
    Ok(())
}

/// Whether `dpc devices` lists an adapter. The program is the one that the tests were built with.
fn adapter_answers() -> Result<bool, String> {
    let target = env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".into());
    let program = Path::new(&target).join("debug").join(format!("dpc{}", env::consts::EXE_SUFFIX));
    let output = Command::new(&program)
        .arg("devices")
        .output()
        .map_err(|e| format!("{} does not run: {e}", program.display()))?;
    if !output.status.success() {
        return Err(format!("dpc devices fails: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let listed = String::from_utf8_lossy(&output.stdout);
    Ok(listed.lines().any(|line| line.starts_with("gpu ") && !line.contains(" none: ")))
}

fn cargo(arguments: &[&str]) -> Result<(), String> {
    cargo_with(arguments, &[])
}

/// Runs cargo, with variables that tell the tests where what they need is.
fn cargo_with(arguments: &[&str], variables: &[(&str, &Path)]) -> Result<(), String> {
    let cargo = env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(arguments).envs(variables.iter().copied());
    let status = command.status().map_err(|e| format!("cargo does not run: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("cargo {} failed", arguments.join(" "))) }
}

fn runs(command: &mut Command) -> bool {
    command.output().is_ok_and(|o| o.status.success())
}
