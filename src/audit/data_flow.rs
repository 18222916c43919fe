//! What the artifact's own program does with a gradient sum, read off the program before anything is run.
//!
//! Other checks measure what [`AddNoise`](crate::lower::kernels::AddNoise) and
//! [`Release`](crate::lower::kernels::Release) put out. This one shows that nothing else of
//! the records reaches a parameter: in the phases that end a step a value counts as known from the records unless it comes from the
//! parameters, the optimizer, the noise or the host's numbers, and only one of these kernels with the noise of the same parameter,
//! as long as the parameter is, makes it a gradient that an optimizer may read. What an integer sum is made of must have been
//! integers since each record's share was rounded. Two values that are
//! needed at once must not share memory either.

use std::collections::{BTreeMap, BTreeSet};

use super::ending::Ending;
use super::report::Check;
use crate::graph::DType;
use crate::lower::kernels::Kernel;
use crate::lower::program::{BufferId, Dispatch, Phase, Program, Role};
use crate::lower::scalar::{Func, Step};
use crate::lower::{host_inputs, host_outputs, rates};

/// The phases that end a step.
const ENDS: [Phase; 2] = [Phase::Update, Phase::Release];

/// Physical batches at which the lengths of memory slots are checked.
const ROWS: [usize; 3] = [1, 64, 65_535];

/// The checks of `program`, of which devices get some `phases` at a time.
pub fn checks(program: &Program, phases: &[&[Phase]]) -> Vec<Check> {
    let mut flow = Flow::new(program);
    ENDS.into_iter().for_each(|end| flow.end(end));
    flow.other_phases();
    let of_integers = sums(program, Phase::Release).count();
    let trained = sums(program, Phase::Update).count() + of_integers;
    let mut memory = overlaps(program);
    for phases in phases {
        // Memory is planned anew for them.
        memory.extend(overlaps(&program.restricted(phases)));
    }
    let check = |name: &str, problems: &[String], otherwise: String| {
        let check = Check::at_most(name, problems.len() as f64, 0.0);
        check.with(problems.first().cloned().unwrap_or(otherwise))
    };
    let mut checks = vec![
        check("ways around the noise", &flow.around, format!("each of {trained} sums goes through noise of its own")),
        check("other writes of what training keeps", &flow.writes, String::new()),
        check("other uses of noise", &flow.noise, String::new()),
        check("values in memory that another needs", &memory, format!("{} values", program.buffers.len())),
    ];
    if of_integers > 0 {
        let otherwise = format!("from rounding to noise, {of_integers} sums are of nothing but integers");
        checks.push(check("integer sums of what is not a record's integers", &flow.integers, otherwise));
    }
    checks
}

/// The sums of parameters' gradients that the phase `end` releases.
fn sums(program: &Program, end: Phase) -> impl Iterator<Item = (BufferId, &str)> {
    program.ids().filter_map(move |id| match &program.buffer(id).role {
        Role::GradientSum(parameter) if end == Phase::Update => Some((id, &**parameter)),
        Role::GridSum(parameter) if end == Phase::Release => Some((id, &**parameter)),
        _ => None,
    })
}

/// What is known of the values in a buffer at the end of a step.
#[derive(Clone, PartialEq)]
enum Label {
    /// They come from what is public already, or from noise.
    Public,
    /// They are what a step releases of this parameter's gradient.
    Released(String),
    /// They may come from records, without noise.
    Records,
}

/// The data flow of a program, with all that is wrong with it.
struct Flow<'a> {
    program: &'a Program,
    labels: BTreeMap<BufferId, Label>,
    around: Vec<String>,
    writes: Vec<String>,
    noise: Vec<String>,
    integers: Vec<String>,
}

