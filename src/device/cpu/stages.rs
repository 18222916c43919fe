//! How a phase runs: which dispatches go through the batch record by record, and where their buffers are.
//!
//! A dispatch that writes nothing but records' own values, from those and from what all records share, can run on some
//! records and then on others. Neighbours of that kind make one stage: a block of records goes through all of them before
//! another begins, each block on its own thread. Threads meet once a stage and not once a dispatch, and what only the
//! stage uses is needed for the blocks that are on their way, in memory that stays in cache. Neighbours that are [maps](super::maps)
//! over the elements of one parameter make a stage of blocks of these. Every other dispatch is a stage of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::maps::{self, Elements, Kernels, Use};
use super::{Native, native};
use crate::graph::DType;
use crate::lower::memory::{share, tenants};
use crate::lower::program::{Buffer, BufferId, Dispatch, Extent, Phase, Program, Role, Slot};

/// Bytes of a block's own memory that caches hold.
const CACHE: usize = 1 << 18;
/// Floating-point operations that pay for handing out a block.
const WORK: u64 = 1 << 18;
/// Blocks of a batch that has enough records for them, whatever the number of threads.
const BLOCKS: usize = 16;

/// What runs between two meetings of the threads.
pub enum Stage {
    /// A dispatch that shares out its work by itself.
    Whole(Command),
    /// Dispatches that a block of records, or of elements, goes through.
    Blocks(Blocks),
}

/// A kernel and its buffers.
pub struct Command {
    /// Its place among the dispatches of the phase.
    pub at: usize,
    pub kernel: Box<dyn Native>,
    /// For how many rows of a record it runs.
    pub views: usize,
    pub read: Vec<BufferId>,
    pub written: Vec<BufferId>,
}

/// The dispatches of a stage, whose buffers are indices into a list.
pub struct Blocks {
    /// Records of a block, or elements, the last of which may have fewer.
    pub records: usize,
    /// Of how many elements the blocks are; `None` where they are of the rows of a batch.
    pub elements: Option<usize>,
    pub buffers: Vec<Place>,
    pub commands: Vec<Step>,
    /// The memory that each block on its way has.
    pub slots: Vec<Slot>,
    /// A number of that memory: stages with the same share it.
    pub room: usize,
}

/// A kernel and its buffers in [`Blocks::buffers`].
pub struct Step {
    /// Its place among the dispatches of the phase.
    pub at: usize,
    pub kernel: Box<dyn Native>,
    /// That of a last block with fewer elements.
    pub last: Option<Box<dyn Native>>,
    /// For how many rows of a record it runs.
    pub views: usize,
    pub read: Vec<usize>,
    pub written: Vec<usize>,
}

/// Where a stage of blocks finds a buffer.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    /// All of it is for every block.
    Shared(BufferId),
    /// Each block reads its records', so many elements each.
    Read(BufferId, usize),
    /// Each block writes its records'.
    Written(BufferId, usize),
    /// Each block sets flags in it.
    Flags(BufferId),
    /// In a slot of the block's own memory, so many elements of a type a record.
    Own(usize, DType, usize),
}

/// The stages of every phase, and the memory that outlives them.
pub struct Plan {
    pub stages: BTreeMap<Phase, Vec<Stage>>,
    /// Memory, and for each buffer that is in it where; none where each has its own.
    pub slots: Vec<Slot>,
    pub homes: BTreeMap<BufferId, usize>,
}

impl Plan {
    /// Floats that the kernel works in which needs most.
    pub fn scratch(&self, rows: usize) -> usize {
        let whole = |stage: &Stage| match stage {
            Stage::Whole(command) => command.kernel.scratch(rows.saturating_mul(command.views)),
            Stage::Blocks(_) => 0,
        };
        self.stages.values().flatten().map(whole).max().unwrap_or(0)
    }

