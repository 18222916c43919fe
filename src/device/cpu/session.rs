//! A program in the memory of this machine, and the run of its stages.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use rayon::prelude::*;

use super::clock::Clock;
use super::memory::{Buffers, Memory, Read, Written, zeros};
use super::stages::{self, Blocks, Command, Place, Plan, Stage};
use crate::device::{DeviceError, Session};
use crate::graph::DType;
use crate::lower::program::{BufferId, Phase, Program};

/// A program that is loaded.
pub struct CpuSession {
    program: Arc<Program>,
    rows: usize,
    /// One a slot of the plan.
    memory: Vec<Memory>,
    /// Which memory a buffer is in.
    homes: BTreeMap<BufferId, usize>,
    /// As long as the kernel that needs most.
    scratch: Vec<f32>,
    stages: BTreeMap<Phase, Vec<Stage>>,
    /// Memory of blocks that no block is using.
    rooms: Mutex<FreeRooms>,
}

/// The memory of blocks, a slot each, by the phase and the place of their stage.
type FreeRooms = BTreeMap<(Phase, usize), Vec<Vec<Memory>>>;

/// What a block has in the place of a buffer.
enum Held<'a> {
    Read(Read<'a>),
    Written(Written<'a>),
    /// A slot of its own memory, what is there, and how much of it.
    Own(usize, DType, usize),
    /// It is being written.
    Taken,
}

impl CpuSession {
    /// A session with all memory set to zero.
    pub fn new(name: &str, program: Arc<Program>, rows: usize) -> Result<CpuSession, DeviceError> {
        let plan = stages::plan(&program, rows);
        let scratch = zeros(name, plan.scratch(rows))?;
        let Plan { stages, slots, homes } = plan;
        let memory = slots.iter().map(|slot| Memory::zeros(name, stages::largest(slot, rows)));
        let memory = memory.collect::<Result<_, _>>()?;
        Ok(CpuSession { program, rows, memory, homes, scratch, stages, rooms: Mutex::default() })
    }

    /// The memory of a buffer, and its length.
    fn place(&self, buffer: BufferId) -> Result<(usize, usize), DeviceError> {
        let what = || format!("access to buffer {}, which has no memory", buffer.0);
        let home =
            self.homes.get(&buffer).ok_or_else(|| DeviceError::Refused { device: "cpu".into(), what: what() })?;
        Ok((*home, self.program.buffer(buffer).len.at(self.rows)))
    }
}

impl Session for CpuSession {
    fn rows(&self) -> usize {
        self.rows
    }

    fn write(&mut self, buffer: BufferId, words: &[u32]) -> Result<(), DeviceError> {
        let (home, len) = self.place(buffer)?;
        if words.len() != len {
            let name = &self.program.buffer(buffer).name;
            let what = format!("{} words for `{name}`, which has {len}", words.len());
            return Err(DeviceError::Refused { device: "cpu".into(), what });
        }
        self.memory[home].set(words);
        Ok(())
    }

    fn read(&mut self, buffer: BufferId) -> Result<Vec<u32>, DeviceError> {
        let (home, len) = self.place(buffer)?;
        Ok(self.memory[home].words(len))
    }

    fn run(&mut self, phase: Phase) -> Result<(), DeviceError> {
        self.run_rows(phase, self.rows)
    }

    fn run_rows(&mut self, phase: Phase, rows: usize) -> Result<(), DeviceError> {
        self.stages(phase, rows.min(self.rows), None);
        Ok(())
    }

    fn time(&mut self, phase: Phase) -> Result<Vec<f64>, DeviceError> {
        let clock = Clock::new(self.program.phase(phase).len());
        self.stages(phase, self.rows, Some(&clock));
        Ok(clock.seconds())
    }

    fn bytes(&self) -> usize {
        let rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        let of_blocks = rooms.values().flatten().flatten().map(Memory::bytes).sum::<usize>();
        self.memory.iter().map(Memory::bytes).sum::<usize>() + of_blocks + size_of_val(&self.scratch[..])
    }
}

impl CpuSession {
    /// Runs the stages of a phase for the first `rows` rows, with a clock if each dispatch is timed.
    fn stages(&mut self, phase: Phase, rows: usize, clock: Option<&Clock>) {
        let CpuSession { program, memory, homes, scratch, stages, rooms, rows: batch } = self;
        let stages = stages.get(&phase).map_or(&[][..], Vec::as_slice);
        let mut places = Places { program, memory, homes, rows, batch: *batch, clock };
        // On a thread of the pool, so that the kernels' parallel loops start without waking one.
        rayon::scope(|_| {
            for (i, stage) in stages.iter().enumerate() {
                match stage {
                    Stage::Whole(command) => Clock::time(clock, command.at, || places.whole(command, scratch)),
                    Stage::Blocks(blocks) => {
                        // Browsers have no such clock.
                        let begun = clock.map(|clock| (clock, Instant::now()));
                        places.blocks(blocks, &Rooms { all: rooms, of: (phase, i) });
                        if let Some((clock, begun)) = begun {
                            clock.share(blocks.commands.iter().map(|step| step.at), begun.elapsed());
                        }
                    }
                }
            }
        });
    }
}

/// The memory of one stage's blocks.
struct Rooms<'a> {
    all: &'a Mutex<FreeRooms>,
    of: (Phase, usize),
}

