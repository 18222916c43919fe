//! Which adapters there are, and which one is meant.

use std::fmt;

use wgpu::{Adapter, AdapterInfo, DeviceType};

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

/// An adapter in a line.
pub fn describe(info: &AdapterInfo) -> String {
    format!("{} ({}, {})", info.name, info.backend, info.driver_info)
}

fn all() -> Vec<Adapter> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
    let mut adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    adapters.sort_by_key(|a| kind(a.get_info().device_type).0);
    adapters
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