    /// Bytes that are in use when every phase has run on so many threads.
    pub fn bytes(&self, rows: usize, threads: usize) -> usize {
        let of = |slots: &[Slot], rows: usize| -> usize {
            let bytes = slots.iter().map(|slot| largest(slot, rows).saturating_mul(slot.dtype.size()));
            bytes.fold(0, usize::saturating_add)
        };
        let mut rooms: BTreeMap<usize, usize> = BTreeMap::new();
        for stage in self.stages.values().flatten() {
            let Stage::Blocks(blocks) = stage else { continue };
            let count = blocks.elements.unwrap_or(rows).div_ceil(blocks.records);
            let bytes = of(&blocks.slots, blocks.records).saturating_mul(threads.min(count));
            let most = rooms.entry(blocks.room).or_default();
            *most = bytes.max(*most);
        }
        let rooms = rooms.into_values().fold(0, usize::saturating_add);
        let scratch = self.scratch(rows).saturating_mul(size_of::<f32>());
        of(&self.slots, rows).saturating_add(rooms).saturating_add(scratch)
    }
}

/// Elements a record, if that is all that there is.
fn by_record(len: Extent) -> Option<usize> {
    (len.per_row > 0 && len.fixed == 0).then_some(len.per_row)
}

/// Whether a dispatch can run on some records and then on others.
fn splits(program: &Program, dispatch: &Dispatch) -> bool {
    let (read, written) = dispatch.split();
    let len = |id: &BufferId| program.buffer(*id).len;
    let kernel = native(&dispatch.kernel);
    kernel.block().is_some()
        && kernel.scratch(1) == 0
        && written.iter().all(|id| by_record(len(id)).is_some())
        && read.iter().all(|id| by_record(len(id)).is_some() || len(id).per_row == 0)
}

/// The order of a phase's dispatches, with those first that have nothing to do with records and need nothing that others make,
/// so that they do not stand between stages.
fn in_order(program: &Program, dispatches: &[Dispatch]) -> Vec<usize> {
    let shared = |id: &BufferId| program.buffer(*id).len.per_row == 0;
    let (mut first, mut rest) = (Vec::new(), Vec::new());
    // What the others so far have read, and what they have written.
    let (mut read_before, mut written_before) = (BTreeSet::new(), BTreeSet::new());
    for (at, dispatch) in dispatches.iter().enumerate() {
        let (read, written) = dispatch.split();
        let clear = read.iter().all(|id| !written_before.contains(id))
            && written.iter().all(|id| !written_before.contains(id) && !read_before.contains(id));
        if clear && dispatch.buffers.iter().all(shared) {
            first.push(at);
        } else {
            read_before.extend(read.iter().copied());
            written_before.extend(written.iter().copied());
            rest.push(at);
        }
    }
    first.extend(rest);
    first
}

/// The order of a stage's dispatches, with those that sum much up directly behind what they sum, which is in cache then.
fn sums_early(program: &Program, dispatches: &[Dispatch]) -> Vec<usize> {
    let len = |ids: &[BufferId]| ids.iter().map(|id| program.buffer(*id).len.per_row).sum::<usize>();
    let shrinks = |dispatch: &Dispatch| len(dispatch.split().1).saturating_mul(8) <= len(dispatch.split().0);
    let meet = |one: &[BufferId], other: &[BufferId]| one.iter().any(|id| other.contains(id));
    let mut out: Vec<usize> = Vec::with_capacity(dispatches.len());
    for (at, dispatch) in dispatches.iter().enumerate() {
        let (read, written) = dispatch.split();
        // It stays behind the last that makes what it reads, or that it must not come before.
        let bound = |other: &Dispatch| {
            let (reads, writes) = other.split();
            meet(read, writes) || meet(written, writes) || meet(written, reads)
        };
        let place = if shrinks(dispatch) {
            out.iter().rposition(|&i| bound(&dispatches[i])).map_or(0, |i| i + 1)
        } else {
            out.len()
        };
        out.insert(place, at);
    }
    out
}

