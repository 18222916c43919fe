//! Which device a choice means.

use super::cpu::Cpu;
use super::gpu::Gpu;
use super::{Device, DeviceError};
use crate::options::DeviceChoice;

/// Opens the device that `choice` means: for `auto` a hardware GPU where one opens, else the CPU.
pub fn open(choice: &DeviceChoice) -> Result<Box<dyn Device>, DeviceError> {
    Ok(match choice {
        DeviceChoice::Cpu => Box::new(Cpu),
        DeviceChoice::Gpu { name } => Box::new(Gpu::open(name.as_deref())?),
        DeviceChoice::Auto => match Gpu::open_hardware() {
            Ok(Some(gpu)) => Box::new(gpu),
            Ok(None) | Err(_) => Box::new(Cpu),
        },
    })
}
