//! What the artifact's own program does with a gradient sum, read off the program before anything is run.
//!
//! Other checks measure what [`AddNoise`](crate::lower::kernels::AddNoise) puts out. This one shows that nothing else of
//! the records reaches a parameter: in the update phase a value counts as known from the records unless it comes from the
//! parameters, the optimizer, the noise or the host's numbers, and only an `AddNoise` with the noise of the same parameter,
//! as long as the parameter is, makes it a gradient that an optimizer may read. Two values that are
//! needed at once must not share memory either.

use std::collections::{BTreeMap, BTreeSet};

use super::report::Check;
use crate::lower::kernels::Kernel;
use crate::lower::program::{BufferId, Dispatch, Phase, Program, Role};
use crate::lower::{host_inputs, host_outputs};

/// Physical batches at which the lengths of memory slots are checked.
const ROWS: [usize; 3] = [1, 64, 65_535];

/// The checks of `program`, of which devices get some `phases` at a time.
pub fn checks(program: &Program, phases: &[&[Phase]]) -> Vec<Check> {
    let mut flow = Flow { program, labels: BTreeMap::new(), around: Vec::new(), writes: Vec::new(), noise: Vec::new() };
    flow.update();
    flow.other_phases();
    let trained = sums(program).count();
    let mut memory = overlaps(program);
    for phases in phases {
        // Memory is planned anew for them.
        memory.extend(overlaps(&program.restricted(phases)));
    }
    let check = |name: &str, problems: &[String], otherwise: String| {
        let check = Check::at_most(name, problems.len() as f64, 0.0);
        check.with(problems.first().cloned().unwrap_or(otherwise))
    };
    vec![
        check("ways around the noise", &flow.around, format!("each of {trained} sums goes through noise of its own")),
        check("other writes of what training keeps", &flow.writes, String::new()),
        check("other uses of noise", &flow.noise, String::new()),
        check("values in memory that another needs", &memory, format!("{} values", program.buffers.len())),
    ]
}

/// The sums of parameters' gradients.
fn sums(program: &Program) -> impl Iterator<Item = (BufferId, &str)> {
    program.ids().filter_map(|id| match &program.buffer(id).role {
        Role::GradientSum(parameter) => Some((id, &**parameter)),
        _ => None,
    })
}

/// What is known of the values in a buffer during the update.
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
}

