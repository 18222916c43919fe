//! The lowered program: plain data that can be printed, serialised and run by any device.
//!
//! A program works on physical batches of `P` rows, a number chosen when it is loaded. Buffer lengths and launch sizes
//! are functions of `P`; nothing else is. Where each record is seen in several [views](Program::views), `P` are the records, and
//! each has as many rows as views, one behind the other.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::kernels::Kernel;
use super::memory;
use super::target::{OtherTarget, Target};
use crate::graph::DType;

/// A count that depends on the physical batch: `per_row · P + fixed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Extent {
    /// Elements per row.
    pub per_row: usize,
    /// Elements that do not depend on the batch.
    pub fixed: usize,
}

impl Extent {
    /// The same count whatever the batch.
    pub const fn fixed(n: usize) -> Extent {
        Extent { per_row: 0, fixed: n }
    }

    /// `n` for every row.
    pub const fn rows(n: usize) -> Extent {
        Extent { per_row: n, fixed: 0 }
    }

    /// `n` a row if batched, else `n`.
    pub const fn of(n: usize, batched: bool) -> Extent {
        if batched { Extent::rows(n) } else { Extent::fixed(n) }
    }

    /// The count at a physical batch of `rows`, or the largest number where it overflows.
    pub const fn at(&self, rows: usize) -> usize {
        self.per_row.saturating_mul(rows).saturating_add(self.fixed)
    }

    /// `n` times the count.
    pub const fn times(self, n: usize) -> Extent {
        Extent { per_row: self.per_row.saturating_mul(n), fixed: self.fixed.saturating_mul(n) }
    }

    /// The elements that as many records as the count reach, `record` elements apart and `reach` elements each.
    pub const fn strided(self, record: usize, reach: usize) -> Extent {
        if reach == 0 {
            return Extent::fixed(0);
        }
        let (all, last) = (self.times(record), reach.saturating_sub(record));
        match self.per_row {
            0 if self.fixed == 0 => all,
            0 => Extent::fixed((self.fixed - 1).saturating_mul(record).saturating_add(reach)),
            _ => Extent { fixed: all.fixed.saturating_add(last), ..all },
        }
    }
}

/// A buffer of a [`Program`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BufferId(pub u32);

/// What a buffer is for, which says who fills it and how long it lives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Filled by the host before each run of a phase: an input of the model by its ONNX name, or one of
    /// [`crate::lower::host_inputs`].
    Input(String),
    /// A parameter, by its ONNX name; only the update phase writes it.
    Parameter(String),
    /// Float data that never changes.
    ConstantF32(#[serde(with = "bits")] Vec<f32>),
    /// Integer data that never changes.
    ConstantI32(Vec<i32>),
    /// Sum of the clipped gradients of a parameter over the physical batches of a logical step.
    GradientSum(String),
    /// Sum of the clipped gradients of a parameter over the units of a logical step, where a unit is several records.
    UnitSum(String),
    /// Sum of the clipped gradients of a parameter over the physical batches of a logical step, in integers of grid units: two
    /// words each, the low one first.
    GridSum(String),
    /// Noise for a parameter, filled by the host once a logical step.
    Noise(String),
    /// Noise for a parameter's integer sum, likewise: two words each.
    GridNoise(String),
    /// Optimizer state of a parameter: parameter, then the name of the state (`momentum`, `exp_avg`, …).
    OptimizerState(String, String),
    /// A result that the host may read after a phase, by name: an output of the model, or one of
    /// [`crate::lower::host_outputs`]; never shares memory.
    Output(String),
    /// An intermediate; shares memory with others whose lifetimes are disjoint.
    Temporary,
}

