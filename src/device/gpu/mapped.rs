//! Waiting for a buffer to be mapped without blocking: in a browser nothing may block.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

/// The result of mapping, when it is there.
pub(super) struct Mapped {
    device: wgpu::Device,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    result: Option<Result<(), wgpu::BufferAsyncError>>,
    waker: Option<Waker>,
}

impl Mapped {
    /// Begins to map the first `bytes` of `buffer` for reading.
    pub(super) fn begin(device: &wgpu::Device, buffer: &wgpu::Buffer, bytes: u64) -> Mapped {
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        buffer.map_async(wgpu::MapMode::Read, 0..bytes, move |result| {
            let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
            state.result = Some(result);
            if let Some(waker) = state.waker.take() {
                waker.wake();
            }
        });
        Mapped { device: device.clone(), state }
    }
}

impl Future for Mapped {
    type Output = Result<(), wgpu::BufferAsyncError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // Outside of a browser nobody else looks after the device.
        let lost = self.device.poll(wgpu::PollType::Poll).is_err();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match state.result.take() {
            Some(result) => Poll::Ready(result),
            None if lost => Poll::Ready(Err(wgpu::BufferAsyncError)),
            None => {
                state.waker = Some(context.waker().clone());
                if cfg!(not(target_arch = "wasm32")) {
                    context.waker().wake_by_ref();
                }
                Poll::Pending
            }
        }
    }
}
