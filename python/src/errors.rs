//! Errors of the library as the exceptions of `dpc`, with their codes and help.

use miette::Diagnostic;
use pyo3::prelude::*;

/// The exceptions of `dpc/_errors.py`.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Compile,
    Data,
    Plan,
    Train,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Compile => "CompileError",
            Kind::Data => "DataError",
            Kind::Plan => "PlanError",
            Kind::Train => "TrainError",
        }
    }

    /// The exception that says what `error` does.
    pub fn of(self, error: &dyn Diagnostic) -> PyErr {
        let code = first(error, &|error| error.code().map(|code| code.to_string()));
        let help = first(error, &|error| error.help().map(|help| help.to_string()));
        self.says(&text(error), code.as_deref().unwrap_or("dpc::error"), help.as_deref())
    }

    /// The exception with this message.
    pub fn says(self, message: &str, code: &str, help: Option<&str>) -> PyErr {
        Python::attach(|py| {
            let made = py
                .import("dpc._errors")
                .and_then(|module| module.getattr(self.name()))
                .and_then(|class| class.call1((message, code, help)));
            made.map_or_else(|error| error, PyErr::from_value)
        })
    }
}

/// The exception for an error of the library.
pub fn library(error: &dpc::Error) -> PyErr {
    use dpc::Error;
    let kind = match error {
        Error::Onnx(_) | Error::Compile(_) | Error::Build(_) | Error::NoLoss => Kind::Compile,
        Error::Data(_) => Kind::Data,
        Error::Request(_) | Error::Accounting(_) | Error::Spent { .. } => Kind::Plan,
        _ => Kind::Train,
    };
    kind.of(error)
}

/// What an option's text does not mean.
pub fn option(name: &str, error: impl std::fmt::Display, kind: Kind) -> PyErr {
    kind.says(&format!("{name}: {error}"), "dpc::python::option", None)
}

/// What `get` finds in an error, or in the first of those that it is made of that has any.
fn first(error: &dyn Diagnostic, get: &dyn Fn(&dyn Diagnostic) -> Option<String>) -> Option<String> {
    get(error).or_else(|| error.related().and_then(|mut related| related.find_map(|error| first(error, get))))
}

/// The message of an error, and of all that it is made of, each with its help.
fn text(error: &dyn Diagnostic) -> String {
    let mut text = error.to_string();
    for part in error.related().into_iter().flatten() {
        text += &format!("\n  {}", self::text(part).replace('\n', "\n  "));
        if let Some(help) = part.help() {
            text += &format!("\n    help: {help}");
        }
    }
    text
}
