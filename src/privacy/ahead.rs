//! Work that a thread of its own does ahead of when it is needed.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

/// A thread that does one job after the other, in order.
pub struct Ahead<J> {
    requests: Option<Sender<J>>,
    done: Receiver<J>,
    thread: Option<JoinHandle<()>>,
}

/// The thread has stopped.
#[derive(Debug, PartialEq, Eq)]
pub struct Stopped;

impl<J: Send + 'static> Ahead<J> {
    /// Starts a thread of this name that does jobs by `work`; `None` where the system starts none.
    pub fn spawn(name: &str, mut work: impl FnMut(&mut J) + Send + 'static) -> Option<Ahead<J>> {
        let (requests, waiting) = channel::<J>();
        let (ready, done) = channel();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            for mut job in waiting {
                work(&mut job);
                if ready.send(job).is_err() {
                    break;
                }
            }
        });
        Some(Ahead { requests: Some(requests), done, thread: Some(thread.ok()?) })
    }

    /// Puts a job behind those that were requested before.
    ///
    /// # Errors
    /// When the thread has died.
    pub fn request(&self, job: J) -> Result<(), Stopped> {
        match self.requests.as_ref().map(|requests| requests.send(job)) {
            Some(Ok(())) => Ok(()),
            _ => Err(Stopped),
        }
    }

    /// Waits for the first job that has not been received.
    ///
    /// # Errors
    /// When the thread has died.
    pub fn receive(&self) -> Result<J, Stopped> {
        self.done.recv().map_err(|_| Stopped)
    }
}

impl<J> Drop for Ahead<J> {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported by `receive`; there is nobody to tell in a drop.
            let _ = thread.join();
        }
    }
}
