//! dpc in a browser: the library's functions for JavaScript, and what a browser has in place of an operating system.
//!
//! [`model::Opened`] is a model that was checked and compiled, [`model::Data`] the records for it, and [`run::Run`] a training.
//! Every rule of training and privacy is the library's; here is how JavaScript calls it, where its randomness comes from, and where its
//! ledger lies. Results are JSON, and what goes wrong is thrown as the JSON of a [`problem::Problem`]. What
//! may have to wait for the GPU is asked for and done apart, see [`work`].
//!
//! Models and data are never freed, as a training refers to them: a worker is there for one page.

mod entropy;
mod ledger;
mod model;
mod problem;
mod run;
mod words;
mod work;

use wasm_bindgen::prelude::*;

#[wasm_bindgen(start)]
fn start() {
    std::panic::set_hook(Box::new(|info| problem::print(&info.to_string())));
}
