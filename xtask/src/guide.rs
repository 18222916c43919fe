//! `cargo xtask guide`: follows README's guide to adding an op.
//!
//! A copy of the sources gets a scalar function, a formula and an op with a kernel of its own: the files under `tests/guide/`
//! and the lines below, which are all that they take. What the copy has of tests for every op must then pass.

use std::env;
use std::fs;
use std::path::Path;

use crate::layers;

/// Where the copy is built.
const COPY: &str = "target/guide";

/// What the copy needs of the project.
const PARTS: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "README.md",
    "src",
    "shaders",
    "models",
    "tests",
    "snapshots",
    "benches",
    "xtask",
    "python/Cargo.toml",
    "python/build.rs",
    "python/src",
    "python/tests",
];

/// The files of the new ops.
const FILES: &str = "tests/guide";

/// Lines of a table: the file, what the line before them begins with, and they.
type Lines = (&'static str, &'static str, &'static str);

/// A scalar function.
const CUBE: &[Lines] = &[
    (
        "src/lower/scalar/table.rs",
        "Sqrt ",
        r#"Cube "cube" (a: f32) -> f32 "({a} * {a} * {a})" => a * a * a, [(Mul d (Mul 3.0 (Mul a a)))];"#,
    ),
    ("src/import/rules/elementwise.rs", r#"("Sqrt","#, r#"("Cube", |cx, n| of(cx, n, &[Func::Cube])),"#),
];

/// A formula.
const SQUAREPLUS: &[Lines] = &[
    ("src/import/rules/mod.rs", "mod split;", "mod squareplus;"),
    ("src/import/rules/mod.rs", "split::RULES,", "squareplus::RULES,"),
];

/// An op with a kernel of its own.
const FLIP: &[Lines] = &[
    ("src/import/rules/mod.rs", "mod eye_like;", "mod flip;"),
    ("src/import/rules/mod.rs", "eye_like::RULES,", "flip::RULES,"),
    ("src/ops/mod.rs", "detach {", "flip { Flip }"),
    ("src/lower/kernels/mod.rs", "fill {", "flip { Flip }"),
];

/// What the tests of every op ask for.
const TESTS: &[Lines] = &[
    ("README.md", "| constants and shapes", "| of the guide | Cube, Flip, Squareplus |"),
    ("src/device/cases/mod.rs", "mod data;", "mod flip;"),
    ("src/device/cases/mod.rs", "all.extend(layers", "all.extend(flip::flip());"),
    (
        "src/device/cases/reference/mod.rs",
        "Kernel::Fill(",
        "Kernel::Flip(f) => (0..y[0].len()).for_each(|at| {
            let (i, k, o) = (at % f.inner, at / f.inner % f.len, at / f.inner / f.len);
            y[0][at] = x[0][(o * f.len + f.len - 1 - k) * f.inner + i];
        }),",
    ),
    (
        "src/tests/ops.rs",
        r#"("Softmax","#,
        r#"("Flip", || (0..2).flat_map(|axis| on("axis", crate::ops::flip::Flip { axis }, &[&[2, 3]])).collect()),"#,
    ),
    ("src/tests/mod.rs", "mod derivatives;", "mod guide;"),
];

/// The tests that know of every op and kernel.
const FILTERS: &[&str] = &[
    "tests::derivatives",
    "tests::devices",
    "tests::passes",
    "tests::guide",
    "every_kernel_keeps_its_contract",
    "references_are_not_all_infinite",
    "every_shader",
    "cli::help_tests",
    "scalar",
];

/// The kernels of the guide: other cases than theirs are tested where they come from.
const KERNELS: (&str, &str) = ("DPC_CASES", "flip,elementwise");

/// Adds the ops to a copy and tests it.
pub fn run() -> Result<(), String> {
    let copy = Path::new(COPY);
    for part in PARTS {
        replicate(Path::new(part), &copy.join(part))?;
    }
    replicate(Path::new(FILES), copy)?;
    for &(file, before, lines) in [CUBE, SQUAREPLUS, FLIP, TESTS].into_iter().flatten() {
        insert(&copy.join(file), before, lines)?;
    }
    let problems = layers::problems(&copy.join("src"))?;
    if !problems.is_empty() {
        return Err(format!("the guide breaks the layers:\n{}", problems.join("\n")));
    }
    let manifest = format!("{COPY}/Cargo.toml");
    other_version(Path::new(&manifest))?;
    // That of the project, which has the dependencies, with the features that they have with all packages.
    let target = env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".into());
    let arguments = ["test", "--manifest-path", &manifest, "--target-dir", &target, "--workspace", "--lib", "--"];
    crate::cargo_with(&[&arguments[..], FILTERS].concat(), &[(KERNELS.0, Path::new(KERNELS.1))])
}

/// Copies the files that differ.
fn replicate(from: &Path, to: &Path) -> Result<(), String> {
    let fail = |e: std::io::Error| format!("{}: {e}", from.display());
    if !from.is_dir() {
        let bytes = fs::read(from).map_err(fail)?;
        if fs::read(to).is_ok_and(|old| old == bytes) {
            return Ok(());
        }
        fs::create_dir_all(to.parent().unwrap_or(to)).map_err(fail)?;
        return fs::write(to, bytes).map_err(fail);
    }
    for entry in fs::read_dir(from).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        replicate(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

/// Gives the copy a version of its own: cargo keeps what it builds of two packages apart by name and version. It is not
/// optimised, since it is compiled for longer than its tests run.
fn other_version(manifest: &Path) -> Result<(), String> {
    let fail = |e: std::io::Error| format!("{}: {e}", manifest.display());
    let text = fs::read_to_string(manifest).map_err(fail)?;
    let line = text.lines().find(|line| line.starts_with("version = ")).unwrap_or_default();
    let text = text.replacen(line, "version = \"0.0.0\"", 1) + "\n[profile.dev.package.dpc]\nopt-level = 0\n";
    fs::write(manifest, text).map_err(fail)
}

/// Puts lines behind the first one that begins with `before`.
fn insert(file: &Path, before: &str, lines: &str) -> Result<(), String> {
    let fail = |e: std::io::Error| format!("{}: {e}", file.display());
    let text = fs::read_to_string(file).map_err(fail)?;
    let mut out = Vec::new();
    let mut rest = text.lines();
    for line in rest.by_ref() {
        out.push(line);
        if line.trim_start().starts_with(before) {
            out.push(lines);
            break;
        }
    }
    if out.last() != Some(&lines) {
        return Err(format!("{}: no line begins with `{before}`, as the guide has it", file.display()));
    }
    out.extend(rest);
    fs::write(file, out.join("\n") + "\n").map_err(fail)
}