impl Rooms<'_> {
    /// The memory of a block that has ended, or some that is new.
    fn enter(&self, blocks: &Blocks) -> Vec<Memory> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let room = all.get_mut(&self.of).and_then(Vec::pop);
        drop(all);
        let slot = |slot| Memory::zeroed(slot, blocks.records);
        room.unwrap_or_else(|| blocks.slots.iter().map(slot).collect())
    }

    fn leave(&self, room: Vec<Memory>) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(self.of).or_default().push(room);
    }
}

/// Where buffers are.
struct Places<'a> {
    program: &'a Program,
    memory: &'a mut [Memory],
    homes: &'a BTreeMap<BufferId, usize>,
    /// The rows that are run.
    rows: usize,
    /// Rows of the physical batch.
    batch: usize,
    clock: Option<&'a Clock>,
}

impl Places<'_> {
    fn len(&self, id: BufferId) -> usize {
        self.program.buffer(id).len.at(self.rows)
    }

    fn dtype(&self, id: BufferId) -> DType {
        self.program.buffer(id).dtype
    }

    /// Takes a buffer's memory away, to be put back.
    fn take(&mut self, id: BufferId) -> Memory {
        std::mem::replace(&mut self.memory[self.homes[&id]], Memory::nothing())
    }

    fn put(&mut self, id: BufferId, memory: Memory) {
        self.memory[self.homes[&id]] = memory;
    }

    fn read(&self, id: BufferId) -> Read<'_> {
        self.memory[self.homes[&id]].read(self.dtype(id), 0..self.len(id))
    }

    fn whole(&mut self, command: &Command, scratch: &mut [f32]) {
        let ids = &command.written;
        let mut taken: Vec<Memory> = ids.iter().map(|&id| self.take(id)).collect();
        let read: Vec<Read> = command.read.iter().map(|&id| self.read(id)).collect();
        let mut written: Vec<Written> =
            taken.iter_mut().zip(ids).map(|(memory, &id)| memory.written(self.dtype(id), self.len(id))).collect();
        let [rows, batch] = [self.rows, self.batch].map(|rows| rows * command.views);
        let scratch = &mut scratch[..command.kernel.scratch(rows)];
        command.kernel.run(rows, Buffers { read: &read, written: &mut written, scratch, batch });
        ids.iter().zip(taken).for_each(|(&id, memory)| self.put(id, memory));
    }

    fn blocks(&mut self, blocks: &Blocks, rooms: &Rooms) {
        let ids: Vec<BufferId> = blocks
            .buffers
            .iter()
            .filter_map(|place| if let Place::Written(id) = place { Some(*id) } else { None })
            .collect();
        let mut taken: Vec<Memory> = ids.iter().map(|&id| self.take(id)).collect();
        // What each block writes of the buffers that outlive the stage.
        let mut pieces: Vec<Vec<Written>> = (0..self.rows.div_ceil(blocks.records)).map(|_| Vec::new()).collect();
        for (memory, &id) in taken.iter_mut().zip(&ids) {
            let piece = self.program.buffer(id).len.per_row * blocks.records;
            memory
                .written(self.dtype(id), self.len(id))
                .pieces(piece)
                .zip(&mut pieces)
                .for_each(|(piece, all)| all.push(piece));
        }
        let run = |(i, written): (usize, Vec<Written>)| {
            let first = i * blocks.records;
            let count = blocks.records.min(self.rows - first);
            let mut room = rooms.enter(blocks);
            self.block(blocks, [first, count], written, &mut room);
            rooms.leave(room);
        };
        match pieces.len() {
            // The kernels share out the work.
            1 => pieces.into_iter().enumerate().for_each(run),
            _ => pieces.into_par_iter().enumerate().for_each(run),
        }
        ids.iter().zip(taken).for_each(|(&id, memory)| self.put(id, memory));
    }

    /// Runs the dispatches for `count` records from record `first` on.
    fn block(&self, blocks: &Blocks, [first, count]: [usize; 2], written: Vec<Written>, room: &mut [Memory]) {
        let mut written = written.into_iter();
        let mut held: Vec<Held> = Vec::with_capacity(blocks.buffers.len());
        for place in &blocks.buffers {
            held.push(match *place {
                Place::Shared(id) => Held::Read(self.read(id)),
                Place::Read(id) => {
                    let len = self.program.buffer(id).len.per_row;
                    let records = first * len..(first + count) * len;
                    Held::Read(self.memory[self.homes[&id]].read(self.dtype(id), records))
                }
                Place::Written(_) => written.next().map_or(Held::Taken, Held::Written),
                Place::Own(slot, dtype, len) => Held::Own(slot, dtype, len * count),
            });
        }
        for step in &blocks.commands {
            let take = |&i: &usize| match held[i] {
                Held::Own(slot, ..) => Some(std::mem::replace(&mut room[slot], Memory::nothing())),
                _ => None,
            };
            let mut own: Vec<Option<Memory>> = step.written.iter().map(take).collect();
            let mut out: Vec<Held> =
                step.written.iter().map(|&i| std::mem::replace(&mut held[i], Held::Taken)).collect();
            let read: Vec<Read> = step
                .read
                .iter()
                .map(|&i| match &held[i] {
                    Held::Read(read) => *read,
                    Held::Written(written) => written.read(),
                    Held::Own(slot, dtype, len) => room[*slot].read(*dtype, 0..*len),
                    Held::Taken => Read::F32(&[]),
                })
                .collect();
            let to = out.iter_mut().zip(&mut own).map(|(held, own)| match (held, own) {
                (Held::Own(_, dtype, len), Some(memory)) => memory.written(*dtype, *len),
                (Held::Written(written), _) => written.reborrow(),
                _ => Written::F32(&mut []),
            });
            let mut to: Vec<Written> = to.collect();
            let buffers = Buffers { read: &read, written: &mut to, scratch: &mut [], batch: self.batch * step.views };
            Clock::time(self.clock, step.at, || step.kernel.run(count * step.views, buffers));
            for ((&i, out), own) in step.written.iter().zip(out).zip(own) {
                if let (Held::Own(slot, ..), Some(memory)) = (&out, own) {
                    room[*slot] = memory;
                }
                held[i] = out;
            }
        }
    }
}
