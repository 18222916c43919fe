use super::super::ending::released_by;
use super::super::tests::{KINDS, artifact_of};
use super::*;
use crate::lower::kernels::{Accumulate, Elementwise, OuterSum, Sums};
use crate::lower::scalar::Expr;
use crate::options::NoiseKind;

/// The phases of units of one record, and of several.
const PHASES: [&[Phase]; 4] = [
    &[Phase::Private, Phase::Update],
    &[Phase::Plain, Phase::Fold, Phase::Collect, Phase::Update],
    &[Phase::Private, Phase::Release],
    &[Phase::Plain, Phase::Fold, Phase::Release],
];

/// A program with the phase that ends its private steps, and the checks of it.
struct Case {
    program: Program,
    end: Phase,
}

impl Case {
    fn of(noise: NoiseKind) -> Case {
        let program = artifact_of("mlp", "cross-entropy", noise).program;
        Case { end: program.private_update(), program }
    }

    /// Both kinds.
    fn all() -> [Case; 2] {
        KINDS.map(Case::of)
    }

    fn passed(&self, check: usize) -> bool {
        let phases = if self.end == Phase::Update { &PHASES[..2] } else { &PHASES[2..] };
        let found = checks(&self.program, phases);
        assert_eq!(found.len(), if self.end == Phase::Update { 4 } else { 5 });
        found[check].passed
    }

    fn role(&self, id: BufferId) -> &Role {
        &self.program.buffer(id).role
    }

    fn find(&self, wanted: fn(&Kernel) -> bool) -> usize {
        self.program.phase(self.end).iter().position(|dispatch| wanted(&dispatch.kernel)).unwrap()
    }

    /// The first dispatch that adds noise.
    fn ending(&self) -> (usize, Ending) {
        let at = self.find(|kernel| Ending::of(kernel).is_some());
        (at, Ending::of(&self.program.phase(self.end)[at].kernel).unwrap())
    }

    fn dispatches(&mut self, phase: Phase) -> &mut Vec<Dispatch> {
        self.program.phases.entry(phase).or_default()
    }

    fn at(&mut self, at: usize) -> &mut Dispatch {
        let end = self.end;
        &mut self.dispatches(end)[at]
    }
}

#[test]
fn what_is_compiled_goes_through_noise() {
    for case in Case::all() {
        assert!((0..4).all(|check| case.passed(check)));
        assert!(case.end == Phase::Update || case.passed(4));
    }
}

#[test]
fn learning_rates_of_their_own_change_nothing_else() {
    for case in Case::all() {
        let names = case.program.ids().filter_map(|id| match &case.program.buffer(id).role {
            Role::Parameter(name) => Some(&**name),
            _ => None,
        });
        let names: Vec<&str> = names.collect();
        let groups = [names[..1].to_vec(), names[1..].to_vec()];
        let phases: Vec<Phase> = case.program.phases.keys().copied().collect();
        // Its memory is planned with its phases.
        let mut own = Case { program: rates::regroup(&case.program, &groups).restricted(&phases), ..case };
        let program = own.program.clone();
        let read = program.phase(own.end).iter().filter(|dispatch| matches!(dispatch.kernel, Kernel::Sgd(_)));
        assert!(
            read.into_iter().all(|dispatch| *own.role(dispatch.buffers[1]) != Role::Input(host_inputs::HYPER.into()))
        );
        let passed = |own: &Case| (0..4).all(|check| own.passed(check)) && (own.end == Phase::Update || own.passed(4));
        assert!(passed(&own));
        // A divisor of a group's own is none.
        let (at, ending) = own.ending();
        let sgd = own.find(|kernel| matches!(kernel, Kernel::Sgd(_)));
        own.at(at).buffers[ending.divisor] = program.phase(own.end)[sgd].buffers[1];
        assert!(!passed(&own));
    }
}

#[test]
fn a_step_that_reads_the_sum_is_found() {
    for mut case in Case::all() {
        let (at, ending) = case.ending();
        let sum = case.at(at).buffers[ending.sum];
        let sgd = case.find(|kernel| matches!(kernel, Kernel::Sgd(_)));
        case.at(sgd).buffers[0] = sum;
        assert!(!case.passed(0));
    }
}

