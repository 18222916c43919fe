//! A job that a thread of its own goes on with until it is needed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

/// One job, which is either here or with a thread that works on it. Where the system starts no thread, nothing is done ahead.
pub struct Ahead<J> {
    /// `None` while the thread has it.
    job: Option<J>,
    worker: Option<Worker<J>>,
}

/// The thread has stopped.
#[derive(Debug, PartialEq, Eq)]
pub struct Stopped;

impl<J: Send + 'static> Ahead<J> {
    /// Starts a thread of this name that does `work` until that is done or the job is wanted, and has none yet: `job` is here.
    pub fn new(name: &str, job: J, work: impl Fn(&mut J, &AtomicBool) + Send + 'static) -> Ahead<J> {
        Ahead { job: Some(job), worker: Worker::spawn(name, work) }
    }

    /// The job, as far as the thread has come with it. It is to be given back, by any of the other methods.
    ///
    /// # Errors
    /// When the thread has died, or the job was not given back.
    pub fn held(&mut self) -> Result<J, Stopped> {
        match (self.job.take(), &self.worker) {
            (Some(job), _) => Ok(job),
            (None, Some(worker)) => worker.receive(),
            (None, None) => Err(Stopped),
        }
    }

    /// Starts on `job`, and goes on without waiting for it.
    ///
    /// # Errors
    /// When the thread has died.
    pub fn begin(&mut self, job: J) -> Result<(), Stopped> {
        match &self.worker {
            Some(worker) => worker.request(job),
            None => {
                self.job = Some(job);
                Ok(())
            }
        }
    }

    /// Keeps `job` here.
    pub fn keep(&mut self, job: J) -> &J {
        self.job.insert(job)
    }
}

/// A thread that works on one job after the other, in order.
struct Worker<J> {
    requests: Option<Sender<J>>,
    done: Receiver<J>,
    /// Whether somebody waits for the job.
    wanted: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl<J: Send + 'static> Worker<J> {
    /// `None` where the system starts no thread.
    fn spawn(name: &str, work: impl Fn(&mut J, &AtomicBool) + Send + 'static) -> Option<Worker<J>> {
        let (requests, waiting) = channel::<J>();
        let (ready, done) = channel();
        let wanted = Arc::new(AtomicBool::new(false));
        let seen = wanted.clone();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            for mut job in waiting {
                work(&mut job, &seen);
                if ready.send(job).is_err() {
                    break;
                }
            }
        });
        Some(Worker { requests: Some(requests), done, wanted, thread: Some(thread.ok()?) })
    }

    fn request(&self, job: J) -> Result<(), Stopped> {
        self.wanted.store(false, Ordering::Relaxed);
        match self.requests.as_ref().map(|requests| requests.send(job)) {
            Some(Ok(())) => Ok(()),
            _ => Err(Stopped),
        }
    }

    fn receive(&self) -> Result<J, Stopped> {
        self.wanted.store(true, Ordering::Relaxed);
        self.done.recv().map_err(|_| Stopped)
    }
}

impl<J> Drop for Worker<J> {
    fn drop(&mut self) {
        self.requests = None;
        self.wanted.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported by `receive`; there is nobody to tell in a drop.
            let _ = thread.join();
        }
    }
}
