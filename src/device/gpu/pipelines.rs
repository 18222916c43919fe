//! Pipelines, kept by the text of their shader: programs loaded twice, and layers of one kind, share them.

use std::collections::BTreeMap;

use super::emit::Shader;

/// How many buffers a dispatch binds, and how many of them it writes.
pub type Bindings = (usize, usize);

/// Pipelines by shader, and their layouts.
#[derive(Default)]
pub struct Pipelines {
    layouts: BTreeMap<Bindings, wgpu::BindGroupLayout>,
    pipelines: BTreeMap<(String, Bindings), wgpu::ComputePipeline>,
}

impl Pipelines {
    /// The pipeline of a shader and the layout of its bind group.
    pub fn get(
        &mut self,
        device: &wgpu::Device,
        shader: &Shader,
        bindings: Bindings,
    ) -> (wgpu::ComputePipeline, wgpu::BindGroupLayout) {
        let layout = self.layouts.entry(bindings).or_insert_with(|| bind_group_layout(device, bindings)).clone();
        let key = (shader.wgsl.clone(), bindings);
        let pipeline = self.pipelines.entry(key).or_insert_with(|| compile(device, shader, &layout)).clone();
        (pipeline, layout)
    }
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
