//! Waiting for what a driver answers later.
//!
//! Elsewhere the thread sleeps. A browser answers by promises, and only once the program has returned to it: there, the caller's whole
//! stack is [suspended](Suspension) meanwhile.

#[cfg(not(target_arch = "wasm32"))]
pub(super) use pollster::block_on as wait;

#[cfg(target_arch = "wasm32")]
pub use self::browser::Suspension;
#[cfg(target_arch = "wasm32")]
pub(super) use self::browser::{suspend_by, wait};

#[cfg(target_arch = "wasm32")]
mod browser {
    use std::pin::pin;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, OnceLock};
    use std::task::{Context, Poll, Wake, Waker};

    /// How a browser suspends a program, as WebAssembly's JavaScript Promise Integration does it.
    #[derive(Clone, Copy, Debug)]
    pub struct Suspension {
        /// Gives the browser its turn, and returns after the next [`Suspension::wake`].
        pub suspend: fn(),
        /// Lets what is suspended go on. It may be called when nothing is.
        pub wake: fn(),
    }

    static SUSPENSION: OnceLock<Suspension> = OnceLock::new();

    /// Says how to wait from now on; the first word stands.
    pub fn suspend_by(suspension: Suspension) {
        SUSPENSION.get_or_init(|| suspension);
    }

    /// The result of `work`, when it is there.
    ///
    /// # Panics
    /// When it has to be waited for and nobody has said how, see [`suspend_by`]: whoever opens a device does.
    pub fn wait<F: Future>(work: F) -> F::Output {
        let mut work = pin!(work);
        let woken = Arc::new(Woken(AtomicBool::new(false)));
        let waker = Waker::from(woken.clone());
        loop {
            woken.0.store(false, Ordering::Relaxed);
            if let Poll::Ready(result) = work.as_mut().poll(&mut Context::from_waker(&waker)) {
                return result;
            }
            let suspension = SUSPENSION.get().expect("a device was opened by someone who can be suspended");
            while !woken.0.load(Ordering::Relaxed) {
                (suspension.suspend)();
            }
        }
    }

    /// Whether the answer is there.
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
            if let Some(suspension) = SUSPENSION.get() {
                (suspension.wake)();
            }
        }
    }
}
