//! Work that may have to wait for the GPU.
//!
//! A browser answers by promises, once the program has returned to it. Where WebAssembly can be suspended, work that waits is, up to
//! where JavaScript entered it; between the two there may be no JavaScript, as the glue of [`wasm_bindgen`] is. So JavaScript first
//! asks for work, by a call that only notes it down; does it by [`work`], an export without glue, which it wraps in
//! `WebAssembly.promising`; and takes the [`answer`].
//!
//! One at a time: stacks that are suspended share the memory below them.

use std::cell::RefCell;

use dpc::device::gpu::Suspension;
use wasm_bindgen::prelude::*;

use crate::problem::Problem;

/// What JavaScript is given: a value, or what is thrown.
pub type Answer = Result<JsValue, JsValue>;

type Work = Box<dyn FnOnce() -> Answer>;

/// Where work has got to.
enum State {
    Idle,
    Asked(Work),
    Working,
    Done(Answer),
}

thread_local! {
    static STATE: RefCell<State> = const { RefCell::new(State::Idle) };
}

fn set(state: State) -> State {
    STATE.with(|current| current.replace(state))
}

/// Notes down what is to be done; nothing while something else is.
pub fn ask(work: impl FnOnce() -> Answer + 'static) {
    match set(State::Asked(Box::new(work))) {
        State::Working => set(State::Working),
        before => before,
    };
}

/// Does what was asked for.
// SAFETY: no other symbol of this name is in the program, whose other exports wasm-bindgen names.
#[unsafe(no_mangle)]
extern "C" fn work() {
    match set(State::Working) {
        State::Asked(work) => set(State::Done(work())),
        before => set(before),
    };
}

/// What came of it.
///
/// # Errors
/// What the work threw, or that there is none.
#[wasm_bindgen]
pub fn answer() -> Answer {
    match set(State::Idle) {
        State::Done(answer) => answer,
        before => {
            set(before);
            Err(Problem::says("the library was asked for two things at once").thrown())
        }
    }
}

// SAFETY: `suspend.js` has both, without parameters and results.
#[link(wasm_import_module = "./suspend.js")]
unsafe extern "C" {
    safe fn suspend();
    safe fn wake();
}

/// By promises: `suspend.js`.
pub const SUSPENSION: Suspension = Suspension { suspend: || suspend(), wake: || wake() };
