//! A ledger in the origin's private file system.

use std::io;
use std::path::Path;

use dpc::files::FileError;
use dpc::privacy::ledger::{LedgerError, LedgerStore};
use send_wrapper::SendWrapper;
use wasm_bindgen::prelude::*;

use crate::problem::text;

#[wasm_bindgen]
extern "C" {
    /// A file that is open for this worker alone, until the worker ends.
    #[wasm_bindgen(js_name = FileSystemSyncAccessHandle)]
    #[derive(Clone, Debug)]
    pub type SyncFile;

    #[wasm_bindgen(method, catch, js_name = getSize)]
    fn size(this: &SyncFile) -> Result<f64, JsValue>;
    #[wasm_bindgen(method, catch)]
    fn read(this: &SyncFile, bytes: &mut [u8], place: &js_sys::Object) -> Result<f64, JsValue>;
    #[wasm_bindgen(method, catch)]
    fn write(this: &SyncFile, bytes: &[u8], place: &js_sys::Object) -> Result<f64, JsValue>;
    #[wasm_bindgen(method, catch)]
    fn truncate(this: &SyncFile, size: f64) -> Result<(), JsValue>;
    #[wasm_bindgen(method, catch)]
    fn flush(this: &SyncFile) -> Result<(), JsValue>;
}

/// The lines of a ledger in a file of the browser's.
#[derive(Debug)]
pub struct BrowserStore {
    file: SendWrapper<SyncFile>,
    /// Bytes that the file has.
    size: usize,
}

impl BrowserStore {
    /// The ledger that `file` holds.
    pub fn new(file: SyncFile) -> BrowserStore {
        BrowserStore { file: SendWrapper::new(file), size: 0 }
    }

    fn content(&mut self) -> io::Result<Vec<u8>> {
        self.size = self.file.size().map_err(failed)? as usize;
        let mut bytes = vec![0; self.size];
        let count = self.file.read(&mut bytes, &at(0)?).map_err(failed)?;
        if count == self.size as f64 { Ok(bytes) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// Writes `bytes` from `start` on, as the end of the file, durably.
    fn end_with(&mut self, start: usize, bytes: &[u8]) -> io::Result<()> {
        let end = start + bytes.len();
        let count = self.file.write(bytes, &at(start)?).map_err(failed)?;
        if count != bytes.len() as f64 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if end < self.size {
            self.file.truncate(end as f64).map_err(failed)?;
        }
        self.file.flush().map_err(failed)?;
        self.size = end;
        Ok(())
    }
}

impl LedgerStore for BrowserStore {
    fn place(&self) -> &Path {
        Path::new("the ledger in this browser")
    }

    fn read(&mut self) -> Result<Option<Vec<u8>>, LedgerError> {
        let content = self.content().map_err(|error| FileError::read(self.place(), error))?;
        Ok(Some(content).filter(|content| !content.is_empty()))
    }

    /// Writes the end that differs alone. A ledger replaces its last line and no other, so what a browser that is killed meanwhile
    /// leaves is a ledger whose last line is cut, which counts as a step.
    fn replace(&mut self, text: &[u8]) -> Result<(), FileError> {
        let replaced = self.content().and_then(|held| {
            let alike = held.iter().zip(text).take_while(|(a, b)| a == b).count();
            self.end_with(alike, &text[alike..])
        });
        replaced.map_err(|error| FileError::write(self.place(), error))
    }

    fn append(&mut self, line: &[u8]) -> Result<(), LedgerError> {
        let written = self.end_with(self.size, line);
        Ok(written.map_err(|error| FileError::write(self.place(), error))?)
    }
}

/// `{ at: place }`.
fn at(place: usize) -> io::Result<js_sys::Object> {
    let options = js_sys::Object::new();
    js_sys::Reflect::set(&options, &"at".into(), &(place as f64).into()).map_err(failed)?;
    Ok(options)
}

fn failed(error: JsValue) -> io::Error {
    io::Error::other(text(&error))
}