impl<'a> Flow<'a> {
    fn new(program: &'a Program) -> Flow<'a> {
        let [around, writes, noise, integers] = [const { Vec::new() }; 4];
        Flow { program, labels: BTreeMap::new(), around, writes, noise, integers }
    }

    fn role(&self, id: BufferId) -> &Role {
        &self.program.buffer(id).role
    }

    fn label(&self, id: BufferId) -> Label {
        let of_role = || match self.role(id) {
            Role::Parameter(_)
            | Role::OptimizerState(..)
            | Role::ConstantF32(_)
            | Role::ConstantI32(_)
            | Role::Noise(_)
            | Role::GridNoise(_) => Label::Public,
            Role::Input(name) if rates::is_input(name) || name == host_inputs::GRID_UNITS => Label::Public,
            Role::Output(name) if name == host_outputs::NONFINITE && self.is_of_ends(id) => Label::Public,
            _ => Label::Records,
        };
        self.labels.get(&id).cloned().unwrap_or_else(of_role)
    }

    /// Whether only the phases that end a step use a buffer.
    fn is_of_ends(&self, id: BufferId) -> bool {
        let others = self.program.phases.iter().filter(|(phase, _)| !ENDS.contains(phase));
        !others.flat_map(|(_, dispatches)| dispatches).any(|dispatch| dispatch.buffers.contains(&id))
    }

    fn is_noise(&self, id: BufferId) -> bool {
        matches!(self.role(id), Role::Noise(_) | Role::GridNoise(_))
    }

    /// The phase `end`, which ends a step.
    fn end(&mut self, end: Phase) {
        self.labels.clear();
        for dispatch in self.program.phase(end) {
            let (read, written) = split(dispatch);
            let ending = Ending::of(&dispatch.kernel);
            let label = match (&dispatch.kernel, ending) {
                (_, Some(ending)) => self.released(dispatch, ending),
                (Kernel::Fill(_), _) if self.is_reset(dispatch) => Some(Label::Public),
                _ => None,
            };
            // Whatever is in both counts: a kernel may leave parts of what it writes as they were.
            let records = read.iter().chain(written).any(|&id| self.label(id) != Label::Public);
            let label = label.unwrap_or(if records { Label::Records } else { Label::Public });
            for &id in written {
                self.written(dispatch, id, &label);
            }
            if ending.is_none() && read.iter().any(|&id| self.is_noise(id)) {
                self.noise.push(format!("`{}` reads noise", dispatch.label));
            }
        }
        for (sum, parameter) in sums(self.program, end) {
            let uses = self.program.phase(end).iter().filter(|dispatch| dispatch.buffers.contains(&sum));
            let uses: Vec<&Dispatch> = uses.collect();
            if uses.iter().filter(|dispatch| Ending::of(&dispatch.kernel).is_some()).count() != 1 {
                self.around.push(format!("the sum of `{parameter}` does not get noise once"));
            }
            if !uses.last().is_some_and(|dispatch| self.is_reset(dispatch)) {
                self.writes.push(format!("the sum of `{parameter}` is not set to 0 after a step"));
            }
        }
    }

    /// What a dispatch puts out that adds noise; none where it is not sum, noise and divisor of one parameter.
    fn released(&mut self, dispatch: &Dispatch, ending: Ending) -> Option<Label> {
        let buffer = |at: usize| dispatch.buffers.get(at).copied();
        let (sum, noise, divisor) = (buffer(ending.sum)?, buffer(ending.noise)?, buffer(ending.divisor)?);
        let (parameter, of_parameter) = match (self.role(sum), ending.unit) {
            (Role::GradientSum(parameter), None) => (parameter, Role::Noise(parameter.clone())),
            (Role::GridSum(parameter), Some(_)) => (parameter, Role::GridNoise(parameter.clone())),
            _ => return None,
        };
        let is_long = |id: BufferId, words: usize| self.program.buffer(id).len.at(1) == words * ending.len;
        let whole = [sum, noise].iter().all(|&id| is_long(id, ending.words())) && is_long(buffer(ending.gradient)?, 1);
        let own = *self.role(noise) == of_parameter;
        let is_input = |at: usize, name: &str| buffer(at).is_some_and(|id| *self.role(id) == Role::Input(name.into()));
        let units = ending.unit.is_none_or(|unit| is_input(unit, host_inputs::GRID_UNITS));
        let host = is_input(ending.divisor, host_inputs::HYPER) && units;
        let untouched = [sum, noise, divisor].iter().all(|id| !self.labels.contains_key(id));
        (whole && own && host && untouched).then(|| Label::Released(parameter.clone()))
    }

    /// `dispatch` writes `label` to `id`.
    fn written(&mut self, dispatch: &Dispatch, id: BufferId, label: &Label) {
        let what = |problem: &str| format!("`{}` {problem}", dispatch.label);
        match self.role(id) {
            Role::Parameter(parameter) | Role::OptimizerState(parameter, _) => {
                let parameter = parameter.clone();
                if !self.is_step(dispatch, &parameter) {
                    self.around.push(what(&format!("writes `{parameter}` from something else than its gradient")));
                }
            }
            Role::GradientSum(_) if !self.is_reset(dispatch) => {
                self.writes.push(what("writes a gradient sum"));
            }
            Role::GridSum(_) if !matches!(label, Label::Released(_)) => {
                self.writes.push(what("writes an integer sum"));
            }
            Role::Noise(_) | Role::GridNoise(_) | Role::Input(_) | Role::ConstantF32(_) | Role::ConstantI32(_) => {
                self.writes.push(what("writes what the host fills"));
            }
            Role::Output(_) if *label == Label::Records => self.around.push(what("shows what has no noise")),
            _ => {}
        }
        // A sum that is set to zero counts as known from records all the same.
        if matches!(self.role(id), Role::Temporary) {
            self.labels.insert(id, label.clone());
        }
    }

    /// Whether `dispatch` sets all of a sum to 0.
    fn is_reset(&self, dispatch: &Dispatch) -> bool {
        let Kernel::Fill(fill) = &dispatch.kernel else { return matches!(dispatch.kernel, Kernel::Release(_)) };
        fill.value == 0.0 && dispatch.buffers.iter().all(|&id| self.program.buffer(id).len == fill.len)
    }

    /// Whether `dispatch` is an optimizer's step of `parameter` by what is released of its gradient.
    fn is_step(&self, dispatch: &Dispatch, parameter: &str) -> bool {
        let len = match &dispatch.kernel {
            Kernel::Sgd(kernel) => kernel.len,
            Kernel::Adam(kernel) => kernel.len,
            _ => return false,
        };
        let [gradient, hyper, value, states @ ..] = &dispatch.buffers[..] else { return false };
        let own = |id: &BufferId| matches!(self.role(*id), Role::OptimizerState(of, _) if of == parameter);
        self.label(*gradient) == Label::Released(parameter.to_owned())
            && matches!(self.role(*hyper), Role::Input(name) if rates::is_input(name))
            && *self.role(*value) == Role::Parameter(parameter.to_owned())
            && self.program.buffer(*value).len.at(1) == len
            && states.iter().all(own)
    }

    /// No phase but those that end a step writes what training keeps, or uses noise, and integer sums get what is rounded of each
    /// record.
    fn other_phases(&mut self) {
        for (phase, dispatches) in self.program.phases.iter().filter(|(phase, _)| !ENDS.contains(phase)) {
            for (at, dispatch) in dispatches.iter().enumerate() {
                let what = |problem| format!("`{}` of phase {} {problem}", dispatch.label, phase.name());
                let (read, written) = split(dispatch);
                let keeps = |id: &BufferId| matches!(self.role(*id), Role::Parameter(_) | Role::OptimizerState(..));
                if written.iter().any(keeps) {
                    self.writes.push(what("writes a parameter or optimizer state"));
                }
                if dispatch.buffers.iter().any(|&id| self.is_noise(id)) {
                    self.noise.push(what("uses noise"));
                }
                let is_sum = |id: &BufferId| matches!(self.role(*id), Role::GridSum(_));
                let adds = match &dispatch.kernel {
                    Kernel::Carry(_) => {
                        *phase == Phase::Private && read.iter().all(|&id| self.is_rounded(&dispatches[..at], id))
                    }
                    Kernel::Fold(fold) => *phase == Phase::Fold && fold.grid,
                    _ => false,
                };
                if dispatch.buffers.iter().any(is_sum) && !adds {
                    self.integers.push(what("adds something else to an integer sum"));
                }
            }
        }
    }

    /// Whether the value that `dispatches` leave in a buffer is a sum over records, of which each was rounded to integers, and
    /// whatever came after was of integers.
    fn is_rounded(&self, dispatches: &[Dispatch], id: BufferId) -> bool {
        let writers = dispatches.iter().enumerate().filter(|(_, dispatch)| split(dispatch).1.contains(&id));
        let writers: Vec<(usize, &Dispatch)> = writers.collect();
        let rounded = |(at, dispatch): &(usize, &Dispatch)| match &dispatch.kernel {
            Kernel::OuterSum(kernel) => kernel.sums.integers(),
            Kernel::Reduce(kernel) => kernel.records.sums().integers(),
            Kernel::Scatter(kernel) => kernel.records.sums().integers(),
            kernel => {
                moves_integers(kernel) && split(dispatch).0.iter().all(|&id| self.is_rounded(&dispatches[..*at], id))
            }
        };
        self.program.buffer(id).dtype == DType::I32 && !writers.is_empty() && writers.iter().all(rounded)
    }
}

/// Whether a kernel adds or moves integers and does nothing else.
fn moves_integers(kernel: &Kernel) -> bool {
    match kernel {
        Kernel::Copy(_) | Kernel::Rearrange(_) => true,
        Kernel::Elementwise(kernel) => kernel
            .expr
            .steps()
            .iter()
            .all(|step| matches!(step, Step::Operand(_, DType::I32) | Step::Call(Func::AddI32, _))),
        _ => false,
    }
}

/// The buffers that a dispatch reads, and those that it writes.
fn split(dispatch: &Dispatch) -> (&[BufferId], &[BufferId]) {
    dispatch.buffers.split_at(dispatch.buffers.len().saturating_sub(dispatch.kernel.writes()))
}

/// Values that the memory plan of `program` lets another overwrite while they are needed.
fn overlaps(program: &Program) -> Vec<String> {
    let mut problems = Vec::new();
    if program.slots.is_empty() {
        return problems;
    }
    let name = |id: BufferId| &program.buffer(id).name;
    let slot = |id: BufferId| program.buffer(id).slot;
    let temporary = |id: BufferId| program.buffer(id).role == Role::Temporary;
    let used: BTreeSet<BufferId> =
        program.phases.values().flatten().flat_map(|dispatch| dispatch.buffers.iter().copied()).collect();
    let mut tenants: BTreeMap<u32, Vec<BufferId>> = BTreeMap::new();
    for id in program.ids().filter(|&id| used.contains(&id) || !temporary(id)) {
        tenants.entry(slot(id)).or_default().push(id);
        if ROWS.iter().any(|&rows| program.slot_len(slot(id), rows) < program.buffer(id).len.at(rows)) {
            problems.push(format!("`{}` is longer than its memory", name(id)));
        }
    }
    for ids in tenants.values().filter(|ids| ids.len() > 1) {
        problems
            .extend(ids.iter().filter(|&&id| !temporary(id)).map(|&id| format!("`{}` shares its memory", name(id))));
    }
    for dispatches in program.phases.values() {
        // Whose values each slot holds, and which values have been there before.
        let (mut holds, mut before) = (BTreeMap::new(), BTreeSet::new());
        for dispatch in dispatches {
            let (read, written) = split(dispatch);
            for &id in read.iter().chain(written).filter(|&&id| temporary(id)) {
                let needed = read.contains(&id) || before.contains(&id);
                if needed && holds.get(&slot(id)) != Some(&id) {
                    problems.push(format!("`{}` is overwritten before `{}`", name(id), dispatch.label));
                }
            }
            for &id in written {
                if dispatch.buffers.iter().any(|&other| other != id && slot(other) == slot(id)) {
                    problems.push(format!("`{}` is written where `{}` reads or writes", name(id), dispatch.label));
                }
                holds.insert(slot(id), id);
                before.insert(id);
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests;
