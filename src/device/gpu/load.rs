//! From a program to a session: buffers, uniforms, pipelines and bind groups, all made once.

use std::collections::BTreeMap;
use std::sync::Arc;

use wgpu::util::DeviceExt;

use super::Gpu;
use super::session::{Command, GpuSession};
use crate::device::DeviceError;
use crate::lower::kernels::Launch;
use crate::lower::program::{BufferId, Dispatch, Program, Role};

/// Prepares a program for physical batches of `rows`.
pub fn load(gpu: &Gpu, program: Arc<Program>, rows: usize) -> Result<GpuSession, DeviceError> {
    let memory = Memory::plan(&program, rows);
    memory.check(gpu, &program)?;
    let buffers = gpu.faults.scope(&gpu.device, || memory.allocate(gpu))?;
    for id in program.ids() {
        let words: &[u32] = match &program.buffer(id).role {
            Role::ConstantF32(data) => bytemuck::cast_slice(data),
            Role::ConstantI32(data) => bytemuck::cast_slice(data),
            _ => continue,
        };
        gpu.queue.write_buffer(&buffers[memory.slot(&program, id)], 0, bytemuck::cast_slice(words));
    }

    let mut uniforms = Uniforms::new(gpu.device.limits().min_uniform_buffer_offset_alignment as usize);
    let mut planned = BTreeMap::new();
    for (&phase, dispatches) in &program.phases {
        let mut steps = Vec::new();
        for dispatch in dispatches {
            memory.check_aliases(gpu, &program, dispatch)?;
            let launches = dispatch.kernel.rules().launches(rows);
            steps.push((dispatch, launches.iter().map(|l| uniforms.push(l)).collect::<Vec<_>>()));
        }
        planned.insert(phase, steps);
    }

    let commands = gpu.faults.scope(&gpu.device, || {
        let uniform = gpu.device.create_buffer_init(&wgpu::util::BufferInitDescriptor {
            label: Some("params"),
            contents: bytemuck::cast_slice(&uniforms.words),
            usage: wgpu::BufferUsages::UNIFORM,
        });
        let mut pipelines = gpu.pipelines();
        let mut commands = BTreeMap::new();
        for (phase, steps) in planned {
            let list = commands.entry(phase).or_insert_with(Vec::new);
            for (dispatch, launches) in steps {
                let (pipeline, layout) = pipelines.get(&gpu.device, &program, dispatch);
                let size = launches.first().map_or(16, |l| l.size);
                let slots = dispatch.buffers.iter().map(|&id| &buffers[memory.slot(&program, id)]);
                let group = bind(gpu, &layout, &uniform, size, slots);
                let flops = dispatch.kernel.rules().flops(rows) / launches.len().max(1) as u64;
                list.extend(launches.iter().map(|launch| Command {
                    pipeline: pipeline.clone(),
                    group: group.clone(),
                    offset: launch.offset,
                    grid: launch.grid,
                    flops,
                }));
            }
        }
        commands
    });
    // A pipeline that failed must not be found again.
    let commands = commands.inspect_err(|_| gpu.forget_pipelines())?;
    let slots = program.ids().map(|id| memory.slot(&program, id)).collect();
    let bytes = memory.bytes.iter().sum::<u64>() as usize + 4 * uniforms.words.len();
    Ok(GpuSession::new(gpu, program, rows, buffers, slots, commands, bytes))
}

/// Bytes of every slot; a program without a memory plan has a slot for each buffer.
struct Memory {
    rows: usize,
    planned: bool,
    bytes: Vec<u64>,
}

impl Memory {
    fn plan(program: &Program, rows: usize) -> Memory {
        let planned = !program.slots.is_empty();
        let words: Vec<usize> = if planned {
            (0..program.slots.len()).map(|slot| program.slot_len(slot as u32, rows)).collect()
        } else {
            program.buffers.iter().map(|b| b.len.at(rows)).collect()
        };
        Memory { rows, planned, bytes: words.iter().map(|&n| 4 * n.max(4) as u64).collect() }
    }

