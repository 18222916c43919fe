//! Classes of devices: what schedules are chosen by, besides shapes.

use wgpu::DeviceType;

/// What runs the shaders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A processor: vectors of invocations, gathers for loads, and barriers that cost as much as a loop.
    Cpu,
    /// A GPU that shares its memory with the processor.
    Integrated,
    /// A GPU with its own memory.
    Discrete,
}

impl Class {
    /// All classes: a program that is compiled for the gpu device runs on each.
    pub const ALL: [Class; 3] = [Class::Cpu, Class::Integrated, Class::Discrete];

    /// The class of an adapter; one that says nothing of itself is taken for a small GPU.
    pub fn of(device_type: DeviceType) -> Class {
        match device_type {
            DeviceType::Cpu => Class::Cpu,
            DeviceType::DiscreteGpu | DeviceType::VirtualGpu => Class::Discrete,
            DeviceType::IntegratedGpu | DeviceType::Other => Class::Integrated,
        }
    }
}
