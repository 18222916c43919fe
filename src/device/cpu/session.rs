//! A program in the memory of this machine, and the run of its stages.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use rayon::prelude::*;

use super::clock::Clock;
use super::memory::{Buffers, Memory, Read, Written, zeros};
use super::stages::{self, Blocks, Command, Place, Plan, Stage};
use crate::device::{DeviceError, Lent, Session};
use crate::graph::DType;
use crate::lower::program::{BufferId, Phase, Program, Role};

/// A program that is loaded.
pub struct CpuSession {
    program: Arc<Program>,
    rows: usize,
    /// One a slot of the plan. What the host lends as a rule, noise, has none until it does not.
    memory: Vec<Memory>,
    /// The buffers that it lends.
    borrowed: Vec<BufferId>,
    /// Which memory a buffer is in.
    homes: BTreeMap<BufferId, usize>,
    /// As long as the kernel that needs most.
    scratch: Vec<f32>,
    stages: BTreeMap<Phase, Vec<Stage>>,
    /// Memory of blocks that no block is using.
    rooms: Mutex<FreeRooms>,
}

/// Whether the host lends what a buffer holds to the phase that reads it, and only that.
fn is_lent(program: &Program, buffer: BufferId) -> bool {
    matches!(program.buffer(buffer).role, Role::Noise(_) | Role::GridNoise(_))
}

/// The memory of blocks, a slot each, by its number.
type FreeRooms = BTreeMap<usize, Vec<Vec<Memory>>>;

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
        let borrowed: Vec<BufferId> =
            program.ids().filter(|id| homes.contains_key(id) && is_lent(&program, *id)).collect();
        let empty: BTreeSet<usize> = borrowed.iter().map(|id| homes[id]).collect();
        let memory = slots.iter().enumerate().map(|(at, slot)| match empty.contains(&at) {
            true => Ok(Memory::nothing()),
            false => Memory::zeros(name, stages::largest(slot, rows)),
        });
        let memory = memory.collect::<Result<_, _>>()?;
        Ok(CpuSession { program, rows, memory, borrowed, homes, scratch, stages, rooms: Mutex::default() })
    }

    /// Makes sure that there are as many words as a buffer has elements.
    fn fits(&self, buffer: BufferId, words: &[u32]) -> Result<(), DeviceError> {
        let (_, len) = self.place(buffer)?;
        if words.len() != len {
            let name = &self.program.buffer(buffer).name;
            let what = format!("{} words for `{name}`, which has {len}", words.len());
            return Err(DeviceError::Refused { device: "cpu".into(), what });
        }
        Ok(())
    }

    /// Gives a buffer memory that has none.
    fn need(&mut self, buffer: BufferId) -> Result<(), DeviceError> {
        let (home, len) = self.place(buffer)?;
        if self.memory[home].is_nothing() {
            self.memory[home] = Memory::zeros("cpu", len)?;
        }
        Ok(())
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
        self.fits(buffer, words)?;
        self.need(buffer)?;
        let (home, _) = self.place(buffer)?;
        self.memory[home].set(words);
        Ok(())
    }

    fn read(&mut self, buffer: BufferId) -> Result<Vec<u32>, DeviceError> {
        self.need(buffer)?;
        let (home, len) = self.place(buffer)?;
        Ok(self.memory[home].words(len))
    }

    fn run(&mut self, phase: Phase) -> Result<(), DeviceError> {
        self.run_rows(phase, self.rows)
    }

    fn run_rows(&mut self, phase: Phase, rows: usize) -> Result<(), DeviceError> {
        self.stages(phase, rows.min(self.rows), &[], None)
    }

    fn run_lent(&mut self, phase: Phase, lent: &[Lent]) -> Result<(), DeviceError> {
        self.stages(phase, self.rows, lent, None)
    }

    fn time(&mut self, phase: Phase) -> Result<Vec<f64>, DeviceError> {
        let clock = Clock::new(self.program.phase(phase).len());
        self.stages(phase, self.rows, &[], Some(&clock))?;
        Ok(clock.seconds())
    }

    fn bytes(&self) -> usize {
        let rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        let of_blocks = rooms.values().flatten().flatten().map(Memory::bytes).sum::<usize>();
        let lent = self.borrowed.iter().filter(|id| self.memory[self.homes[id]].is_nothing());
        let lent = lent.map(|&id| self.program.buffer(id).len.at(self.rows) * size_of::<u32>()).sum::<usize>();
        self.memory.iter().map(Memory::bytes).sum::<usize>() + lent + of_blocks + size_of_val(&self.scratch[..])
    }
}

