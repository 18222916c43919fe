//! The native device: the twin of every kernel, one a file, on the cores of this machine.
//!
//! Work is cut into pieces that depend on the kernel and on the batch alone, and pieces are added in order, so results do
//! not depend on the number of threads.

mod matmul;
mod memory;
mod operand;
mod parallel;
mod patches;

use std::collections::BTreeMap;
use std::sync::Arc;

use self::memory::{Buffers, Memory, Read, Written, zeros};
use super::{Device, DeviceError, Session, place};
use crate::lower::check;
use crate::lower::kernels::{Kernel, for_each_kernel};
use crate::lower::program::{BufferId, Dispatch, Phase, Program, Role};
use crate::lower::target::{Refusal, Rounding, Target};

/// A kernel's native twin.
trait Native: Send + Sync {
    /// Floats of scratch memory that the kernel works in at a physical batch of `rows`.
    fn scratch(&self, _rows: usize) -> usize {
        0
    }

    /// How often a sum of the kernel rounds at most.
    fn rounding(&self) -> Rounding {
        Rounding::UNBOUNDED
    }

    /// Runs the kernel for a physical batch of `rows`.
    fn run(&self, rows: usize, buffers: Buffers);
}

/// Declares the twins.
macro_rules! native_table {
    ($($module:ident { $($kernel:ident),* })*) => {
        $(mod $module;)*

        fn native(kernel: &Kernel) -> Box<dyn Native> {
            match kernel { $($(Kernel::$kernel(k) => Box::new(k.clone()),)*)* }
        }
    };
}

for_each_kernel!(native_table);

/// The cores of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu;

impl Device for Cpu {
    fn name(&self) -> String {
        let cores = rayon::current_num_threads();
        format!("cpu: {cores} {} of {}", if cores == 1 { "thread" } else { "threads" }, std::env::consts::ARCH)
    }

    fn load(&self, program: Arc<Program>, rows: usize) -> Result<Box<dyn Session>, DeviceError> {
        check::check(&program, &[rows])?;
        program.allows_for(self)?;
        let name = self.name();
        let memory = if program.slots.is_empty() {
            let buffers = program.buffers.iter();
            buffers.map(|buffer| Memory::zeros(&name, buffer.dtype, buffer.len.at(rows))).collect::<Result<_, _>>()?
        } else {
            let slots = program.slots.iter().enumerate();
            slots
                .map(|(i, slot)| Memory::zeros(&name, slot.dtype, program.slot_len(i as u32, rows)))
                .collect::<Result<_, _>>()?
        };
        let place = |id: BufferId| Place { home: program.home(id), len: program.buffer(id).len.at(rows) };
        let command = |dispatch: &Dispatch| {
            let kernel = native(&dispatch.kernel);
            let (read, written) = dispatch.split();
            let [read, written] = [read, written].map(|ids| ids.iter().map(|&id| place(id)).collect());
            Command { scratch: kernel.scratch(rows), kernel, read, written }
        };
        let commands: BTreeMap<Phase, Vec<Command>> =
            program.phases.iter().map(|(&phase, list)| (phase, list.iter().map(command).collect())).collect();
        let most = commands.values().flatten().map(|command| command.scratch).max().unwrap_or(0);
        let mut session = CpuSession { memory, scratch: zeros(&name, most)?, rows, program: program.clone(), commands };
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

impl Target for Cpu {
    fn id(&self) -> &'static str {
        "cpu 1"
    }

    fn refusal(&self, _dispatch: &Dispatch) -> Option<Refusal> {
        None
    }

    fn scratch(&self, kernel: &Kernel, rows: usize) -> usize {
        native(kernel).scratch(rows)
    }

    fn rounding(&self, kernel: &Kernel) -> Rounding {
        native(kernel).rounding()
    }
}

/// Where a buffer is.
struct Place {
    home: usize,
    len: usize,
}

/// A dispatch with everything it needs.
struct Command {
    kernel: Box<dyn Native>,
    read: Vec<Place>,
    written: Vec<Place>,
    scratch: usize,
}

/// A program in the memory of this machine.
struct CpuSession {
    program: Arc<Program>,
    rows: usize,
    /// One a memory slot, or one a buffer where no memory is planned.
    memory: Vec<Memory>,
    /// As long as the kernel that needs most.
    scratch: Vec<f32>,
    commands: BTreeMap<Phase, Vec<Command>>,
}

impl Command {
    fn run(&self, rows: usize, memory: &mut [Memory], scratch: &mut [f32]) {
        let take = |place: &Place| std::mem::replace(&mut memory[place.home], Memory::nothing());
        let mut taken: Vec<Memory> = self.written.iter().map(take).collect();
        let read: Vec<Read> = self.read.iter().map(|place| memory[place.home].read(place.len)).collect();
        let mut written: Vec<Written> =
            taken.iter_mut().zip(&self.written).map(|(memory, place)| memory.written(place.len)).collect();
        let scratch = &mut scratch[..self.scratch];
        self.kernel.run(rows, Buffers { read: &read, written: &mut written, scratch });
        for (place, taken) in self.written.iter().zip(taken) {
            memory[place.home] = taken;
        }
    }
}

impl Session for CpuSession {
    fn rows(&self) -> usize {
        self.rows
    }

    fn write(&mut self, buffer: BufferId, words: &[u32]) -> Result<(), DeviceError> {
        let (home, len) = place("cpu", &self.program, buffer, self.rows)?;
        if words.len() != len {
            let name = &self.program.buffer(buffer).name;
            let what = format!("{} words for `{name}`, which has {len}", words.len());
            return Err(DeviceError::Refused { device: "cpu".into(), what });
        }
        self.memory[home].set(words);
        Ok(())
    }

    fn read(&mut self, buffer: BufferId) -> Result<Vec<u32>, DeviceError> {
        let (home, len) = place("cpu", &self.program, buffer, self.rows)?;
        Ok(self.memory[home].words(len))
    }

    fn run(&mut self, phase: Phase) -> Result<(), DeviceError> {
        let CpuSession { memory, scratch, rows, commands, .. } = self;
        let commands = commands.get(&phase).map_or(&[][..], Vec::as_slice);
        // On a thread of the pool, so that the kernels' parallel loops start without waking one.
        rayon::scope(|_| commands.iter().for_each(|command| command.run(*rows, memory, scratch)));
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.memory.iter().map(Memory::bytes).sum::<usize>() + size_of_val(&self.scratch[..])
    }
}

#[cfg(test)]
mod tests;
