//! Pipelines, kept by the text of their shader: programs loaded twice, and layers of one kind, share them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use super::emit::Shader;
use super::faults::Faults;
use crate::device::DeviceError;

/// How many buffers a dispatch binds, and how many of them it writes.
pub type Bindings = (usize, usize);

/// How long a driver may take over a shader. All of dpc's take seconds at most; what takes longer, takes all memory as well.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Pipelines by shader, and their layouts.
#[derive(Default)]
pub struct Pipelines {
    layouts: BTreeMap<Bindings, wgpu::BindGroupLayout>,
    pipelines: BTreeMap<(String, Bindings), wgpu::ComputePipeline>,
}

impl Pipelines {
    /// The pipeline of a shader and the layout of its bind group.
    ///
    /// # Errors
    /// [`DeviceError::Refused`] for what the driver does not take, [`DeviceError::Slow`] if it is not done within `patience`.
    pub fn get(
        &mut self,
        device: &wgpu::Device,
        faults: &Arc<Faults>,
        shader: &Shader,
        bindings: Bindings,
        patience: Duration,
    ) -> Result<(wgpu::ComputePipeline, wgpu::BindGroupLayout), DeviceError> {
        let layout = self.layouts.entry(bindings).or_insert_with(|| bind_group_layout(device, bindings)).clone();
        let key = (shader.wgsl.clone(), bindings);
        let pipeline = match self.pipelines.get(&key) {
            Some(pipeline) => pipeline.clone(),
            None => {
                let pipeline = within(device, faults, shader, &layout, patience)?;
                self.pipelines.insert(key, pipeline.clone());
                pipeline
            }
        };
        Ok((pipeline, layout))
    }
}

/// Compiles a shader in a thread of its own, which is left alone with it where that takes too long: nothing stops a driver. In a
/// browser there are no threads, and it is the browser that waits.
fn within(
    device: &wgpu::Device,
    faults: &Arc<Faults>,
    shader: &Shader,
    layout: &wgpu::BindGroupLayout,
    patience: Duration,
) -> Result<wgpu::ComputePipeline, DeviceError> {
    if cfg!(target_arch = "wasm32") {
        return faults.scope(device, || compile(device, shader, layout));
    }
    let (sender, receiver) = mpsc::channel();
    let own = (device.clone(), faults.clone(), shader.clone(), layout.clone());
    std::thread::spawn(move || {
        let (device, faults, shader, layout) = own;
        // Faults are kept apart by thread. Nobody listens any more where it took too long.
        let _ = sender.send(faults.scope(&device, || compile(&device, &shader, &layout)));
    });
    receiver.recv_timeout(patience).unwrap_or_else(|error| {
        let what = format!("the shader `{}`", shader.name);
        Err(match error {
            RecvTimeoutError::Timeout => faults.slow(&what, patience),
            RecvTimeoutError::Disconnected => faults.refused(&format!("{what}: its compiler panicked")),
        })
    })
}

fn compile(device: &wgpu::Device, shader: &Shader, layout: &wgpu::BindGroupLayout) -> wgpu::ComputePipeline {
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some(&shader.name),
        source: wgpu::ShaderSource::Wgsl(shader.wgsl.as_str().into()),
    });
    let layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: Some(&shader.name),
        bind_group_layouts: &[Some(layout)],
        ..Default::default()
    });
    device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(&shader.name),
        layout: Some(&layout),
        module: &module,
        entry_point: Some("main"),
        compilation_options: Default::default(),
        cache: None,
    })
}

fn bind_group_layout(device: &wgpu::Device, (count, writes): Bindings) -> wgpu::BindGroupLayout {
    let entry = |binding: usize, ty: wgpu::BufferBindingType, has_dynamic_offset: bool| wgpu::BindGroupLayoutEntry {
        binding: binding as u32,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset, min_binding_size: None },
        count: None,
    };
    let mut entries = vec![entry(0, wgpu::BufferBindingType::Uniform, true)];
    for k in 0..count {
        let read_only = k + writes < count;
        entries.push(entry(k + 1, wgpu::BufferBindingType::Storage { read_only }, false));
    }
    device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: None, entries: &entries })
}
