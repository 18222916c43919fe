//! A loaded program: runs phases as lists of prepared commands, and moves data.

use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use super::Gpu;
use super::faults::Faults;
use super::mapped::Mapped;
use super::wait::wait;
use crate::device::{DeviceError, Reading, Session};
use crate::lower::program::{BufferId, Phase, Program};

/// Floating-point operations after which commands are handed to the driver: long submissions make it lose the device.
const SUBMIT_FLOPS: u64 = 20_000_000_000;

/// Commands after which they are handed to the driver, which then runs while more are recorded.
const SUBMIT_COMMANDS: usize = 256;

/// A launch with everything it needs.
pub struct Command {
    /// What runs.
    pub pipeline: wgpu::ComputePipeline,
    /// Its buffers.
    pub group: wgpu::BindGroup,
    /// Where its uniforms start.
    pub offset: u32,
    /// Workgroups.
    pub grid: [u32; 3],
    /// Estimated work.
    pub flops: u64,
    /// The place of its dispatch in the phase.
    pub at: usize,
}

/// A program on an adapter.
pub struct GpuSession {
    name: String,
    device: wgpu::Device,
    queue: wgpu::Queue,
    faults: Arc<Faults>,
    program: Arc<Program>,
    rows: usize,
    buffers: Vec<wgpu::Buffer>,
    commands: BTreeMap<Phase, Vec<Command>>,
    staging: Option<wgpu::Buffer>,
    bytes: usize,
}

impl GpuSession {
    pub(super) fn new(
        gpu: &Gpu,
        program: Arc<Program>,
        rows: usize,
        buffers: Vec<wgpu::Buffer>,
        commands: BTreeMap<Phase, Vec<Command>>,
        bytes: usize,
    ) -> GpuSession {
        GpuSession {
            name: gpu.name.clone(),
            device: gpu.device.clone(),
            queue: gpu.queue.clone(),
            faults: gpu.faults.clone(),
            program,
            rows,
            buffers,
            commands,
            staging: None,
            bytes,
        }
    }

    /// Records commands into one pass and submits it.
    fn submit(&self, commands: &[Command]) {
        let mut encoder = self.device.create_command_encoder(&Default::default());
        let mut pass = encoder.begin_compute_pass(&Default::default());
        let mut pipeline = None;
        for command in commands {
            if pipeline != Some(&command.pipeline) {
                pass.set_pipeline(&command.pipeline);
                pipeline = Some(&command.pipeline);
            }
            pass.set_bind_group(0, &command.group, &[command.offset]);
            pass.dispatch_workgroups(command.grid[0], command.grid[1], command.grid[2]);
        }
        drop(pass);
        self.queue.submit([encoder.finish()]);
    }

    /// A mappable buffer of at least `bytes`.
    fn staging(&mut self, bytes: u64) -> Result<wgpu::Buffer, DeviceError> {
        if let Some(buffer) = self.staging.as_ref().filter(|b| b.size() >= bytes) {
            return Ok(buffer.clone());
        }
        self.staging = None;
        let buffer = self.faults.scope(&self.device, || {
            self.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("staging"),
                size: bytes,
                usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        })?;
        self.staging = Some(buffer.clone());
        Ok(buffer)
    }
}

impl Session for GpuSession {
    fn rows(&self) -> usize {
        self.rows
    }

    fn write(&mut self, buffer: BufferId, words: &[u32]) -> Result<(), DeviceError> {
        let (home, len) = place(&self.name, &self.program, buffer, self.rows)?;
        if words.len() != len {
            let name = &self.program.buffer(buffer).name;
            let what = format!("{} words for `{name}`, which has {len}", words.len());
            return Err(DeviceError::Refused { device: self.name.clone(), what });
        }
        self.queue.write_buffer(&self.buffers[home], 0, bytemuck::cast_slice(words));
        self.faults.check()
    }

    fn read(&mut self, buffer: BufferId) -> Result<Vec<u32>, DeviceError> {
        Ok(self.read_all(&[buffer])?.swap_remove(0))
    }

    fn read_all(&mut self, buffers: &[BufferId]) -> Result<Vec<Vec<u32>>, DeviceError> {
        if cfg!(target_arch = "wasm32") {
            return wait(self.read_async(buffers));
        }
        let copies = self.copy_out(buffers)?;
        let Some((staging, bytes)) = &copies.staging else { return Ok(vec![Vec::new(); buffers.len()]) };
        let (sender, receiver) = mpsc::channel();
        staging.map_async(wgpu::MapMode::Read, 0..*bytes, move |result| {
            let _ = sender.send(result);
        });
        self.device.poll(wgpu::PollType::wait_indefinitely()).map_err(|e| self.faults.lost(e))?;
        self.faults.check()?;
        receiver.recv().map_err(|e| self.faults.lost(e))?.map_err(|e| self.faults.lost(e))?;
        self.words(&copies)
    }

