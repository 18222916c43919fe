//! Whole files read into the memory of the system, while records of them are trained on.
//!
//! The records of a step lie all over a file, and a disk gives what is scattered many times slower than what follows on each
//! other. A run that draws as many records as there are comes by most of the file anyway. So the system is asked for all of it, from
//! its beginning to its end, where it has room: it gives that room to whoever asks for memory, and the process itself holds no more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use super::Dataset;
use super::stored::DataFile;
use crate::memory;

/// Bytes that are asked for at a time.
const BLOCK: u64 = 8 << 20;

/// The files are read until this is dropped, or to their end.
#[derive(Debug)]
pub struct LoadAhead {
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl LoadAhead {
    /// Has the files of `data` read, if three quarters of the memory that can still be had are enough for them. Nothing else depends on it.
    pub fn of(data: &Dataset) -> Option<LoadAhead> {
        let mut files: Vec<Arc<DataFile>> =
            data.inputs().iter().chain(data.targets()).flat_map(|c| c.files()).collect();
        files.sort_by_key(Arc::as_ptr);
        files.dedup_by(|a, b| Arc::ptr_eq(a, b));
        let bytes: u64 = files.iter().map(|file| file.length()).sum();
        if files.is_empty() || memory::available().is_none_or(|available| bytes > available / 4 * 3) {
            return None;
        }
        let stopped = Arc::new(AtomicBool::new(false));
        let of_thread = stopped.clone();
        let thread = std::thread::Builder::new().name("load ahead".to_owned()).spawn(move || {
            let blocks =
                files.iter().flat_map(|file| (0..file.length()).step_by(BLOCK as usize).map(move |at| (file, at)));
            for (file, at) in blocks {
                if of_thread.load(Ordering::Relaxed) {
                    return;
                }
                file.expect(at, BLOCK.min(file.length() - at) as usize);
            }
        });
        Some(LoadAhead { stopped, thread: thread.ok() })
    }
}

impl Drop for LoadAhead {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
