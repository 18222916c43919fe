//! From a program to a session: shaders, buffers, uniforms, pipelines and bind groups, all made once.

use std::collections::BTreeMap;
use std::sync::Arc;

use wgpu::util::DeviceExt;

use super::class::Class;
use super::emit::{self, Shader};
use super::kernels::{Launch, schedule, scratch};
use super::pipelines::{Bindings, PATIENCE};
use super::session::{Command, GpuSession};
use super::{Gpu, WebGpu};
use crate::device::DeviceError;
use crate::lower::check;
use crate::lower::kernels::Kernel;
use crate::lower::program::{Dispatch, Phase, Program, Role};
use crate::lower::target::Unrunnable;

/// Prepares a program for physical batches of `rows`.
pub fn load(gpu: &Gpu, program: Arc<Program>, rows: usize) -> Result<GpuSession, DeviceError> {
    check::check(&program, &[rows])?;
    program.allows_for(&WebGpu)?;
    let shaders = Shaders::emit(&program, gpu.class, rows)?;
    let memory = Memory::plan(&program, gpu.class, rows);
    memory.check(gpu, &program)?;
    let scratch = memory.bytes.len() - 1;
    let stages: BTreeMap<Phase, Vec<Stage<'_>>> = program
        .phases
        .iter()
        .map(|(&phase, list)| {
            let of = |(at, dispatch)| shaders.stages(&program, at, dispatch, rows, scratch);
            (phase, list.iter().enumerate().flat_map(of).collect())
        })
        .collect();
    let buffers = gpu.faults.scope(&gpu.device, || memory.allocate(gpu))?;
    for id in program.ids() {
        let words: &[u32] = match &program.buffer(id).role {
            Role::ConstantF32(data) => bytemuck::cast_slice(data),
            Role::ConstantI32(data) => bytemuck::cast_slice(data),
            _ => continue,
        };
        gpu.queue.write_buffer(&buffers[program.home(id)], 0, bytemuck::cast_slice(words));
    }

    let mut uniforms = Uniforms::new(gpu.device.limits().min_uniform_buffer_offset_alignment as usize);
    let mut planned: Vec<(Phase, Stage<'_>, Vec<Placed>)> = Vec::new();
    for (&phase, stages) in &stages {
        for stage in stages {
            let launches = stage.launches.iter().map(|launch| uniforms.push(launch)).collect();
            planned.push((phase, stage.clone(), launches));
        }
    }

    let commands = gpu.faults.scope(&gpu.device, || {
        let uniform = gpu.device.create_buffer_init(&wgpu::util::BufferInitDescriptor {
            label: Some("params"),
            contents: bytemuck::cast_slice(&uniforms.words),
            usage: wgpu::BufferUsages::UNIFORM,
        });
        let mut pipelines = gpu.pipelines();
        let mut commands: BTreeMap<Phase, Vec<Command>> = BTreeMap::new();
        for (phase, stage, launches) in planned {
            let (pipeline, layout) =
                pipelines.get(&gpu.device, &gpu.faults, stage.shader, stage.bindings(), PATIENCE)?;
            let size = launches.first().map_or(16, |l| l.size);
            let group = bind(gpu, &layout, &uniform, size, stage.buffers.iter().map(|&slot| &buffers[slot]));
            let flops = stage.flops / launches.len().max(1) as u64;
            commands.entry(phase).or_default().extend(launches.iter().map(|launch| Command {
                pipeline: pipeline.clone(),
                group: group.clone(),
                offset: launch.offset,
                grid: launch.grid,
                flops,
                at: stage.at,
            }));
        }
        Ok(commands)
    });
    // A pipeline that failed must not be found again.
    let commands = commands.and_then(|commands| commands).inspect_err(|_| gpu.forget_pipelines())?;
    let bytes = memory.bytes.iter().sum::<u64>() as usize + 4 * uniforms.words.len();
    Ok(GpuSession::new(gpu, program, rows, buffers, commands, bytes))
}

/// Whether the buffers of a program can be had for physical batches of `rows`, which is tried.
pub fn fits(gpu: &Gpu, program: &Program, rows: usize) -> bool {
    let memory = Memory::plan(program, gpu.class, rows);
    memory.check(gpu, program).is_ok() && gpu.faults.scope(&gpu.device, || memory.allocate(gpu)).is_ok()
}

/// A shader and what it runs on: all of a dispatch, or a part of one that leaves partial results in scratch memory.
#[derive(Clone)]
struct Stage<'a> {
    shader: &'a Shader,
    launches: Vec<Launch>,
    /// Slots in binding order.
    buffers: Vec<usize>,
    writes: usize,
    flops: u64,
    /// The place of the dispatch in its phase.
    at: usize,
}

