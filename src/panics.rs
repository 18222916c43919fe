//! Code that may panic on what a user gives it, contained.
//!
//! Rust prints a panic before anybody can catch it. [`contained`] keeps that print back, on its own thread and while it
//! runs, by a hook that hands every other panic on to the one that was there before. A library user's hook stays as it
//! is: ours is put around it once, at the first call. One that is set later replaces ours, and sees contained panics too.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    /// How many calls of [`contained`] this thread is in.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// Runs code that is not ours on input that is not trusted. Its panic is an error, by the first line of its message, and
/// is printed nowhere.
pub(crate) fn contained<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let previous = take_hook();
        set_hook(Box::new(move |info| {
            // A thread that is being torn down is in no call.
            if DEPTH.try_with(Cell::get).unwrap_or(0) == 0 {
                previous(info);
            }
        }));
    });
    DEPTH.set(DEPTH.get() + 1);
    let result = catch_unwind(AssertUnwindSafe(run));
    DEPTH.set(DEPTH.get() - 1);
    result.map_err(|payload| message(&*payload).lines().next().unwrap_or_default().to_owned())
}

/// What a panic said.
pub(crate) fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no reason is given")
}

#[cfg(test)]
pub(crate) mod tests {
    use std::process::{Command, Output};

    use super::*;

    /// Runs an ignored test of this crate in a process of its own, whose hooks and output are nobody else's.
    pub(crate) fn in_a_process(test: &str) -> Output {
        let this = std::env::current_exe().expect("the tests");
        let arguments = ["--ignored", "--exact", test, "--nocapture", "--test-threads=1"];
        Command::new(this).args(arguments).env("RUST_BACKTRACE", "1").output().expect("the tests run")
    }

    #[test]
    fn a_contained_panic_is_an_error_with_its_message() {
        assert_eq!(contained(|| 7), Ok(7));
        assert_eq!(contained(|| -> u8 { panic!("axis {} of 2\nand more", 3) }), Err("axis 3 of 2".to_owned()));
        assert_eq!(contained(|| -> u8 { std::panic::panic_any(3) }), Err("no reason is given".to_owned()));
        assert_eq!(contained(|| contained(|| -> u8 { panic!("inner") })), Ok(Err("inner".to_owned())));
        assert_eq!(DEPTH.get(), 0);
    }

    #[test]
    fn contained_panics_are_not_printed_and_others_reach_the_users_hook() {
        let output = in_a_process("panics::tests::with_a_hook_of_the_users");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !text.contains("contained"), "{text}");
        assert!(!text.contains("panicked"), "{text}");
        for expected in ["the user sees: before", "the user sees: on another thread", "the user sees: after"] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
    }

    #[test]
    #[ignore = "runs in a process of its own, by the test above"]
    fn with_a_hook_of_the_users() {
        set_hook(Box::new(|info| eprintln!("the user sees: {}", message(info.payload()))));
        let _ = catch_unwind(|| panic!("before"));
        let _ = contained(|| {
            let _ = std::thread::spawn(|| panic!("on another thread")).join();
            panic!("contained")
        });
        let _ = catch_unwind(|| panic!("after"));
    }
}