/// Floats as the integers of their bits: JSON has no NaN and no infinities.
mod bits {
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(floats: &[f32], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(floats.iter().map(|float| float.to_bits()))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f32>, D::Error> {
        let words = Vec::<u32>::deserialize(deserializer)?;
        Ok(words.into_iter().map(f32::from_bits).collect())
    }
}

/// A buffer: its element type, its length and its role.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Buffer {
    /// Name for people: the graph value it holds.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Number of elements.
    pub len: Extent,
    /// What it is for.
    pub role: Role,
    /// Which slot of memory it lives in; set by the memory plan.
    pub slot: u32,
}

/// One kernel on its buffers: read ones first, then written ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dispatch {
    /// The kernel and its parameters.
    pub kernel: Kernel,
    /// The buffers, in the order of [`KernelRules::buffers`](super::kernels::KernelRules::buffers).
    pub buffers: Vec<BufferId>,
    /// The graph value and ONNX node that it computes, for people.
    pub label: String,
    /// For how many rows of each of the `P` records it runs: for all [views](Program::views), or for one where it is of the record.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub views: usize,
}

fn one() -> usize {
    1
}

fn is_one(views: &usize) -> bool {
    *views == 1
}

/// A list of dispatches that runs as a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The forward pass up to the model's outputs, and the loss if the program has one.
    Forward,
    /// A physical batch of a private step: forward, backward, norms, clip factors, sums added to the gradient sums, or to the
    /// integer sums.
    Private,
    /// A physical batch of a non-private step: forward, backward, sums added to the gradient sums.
    Plain,
    /// The end of a unit whose records the plain phase has summed: the norm of the gradient sums, clip factors, the sums
    /// added to the unit sums and set to zero.
    Fold,
    /// The end of the last unit of a logical step: the unit sums added to the gradient sums and set to zero.
    Collect,
    /// The end of a logical step: noise, division, optimizer, gradient sums set to zero.
    Update,
    /// The same for integer sums.
    Release,
}

impl Phase {
    /// The name in printed programs and output names.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Forward => "forward",
            Phase::Private => "private",
            Phase::Plain => "plain",
            Phase::Fold => "fold",
            Phase::Collect => "collect",
            Phase::Update => "update",
            Phase::Release => "release",
        }
    }
}

/// Memory that buffers share, each at a time of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Slot {
    /// Element type of the first of them: those of others are as large.
    pub dtype: DType,
    /// The lengths of the buffers.
    pub tenants: Vec<Extent>,
}

impl Dispatch {
    /// The buffers that are read, and those that are written.
    pub fn split(&self) -> (&[BufferId], &[BufferId]) {
        self.buffers.split_at(self.buffers.len().saturating_sub(self.kernel.writes()))
    }
}

/// A lowered program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Program {
    /// All buffers.
    pub buffers: Vec<Buffer>,
    /// The memory slots; none where no memory is planned, and every buffer has its own.
    pub slots: Vec<Slot>,
    /// The dispatches of each phase.
    pub phases: BTreeMap<Phase, Vec<Dispatch>>,
    /// The targets that it was compiled for: its clip factors allow for how they round, and for no others.
    #[serde(default)]
    pub targets: Vec<String>,
    /// Rows of the batch that each of the `P` records has: views of it whose mean gradient is clipped as one.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub views: usize,
}

impl Default for Program {
    fn default() -> Program {
        Program { buffers: vec![], slots: vec![], phases: BTreeMap::new(), targets: vec![], views: 1 }
    }
}

impl Program {
    /// The buffer behind an id.
    pub fn buffer(&self, id: BufferId) -> &Buffer {
        &self.buffers[id.0 as usize]
    }

    /// Ids of all buffers.
    pub fn ids(&self) -> impl Iterator<Item = BufferId> + use<> {
        (0..self.buffers.len() as u32).map(BufferId)
    }

