//! The native device: the twin of every kernel, one a file, on the cores of this machine.
//!
//! Work is cut into pieces that depend on the kernel and on the batch alone, and pieces are added in order, so results do
//! not depend on the number of threads.

mod matmul;
mod operand;
mod parallel;
mod patches;

use std::sync::Arc;

use super::{Device, DeviceError, Session};
use crate::lower::kernels::Kernel;
use crate::lower::program::{BufferId, Dispatch, Phase, Program, Role};

/// A kernel's native twin.
trait Native: Sync {
    /// Runs the kernel for a physical batch of `rows`.
    fn run(&self, rows: usize, read: &[&[f32]], written: &mut [&mut [f32]]);
}

/// Declares the twins as `kernel_table` declares the kernels.
macro_rules! native_table {
    ($($module:ident { $($kernel:ident),* })*) => {
        $(mod $module;)*

        fn native(kernel: &Kernel) -> &dyn Native {
            match kernel { $($(Kernel::$kernel(k) => k,)*)* }
        }
    };
}

native_table! {
    elementwise { Elementwise }
    reduce { Reduce }
    accumulate { Accumulate }
    copy { Copy }
    rearrange { Rearrange }
    fill { Fill }
    gemm { Gemm }
    outer_sum { OuterSum }
    outer_norm { OuterNorm }
    tile_norm { TileNorm }
    ghost_norm { GhostNorm }
    pool { Pool, PoolVjp }
    softmax { Softmax, SoftmaxVjp }
    cross_entropy { CrossEntropy, CrossEntropyVjp }
    weighted_cross_entropy { WeightedCrossEntropy, WeightedCrossEntropyVjp }
    gather { Gather }
    scatter { Scatter }
    sort_ids { SortIds }
    segment_norm { SegmentNorm }
    segment_cross { SegmentCross }
    recurrence { Recurrence, RecurrenceVjp }
    dropout { Dropout }
    clip_factor { ClipFactor }
    fold { Fold }
    add_noise { AddNoise }
    sgd { Sgd }
    adam { Adam }
    nonfinite { Nonfinite }
}

/// The cores of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu;

impl Cpu {
    fn allocate(&self, len: usize) -> Result<Vec<f32>, DeviceError> {
        let mut memory = Vec::new();
        memory.try_reserve_exact(len).map_err(|_| DeviceError::OutOfMemory {
            device: self.name(),
            what: format!("{} bytes for a buffer", 4 * len),
        })?;
        memory.resize(len, 0.0);
        Ok(memory)
    }
}

impl Device for Cpu {
    fn name(&self) -> String {
        let cores = rayon::current_num_threads();
        format!("cpu: {cores} {} of {}", if cores == 1 { "thread" } else { "threads" }, std::env::consts::ARCH)
    }

    fn load(&self, program: Arc<Program>, rows: usize) -> Result<Box<dyn Session>, DeviceError> {
        for dispatch in program.phases.values().flatten() {
            check(&program, dispatch).map_err(|what| refused(format!("`{}`: {what}", dispatch.label)))?;
        }
        let planned = !program.slots.is_empty();
        let homes = if planned { program.slots.len() } else { program.buffers.len() };
        let mut lens: Vec<usize> =
            (0..homes).map(|s| if planned { program.slot_len(s as u32, rows) } else { 0 }).collect();
        for id in program.ids() {
            let (buffer, home) = (program.buffer(id), home(&program, id));
            let Some(len) = lens.get_mut(home) else {
                return Err(refused(format!("`{}`: there is no memory slot {home}", buffer.name)));
            };
            *len = buffer.len.at(rows).max(*len);
        }
        let memory = lens.into_iter().map(|len| self.allocate(len)).collect::<Result<_, _>>()?;
        let mut session = CpuSession { memory, rows, program: program.clone() };
        for id in program.ids() {
            match &program.buffer(id).role {
                Role::ConstantF32(data) => session.write_f32(id, data)?,
                Role::ConstantI32(data) => session.write_i32(id, data)?,
                _ => {}
            }
        }
        Ok(Box::new(session))
    }
}