/// The stages of a program at a physical batch of `rows`.
pub fn plan(program: &Program, rows: usize) -> Plan {
    let orders: BTreeMap<Phase, Vec<usize>> =
        program.phases.iter().map(|(&phase, dispatches)| (phase, in_order(program, dispatches))).collect();
    let ordered = |phase: &Phase| orders[phase].iter().map(|&at| program.phases[phase][at].clone()).collect();
    let phases = program.phases.keys().map(|phase| (*phase, ordered(phase))).collect();
    // The contents of constants have no part in the plan.
    let buffer = |buffer: &Buffer| Buffer {
        name: String::new(),
        role: if buffer.role == Role::Temporary { Role::Temporary } else { Role::Output(String::new()) },
        ..*buffer
    };
    let buffers = program.buffers.iter().map(buffer).collect();
    let program = Program { buffers, phases, slots: program.slots.clone(), ..Program::default() };
    let program = &program;
    let ranges: BTreeMap<Phase, Vec<Span>> =
        program.phases.iter().map(|(&phase, dispatches)| (phase, spans(program, dispatches))).collect();
    let mut first = 0;
    let mut number = BTreeMap::new();
    for (&phase, stages) in &ranges {
        for (stage, span) in stages.iter().enumerate() {
            number.extend(span.range.clone().map(|i| ((phase, i), first + stage)));
        }
        first += stages.len();
    }
    // In how many stages a buffer is used.
    let mut stages_of: BTreeMap<BufferId, BTreeSet<usize>> = BTreeMap::new();
    for (&phase, dispatches) in &program.phases {
        for (i, id) in dispatches.iter().enumerate().flat_map(|(i, d)| d.buffers.iter().map(move |id| (i, id))) {
            stages_of.entry(*id).or_default().insert(number[&(phase, i)]);
        }
    }
    let planned = !program.slots.is_empty();
    let own = |id: BufferId, len: Extent| {
        let temporary = program.buffer(id).role == Role::Temporary;
        planned && temporary && by_record(len).is_some() && stages_of[&id].len() == 1
    };
    let mut rooms: Vec<(usize, Vec<Slot>)> = Vec::new();
    let mut outliving = tenants(program, |phase, i| number[&(phase, i)]);
    let mut stages = BTreeMap::new();
    for (phase, list) in ranges {
        let (dispatches, order) = (program.phase(phase), &orders[&phase]);
        let mut of_phase = Vec::new();
        for Span { range, over } in list {
            let start = range.start;
            let in_order = |list: Vec<usize>| -> (Vec<usize>, Vec<Dispatch>) {
                list.into_iter().map(|i| (order[start + i], dispatches[start + i].clone())).unzip()
            };
            let (mut blocks, kept) = match over {
                Over::Nothing => {
                    of_phase.push(Stage::Whole(command(order[start], &dispatches[start])));
                    continue;
                }
                Over::Records => {
                    let early = in_order(sums_early(program, &dispatches[range.clone()]));
                    let (mut blocks, kept) = blocks(program, early, &own);
                    blocks.records = records(&blocks, &dispatches[range], rows);
                    (blocks, kept)
                }
                Over::Elements(elements) => {
                    let all = in_order((0..range.len()).collect());
                    let (blocks, kept) = blocks(&elements.as_records(program), all, &own);
                    (of_elements(blocks, &elements, &dispatches[range]), kept)
                }
            };
            let room = (blocks.records, blocks.slots.clone());
            blocks.room = rooms.iter().position(|known| *known == room).unwrap_or(rooms.len());
            if blocks.room == rooms.len() {
                rooms.push(room);
            }
            outliving.retain(|id, _| !kept.contains(id));
            of_phase.push(Stage::Blocks(blocks));
        }
        stages.insert(phase, of_phase);
    }
    let (slots, homes) = if planned { share(&outliving) } else { each(program) };
    let homes = homes.into_iter().map(|(id, slot)| (id, slot as usize)).collect();
    Plan { stages, slots, homes }
}