    fn slot(&self, program: &Program, id: BufferId) -> usize {
        if self.planned { program.buffer(id).slot as usize } else { id.0 as usize }
    }

    /// Refuses a slot that no shader could see as a whole.
    fn check(&self, gpu: &Gpu, program: &Program) -> Result<(), DeviceError> {
        let limits = gpu.device.limits();
        let limit = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size);
        let Some(id) = program.ids().find(|&id| self.bytes[self.slot(program, id)] > limit) else { return Ok(()) };
        let fits = |rows: usize| Memory::plan(program, rows).bytes.iter().all(|&bytes| bytes <= limit);
        let most = partition_point(self.rows, fits);
        let advice = match most {
            0 => "not even one row fits".to_owned(),
            n => format!("the largest physical batch that fits is {n}"),
        };
        let what = format!(
            "`{}` and what shares its memory take {} bytes for {} rows, and a buffer has at most {limit}; {advice}",
            program.buffer(id).name,
            self.bytes[self.slot(program, id)],
            self.rows,
        );
        Err(DeviceError::OutOfMemory { device: gpu.name.clone(), what })
    }

    /// Refuses a dispatch that would bind one buffer twice and write it.
    fn check_aliases(&self, gpu: &Gpu, program: &Program, dispatch: &Dispatch) -> Result<(), DeviceError> {
        let slots: Vec<usize> = dispatch.buffers.iter().map(|&id| self.slot(program, id)).collect();
        let read = slots.len().saturating_sub(dispatch.kernel.writes());
        let aliased = (read..slots.len()).any(|k| slots[..k].contains(&slots[k]));
        if aliased {
            let what = format!("`{}`, which writes a buffer that it also binds elsewhere", dispatch.label);
            return Err(DeviceError::Refused { device: gpu.name.clone(), what });
        }
        Ok(())
    }

    fn allocate(&self, gpu: &Gpu) -> Vec<wgpu::Buffer> {
        let buffer = |&size: &u64| {
            gpu.device.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size,
                usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        };
        self.bytes.iter().map(buffer).collect()
    }
}

/// The largest number up to `most` that satisfies a condition which holds up to some point.
fn partition_point(most: usize, holds: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, most);
    while low < high {
        let middle = (low + high).div_ceil(2);
        if holds(middle) { low = middle } else { high = middle - 1 }
    }
    low
}

/// The uniform blocks of all launches, one after the other.
struct Uniforms {
    alignment: usize,
    words: Vec<u32>,
}

/// A launch with its place in the uniform buffer.
struct Placed {
    offset: u32,
    size: u64,
    grid: [u32; 3],
}

impl Uniforms {
    fn new(alignment: usize) -> Uniforms {
        Uniforms { alignment, words: vec![0; 4] }
    }

    fn push(&mut self, launch: &Launch) -> Placed {
        let start = self.words.len().next_multiple_of(self.alignment / 4);
        self.words.resize(start, 0);
        self.words.extend(&launch.words);
        Placed { offset: 4 * start as u32, size: 4 * launch.words.len() as u64, grid: launch.grid }
    }
}

fn bind<'a>(
    gpu: &Gpu,
    layout: &wgpu::BindGroupLayout,
    uniform: &'a wgpu::Buffer,
    size: u64,
    slots: impl Iterator<Item = &'a wgpu::Buffer>,
) -> wgpu::BindGroup {
    let params = wgpu::BufferBinding { buffer: uniform, offset: 0, size: std::num::NonZeroU64::new(size) };
    let mut entries = vec![wgpu::BindGroupEntry { binding: 0, resource: wgpu::BindingResource::Buffer(params) }];
    entries.extend(
        slots
            .enumerate()
            .map(|(k, buffer)| wgpu::BindGroupEntry { binding: k as u32 + 1, resource: buffer.as_entire_binding() }),
    );
    gpu.device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout, entries: &entries })
}