impl CpuSession {
    /// Runs the stages of a phase for the first `rows` rows, with what the host lends, and a clock if each dispatch is timed.
    fn stages(&mut self, phase: Phase, rows: usize, lent: &[Lent], clock: Option<&Clock>) -> Result<(), DeviceError> {
        for (buffer, words) in lent {
            self.fits(*buffer, words)?;
        }
        let lent: BTreeMap<BufferId, &[u32]> = lent.iter().copied().collect();
        let used: BTreeSet<BufferId> =
            self.program.phase(phase).iter().flat_map(|d| d.buffers.iter().copied()).collect();
        for buffer in self.borrowed.clone().into_iter().filter(|id| used.contains(id) && !lent.contains_key(id)) {
            self.need(buffer)?;
        }
        let CpuSession { program, memory, homes, scratch, stages, rooms, rows: batch, .. } = self;
        let stages = stages.get(&phase).map_or(&[][..], Vec::as_slice);
        let mut places = Places { program, memory, homes, rows, batch: *batch, lent: &lent, clock };
        // On a thread of the pool, so that the kernels' parallel loops start without waking one.
        rayon::scope(|_| {
            for stage in stages {
                match stage {
                    Stage::Whole(command) => Clock::time(clock, command.at, || places.whole(command, scratch)),
                    Stage::Blocks(blocks) => {
                        // Browsers have no such clock.
                        let begun = clock.map(|clock| (clock, Instant::now()));
                        places.blocks(blocks, &Rooms(rooms));
                        if let Some((clock, begun)) = begun {
                            clock.share(blocks.commands.iter().map(|step| step.at), begun.elapsed());
                        }
                    }
                }
            }
        });
        Ok(())
    }
}

/// The memory of blocks.
struct Rooms<'a>(&'a Mutex<FreeRooms>);

impl Rooms<'_> {
    /// The memory of a block that has ended, or some that is new.
    fn enter(&self, blocks: &Blocks) -> Vec<Memory> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = all.get_mut(&blocks.room).and_then(Vec::pop);
        drop(all);
        let slot = |slot| Memory::zeroed(slot, blocks.records);
        room.unwrap_or_else(|| blocks.slots.iter().map(slot).collect())
    }

    fn leave(&self, blocks: &Blocks, room: Vec<Memory>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(blocks.room).or_default().push(room);
    }
}

/// Buffers of flags, of which blocks that run side by side set some.
struct Flags<'a>(BTreeMap<BufferId, Mutex<&'a mut [i32]>>);

