//! What goes wrong, as the page shows it.

use miette::Diagnostic;
use serde::Serialize;
use wasm_bindgen::prelude::*;

use crate::words;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = console, js_name = error)]
    pub fn print(message: &str);
}

/// A problem, with what it consists of.
#[derive(Debug, Default, Serialize)]
pub struct Problem {
    pub message: String,
    /// The code that the documentation has it by.
    pub code: Option<String>,
    /// What to do about it.
    pub help: Option<String>,
    /// What led to it, the nearest first.
    pub causes: Vec<String>,
    /// All problems of a kind, where there are several.
    pub parts: Vec<Problem>,
}

impl Problem {
    /// What `error` says.
    pub fn of(error: &dyn Diagnostic) -> Problem {
        let mut causes = Vec::new();
        let mut cause = error.source();
        while let Some(error) = cause {
            causes.push(words::message(&error.to_string()));
            cause = error.source();
        }
        let code = error.code().map(|code| code.to_string());
        Problem {
            message: words::message(&error.to_string()),
            help: error.help().map(|help| words::help(code.as_deref(), &help.to_string())),
            code,
            causes,
            parts: error.related().into_iter().flatten().map(Problem::of).collect(),
        }
    }

    /// A problem of one sentence.
    pub fn says(message: impl ToString) -> Problem {
        Problem { message: words::message(&message.to_string()), ..Problem::default() }
    }

    /// What is thrown.
    pub fn thrown(&self) -> JsValue {
        json(self).unwrap_or_else(|error| error).into()
    }
}

/// What is thrown of an error of the library.
pub fn thrown(error: impl Diagnostic) -> JsValue {
    Problem::of(&error).thrown()
}

/// What is thrown where one of the page's choices cannot be read.
pub fn choice(name: &str) -> impl Fn(String) -> JsValue {
    move |error| Problem::says(format!("{name}: {error}")).thrown()
}

/// A value for JavaScript.
pub fn result(value: &impl Serialize) -> Result<String, JsValue> {
    json(value).map_err(|error| Problem::says(error).thrown())
}

fn json(value: &impl Serialize) -> Result<String, String> {
    serde_json::to_string(value).map_err(|error| error.to_string())
}

/// What a value that JavaScript threw says.
pub fn text(error: &JsValue) -> String {
    match error.dyn_ref::<js_sys::Error>() {
        Some(error) => format!("{}: {}", error.name(), error.message()),
        None => format!("{error:?}"),
    }
}
