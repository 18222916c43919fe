//! The layers of dpc: which folder of `src/` may use which.
//!
//! What a file uses is read off its text: every path that begins with `crate::NAME`. Tests may use what they like.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Each folder or file of `src/` with those that it may use, lowest first, so that there are no cycles: a folder uses only
/// what stands above its own line.
pub const LAYERS: &[(&str, &[&str])] = &[
    // Small things that every layer may need.
    ("files", &[]),
    ("glob", &[]),
    ("memory", &[]),
    ("panics", &[]),
    ("ranks", &[]),
    ("tensors", &[]),
    // What is promised, and how it is kept: nothing of models and devices.
    ("privacy", &["files", "glob", "ranks"]),
    // The compiler, from the graph to programs.
    ("options", &[]),
    ("schema", &["options"]),
    ("graph", &[]),
    ("lower", &["graph", "privacy"]),
    ("ops", &["graph", "lower", "privacy"]),
    ("onnx", &["glob", "panics", "tensors"]),
    ("import", &["graph", "lower", "onnx", "ops"]),
    ("passes", &["graph", "import", "lower", "ops", "options", "privacy", "schema"]),
    ("compile", &["graph", "import", "lower", "onnx", "ops", "options", "passes", "privacy"]),
    // What runs programs.
    ("device", &["graph", "lower", "memory", "options"]),
    // Files and loops around both.
    (
        "artifact",
        &["compile", "files", "graph", "import", "lower", "onnx", "options", "passes", "privacy", "schema", "tensors"],
    ),
    (
        "train",
        &[
            "artifact", "device", "files", "glob", "graph", "import", "lower", "memory", "options", "panics", "passes",
            "privacy", "ranks", "schema", "tensors",
        ],
    ),
    (
        "library",
        &[
            "artifact", "compile", "device", "glob", "import", "lower", "onnx", "options", "privacy", "ranks",
            "schema", "tensors", "train",
        ],
    ),
    (
        "audit",
        &[
            "artifact", "compile", "device", "glob", "graph", "import", "lower", "onnx", "options", "privacy", "ranks",
            "schema", "tensors", "train",
        ],
    ),
    ("picture", &["graph", "import", "onnx", "ops"]),
    ("report", &["artifact", "compile", "device", "files", "picture", "privacy", "train"]),
    // The program.
    (
        "cli",
        &[
            "artifact", "audit", "compile", "device", "files", "glob", "graph", "import", "lower", "onnx", "options",
            "panics", "passes", "picture", "privacy", "ranks", "report", "schema", "tensors", "train",
        ],
    ),
];

/// Every use that [`LAYERS`] does not allow.
pub fn problems(source: &Path) -> Result<Vec<String>, String> {
    let mut problems = Vec::new();
    for (at, (name, uses)) in LAYERS.iter().enumerate() {
        let lower = |used: &&&str| LAYERS[..at].iter().any(|(lower, _)| lower == *used);
        problems.extend(uses.iter().filter(|used| !lower(used)).map(|used| format!("{name} stands before {used}")));
    }
    let allowed: BTreeMap<&str, &[&str]> = LAYERS.iter().copied().collect();
    for file in rust_files(source)? {
        let within = file.strip_prefix(source).unwrap_or(&file);
        let first = within.components().next().map(|part| part.as_os_str().to_string_lossy().into_owned());
        let layer = first.unwrap_or_default().trim_end_matches(".rs").to_owned();
        if ["lib", "main"].contains(&layer.as_str()) || is_test(within) {
            continue;
        }
        let Some(uses) = allowed.get(layer.as_str()) else {
            problems.push(format!("{} is of no layer", within.display()));
            continue;
        };
        let text = fs::read_to_string(&file).map_err(|e| format!("{} cannot be read: {e}", file.display()))?;
        let used: BTreeSet<&str> = used(&text).filter(|used| *used != layer).collect();
        let layers = used.iter().filter(|used| allowed.contains_key(*used) && !uses.contains(used));
        problems.extend(layers.map(|used| format!("{} uses {used}, which {layer} may not", within.display())));
    }
    Ok(problems)
}

/// Whether a file holds tests, or what only they use.
fn is_test(file: &Path) -> bool {
    let name = file.file_stem().is_some_and(|stem| stem.to_string_lossy().ends_with("tests"));
    name || file.starts_with("device/cases") || file.components().any(|part| part.as_os_str() == "tests")
}

/// The names after `crate::`, outside of comments and of the tests at a file's end.
fn used(text: &str) -> impl Iterator<Item = &str> {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text);
    let lines = code.lines().map(|line| line.split("//").next().unwrap_or(line));
    lines.flat_map(|line| {
        line.split("crate::")
            .skip(1)
            .map(|rest| rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default())
    })
}

/// All Rust files below a folder.
pub fn rust_files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let unreadable = |e: std::io::Error| format!("{} cannot be read: {e}", folder.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            found.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_are_read_off_the_text() {
        let text = "use crate::graph::{A, B}; // crate::cli\nfn f() { crate::ops::g(crate::lower::X) }\n\
                    #[cfg(test)]\nmod tests { use crate::train::T; }";
        assert_eq!(used(text).collect::<Vec<_>>(), ["graph", "ops", "lower"]);
    }

    #[test]
    fn the_sources_keep_the_layers() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../src");
        let problems = problems(&source).expect("sources");
        assert!(problems.is_empty(), "{}", problems.join("\n"));
    }
}
