//! Puts the phases of a program together from the graphs.

use std::collections::BTreeMap;

use crate::graph::DType;
use crate::lower::kernels::{Accumulate, Adam, AddNoise, Carry, Copy, CopyAxis, Fill, Kernel, Nonfinite, Release, Sgd};
use crate::lower::program::{Buffer, BufferId, Dispatch, Extent, Phase, Program, Role};
use crate::lower::widen::widen;
use crate::lower::{LowerError, host_inputs, host_outputs, hyper, lower_graph, memory, reuse, schedule};
use crate::ops::Graph;
use crate::options::optimizer::OptimizerSpec;
use crate::passes::privatize::SUM;
use crate::privacy::clipping::ClipGroup;

/// A program in the making.
#[derive(Default)]
pub(super) struct Builder {
    program: Program,
}

impl Builder {
    /// One of records that have so many rows each.
    pub fn new(views: usize) -> Builder {
        Builder { program: Program { views, ..Program::default() } }
    }

    /// The forward phase: the model's outputs, and the loss if there is one.
    pub fn forward(&mut self, graph: &Graph) -> Result<(), LowerError> {
        self.phase(Phase::Forward, graph)
    }

    /// The private phase; its clipped sums are added to the gradient sums, or to the integer sums.
    pub fn private(&mut self, graph: &Graph) -> Result<(), LowerError> {
        self.phase(Phase::Private, graph)
    }

    /// The non-private phase; its sums are added to the gradient sums.
    pub fn plain(&mut self, graph: &Graph) -> Result<(), LowerError> {
        self.phase(Phase::Plain, graph)
    }

    /// The update phase of float sums: for every gradient sum noise, division, optimizer, a look at what that leaves, and a
    /// return to zero.
    pub fn update(&mut self, optimizer: &OptimizerSpec) {
        let sums = self.sums(|role| if let Role::GradientSum(name) = role { Some(name) } else { None });
        let flags = self.flags(sums.len());
        let hyper = self.get_or_add(Role::Input(host_inputs::HYPER.into()), "hyper", hyper::LEN);
        for (at, (name, sum)) in sums.into_iter().enumerate() {
            let len = self.program.buffer(sum).len.fixed;
            let noise = self.get_or_add(Role::Noise(name.clone()), &format!("noise.{name}"), len);
            let gradient = self.temporary(&format!("gradient.{name}"), len);
            self.dispatch(Phase::Update, AddNoise { len }, &[sum, noise, hyper, gradient], &name);
            self.step(Phase::Update, optimizer, &name, gradient, (flags, at));
            self.dispatch(Phase::Update, Fill { len: Extent::fixed(len), value: 0.0 }, &[sum], &name);
        }
    }

    /// The same for integer sums.
    pub fn release(&mut self, optimizer: &OptimizerSpec, groups: &[ClipGroup]) {
        let sums = self.sums(|role| if let Role::GridSum(name) = role { Some(name) } else { None });
        let flags = self.flags(sums.len());
        let hyper = self.get_or_add(Role::Input(host_inputs::HYPER.into()), "hyper", hyper::LEN);
        let unit = self.get_or_add(Role::Input(host_inputs::GRID_UNITS.into()), "grid_units", groups.len());
        for (at, (name, sum)) in sums.into_iter().enumerate() {
            let Some(group) = groups.iter().position(|group| group.parameters.contains(&name)) else { continue };
            let len = self.program.buffer(sum).len.fixed / 2;
            let noise = Role::GridNoise(name.clone());
            let noise = self.get_or_add_of(noise, &format!("grid_noise.{name}"), DType::I32, 2 * len);
            let gradient = self.temporary(&format!("noisy.{name}"), len);
            let release = Release { len, group, groups: groups.len() };
            self.dispatch(Phase::Release, release, &[noise, hyper, unit, sum, gradient], &name);
            self.step(Phase::Release, optimizer, &name, gradient, (flags, at));
        }
    }

    /// The buffers whose role `named` takes for that of a parameter's sum.
    fn sums(&self, named: impl Fn(&Role) -> Option<&String>) -> Vec<(String, BufferId)> {
        let named = |id: BufferId| Some((named(&self.program.buffer(id).role)?.clone(), id));
        self.program.ids().filter_map(named).collect()
    }

    /// The buffer of what is not finite after an update of `count` parameters.
    fn flags(&mut self, count: usize) -> BufferId {
        let role = Role::Output(host_outputs::NONFINITE.into());
        self.get_or_add_of(role, host_outputs::NONFINITE, DType::I32, count)
    }

