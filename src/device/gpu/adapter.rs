//! Which adapters there are, and which one is meant.

use std::fmt;

use wgpu::{Adapter, AdapterInfo, DeviceType};

use super::wait::wait;
use crate::device::DeviceError;

/// What `dpc devices` shows of an adapter.
#[derive(Clone, Debug, PartialEq)]
pub struct AdapterSummary {
    /// Its name, which `gpu:NAME` is compared with.
    pub name: String,
    /// The graphics API that it is reached through.
    pub backend: String,
    /// Driver and version.
    pub driver: String,
    /// Discrete, integrated, virtual or software.
    pub kind: &'static str,
    /// The largest buffer that a shader can see, in bytes.
    pub max_binding: u64,
    /// The largest buffer, in bytes.
    pub max_buffer: u64,
}

impl fmt::Display for AdapterSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes >> 20;
        write!(
            f,
            "{} ({}, {}, {}), bindings of {} MiB, buffers of {} MiB",
            self.name,
            self.kind,
            self.backend,
            self.driver,
            mib(self.max_binding),
            mib(self.max_buffer)
        )
    }
}

/// All adapters, the preferred kinds first.
pub fn list() -> Vec<AdapterSummary> {
    let summary = |adapter: Adapter| {
        let (info, limits) = (adapter.get_info(), adapter.limits());
        AdapterSummary {
            backend: info.backend.to_string(),
            driver: format!("{} {}", info.driver, info.driver_info),
            kind: kind(info.device_type).1,
            name: info.name,
            max_binding: limits.max_storage_buffer_binding_size,
            max_buffer: limits.max_buffer_size,
        }
    };
    all().into_iter().map(summary).collect()
}

/// The adapter whose name contains `wanted`; without a name, the one of `WGPU_ADAPTER_NAME`, or the first.
pub fn select(wanted: Option<&str>) -> Result<Adapter, DeviceError> {
    let wanted = wanted.map(str::to_owned).or_else(|| std::env::var("WGPU_ADAPTER_NAME").ok());
    let part = wanted.as_deref().unwrap_or_default().to_lowercase();
    let found = all().into_iter().find(|a| a.get_info().name.to_lowercase().contains(&part));
    found.ok_or(DeviceError::NoAdapter { wanted })
}

/// The first adapter that is no software.
pub fn hardware() -> Option<Adapter> {
    all().into_iter().find(|a| matches!(a.get_info().device_type, DeviceType::DiscreteGpu | DeviceType::IntegratedGpu))
}

/// The one that the browser prefers for work that takes long.
#[cfg(target_arch = "wasm32")]
pub fn of_browser() -> Result<Adapter, DeviceError> {
    let power_preference = wgpu::PowerPreference::HighPerformance;
    let options = wgpu::RequestAdapterOptions { power_preference, ..Default::default() };
    wait(instance().request_adapter(&options)).map_err(|_| DeviceError::NoAdapter { wanted: None })
}

/// An adapter in a line.
pub fn describe(info: &AdapterInfo) -> String {
    // Browsers say little of it or nothing.
    if info.backend == wgpu::Backend::BrowserWebGpu {
        return "the browser's GPU".to_owned();
    }
    format!("{} ({}, {})", info.name, info.backend, info.driver_info)
}

fn all() -> Vec<Adapter> {
    let mut adapters = wait(instance().enumerate_adapters(wgpu::Backends::all()));
    adapters.sort_by_key(|a| kind(a.get_info().device_type).0);
    adapters
}

fn instance() -> wgpu::Instance {
    let descriptor = wgpu::InstanceDescriptor::new_without_display_handle_from_env();
    #[cfg(target_os = "linux")]
    if descriptor.backends.contains(wgpu::Backends::VULKAN)
        && let Some(instance) = without_windows(&descriptor)
    {
        return instance;
    }
    wgpu::Instance::new(descriptor)
}

/// A Vulkan instance that shows nothing: Mesa's layer that sorts devices looks for a compositor where it could, and
/// libwayland complains of machines that have none on the standard error of this process.
#[cfg(target_os = "linux")]
fn without_windows(descriptor: &wgpu::InstanceDescriptor) -> Option<wgpu::Instance> {
    use wgpu::hal::vulkan::{CreateInstanceCallbackArgs, Instance};

    const WINDOWS: [&[u8]; 3] = [b"VK_KHR_xlib_surface", b"VK_KHR_xcb_surface", b"VK_KHR_wayland_surface"];
    let descriptor = wgpu::hal::InstanceDescriptor {
        name: "dpc",
        flags: descriptor.flags,
        memory_budget_thresholds: descriptor.memory_budget_thresholds,
        backend_options: descriptor.backend_options.clone(),
        telemetry: None,
        display: None,
    };
    let callback = |args: CreateInstanceCallbackArgs<'_, '_, '_>| {
        args.extensions.retain(|name| !WINDOWS.contains(&name.to_bytes()));
    };
    // SAFETY: the Vulkan loader is trusted as it is by every `wgpu::Instance`. The three extensions are on the list only
    // where the loader has them, and are looked up in it when a window's surface is made, which never happens here.
    let instance = unsafe { Instance::init_with_callback(&descriptor, Some(Box::new(callback))) }.ok()?;
    // SAFETY: the instance has just been made, and nothing else owns it.
    Some(unsafe { wgpu::Instance::from_hal::<wgpu::hal::api::Vulkan>(instance) })
}

/// The rank of a kind of adapter, smallest first, and its name.
fn kind(device_type: DeviceType) -> (u8, &'static str) {
    match device_type {
        DeviceType::DiscreteGpu => (0, "discrete"),
        DeviceType::IntegratedGpu => (1, "integrated"),
        DeviceType::VirtualGpu => (2, "virtual"),
        DeviceType::Other => (3, "other"),
        DeviceType::Cpu => (4, "software"),
    }
}