impl Flags<'_> {
    /// As many flags, none of them set.
    fn none(&self, id: BufferId) -> Vec<i32> {
        self.0.get(&id).map_or_else(Vec::new, |flags| {
            let flags = flags.lock().unwrap_or_else(PoisonError::into_inner);
            vec![0; flags.len()]
        })
    }

    /// Sets those that are set in `set`.
    fn set(&self, id: BufferId, set: &[i32]) {
        let Some(flags) = self.0.get(&id).filter(|_| set.iter().any(|&set| set != 0)) else { return };
        let mut flags = flags.lock().unwrap_or_else(PoisonError::into_inner);
        flags.iter_mut().zip(set).for_each(|(flag, set)| *flag |= set);
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
    /// What the host has for some buffers that are read.
    lent: &'a BTreeMap<BufferId, &'a [u32]>,
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
        self.part(id, 0..self.len(id))
    }

    /// Some elements of a buffer that is read.
    fn part(&self, id: BufferId, elements: Range<usize>) -> Read<'_> {
        match self.lent.get(&id) {
            Some(words) => Read::of_words(&words[elements], self.dtype(id)),
            None => self.memory[self.homes[&id]].read(self.dtype(id), elements),
        }
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
        let count = blocks.elements.unwrap_or(self.rows);
        let own = |place: &Place| match *place {
            Place::Written(id, len) => Some((id, Some(len))),
            Place::Flags(id) => Some((id, None)),
            _ => None,
        };
        let ids: Vec<(BufferId, Option<usize>)> = blocks.buffers.iter().filter_map(own).collect();
        let mut taken: Vec<Memory> = ids.iter().map(|&(id, _)| self.take(id)).collect();
        // What each block writes of the buffers that outlive the stage.
        let mut pieces: Vec<Vec<Written>> = (0..count.div_ceil(blocks.records)).map(|_| Vec::new()).collect();
        let mut flags = Flags(BTreeMap::new());
        for (memory, &(id, len)) in taken.iter_mut().zip(&ids) {
            match (memory.written(self.dtype(id), self.len(id)), len) {
                (written, Some(len)) => {
                    let each = written.pieces(len * blocks.records).zip(&mut pieces);
                    each.for_each(|(piece, all)| all.push(piece));
                }
                (Written::I32(written), None) => {
                    flags.0.insert(id, Mutex::new(written));
                }
                _ => {}
            }
        }
        let run = |(i, written): (usize, Vec<Written>)| {
            let first = i * blocks.records;
            let count = blocks.records.min(count - first);
            let mut room = rooms.enter(blocks);
            self.block(blocks, [first, count], written, &flags, &mut room);
            rooms.leave(blocks, room);
        };
        match pieces.len() {
            // The kernels share out the work.
            1 => pieces.into_iter().enumerate().for_each(run),
            _ => pieces.into_par_iter().enumerate().for_each(run),
        }
        ids.iter().zip(taken).for_each(|(&(id, _), memory)| self.put(id, memory));
    }

    /// Runs the dispatches for `count` records from record `first` on, or elements.
    fn block(
        &self,
        blocks: &Blocks,
        [first, count]: [usize; 2],
        written: Vec<Written>,
        flags: &Flags,
        room: &mut [Memory],
    ) {
        let mut written = written.into_iter();
        let flagged = |place: &Place| if let Place::Flags(id) = *place { Some((id, flags.none(id))) } else { None };
        let mut set: Vec<(BufferId, Vec<i32>)> = blocks.buffers.iter().filter_map(flagged).collect();
        let mut of_block = set.iter_mut();
        let mut held: Vec<Held> = Vec::with_capacity(blocks.buffers.len());
        for place in &blocks.buffers {
            held.push(match *place {
                Place::Shared(id) => Held::Read(self.read(id)),
                Place::Read(id, len) => Held::Read(self.part(id, first * len..(first + count) * len)),
                Place::Written(..) => written.next().map_or(Held::Taken, Held::Written),
                Place::Flags(_) => of_block.next().map_or(Held::Taken, |(_, flags)| Held::Written(Written::I32(flags))),
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
            let kernel = step.last.as_ref().filter(|_| count < blocks.records).unwrap_or(&step.kernel);
            Clock::time(self.clock, step.at, || kernel.run(count * step.views, buffers));
            for ((&i, out), own) in step.written.iter().zip(out).zip(own) {
                if let (Held::Own(slot, ..), Some(memory)) = (&out, own) {
                    room[*slot] = memory;
                }
                held[i] = out;
            }
        }
        drop(held);
        set.iter().for_each(|(id, set)| flags.set(*id, set));
    }
}
