//! How long each dispatch of a phase takes.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Nanoseconds of the dispatches of a phase, by their places.
pub struct Clock(Vec<AtomicU64>);

impl Clock {
    /// A clock for so many dispatches.
    pub fn new(dispatches: usize) -> Clock {
        Clock((0..dispatches).map(|_| AtomicU64::new(0)).collect())
    }

    /// Runs `f`, whose time counts for the dispatch at `at` if there is a clock.
    pub fn time(clock: Option<&Clock>, at: usize, f: impl FnOnce()) {
        let Some(Clock(times)) = clock else { return f() };
        let begun = Instant::now();
        f();
        times[at].fetch_add(begun.elapsed().as_nanos() as u64, Relaxed);
    }

    /// Shares the time that a stage took among its dispatches, whose blocks ran side by side.
    pub fn share(&self, dispatches: impl Iterator<Item = usize> + Clone, stage: Duration) {
        let all: u64 = dispatches.clone().map(|at| self.0[at].load(Relaxed)).sum();
        for at in dispatches {
            let own = self.0[at].load(Relaxed) as f64 / all.max(1) as f64;
            self.0[at].store((own * stage.as_nanos() as f64) as u64, Relaxed);
        }
    }

    /// Seconds of each dispatch.
    pub fn seconds(self) -> Vec<f64> {
        self.0.into_iter().map(|nanoseconds| nanoseconds.into_inner() as f64 * 1e-9).collect()
    }
}
