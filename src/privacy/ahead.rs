//! A job that a thread of its own does ahead of when it is needed.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

/// One job, which is either here or with a thread that works on it. Where the system starts no thread, the caller does the work when
/// it needs the result.
pub struct Ahead<J> {
    /// `None` while the thread has it.
    job: Option<J>,
    work: Arc<dyn Fn(&mut J) + Send + Sync>,
    worker: Option<Worker<J>>,
}

/// The thread has stopped.
#[derive(Debug, PartialEq, Eq)]
pub struct Stopped;

impl<J: Send + 'static> Ahead<J> {
    /// Starts a thread of this name that does `work`, and has no work yet: `job` is here.
    pub fn new(name: &str, job: J, work: impl Fn(&mut J) + Send + Sync + 'static) -> Ahead<J> {
        let work: Arc<dyn Fn(&mut J) + Send + Sync> = Arc::new(work);
        let worker = Worker::spawn(name, work.clone());
        Ahead { job: Some(job), work, worker }
    }

    /// The job, when the thread is done with it. It is to be given back, by any of the other methods.
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

    /// Waits until `job` is done.
    ///
    /// # Errors
    /// When the thread has died.
    pub fn done(&self, mut job: J) -> Result<J, Stopped> {
        match &self.worker {
            Some(worker) => {
                worker.request(job)?;
                worker.receive()
            }
            None => {
                (self.work)(&mut job);
                Ok(job)
            }
        }
    }

    /// Keeps `job` here.
    pub fn keep(&mut self, job: J) -> &J {
        self.job.insert(job)
    }
}

/// A thread that does one job after the other, in order.
struct Worker<J> {
    requests: Option<Sender<J>>,
    done: Receiver<J>,
    thread: Option<JoinHandle<()>>,
}

impl<J: Send + 'static> Worker<J> {
    /// `None` where the system starts no thread.
    fn spawn(name: &str, work: Arc<dyn Fn(&mut J) + Send + Sync>) -> Option<Worker<J>> {
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
        Some(Worker { requests: Some(requests), done, thread: Some(thread.ok()?) })
    }

    fn request(&self, job: J) -> Result<(), Stopped> {
        match self.requests.as_ref().map(|requests| requests.send(job)) {
            Some(Ok(())) => Ok(()),
            _ => Err(Stopped),
        }
    }

    fn receive(&self) -> Result<J, Stopped> {
        self.done.recv().map_err(|_| Stopped)
    }
}

impl<J> Drop for Worker<J> {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported by `receive`; there is nobody to tell in a drop.
            let _ = thread.join();
        }
    }
}
