//! `dpc devices`: what programs can run on.

use miette::Result;

use super::output;
use crate::device::{self, gpu};
use crate::options::DeviceChoice;

/// List the devices that programs can run on
#[derive(clap::Args)]
pub struct Args {}

pub fn run(_: &Args) -> Result<()> {
    let cpu = device::open(&DeviceChoice::Cpu)?;
    output::line(format!("cpu   {}", cpu.name()))?;
    let adapters = gpu::list();
    for adapter in &adapters {
        output::line(format!("gpu   {adapter}"))?;
    }
    if adapters.is_empty() {
        output::line("gpu   none: no Vulkan, Metal or DX12 driver answers")?;
    }
    let auto = device::open(&DeviceChoice::Auto)?;
    output::line(format!("auto  {}", auto.name()))
}
