//! The gpu device: programs as WGSL through wgpu, on Vulkan, Metal, DX12 or a browser's WebGPU.
//!
//! Only core WebGPU is required of an adapter; larger buffers are used where it offers them.

mod adapter;
mod class;
pub mod emit;
mod faults;
mod kernels;
mod load;
mod mapped;
mod pipelines;
mod session;
mod wait;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use adapter::{AdapterSummary, list};

use self::class::Class;
use self::faults::Faults;
#[cfg(test)]
pub use self::kernels::MAX_ITERATIONS;
use self::pipelines::Pipelines;
#[cfg(target_arch = "wasm32")]
pub use self::wait::Suspension;
use self::wait::wait;
use super::{Device, DeviceError, Session};
use crate::lower::kernels::Kernel;
use crate::lower::program::{Dispatch, Program};
use crate::lower::target::{Refusal, Rounding, Target};

/// The physical batch at which workgroups are shown.
const SHOWN_ROWS: usize = 64;

/// Any adapter, as the compiler knows it: by what core WebGPU and its drivers allow.
pub struct WebGpu;

impl Target for WebGpu {
    fn id(&self) -> &'static str {
        "gpu 2"
    }

    fn earlier(&self) -> &'static [&'static str] {
        &["gpu 1"]
    }

    fn refusal(&self, dispatch: &Dispatch) -> Option<Refusal> {
        emit::refusal(dispatch)
    }

    fn bytes(&self, program: &Program, rows: usize) -> usize {
        let dispatches = program.phases.values().flatten();
        let scratch = |dispatch: &Dispatch| Class::ALL.map(|class| kernels::scratch(&dispatch.kernel, class, rows));
        let scratch = dispatches.flat_map(scratch).max().unwrap_or(0);
        program.bytes(rows).saturating_add(scratch.saturating_mul(size_of::<f32>()))
    }

    fn rounding(&self, kernel: &Kernel) -> Rounding {
        let of = |class| kernels::schedule(kernel, class).1.rounding();
        Class::ALL.map(of).into_iter().fold(Rounding::sum(0), Rounding::max)
    }
}

/// The text of a program with the workgroups of each dispatch at a physical batch of 64, on a processor.
pub fn listing(program: &Program) -> String {
    let workgroups = |dispatch: &Dispatch| {
        let schedule = kernels::schedule(&dispatch.kernel, Class::Cpu).1;
        let parts = schedule.sum_of_parts(SHOWN_ROWS).map(Kernel::from);
        let second = parts.iter().flat_map(|kernel| kernels::schedule(kernel, Class::Cpu).1.launches(SHOWN_ROWS));
        let launches: Vec<kernels::Launch> = schedule.launches(SHOWN_ROWS).into_iter().chain(second).collect();
        match launches.as_slice() {
            [launch] => launch.grid.map(|n| n.to_string()).join("×"),
            many => format!("{} launches", many.len()),
        }
    };
    program.listing(&workgroups).to_string()
}

/// An open adapter.
pub struct Gpu {
    name: String,
    class: Class,
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

    /// Opens the browser's GPU, with what every WebGPU device allows and no more; from now on, whoever calls the device is suspended
    /// by `suspension` while the browser works.
    ///
    /// # Errors
    /// [`DeviceError::NoAdapter`] if it has none, [`DeviceError::Refused`] if it does not open it.
    #[cfg(target_arch = "wasm32")]
    pub fn open_in_browser(suspension: Suspension) -> Result<Gpu, DeviceError> {
        wait::suspend_by(suspension);
        Gpu::from_adapter(&adapter::of_browser()?)
    }

    fn pipelines(&self) -> MutexGuard<'_, Pipelines> {
        self.pipelines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget_pipelines(&self) {
        *self.pipelines() = Pipelines::default();
    }

    fn from_adapter(adapter: &wgpu::Adapter) -> Result<Gpu, DeviceError> {
        let info = adapter.get_info();
        let (name, class) = (adapter::describe(&info), Class::of(info.device_type));
        let required_limits = required_limits(&adapter.limits());
        let wanted = wgpu::DeviceDescriptor { label: Some("dpc"), required_limits, ..Default::default() };
        let (device, queue) = wait(adapter.request_device(&wanted))
            .map_err(|e| DeviceError::Refused { device: name.clone(), what: e.to_string() })?;
        let faults = Faults::watch(&name, &device);
        Ok(Gpu { name, class, device, queue, faults, pipelines: Mutex::default() })
    }
}

/// Core WebGPU's limits, but for buffers, which may be as large as the adapter has them; a page takes no more than every browser gives,
/// so that it does the same in each.
fn required_limits(offered: &wgpu::Limits) -> wgpu::Limits {
    if cfg!(target_arch = "wasm32") {
        return wgpu::Limits::default();
    }
    wgpu::Limits {
        max_storage_buffer_binding_size: offered.max_storage_buffer_binding_size,
        max_buffer_size: offered.max_buffer_size,
        ..wgpu::Limits::default()
    }
}

impl Device for Gpu {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn fits(&self, program: &Program, rows: usize) -> bool {
        load::fits(self, program, rows)
    }

    fn load(&self, program: Arc<Program>, rows: usize) -> Result<Box<dyn Session>, DeviceError> {
        Ok(Box::new(load::load(self, program, rows)?))
    }
}

#[cfg(test)]
mod tests;
