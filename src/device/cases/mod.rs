//! Test cases for every kernel, at shapes that sit badly with tiles, and what the contracts say they yield.
//!
//! A case is a program of one dispatch with its data. [`reference`] works out its result in `f64`, straight from the
//! formula in the kernel's doc; every device is held to it, and so to every other device.

pub mod apart;
pub mod custom;
mod data;
mod grid;
mod layers;
mod long;
mod maps;
pub mod nonfinite;
mod products;
pub mod reference;
pub mod rounding;
pub mod wide;

use std::collections::BTreeMap;

pub use data::{Data, window};

use super::Device;
use crate::device::TARGETS;
use crate::lower::kernels::Kernel;
use crate::lower::program::{Buffer, BufferId, Dispatch, Extent, Phase, Program, Role, Slot};

/// A dispatch and its data.
#[derive(Clone, Debug)]
pub struct Case {
    /// The kernel's name and what is special about the case.
    pub name: String,
    /// A program whose forward phase is the dispatch.
    pub program: Program,
    /// What every buffer holds before the dispatch, written ones included.
    pub inputs: Vec<(BufferId, Vec<u32>)>,
    /// The buffers to compare after it.
    pub outputs: Vec<BufferId>,
    /// Rows of the physical batch.
    pub rows: usize,
}

impl Case {
    /// A case from the data of the buffers, read ones and written ones, in the kernel's order.
    fn new(
        name: impl Into<String>,
        rows: usize,
        kernel: impl Into<Kernel>,
        read: Vec<Data>,
        written: Vec<Data>,
    ) -> Case {
        let kernel = kernel.into();
        assert_eq!(kernel.writes(), written.len(), "written buffers of {kernel:?}");
        let mut program = Program { targets: TARGETS.ids(), ..Program::default() };
        let mut inputs = Vec::new();
        let reads = read.len();
        for (i, data) in read.into_iter().chain(written).enumerate() {
            let (len, name) = (Extent::fixed(data.elements()), format!("b{i}"));
            let role = if i < reads { Role::Input(name.clone()) } else { Role::Output(name.clone()) };
            program.buffers.push(Buffer { name, dtype: data.dtype(), len, role, slot: i as u32 });
            program.slots.push(Slot { dtype: data.dtype(), tenants: vec![len] });
            inputs.push((BufferId(i as u32), data.words()));
        }
        let buffers: Vec<BufferId> = program.ids().collect();
        let outputs = buffers[reads..].to_vec();
        let name = format!("{}/{}", kernel.rules().name(), name.into());
        let dispatch = Dispatch { kernel, buffers, label: name.clone(), views: 1 };
        program.phases = BTreeMap::from([(Phase::Forward, vec![dispatch])]);
        Case { name, program, inputs, outputs, rows }
    }

    /// The kernel.
    pub fn kernel(&self) -> &Kernel {
        &self.program.phase(Phase::Forward)[0].kernel
    }

    /// Leaves all outputs but number `k` uncompared.
    fn only(mut self, k: usize) -> Case {
        self.outputs = vec![self.outputs[k]];
        self
    }
}

/// All cases, or those of the kernels that the variable `DPC_CASES` names, separated by commas.
pub fn cases() -> Vec<Case> {
    let mut all = maps::cases();
    all.extend(layers::cases());
    all.extend(products::cases());
    all.extend(custom::cases());
    let integers = grid::cases(&all);
    all.extend(integers);
    if let Ok(names) = std::env::var("DPC_CASES") {
        all.retain(|case| names.split(',').any(|name| name == case.kernel().rules().name()));
        assert!(!all.is_empty(), "no case is of {names}");
    }
    all
}

/// Cases whose sums are longer than the loops that drivers allow.
pub fn long_cases() -> Vec<Case> {
    long::cases()
}

/// Runs all cases on a device and reports, one line each, those that miss the reference.
pub fn check(device: &dyn Device, cases: &[Case]) -> Result<(), String> {
    let problems: Vec<String> =
        cases.iter().filter_map(|c| run(device, c).err().map(|e| format!("{}: {e}", c.name))).collect();
    if problems.is_empty() { Ok(()) } else { Err(problems.join("\n")) }
}

fn run(device: &dyn Device, case: &Case) -> Result<(), String> {
    let text = |e: super::DeviceError| e.to_string();
    let mut session = device.load(case.program.clone().into(), case.rows).map_err(text)?;
    for (id, words) in &case.inputs {
        session.write(*id, words).map_err(text)?;
    }
    session.run(Phase::Forward).map_err(text)?;
    let expected = reference::reference(case);
    for id in &case.outputs {
        let data = Data::from_words(case.program.buffer(*id).dtype, session.read(*id).map_err(text)?);
        data.compare(&expected[id]).map_err(|e| format!("{id:?}: {e}"))?;
    }
    Ok(())
}

#[test]
fn references_are_not_all_infinite() {
    for case in cases() {
        let expected = reference::reference(&case);
        let finite = case.outputs.iter().flat_map(|id| &expected[id]).any(|v| v.is_finite());
        assert!(finite, "{}", case.name);
    }
}
