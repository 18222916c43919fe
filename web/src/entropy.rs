//! The browser's randomness.

use dpc::privacy::keys::{Entropy, EntropyError};
use wasm_bindgen::prelude::*;

use crate::problem::text;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = crypto, js_name = getRandomValues, catch)]
    fn get_random_values(bytes: &mut [u8]) -> Result<JsValue, JsValue>;
}

/// `crypto.getRandomValues`, which the browser fills from the system's random generator.
#[derive(Clone, Copy, Debug)]
pub struct BrowserEntropy;

/// The most bytes that a browser gives at once.
const AT_ONCE: usize = 65_536;

impl Entropy for BrowserEntropy {
    fn fill(&self, out: &mut [u8]) -> Result<(), EntropyError> {
        for part in out.chunks_mut(AT_ONCE) {
            get_random_values(part).map_err(|error| EntropyError(text(&error).into()))?;
        }
        Ok(())
    }
}
