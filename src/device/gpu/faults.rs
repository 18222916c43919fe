//! What goes wrong on a device asynchronously, kept until the next call can return it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::wait::wait;
use crate::device::DeviceError;

/// The first fault of a device.
pub struct Faults {
    device: String,
    first: Mutex<Option<Fault>>,
}

#[derive(Clone)]
enum Fault {
    Lost(String),
    OutOfMemory(String),
    Refused(String),
}

impl Faults {
    /// Listens to the faults of a device.
    pub fn watch(name: &str, device: &wgpu::Device) -> Arc<Faults> {
        let faults = Arc::new(Faults { device: name.into(), first: Mutex::new(None) });
        let kept = faults.clone();
        device.on_uncaptured_error(Arc::new(move |error| kept.keep(Fault::from(error))));
        let kept = faults.clone();
        device.set_device_lost_callback(move |reason, what| {
            let what = if what.is_empty() { format!("{reason:?}") } else { what };
            kept.keep(Fault::Lost(what));
        });
        faults
    }

    /// The first fault so far as an error; a device that failed once stays failed.
    pub fn check(&self) -> Result<(), DeviceError> {
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        first.clone().map_or(Ok(()), |fault| Err(self.error(fault)))
    }

    /// A lost device, by the words of the call that found it out; an earlier fault is the better explanation.
    pub fn lost(&self, what: impl ToString) -> DeviceError {
        self.keep(Fault::Lost(what.to_string()));
        self.check().err().unwrap_or_else(|| self.error(Fault::Lost(what.to_string())))
    }

    /// Runs `work` and returns the first fault of the calls in it; such a fault does not stay with the device.
    pub fn scope<T>(&self, device: &wgpu::Device, work: impl FnOnce() -> T) -> Result<T, DeviceError> {
        let internal = device.push_error_scope(wgpu::ErrorFilter::Internal);
        let validation = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let memory = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let value = work();
        let memory = wait(memory.pop());
        let validation = wait(validation.pop());
        let internal = wait(internal.pop());
        match memory.or(validation).or(internal) {
            Some(error) => {
                // What fails on a lost device fails for that reason, which comes with the next poll.
                let _ = device.poll(wgpu::PollType::Poll);
                Err(self.check().err().unwrap_or_else(|| self.error(error.into())))
            }
            None => Ok(value),
        }
    }

    /// What the device refuses and why.
    pub fn refused(&self, what: &str) -> DeviceError {
        self.error(Fault::Refused(what.into()))
    }

    /// What the device has not done within some time.
    pub fn slow(&self, what: &str, within: Duration) -> DeviceError {
        DeviceError::Slow { device: self.device.clone(), what: what.into(), seconds: within.as_secs() }
    }

    fn keep(&self, fault: Fault) {
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert(fault);
    }

    fn error(&self, fault: Fault) -> DeviceError {
        let device = self.device.clone();
        match fault {
            Fault::Lost(what) => DeviceError::Lost { device, what },
            Fault::OutOfMemory(what) => DeviceError::OutOfMemory { device, what },
            Fault::Refused(what) => DeviceError::Refused { device, what },
        }
    }
}

impl From<wgpu::Error> for Fault {
    fn from(error: wgpu::Error) -> Fault {
        match error {
            wgpu::Error::OutOfMemory { source } => Fault::OutOfMemory(source.to_string()),
            wgpu::Error::Validation { description, .. } | wgpu::Error::Internal { description, .. } => {
                Fault::Refused(description)
            }
        }
    }
}
