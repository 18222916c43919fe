//! Defects of dpc itself: a panic in any thread is kept, and told once, as an error like any other, when the command is
//! over. `RUST_BACKTRACE=1` adds the backtrace.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use miette::{Diagnostic, Result};
use thiserror::Error;

use super::output;
use crate::panics::message;

/// The exit code of a command that met a defect of dpc.
const INTERNAL: u8 = 3;

/// The first panic of this process that nothing contains.
static FIRST: Mutex<Option<(Defect, Backtrace)>> = Mutex::new(None);

#[derive(Debug, Error, Diagnostic)]
#[error("internal error: {message} ({place})")]
#[diagnostic(
    code(dpc::internal),
    help(
        "this is a defect of dpc, whatever it was given: please report it with this text, the command and the model; \
         RUST_BACKTRACE=1 adds how it came to it"
    )
)]
struct Defect {
    message: String,
    /// File and line of dpc, or of what it uses.
    place: String,
}

/// Runs a command and reports what went wrong in it.
pub fn run(command: impl FnOnce() -> Result<()>) -> ExitCode {
    set_hook(Box::new(keep));
    let result = catch_unwind(AssertUnwindSafe(command));
    if let Ok(Err(report)) = &result {
        output::report(report);
    }
    let first = FIRST.lock().unwrap_or_else(PoisonError::into_inner).take();
    match (first, result) {
        (Some((defect, backtrace)), _) => {
            output::report(&defect.into());
            if backtrace.status() == BacktraceStatus::Captured {
                output::note(format_args!("{backtrace}"));
            }
            ExitCode::from(INTERNAL)
        }
        (None, Ok(Ok(()))) => ExitCode::SUCCESS,
        (None, Ok(Err(_))) => ExitCode::FAILURE,
        (None, Err(_)) => ExitCode::from(INTERNAL),
    }
}

fn keep(info: &PanicHookInfo<'_>) {
    let place = info.location().map_or("nowhere".to_owned(), |at| format!("{}:{}", at.file(), at.line()));
    let defect = Defect { message: message(info.payload()).to_owned(), place };
    let mut first = FIRST.lock().unwrap_or_else(PoisonError::into_inner);
    first.get_or_insert_with(|| (defect, Backtrace::capture()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::panics::tests::in_a_process;

    fn told(test: &str) -> String {
        let output = in_a_process(&format!("cli::defect::tests::{test}"));
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && !text.contains("panicked"), "{text}");
        text
    }

    #[test]
    fn a_defect_is_told_once_as_an_error_with_its_backtrace() {
        let text = told("a_command_that_breaks");
        assert_eq!(text.matches("internal error: a broken rule").count(), 1, "{text}");
        assert!(text.contains("dpc::internal") && text.contains("defect.rs:"), "{text}");
        assert!(text.contains("a_command_that_breaks"), "the backtrace: {text}");
    }

    #[test]
    fn a_defect_of_another_thread_is_told_after_what_it_led_to() {
        let text = told("a_command_whose_thread_breaks");
        let (error, defect) = (text.find("the thread has died"), text.find("internal error: a broken thread"));
        assert!(error.is_some() && error < defect, "{text}");
        let text = told("a_command_whose_pool_breaks");
        assert!(text.contains("internal error: a broken part"), "{text}");
    }

    fn internal(command: impl FnOnce() -> Result<()>) {
        assert_eq!(run(command), ExitCode::from(INTERNAL));
    }

    #[test]
    #[ignore = "runs in a process of its own"]
    fn a_command_that_breaks() {
        internal(|| panic!("a broken rule"));
    }

    #[test]
    #[ignore = "runs in a process of its own"]
    fn a_command_whose_thread_breaks() {
        internal(|| {
            let thread = std::thread::spawn(|| panic!("a broken thread"));
            thread.join().map_err(|_| miette::miette!("the thread has died"))
        });
    }

    #[test]
    #[ignore = "runs in a process of its own"]
    fn a_command_whose_pool_breaks() {
        use rayon::prelude::*;
        internal(|| {
            (0..1000).into_par_iter().for_each(|i| assert!(i != 500, "a broken part"));
            Ok(())
        });
    }
}