    fn read_async<'a>(&'a mut self, buffers: &'a [BufferId]) -> Reading<'a> {
        Box::pin(async move {
            let copies = self.copy_out(buffers)?;
            let Some((staging, bytes)) = &copies.staging else { return Ok(vec![Vec::new(); buffers.len()]) };
            Mapped::begin(&self.device, staging, *bytes).await.map_err(|e| self.faults.lost(e))?;
            self.faults.check()?;
            self.words(&copies)
        })
    }

    fn run(&mut self, phase: Phase) -> Result<(), DeviceError> {
        let mut rest = self.commands.get(&phase).map_or(&[][..], Vec::as_slice);
        while !rest.is_empty() {
            let mut flops = 0;
            let mut count = 0;
            while count < rest.len().min(SUBMIT_COMMANDS) && flops < SUBMIT_FLOPS {
                flops += rest[count].flops;
                count += 1;
            }
            self.submit(&rest[..count]);
            rest = &rest[count..];
        }
        self.device.poll(wgpu::PollType::Poll).map_err(|e| self.faults.lost(e))?;
        self.faults.check()
    }

    fn time(&mut self, phase: Phase) -> Result<Vec<f64>, DeviceError> {
        self.wait()?;
        let mut overhead = Duration::MAX;
        for _ in 0..8 {
            overhead = overhead.min(self.timed(&[])?);
        }
        let mut seconds = vec![0.0; self.program.phase(phase).len()];
        for command in self.commands.get(&phase).map_or(&[][..], Vec::as_slice) {
            let took = self.timed(std::slice::from_ref(command))?;
            seconds[command.at] += took.saturating_sub(overhead).as_secs_f64();
        }
        Ok(seconds)
    }

    fn bytes(&self) -> usize {
        self.bytes
    }
}

impl GpuSession {
    /// Waits for whatever was submitted.
    fn wait(&self) -> Result<(), DeviceError> {
        self.device.poll(wgpu::PollType::wait_indefinitely()).map_err(|e| self.faults.lost(e))?;
        self.faults.check()
    }

    /// The time from the submission of commands to their end.
    fn timed(&self, commands: &[Command]) -> Result<Duration, DeviceError> {
        let begun = Instant::now();
        self.submit(commands);
        self.wait()?;
        Ok(begun.elapsed())
    }
}

/// Buffers that are copied to where the host can read them, one after the other.
struct Copies {
    /// The length of each.
    lengths: Vec<usize>,
    /// Where they are copied to, and the bytes; `None` if there are none.
    staging: Option<(wgpu::Buffer, u64)>,
}

impl GpuSession {
    fn copy_out(&mut self, buffers: &[BufferId]) -> Result<Copies, DeviceError> {
        let place = |&buffer: &BufferId| place(&self.name, &self.program, buffer, self.rows);
        let places: Vec<(usize, usize)> = buffers.iter().map(place).collect::<Result<_, _>>()?;
        let bytes = 4 * places.iter().map(|(_, len)| len).sum::<usize>() as u64;
        let lengths = places.iter().map(|&(_, len)| len).collect();
        if bytes == 0 {
            return Ok(Copies { lengths, staging: None });
        }
        let staging = self.staging(bytes)?;
        let mut encoder = self.device.create_command_encoder(&Default::default());
        let mut to = 0;
        for &(home, len) in places.iter().filter(|(_, len)| *len > 0) {
            encoder.copy_buffer_to_buffer(&self.buffers[home], 0, &staging, to, 4 * len as u64);
            to += 4 * len as u64;
        }
        self.queue.submit([encoder.finish()]);
        Ok(Copies { lengths, staging: Some((staging, bytes)) })
    }

    /// The words of copies whose staging buffer is mapped.
    fn words(&self, copies: &Copies) -> Result<Vec<Vec<u32>>, DeviceError> {
        let Some((staging, bytes)) = &copies.staging else { return Ok(vec![]) };
        let view = staging.get_mapped_range(0..*bytes).map_err(|e| self.faults.lost(e))?;
        let words: Vec<u32> = bytemuck::pod_collect_to_vec(&view[..]);
        drop(view);
        staging.unmap();
        let mut rest = &words[..];
        let next = |&len: &usize| {
            let (words, others) = rest.split_at(len);
            rest = others;
            words.to_vec()
        };
        Ok(copies.lengths.iter().map(next).collect())
    }
}

/// The memory of a buffer and its length, or an error where it has none.
fn place(device: &str, program: &Program, buffer: BufferId, rows: usize) -> Result<(usize, usize), DeviceError> {
    let what = || format!("access to buffer {}, which has no memory", buffer.0);
    program.place(buffer, rows).ok_or_else(|| DeviceError::Refused { device: device.to_owned(), what: what() })
}