/// A slot for every buffer.
fn each(program: &Program) -> (Vec<Slot>, BTreeMap<BufferId, u32>) {
    let slot = |id| Slot { dtype: program.buffer(id).dtype, tenants: vec![program.buffer(id).len] };
    (program.ids().map(slot).collect(), program.ids().map(|id| (id, id.0)).collect())
}

fn command(at: usize, dispatch: &Dispatch) -> Command {
    let (read, written) = dispatch.split();
    Command {
        at,
        kernel: native(&dispatch.kernel),
        views: dispatch.views,
        read: read.to_vec(),
        written: written.to_vec(),
    }
}

/// What the dispatches of a stage go over.
enum Over {
    /// Nothing that they could go over together.
    Nothing,
    Records,
    Elements(Elements),
}

/// The dispatches of a stage, by their places.
struct Span {
    range: Range<usize>,
    over: Over,
}

/// The stages of a phase.
fn spans(program: &Program, dispatches: &[Dispatch]) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for (i, dispatch) in dispatches.iter().enumerate() {
        let over = match Elements::of(dispatch) {
            _ if splits(program, dispatch) => Over::Records,
            Some(elements) => Over::Elements(elements),
            None => Over::Nothing,
        };
        let together = match (spans.last_mut(), &over) {
            (Some(Span { range, over: Over::Records }), Over::Records) => Some(range),
            (Some(Span { range, over: Over::Elements(before) }), Over::Elements(more)) => {
                before.with(more).map(|both| {
                    *before = both;
                    range
                })
            }
            _ => None,
        };
        match together {
            Some(range) => range.end = i + 1,
            None => spans.push(Span { range: i..i + 1, over }),
        }
    }
    for span in spans.iter_mut().filter(|span| span.range.len() == 1) {
        // Alone it shares out its elements by itself.
        if matches!(span.over, Over::Elements(_)) {
            span.over = Over::Nothing;
        }
    }
    spans
}

/// The stage of some dispatches, given with their places in the phase, in blocks of one record; and the buffers that it keeps in
/// memory of its own.
fn blocks(
    program: &Program,
    (places, dispatches): (Vec<usize>, Vec<Dispatch>),
    own: &impl Fn(BufferId, Extent) -> bool,
) -> (Blocks, BTreeSet<BufferId>) {
    let mut part = Program { buffers: program.buffers.clone(), ..Program::default() };
    part.phases.insert(Phase::Forward, dispatches.clone());
    let used: BTreeSet<BufferId> = dispatches.iter().flat_map(|d| d.buffers.iter().copied()).collect();
    let kept: BTreeSet<BufferId> = used.iter().copied().filter(|id| own(*id, program.buffer(*id).len)).collect();
    let mut wants = tenants(&part, |_, i| i);
    wants.retain(|id, _| kept.contains(id));
    let (slots, homes) = share(&wants);
    let written: BTreeSet<BufferId> = dispatches.iter().flat_map(|d| d.split().1.iter().copied()).collect();
    let place = |id: &BufferId| match (by_record(program.buffer(*id).len), homes.get(id)) {
        (Some(len), Some(&slot)) => Place::Own(slot as usize, program.buffer(*id).dtype, len),
        (Some(len), None) if written.contains(id) => Place::Written(*id, len),
        (Some(len), None) => Place::Read(*id, len),
        (None, _) => Place::Shared(*id),
    };
    let buffers: Vec<Place> = used.iter().map(place).collect();
    let index: BTreeMap<BufferId, usize> = used.iter().enumerate().map(|(i, id)| (*id, i)).collect();
    let step = |(&at, dispatch): (&usize, &Dispatch)| {
        let (read, written) = dispatch.split();
        let [read, written] = [read, written].map(|ids| ids.iter().map(|id| index[id]).collect());
        Step { at, kernel: native(&dispatch.kernel), last: None, views: dispatch.views, read, written }
    };
    let commands: Vec<Step> = places.iter().zip(&dispatches).map(step).collect();
    (Blocks { records: 1, elements: None, buffers, commands, slots, room: 0 }, kept)
}

