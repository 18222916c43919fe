//! What commands print, without ever failing over a reader that has gone away.

use std::io::{ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use miette::{IntoDiagnostic, Report, Result, WrapErr};
use serde::Serialize;

/// Whether another process says what this one would, errors apart.
static SILENT: AtomicBool = AtomicBool::new(false);

/// Leaves what is not an error to another process, which says the same.
pub fn leave_to_another() {
    SILENT.store(true, Ordering::Relaxed);
}

/// Prints text and a newline to standard output.
pub fn line(text: impl std::fmt::Display) -> Result<()> {
    if SILENT.load(Ordering::Relaxed) {
        return Ok(());
    }
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result.into_diagnostic().wrap_err("standard output cannot be written"),
    }
}

/// Prints one JSON object to standard output.
pub fn json(value: &impl Serialize) -> Result<()> {
    line(serde_json::to_string(value).into_diagnostic()?)
}

/// Prints a note for people to standard error.
pub fn note(text: std::fmt::Arguments<'_>) {
    if !SILENT.load(Ordering::Relaxed) {
        told(text);
    }
}

fn told(text: std::fmt::Arguments<'_>) {
    // Where standard error cannot be written, there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Says which inputs the data of `spec` hold as bytes.
pub fn bytes(spec: &str, inputs: &[String]) {
    for input in inputs {
        note(format_args!(
            "`{input}` of {spec} is uint8: its bytes are divided by 255; store float32 to keep numbers as they are"
        ));
    }
}

/// Prints a warning to standard error.
pub fn warning(text: impl std::fmt::Display) {
    note(format_args!("warning: {text}"));
}

/// Prints an error, or a warning, to standard error.
pub fn report(report: &Report) {
    told(format_args!("{report:?}"));
}