impl Stage<'_> {
    fn bindings(&self) -> Bindings {
        (self.buffers.len(), self.writes)
    }
}

/// The shaders of a program, by the words of its kernels.
struct Shaders {
    class: Class,
    texts: BTreeMap<String, Shader>,
}

impl Shaders {
    /// Emits the shaders of all dispatches, each text once, and makes sure that they are valid.
    fn emit(program: &Program, class: Class, rows: usize) -> Result<Shaders, Unrunnable> {
        let (mut shaders, mut problems) = (Shaders { class, texts: BTreeMap::new() }, Vec::new());
        for dispatch in program.phases.values().flatten() {
            problems.extend(emit::refusal(dispatch));
            let rows = rows * dispatch.views;
            let parts = schedule(&dispatch.kernel, class).1.sum_of_parts(rows).map(Kernel::from);
            for kernel in [Some(&dispatch.kernel), parts.as_ref()].into_iter().flatten() {
                let wgsl = emit::specialise_on(kernel, class);
                shaders.texts.entry(wgsl).or_insert_with_key(|wgsl| {
                    problems.extend(emit::invalid(dispatch, wgsl));
                    Shader { name: emit::name(kernel, wgsl), wgsl: wgsl.clone() }
                });
            }
        }
        if problems.is_empty() { Ok(shaders) } else { Err(Unrunnable { problems }) }
    }

    /// The stages of the dispatch at a place in its phase; `scratch` is the slot of the scratch memory.
    fn stages<'a>(
        &'a self,
        program: &Program,
        at: usize,
        dispatch: &Dispatch,
        rows: usize,
        scratch: usize,
    ) -> Vec<Stage<'a>> {
        let rows = rows * dispatch.views;
        let stage = |kernel: &Kernel, buffers: Vec<usize>, writes: usize| {
            let shader = self.texts.get(&emit::specialise_on(kernel, self.class))?;
            let (launches, flops) = (schedule(kernel, self.class).1.launches(rows), kernel.rules().flops(rows));
            Some(Stage { shader, launches, buffers, writes, flops, at })
        };
        let buffers: Vec<usize> = dispatch.buffers.iter().map(|&id| program.home(id)).collect();
        let writes = dispatch.kernel.writes();
        let Some(parts) = schedule(&dispatch.kernel, self.class).1.sum_of_parts(rows) else {
            return stage(&dispatch.kernel, buffers, writes).into_iter().collect();
        };
        let [read @ .., written] = buffers.as_slice() else { return Vec::new() };
        let first = stage(&dispatch.kernel, [read, &[scratch]].concat(), writes);
        first.into_iter().chain(stage(&parts.into(), vec![scratch, *written], 1)).collect()
    }
}

/// Bytes of every slot, and last those of the scratch memory; a program without a memory plan has a slot for each buffer.
struct Memory {
    class: Class,
    rows: usize,
    bytes: Vec<u64>,
}

impl Memory {
    fn plan(program: &Program, class: Class, rows: usize) -> Memory {
        let mut words: Vec<usize> = if program.slots.is_empty() {
            program.buffers.iter().map(|b| b.len.at(rows)).collect()
        } else {
            (0..program.slots.len()).map(|slot| program.slot_len(slot as u32, rows)).collect()
        };
        let dispatches = program.phases.values().flatten();
        words.push(
            dispatches.map(|dispatch| scratch(&dispatch.kernel, class, rows * dispatch.views)).max().unwrap_or(0),
        );
        Memory { class, rows, bytes: words.iter().map(|&n| 4 * n.max(4) as u64).collect() }
    }

    /// Refuses a slot that no shader could see as a whole.
    fn check(&self, gpu: &Gpu, program: &Program) -> Result<(), DeviceError> {
        let limits = gpu.device.limits();
        // Shaders count elements in 32 bits.
        let limit = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size).min(4 * u64::from(u32::MAX));
        let Some(slot) = (0..self.bytes.len()).find(|&slot| self.bytes[slot] > limit) else { return Ok(()) };
        let fits = |rows: usize| Memory::plan(program, self.class, rows).bytes.iter().all(|&bytes| bytes <= limit);
        let most = partition_point(self.rows, fits);
        let advice = match most {
            0 => "not even one row fits".to_owned(),
            n => format!("the largest physical batch that fits is {n}"),
        };
        let tenant = program.ids().find(|&id| program.home(id) == slot);
        let who = match tenant {
            Some(id) => format!("`{}` and what shares its memory take", program.buffer(id).name),
            None => "partial results of sums take".to_owned(),
        };
        let what = format!(
            "{who} {} bytes for {} rows, and a buffer has at most {limit}; {advice}",
            self.bytes[slot], self.rows,
        );
        Err(DeviceError::OutOfMemory { device: gpu.name.clone(), what })
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
