//! `cargo xtask web`: the page that trains in a browser, as a folder that any web server can show. `cargo xtask web test` also tries it
//! in Chromium, which is installed where apt can, with what its tests need from npm.
//!
//! The compiler needs the target `wasm32-unknown-unknown`, by rustup or by a system's own packages, and `wasm-bindgen` of the version in
//! `web/Cargo.lock`, which cargo installs into the target folder where it is not there.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{install, runs};

/// What the page is compiled for.
pub const TARGET: &str = "wasm32-unknown-unknown";
/// Names a cargo whose compiler has the target, in place of the one that runs this.
const CARGO: &str = "DPC_WEB_CARGO";
/// Names the browser of the tests.
const BROWSER: &str = "DPC_CHROMIUM";
/// What the tests take from npm.
const PACKAGES: [&str; 2] = ["playwright-core@1", "axe-core@4"];
/// The tests.
const TESTS: [&str; 2] = ["web/tests/page.mjs", "web/tests/gpu.mjs"];
/// The model and the data that come with the page.
const EXAMPLE: [&str; 3] = ["digits_cnn.onnx", "digits_train.npz", "digits_test.npz"];

/// Builds the page, and tries it if that is asked for.
pub fn run(and_test: bool) -> Result<(), String> {
    if !has_target() {
        return Err(format!("rustc has no target {TARGET}, and `rustup target add {TARGET}` does not bring it"));
    }
    let page = build()?;
    println!("xtask: the page is in {}; `python3 -m http.server -d {0} 8000` shows it", page.display());
    let compiled = target()?.join("web").join(TARGET).join("release/dpc_web.wasm");
    if runs(Command::new("node").arg("--version")) {
        succeeds(Command::new("node").arg("web/tests/size.mjs").arg(&page).arg(&compiled))?;
    } else {
        println!("xtask: without node, nobody says how large it is");
    }
    if and_test { test(&page) } else { Ok(()) }
}

/// Whether the compiler has what programs for the browser are linked with; rustup is asked for it where there is none.
pub fn has_target() -> bool {
    let there = || {
        let output = Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]).output();
        output.is_ok_and(|output| Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir())
    };
    env::var_os(CARGO).is_some() || there() || runs(Command::new("rustup").args(["target", "add", TARGET])) && there()
}

/// Builds the page and says where it is.
fn build() -> Result<PathBuf, String> {
    let (all, page) = (target()?.join("web"), target()?.join("page"));
    println!("xtask: building the page");
    let cargo = env::var(CARGO).or_else(|_| env::var("CARGO")).unwrap_or_else(|_| "cargo".into());
    // In its folder, whose flags are then used.
    let arguments = ["build", "--release", "--locked", "--target", TARGET, "--target-dir"];
    succeeds(Command::new(cargo).args(arguments).arg(&all).current_dir("web"))?;

    let version = bindgen_version()?;
    let mut bindgen = PathBuf::from("wasm-bindgen");
    if !is_version(&bindgen, &version) {
        let root = target()?.join("tools");
        bindgen = root.join("bin").join(format!("wasm-bindgen{}", env::consts::EXE_SUFFIX));
        if !is_version(&bindgen, &version) {
            let package = format!("wasm-bindgen-cli@{version}");
            succeeds(Command::new("cargo").args(["install", &package, "--root"]).arg(&root))?;
        }
    }
    let _ = fs::remove_dir_all(&page);
    let mut command = Command::new(&bindgen);
    command.args([
        "--target",
        "web",
        "--no-typescript",
        "--remove-name-section",
        "--remove-producers-section",
        "--out-dir",
    ]);
    succeeds(command.arg(&page).arg(all.join(TARGET).join("release/dpc_web.wasm")))?;
    for file in fs::read_dir("web/page").map_err(|e| format!("web/page: {e}"))? {
        let file = file.map_err(|e| format!("web/page: {e}"))?.path();
        copy(&file, &page)?;
    }
    EXAMPLE.iter().try_for_each(|name| copy(&Path::new("models").join(name), &page.join("example")))?;
    Ok(page)
}

/// Tries the page in Chromium.
fn test(page: &Path) -> Result<(), String> {
    let browser = match env::var(BROWSER) {
        Ok(browser) => browser,
        Err(_) => {
            if !runs(Command::new("chromium").arg("--version")) {
                println!("xtask: no Chromium answers; installing it");
                install(&["chromium"])?;
            }
            "chromium".into()
        }
    };
    let place = target()?.join("web-tests");
    fs::create_dir_all(&place).map_err(|e| format!("{}: {e}", place.display()))?;
    if !place.join("node_modules/playwright-core").exists() || !place.join("node_modules/axe-core").exists() {
        succeeds(
            Command::new("npm").args(["install", "--no-audit", "--no-fund", "--prefix"]).arg(&place).args(PACKAGES),
        )?;
    }
    println!("xtask: the page in {browser}");
    let mut node = Command::new("node");
    // One after the other: they measure time.
    node.args(["--test", "--test-concurrency=1", "--test-reporter=spec"]).args(TESTS).env(BROWSER, browser);
    succeeds(node.env("DPC_PAGE", page).env("DPC_WEB_TESTS", &place))
}

fn bindgen_version() -> Result<String, String> {
    let lock = fs::read_to_string("web/Cargo.lock").map_err(|e| format!("web/Cargo.lock: {e}"))?;
    let rest = lock.split("name = \"wasm-bindgen\"\nversion = \"").nth(1);
    let version = rest.and_then(|rest| rest.split('"').next());
    version.map(str::to_owned).ok_or_else(|| "web/Cargo.lock has no wasm-bindgen".into())
}

fn is_version(program: &Path, version: &str) -> bool {
    let output = Command::new(program).arg("--version").output();
    output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).trim().ends_with(&format!(" {version}")))
}

fn copy(file: &Path, to: &Path) -> Result<(), String> {
    let name = file.file_name().unwrap_or_default();
    let copied = fs::create_dir_all(to).and_then(|()| fs::copy(file, to.join(name)));
    copied.map(|_| ()).map_err(|e| format!("{}: {e}", file.display()))
}

fn target() -> Result<PathBuf, String> {
    let target = env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".into());
    std::path::absolute(target).map_err(|e| e.to_string())
}

fn succeeds(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().display().to_string();
    let status = command.status().map_err(|e| format!("{name} does not run: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("{name} failed")) }
}