/// How many records of a batch of `rows` are a block of the `dispatches`.
fn records(blocks: &Blocks, dispatches: &[Dispatch], rows: usize) -> usize {
    let bytes: usize = blocks.slots.iter().map(|slot| largest(slot, 1) * slot.dtype.size()).sum();
    let flops: u64 = dispatches.iter().map(|d| d.kernel.rules().flops(d.views)).sum();
    let block = |step: &Step| Some(step.kernel.block()?.div_ceil(step.views));
    let wanted = blocks.commands.iter().filter_map(block).max().unwrap_or(1);
    let least = wanted.max(WORK.div_ceil(flops.max(1)).try_into().unwrap_or(usize::MAX));
    let most = (CACHE / bytes.max(1)).min(rows.div_ceil(BLOCKS));
    least.max(most).clamp(1, rows.max(1))
}

/// The stage of `dispatches` in blocks of elements.
fn of_elements(blocks: Blocks, elements: &Elements, dispatches: &[Dispatch]) -> Blocks {
    let place = |place: Place| match place {
        Place::Shared(id) if elements.uses.get(&id) == Some(&Use::Flags) => Place::Flags(id),
        place => place,
    };
    let step = |(step, dispatch): (Step, &Dispatch)| match Kernels::of(dispatch) {
        Some(Kernels { block, last }) => Step { kernel: block, last, ..step },
        None => step,
    };
    Blocks {
        records: maps::BLOCK,
        elements: Some(elements.len),
        buffers: blocks.buffers.into_iter().map(place).collect(),
        commands: blocks.commands.into_iter().zip(dispatches).map(step).collect(),
        ..blocks
    }
}

/// Elements of a slot at a physical batch of `rows`.
pub fn largest(slot: &Slot, rows: usize) -> usize {
    slot.tenants.iter().map(|len| len.at(rows)).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lower::kernels::{Accumulate, Fill, Kernel};
    use crate::lower::memory;

    #[test]
    fn what_has_nothing_to_do_with_records_does_not_part_a_stage() {
        let mut program = Program::default();
        let lens = [Extent::rows(8), Extent::fixed(4), Extent::rows(3), Extent::fixed(4)];
        for (k, len) in lens.into_iter().enumerate() {
            let role = if k < 2 { Role::Temporary } else { Role::Output(k.to_string()) };
            program.buffers.push(Buffer { name: k.to_string(), dtype: DType::F32, len, role, slot: 0 });
        }
        let fill = |id: usize| {
            let kernel = Kernel::Fill(Fill { len: lens[id], value: 1.0 });
            Dispatch { kernel, buffers: vec![BufferId(id as u32)], label: String::new(), views: 1 }
        };
        let add = Dispatch {
            kernel: Kernel::Accumulate(Accumulate { len: 4 }),
            buffers: vec![BufferId(1), BufferId(3)],
            label: String::new(),
            views: 1,
        };
        program.phases.insert(Phase::Forward, vec![fill(0), fill(1), add, fill(2)]);
        memory::plan(&mut program);
        let plan = plan(&program, 100);
        let [Stage::Whole(first), Stage::Whole(second), Stage::Blocks(blocks)] = &plan.stages[&Phase::Forward][..]
        else {
            panic!("three stages")
        };
        assert_eq!((&first.written[..], &second.written[..]), (&[BufferId(1)][..], &[BufferId(3)][..]));
        assert_eq!(blocks.commands.len(), 2);
        assert!(matches!(blocks.buffers[..], [Place::Own(0, DType::F32, 8), Place::Written(BufferId(2), 3)]));
        assert!(!plan.homes.contains_key(&BufferId(0)));
    }
}