#[test]
fn noise_that_is_short_of_another_parameter_or_used_twice_is_found() {
    for noise in KINDS {
        let mut short = Case::of(noise);
        let (at, ending) = short.ending();
        match &mut short.at(at).kernel {
            Kernel::AddNoise(kernel) => kernel.len -= 1,
            Kernel::Release(kernel) => kernel.len -= 1,
            _ => unreachable!(),
        }
        assert!(!short.passed(0));

        let mut other = Case::of(noise);
        let dispatches = other.program.phase(other.end).iter().rev();
        let last = dispatches.clone().find(|dispatch| released_by(&other.program, dispatch).is_some()).unwrap();
        let noise_of_last = last.buffers[ending.noise];
        other.at(at).buffers[ending.noise] = noise_of_last;
        assert!(!other.passed(0));

        let mut twice = Case::of(noise);
        let [sum, noise] = [ending.sum, ending.noise].map(|buffer| twice.at(at).buffers[buffer]);
        let kernel = Accumulate { len: ending.len }.into();
        let dispatch = Dispatch { kernel, buffers: vec![noise, sum], label: "again".to_owned(), views: 1 };
        twice.dispatches(Phase::Private).push(dispatch);
        assert!(!twice.passed(2));
    }
}

#[test]
fn other_writes_are_found() {
    let mut kept = Case::of(NoiseKind::Float);
    let at = kept.find(|kernel| matches!(kernel, Kernel::Fill(_)));
    kept.dispatches(Phase::Update).remove(at);
    assert!(!kept.passed(1));

    for mut early in Case::all() {
        let at = early.find(|kernel| matches!(kernel, Kernel::Sgd(_)));
        let step = early.at(at).clone();
        early.dispatches(Phase::Private).push(step);
        assert!(!early.passed(1));
    }
}

#[test]
fn flags_of_what_has_no_noise_are_found() {
    let at = |case: &Case| case.find(|kernel| matches!(kernel, Kernel::Nonfinite(_)));
    for noise in KINDS {
        let mut sums = Case::of(noise);
        let ((ends, ending), at_sums) = (sums.ending(), at(&sums));
        let sum = sums.at(ends).buffers[ending.sum];
        sums.at(at_sums).buffers[0] = sum;
        assert!(!sums.passed(0));

        let mut elsewhere = Case::of(noise);
        let at = at(&elsewhere);
        let flags = elsewhere.at(at).clone();
        elsewhere.dispatches(Phase::Private).push(flags);
        assert!(!elsewhere.passed(0));
    }
}

/// What lies between the rounding of records' shares and the noise.
#[test]
fn floats_before_the_noise_are_found() {
    let exact = || Case::of(NoiseKind::Exact);
    let is_carry = |dispatch: &Dispatch| matches!(dispatch.kernel, Kernel::Carry(_));
    let sum_of = |case: &mut Case| {
        let dispatches = case.dispatches(Phase::Private);
        let at = dispatches.iter().position(is_carry).unwrap();
        (at, dispatches[at].buffers[0])
    };

    let mut floats = exact();
    for dispatch in floats.dispatches(Phase::Private) {
        if let Kernel::OuterSum(OuterSum { sums, .. }) = &mut dispatch.kernel {
            *sums = Sums::Floats;
        }
    }
    assert!(!floats.passed(4));

    let mut product = exact();
    let (at, sum) = sum_of(&mut product);
    let len = product.program.buffer(sum).len.at(1);
    let operands = vec![crate::lower::kernels::Broadcast { record: 0, strides: vec![1] }; 2];
    let expr = Expr::call(Func::MulI32);
    let kernel = Elementwise { batched: false, dims: vec![len], operands, expr }.into();
    let dispatch = Dispatch { kernel, buffers: vec![sum, sum, sum], label: "product".to_owned(), views: 1 };
    product.dispatches(Phase::Private).insert(at, dispatch);
    assert!(!product.passed(4));

    let mut late = exact();
    let (at, _) = sum_of(&mut late);
    let carry = late.dispatches(Phase::Private).remove(at);
    late.dispatches(Phase::Private).insert(0, carry.clone());
    assert!(!late.passed(4));
    late.dispatches(Phase::Private).remove(0);
    late.dispatches(Phase::Release).insert(0, carry);
    assert!(!late.passed(1));
}

#[test]
fn memory_that_is_shared_too_early_is_found() {
    let mut program = Case::of(NoiseKind::Float).program;
    let temporary: Vec<BufferId> = program
        .phase(Phase::Private)
        .iter()
        .flat_map(|dispatch| dispatch.buffers.clone())
        .filter(|&id| program.buffer(id).role == Role::Temporary)
        .collect();
    let (first, slot) = (temporary[0], program.buffer(temporary[0]).slot);
    let next = *temporary.iter().find(|&&id| id != first && program.buffer(id).slot != slot).unwrap();
    let len = program.buffer(next).len;
    program.slots[slot as usize].tenants.push(len);
    program.buffers[next.0 as usize].slot = slot;
    assert!(!overlaps(&program).is_empty());

    let mut short = Case::of(NoiseKind::Float).program;
    let slot = short.buffers[first.0 as usize].slot;
    short.slots[slot as usize].tenants.clear();
    assert!(!overlaps(&short).is_empty());
}