    /// Makes sure that the program's clip factors allow for how a target rounds.
    ///
    /// # Errors
    /// [`OtherTarget`] if there are any, and the program was not compiled for it.
    pub fn allows_for(&self, target: &dyn Target) -> Result<(), OtherTarget> {
        let clips = self.phases.values().flatten().any(|d| matches!(d.kernel, Kernel::ClipFactor(_)));
        let id = target.id();
        let allows = |own: &String| own == id || target.earlier().contains(&own.as_str());
        match clips && !self.targets.iter().any(allows) {
            true => Err(OtherTarget { target: id.to_owned(), targets: self.targets.clone() }),
            false => Ok(()),
        }
    }

    /// The most rows of a physical batch, if sums of integers or the like set a limit.
    pub fn most_rows(&self) -> Option<usize> {
        self.phases.values().flatten().filter_map(|dispatch| dispatch.kernel.rules().most_rows()).min()
    }

    /// Whether private sums are of integers.
    pub fn exact(&self) -> bool {
        self.phases.contains_key(&Phase::Release)
    }

    /// The phase that ends a private logical step.
    pub fn private_update(&self) -> Phase {
        if self.exact() { Phase::Release } else { Phase::Update }
    }

    /// The first buffer whose role is `role`.
    pub fn find(&self, role: &Role) -> Option<BufferId> {
        self.ids().find(|&id| self.buffer(id).role == *role)
    }

    /// The dispatches of a phase; empty if the program does not have it.
    pub fn phase(&self, phase: Phase) -> &[Dispatch] {
        self.phases.get(&phase).map_or(&[], Vec::as_slice)
    }

    /// The program with some of its phases, without the buffers that only the other phases use.
    pub fn restricted(&self, phases: &[Phase]) -> Program {
        let used = |wanted: bool| -> BTreeSet<BufferId> {
            let phases = self.phases.iter().filter(|(phase, _)| phases.contains(phase) == wanted);
            phases.flat_map(|(_, dispatches)| dispatches).flat_map(|d| d.buffers.iter().copied()).collect()
        };
        let (mine, others) = (used(true), used(false));
        let kept = |id: &BufferId| mine.contains(id) || !others.contains(id);
        let mut program = Program { targets: self.targets.clone(), views: self.views, ..Program::default() };
        let mut renamed = BTreeMap::new();
        for id in self.ids().filter(kept) {
            renamed.insert(id, BufferId(program.buffers.len() as u32));
            program.buffers.push(self.buffer(id).clone());
        }
        for &phase in phases {
            let mut dispatches = self.phase(phase).to_vec();
            dispatches.iter_mut().flat_map(|d| &mut d.buffers).for_each(|id| *id = renamed[id]);
            program.phases.insert(phase, dispatches);
        }
        if !self.slots.is_empty() {
            memory::plan(&mut program);
        }
        program
    }

    /// Elements of a memory slot at a physical batch of `rows`: its largest tenant.
    pub fn slot_len(&self, slot: u32, rows: usize) -> usize {
        self.slots[slot as usize].tenants.iter().map(|e| e.at(rows)).max().unwrap_or(0)
    }

    /// Bytes of device memory at a physical batch of `rows`.
    pub fn bytes(&self, rows: usize) -> usize {
        let slots = self.slots.iter().enumerate();
        slots.map(|(s, slot)| slot.dtype.size().saturating_mul(self.slot_len(s as u32, rows))).sum()
    }

    /// The memory of a buffer and its length at a physical batch of `rows`; `None` where there is no such buffer, or it is one
    /// that nothing uses and that has no memory.
    pub fn place(&self, id: BufferId, rows: usize) -> Option<(usize, usize)> {
        let (len, home) = (self.buffers.get(id.0 as usize)?.len.at(rows), self.home(id));
        let whole = if self.slots.is_empty() { len } else { self.slot_len(home as u32, rows) };
        (len <= whole).then_some((home, len))
    }

    /// Which memory a buffer lives in: its slot, or its own where no memory is planned.
    pub fn home(&self, id: BufferId) -> usize {
        if self.slots.is_empty() { id.0 as usize } else { self.buffer(id).slot as usize }
    }
}