fn refused(what: String) -> DeviceError {
    DeviceError::Refused { device: "cpu".into(), what }
}

/// Whether a dispatch can run: its buffers exist, and none that it writes shares memory with another of its buffers.
fn check(program: &Program, dispatch: &Dispatch) -> Result<(), String> {
    if let Some(id) = dispatch.buffers.iter().find(|id| id.0 as usize >= program.buffers.len()) {
        return Err(format!("there is no buffer {}", id.0));
    }
    let homes: Vec<usize> = dispatch.buffers.iter().map(|&id| home(program, id)).collect();
    let writes = dispatch.kernel.writes();
    let Some(reads) = homes.len().checked_sub(writes) else {
        return Err(format!("{} buffers, of which {writes} are written", homes.len()));
    };
    for (i, written) in homes.iter().enumerate().skip(reads) {
        if let Some(other) = (0..i).find(|&j| homes[j] == *written) {
            let [a, b] = [other, i].map(|i| &program.buffer(dispatch.buffers[i]).name);
            return Err(format!("`{b}` is written and shares memory with `{a}`"));
        }
    }
    Ok(())
}

/// Which memory a buffer lives in: its slot, or its own where no memory has been planned.
fn home(program: &Program, id: BufferId) -> usize {
    if program.slots.is_empty() { id.0 as usize } else { program.buffer(id).slot as usize }
}

/// A program in the memory of this machine.
struct CpuSession {
    program: Arc<Program>,
    rows: usize,
    /// One vector a memory slot; integers are kept by their bits.
    memory: Vec<Vec<f32>>,
}

impl CpuSession {
    fn home(&self, id: BufferId) -> usize {
        home(&self.program, id)
    }

    fn len(&self, id: BufferId) -> usize {
        self.program.buffer(id).len.at(self.rows)
    }

    fn dispatch(&mut self, dispatch: &Dispatch) {
        let (reads, writes) = dispatch.buffers.split_at(dispatch.buffers.len() - dispatch.kernel.writes());
        let mut taken: Vec<Vec<f32>> = Vec::with_capacity(writes.len());
        for &id in writes {
            let home = self.home(id);
            taken.push(std::mem::take(&mut self.memory[home]));
        }
        let read: Vec<&[f32]> = reads.iter().map(|&id| &self.memory[self.home(id)][..self.len(id)]).collect();
        let mut written: Vec<&mut [f32]> =
            taken.iter_mut().zip(writes).map(|(memory, &id)| &mut memory[..self.len(id)]).collect();
        native(&dispatch.kernel).run(self.rows, &read, &mut written);
        for (&id, memory) in writes.iter().zip(taken) {
            let home = self.home(id);
            self.memory[home] = memory;
        }
    }
}

impl Session for CpuSession {
    fn rows(&self) -> usize {
        self.rows
    }

    fn write(&mut self, buffer: BufferId, words: &[u32]) -> Result<(), DeviceError> {
        let (home, len) = (self.home(buffer), self.len(buffer));
        if words.len() != len {
            let name = &self.program.buffer(buffer).name;
            return Err(refused(format!("{} words for `{name}`, which has {len}", words.len())));
        }
        self.memory[home][..len].copy_from_slice(bytemuck::cast_slice(words));
        Ok(())
    }

    fn read(&mut self, buffer: BufferId) -> Result<Vec<u32>, DeviceError> {
        Ok(bytemuck::cast_slice(&self.memory[self.home(buffer)][..self.len(buffer)]).to_vec())
    }

    fn run(&mut self, phase: Phase) -> Result<(), DeviceError> {
        let program = self.program.clone();
        // On a thread of the pool, so that the kernels' parallel loops start without waking one.
        rayon::scope(|_| program.phase(phase).iter().for_each(|dispatch| self.dispatch(dispatch)));
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.memory.iter().map(|m| 4 * m.len()).sum()
    }
}

#[cfg(test)]
mod tests;
