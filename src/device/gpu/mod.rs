//! The gpu device: programs as WGSL through wgpu, on Vulkan, Metal or DX12.
//!
//! Only core WebGPU is required of an adapter; larger buffers are used where it offers them.

mod adapter;
mod faults;
mod load;
mod pipelines;
mod session;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use adapter::{AdapterSummary, list};

use self::faults::Faults;
use self::pipelines::Pipelines;
use super::{Device, DeviceError, Session};
use crate::lower::program::Program;

/// An open adapter.
pub struct Gpu {
    name: String,
    device: wgpu::Device,
    queue: wgpu::Queue,
    faults: Arc<Faults>,
    pipelines: Mutex<Pipelines>,
}

impl Gpu {
    /// Opens the adapter whose name contains `wanted`, in any case; without a name, the one that the environment
    /// variable `WGPU_ADAPTER_NAME` names, or else the fastest kind there is.
    ///
    /// # Errors
    /// [`DeviceError::NoAdapter`] if none answers, [`DeviceError::Refused`] if the driver does not open it.
    pub fn open(wanted: Option<&str>) -> Result<Gpu, DeviceError> {
        Gpu::from_adapter(&adapter::select(wanted)?)
    }

    /// Opens a hardware adapter; `None` if there is none.
    ///
    /// # Errors
    /// [`DeviceError::Refused`] if the driver does not open it.
    pub fn open_hardware() -> Result<Option<Gpu>, DeviceError> {
        adapter::hardware().map(|adapter| Gpu::from_adapter(&adapter)).transpose()
    }

    fn pipelines(&self) -> MutexGuard<'_, Pipelines> {
        self.pipelines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget_pipelines(&self) {
        *self.pipelines() = Pipelines::default();
    }

    fn from_adapter(adapter: &wgpu::Adapter) -> Result<Gpu, DeviceError> {
        let name = adapter::describe(&adapter.get_info());
        let offered = adapter.limits();
        let required_limits = wgpu::Limits {
            max_storage_buffer_binding_size: offered.max_storage_buffer_binding_size,
            max_buffer_size: offered.max_buffer_size,
            ..wgpu::Limits::default()
        };
        let wanted = wgpu::DeviceDescriptor { label: Some("dpc"), required_limits, ..Default::default() };
        let (device, queue) = pollster::block_on(adapter.request_device(&wanted))
            .map_err(|e| DeviceError::Refused { device: name.clone(), what: e.to_string() })?;
        let faults = Faults::watch(&name, &device);
        Ok(Gpu { name, device, queue, faults, pipelines: Mutex::default() })
    }
}

impl Device for Gpu {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn load(&self, program: Arc<Program>, rows: usize) -> Result<Box<dyn Session>, DeviceError> {
        Ok(Box::new(load::load(self, program, rows)?))
    }
}

#[cfg(test)]
mod tests;