    /// The optimizer's step for a parameter with the `gradient`, and a look at what that leaves.
    fn step(
        &mut self,
        phase: Phase,
        optimizer: &OptimizerSpec,
        name: &str,
        gradient: BufferId,
        (flags, at): (BufferId, usize),
    ) {
        let Some(parameter) = self.program.find(&Role::Parameter(name.to_owned())) else { return };
        let len = self.program.buffer(gradient).len.fixed;
        let hyper = self.get_or_add(Role::Input(host_inputs::HYPER.into()), "hyper", hyper::LEN);
        let mut buffers = vec![gradient, hyper, parameter];
        for state in optimizer.states() {
            let role = Role::OptimizerState(name.to_owned(), state.to_string());
            buffers.push(self.get_or_add(role, &format!("{state}.{name}"), len));
        }
        let step: Kernel = match optimizer {
            OptimizerSpec::Sgd(s) => {
                Sgd { len, momentum: s.momentum, nesterov: s.nesterov, weight_decay: s.weight_decay }.into()
            }
            OptimizerSpec::Adam(a) | OptimizerSpec::AdamW(a) => Adam {
                len,
                betas: [a.beta1, a.beta2],
                eps: a.eps,
                weight_decay: a.weight_decay,
                decoupled: matches!(optimizer, OptimizerSpec::AdamW(_)),
            }
            .into(),
        };
        self.dispatch(phase, step, &buffers, name);
        let updated = &buffers[2..];
        let check = Nonfinite { len, buffers: updated.len(), at };
        self.dispatch(phase, check, &[updated, &[flags]].concat(), name);
    }

    /// Computes nothing twice, finds an order that keeps little alive, makes floats of what is kept in 16 bits, and plans the
    /// memory.
    pub fn finish(mut self) -> Program {
        reuse::merge(&mut self.program);
        schedule::order(&mut self.program);
        widen(&mut self.program);
        memory::plan(&mut self.program);
        self.program
    }

    fn phase(&mut self, phase: Phase, graph: &Graph) -> Result<(), LowerError> {
        let results = lower_graph(graph, &mut self.program, phase)?;
        let mut moved = BTreeMap::new();
        for (name, buffer) in results {
            let len = self.program.buffer(buffer).len;
            if let Some(parameter) = name.strip_prefix(SUM) {
                if self.program.buffer(buffer).dtype == DType::I32 {
                    let sum = self.grid_sum(parameter, len.fixed);
                    self.dispatch(phase, Carry { len: len.fixed }, &[buffer, sum], parameter);
                    continue;
                }
                let role = Role::GradientSum(parameter.into());
                let sum = self.get_or_add(role, &format!("sum.{parameter}"), len.fixed);
                self.dispatch(phase, Accumulate { len: len.fixed }, &[buffer, sum], parameter);
                continue;
            }
            // One value may be several outputs.
            let buffer = moved.get(&buffer).copied().unwrap_or(buffer);
            let role = Role::Output(name.clone());
            let computed = self.program.buffer(buffer).role == Role::Temporary;
            match self.program.find(&role) {
                // Phases that yield the same result write it to the same buffer.
                Some(out) if computed => {
                    for dispatch in self.program.phases.entry(phase).or_default() {
                        dispatch.buffers.iter_mut().filter(|b| **b == buffer).for_each(|b| *b = out);
                    }
                    moved.insert(buffer, out);
                    continue;
                }
                None if computed => {
                    self.program.buffers[buffer.0 as usize].role = role;
                    continue;
                }
                _ => {}
            }
            // An output that is also something else, such as an input handed through.
            let dtype = self.program.buffer(buffer).dtype;
            let out = self.program.find(&role).unwrap_or_else(|| self.add(role, &name, dtype, len));
            let (batched, record) = (len.per_row > 0, len.per_row.max(len.fixed));
            let copy = Copy {
                batched,
                from_record: record,
                to_record: record,
                from_offset: 0,
                to_offset: 0,
                axes: vec![CopyAxis { size: record, from: 1, to: 1 }],
            };
            self.dispatch(phase, copy, &[buffer, out], &name);
        }
        Ok(())
    }

    pub(super) fn get_or_add(&mut self, role: Role, name: &str, len: usize) -> BufferId {
        self.get_or_add_of(role, name, DType::F32, len)
    }

    pub(super) fn get_or_add_of(&mut self, role: Role, name: &str, dtype: DType, len: usize) -> BufferId {
        let found = self.program.find(&role);
        found.unwrap_or_else(|| self.add(role, name, dtype, Extent::fixed(len)))
    }

    /// The buffer that has a role, and its length.
    pub(super) fn find(&self, role: &Role) -> Option<(BufferId, usize)> {
        let id = self.program.find(role)?;
        Some((id, self.program.buffer(id).len.fixed))
    }

    /// A buffer of `len` floats for an intermediate result.
    pub(super) fn temporary(&mut self, name: &str, len: usize) -> BufferId {
        self.add(Role::Temporary, name, DType::F32, Extent::fixed(len))
    }

    fn add(&mut self, role: Role, name: &str, dtype: DType, len: Extent) -> BufferId {
        self.program.buffers.push(Buffer { name: name.into(), dtype, len, role, slot: 0 });
        BufferId(self.program.buffers.len() as u32 - 1)
    }

    pub(super) fn dispatch(&mut self, phase: Phase, kernel: impl Into<Kernel>, buffers: &[BufferId], label: &str) {
        let dispatch = Dispatch { kernel: kernel.into(), buffers: buffers.to_vec(), label: label.into(), views: 1 };
        self.program.phases.entry(phase).or_default().push(dispatch);
    }
}