impl Flow<'_> {
    fn role(&self, id: BufferId) -> &Role {
        &self.program.buffer(id).role
    }

    fn label(&self, id: BufferId) -> Label {
        let of_role = || match self.role(id) {
            Role::Parameter(_)
            | Role::OptimizerState(..)
            | Role::ConstantF32(_)
            | Role::ConstantI32(_)
            | Role::Noise(_) => Label::Public,
            Role::Input(name) if name == host_inputs::HYPER => Label::Public,
            Role::Output(name) if name == host_outputs::NONFINITE && self.is_of_update(id) => Label::Public,
            _ => Label::Records,
        };
        self.labels.get(&id).cloned().unwrap_or_else(of_role)
    }

    /// Whether only the update phase uses a buffer.
    fn is_of_update(&self, id: BufferId) -> bool {
        let others = self.program.phases.iter().filter(|(phase, _)| **phase != Phase::Update);
        !others.flat_map(|(_, dispatches)| dispatches).any(|dispatch| dispatch.buffers.contains(&id))
    }

    fn update(&mut self) {
        for dispatch in self.program.phase(Phase::Update) {
            let (read, written) = split(dispatch);
            let label = match &dispatch.kernel {
                Kernel::AddNoise(kernel) => self.released(kernel.len, read, written),
                Kernel::Fill(_) if self.is_reset(dispatch) => Some(Label::Public),
                _ => None,
            };
            // Whatever is in both counts: a kernel may leave parts of what it writes as they were.
            let records = read.iter().chain(written).any(|&id| self.label(id) != Label::Public);
            let label = label.unwrap_or(if records { Label::Records } else { Label::Public });
            for &id in written {
                self.written(dispatch, id, &label);
            }
            let reads_noise = read.iter().any(|&id| matches!(self.role(id), Role::Noise(_)));
            if reads_noise && !matches!(dispatch.kernel, Kernel::AddNoise(_)) {
                self.noise.push(format!("`{}` reads noise", dispatch.label));
            }
        }
        for (sum, parameter) in sums(self.program) {
            let update = self.program.phase(Phase::Update).iter();
            let uses: Vec<&Dispatch> = update.filter(|dispatch| dispatch.buffers.contains(&sum)).collect();
            if uses.iter().filter(|dispatch| matches!(dispatch.kernel, Kernel::AddNoise(_))).count() != 1 {
                self.around.push(format!("the sum of `{parameter}` does not get noise once"));
            }
            if !uses.last().is_some_and(|dispatch| self.is_reset(dispatch)) {
                self.writes.push(format!("the sum of `{parameter}` is not set to 0 after a step"));
            }
        }
    }

    /// What an `AddNoise` of `len` elements puts out; none where it is not sum, noise and divisor of one parameter.
    fn released(&mut self, len: usize, read: &[BufferId], written: &[BufferId]) -> Option<Label> {
        let ([sum, noise, hyper], [gradient]) = (read, written) else { return None };
        let Role::GradientSum(parameter) = self.role(*sum) else { return None };
        let whole = [*sum, *noise, *gradient].iter().all(|&id| self.program.buffer(id).len.at(1) == len);
        let own = *self.role(*noise) == Role::Noise(parameter.clone());
        let divisor = *self.role(*hyper) == Role::Input(host_inputs::HYPER.to_owned());
        let untouched = [sum, noise, hyper].iter().all(|id| !self.labels.contains_key(id));
        (whole && own && divisor && untouched).then(|| Label::Released(parameter.clone()))
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
            Role::Noise(_) | Role::Input(_) | Role::ConstantF32(_) | Role::ConstantI32(_) => {
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

    /// Whether `dispatch` sets all of a buffer to 0.
    fn is_reset(&self, dispatch: &Dispatch) -> bool {
        let Kernel::Fill(fill) = &dispatch.kernel else { return false };
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
            && *self.role(*hyper) == Role::Input(host_inputs::HYPER.to_owned())
            && *self.role(*value) == Role::Parameter(parameter.to_owned())
            && self.program.buffer(*value).len.at(1) == len
            && states.iter().all(own)
    }

    /// No phase but the update writes what training keeps, or uses noise.
    fn other_phases(&mut self) {
        for (phase, dispatches) in self.program.phases.iter().filter(|(phase, _)| **phase != Phase::Update) {
            for dispatch in dispatches {
                let what = |problem| format!("`{}` of phase {} {problem}", dispatch.label, phase.name());
                let (_, written) = split(dispatch);
                let keeps = |id: &BufferId| matches!(self.role(*id), Role::Parameter(_) | Role::OptimizerState(..));
                if written.iter().any(keeps) {
                    self.writes.push(what("writes a parameter or optimizer state"));
                }
                if dispatch.buffers.iter().any(|&id| matches!(self.role(id), Role::Noise(_))) {
                    self.noise.push(what("uses noise"));
                }
            }
        }
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
mod tests {
    use super::*;
    use crate::lower::kernels::Accumulate;

    /// The phases of units of one record, and of several.
    const PHASES: [&[Phase]; 2] =
        [&[Phase::Private, Phase::Update], &[Phase::Plain, Phase::Fold, Phase::Collect, Phase::Update]];

    fn program() -> Program {
        super::super::tests::artifact_of("mlp", "cross-entropy").program
    }

    fn of_kernel(program: &Program, wanted: fn(&Kernel) -> bool) -> usize {
        program.phase(Phase::Update).iter().position(|dispatch| wanted(&dispatch.kernel)).unwrap()
    }

    fn update(program: &mut Program) -> &mut Vec<Dispatch> {
        program.phases.entry(Phase::Update).or_default()
    }

    #[test]
    fn what_is_compiled_goes_through_noise() {
        for check in checks(&program(), &PHASES) {
            assert!(check.passed, "{check:?}");
        }
    }

    #[test]
    fn a_step_that_reads_the_sum_is_found() {
        let mut program = program();
        let add_noise = of_kernel(&program, |kernel| matches!(kernel, Kernel::AddNoise(_)));
        let sgd = of_kernel(&program, |kernel| matches!(kernel, Kernel::Sgd(_)));
        let sum = update(&mut program)[add_noise].buffers[0];
        update(&mut program)[sgd].buffers[0] = sum;
        assert!(!checks(&program, &PHASES)[0].passed);
    }

    #[test]
    fn noise_that_is_short_of_another_parameter_or_used_twice_is_found() {
        let add_noise = |program: &Program| of_kernel(program, |kernel| matches!(kernel, Kernel::AddNoise(_)));
        let mut short = program();
        let at = add_noise(&short);
        let Kernel::AddNoise(kernel) = &mut update(&mut short)[at].kernel else { unreachable!() };
        kernel.len -= 1;
        assert!(!checks(&short, &PHASES)[0].passed);

        let mut other = program();
        let noise = other.phase(Phase::Update).iter().rev();
        let noise = noise.clone().find(|dispatch| matches!(dispatch.kernel, Kernel::AddNoise(_))).unwrap().buffers[1];
        update(&mut other)[at].buffers[1] = noise;
        assert!(!checks(&other, &PHASES)[0].passed);

        let mut twice = program();
        let [sum, noise] = [0, 1].map(|i| twice.phase(Phase::Update)[at].buffers[i]);
        let len = twice.buffer(sum).len.at(1);
        let kernel = Accumulate { len }.into();
        let dispatch = Dispatch { kernel, buffers: vec![noise, sum], label: "again".to_owned(), shader: 0 };
        twice.phases.entry(Phase::Private).or_default().push(dispatch);
        assert!(!checks(&twice, &PHASES)[2].passed);
    }

    #[test]
    fn other_writes_are_found() {
        let mut kept = program();
        let at = of_kernel(&kept, |kernel| matches!(kernel, Kernel::Fill(_)));
        update(&mut kept).remove(at);
        assert!(!checks(&kept, &PHASES)[1].passed);

        let mut early = program();
        let at = of_kernel(&early, |kernel| matches!(kernel, Kernel::Sgd(_)));
        let step = early.phase(Phase::Update)[at].clone();
        early.phases.entry(Phase::Private).or_default().push(step);
        assert!(!checks(&early, &PHASES)[1].passed);
    }

    #[test]
    fn flags_of_what_has_no_noise_are_found() {
        let at = |program: &Program| of_kernel(program, |kernel| matches!(kernel, Kernel::Nonfinite(_)));
        let mut sums = program();
        let add_noise = of_kernel(&sums, |kernel| matches!(kernel, Kernel::AddNoise(_)));
        let (sum, at_sums) = (sums.phase(Phase::Update)[add_noise].buffers[0], at(&sums));
        update(&mut sums)[at_sums].buffers[0] = sum;
        assert!(!checks(&sums, &PHASES)[0].passed);

        let mut elsewhere = program();
        let flags = elsewhere.phase(Phase::Update)[at(&elsewhere)].clone();
        elsewhere.phases.entry(Phase::Private).or_default().push(flags);
        assert!(!checks(&elsewhere, &PHASES)[0].passed);
    }

    #[test]
    fn memory_that_is_shared_too_early_is_found() {
        let mut program = program();
        let temporary: Vec<BufferId> = program
            .phase(Phase::Private)
            .iter()
            .flat_map(|dispatch| dispatch.buffers.clone())
            .filter(|&id| program.buffer(id).role == Role::Temporary)
            .collect();
        let (first, slot) = (temporary[0], program.buffer(temporary[0]).slot);
        let next = *temporary.iter().find(|&&id| id != first && program.buffer(id).slot != slot).unwrap();
        let len = program.buffer(next).len;
        program.slots[slot as usize].push(len);
        program.buffers[next.0 as usize].slot = slot;
        assert!(!overlaps(&program).is_empty());

        let mut short = super::tests::program();
        let slot = short.buffers[first.0 as usize].slot;
        short.slots[slot as usize].clear();
        assert!(!overlaps(&short).is_empty());
    }
}
