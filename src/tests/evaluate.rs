//! Graphs in double precision.

use std::collections::BTreeMap;

use crate::device::cases::reference::{Floats, kernel};
use crate::graph::DType;
use crate::lower::lower_graph;
use crate::lower::program::{Phase, Program, Role};
use crate::lower::widen::widen;
use crate::ops::Graph;

/// The contents of inputs and parameters, by name.
pub type Values = BTreeMap<String, Floats>;

/// All results of a graph for `rows` records: its outputs, and what else its kernels leave for the host to read.
pub fn evaluate(graph: &Graph, rows: usize, values: &Values) -> Values {
    evaluate_with(graph, rows, values, &mut |x| x)
}

/// [`evaluate`] with every float that a kernel computes replaced by what `round` makes of it.
pub fn evaluate_with(graph: &Graph, rows: usize, values: &Values, round: &mut dyn FnMut(f64) -> f64) -> Values {
    let views = graph.ids().find_map(|id| graph.op(id).rules().rows_joined()).unwrap_or(1);
    let mut program = Program { views, ..Program::default() };
    let outputs = lower_graph(graph, &mut program, Phase::Forward).unwrap_or_else(|e| panic!("{e}\n{graph}"));
    widen(&mut program);
    let mut memory: Vec<Floats> = program
        .ids()
        .map(|id| {
            let buffer = program.buffer(id);
            let floats = match &buffer.role {
                Role::Input(name) | Role::Parameter(name) => {
                    values.get(name).unwrap_or_else(|| panic!("no values for `{name}`")).clone()
                }
                Role::ConstantF32(data) => data.iter().map(|&x| x.into()).collect(),
                Role::ConstantI32(data) => data.iter().map(|&x| x.into()).collect(),
                // An element that no kernel writes shows.
                _ => vec![f64::NAN; buffer.len.at(rows)],
            };
            assert_eq!(floats.len(), buffer.len.at(rows), "{}", buffer.name);
            floats
        })
        .collect();
    for dispatch in program.phase(Phase::Forward) {
        let (read, written) = dispatch.buffers.split_at(dispatch.buffers.len() - dispatch.kernel.writes());
        let x: Vec<Floats> = read.iter().map(|id| memory[id.0 as usize].clone()).collect();
        let y = written.iter().map(|id| memory[id.0 as usize].clone()).collect();
        let rows = rows * dispatch.views;
        for (id, mut floats) in written.iter().zip(kernel(&dispatch.kernel, rows, &x, y)) {
            if program.buffer(*id).dtype == DType::F32 && dispatch.kernel.rules().flops(rows) > 0 {
                floats.iter_mut().for_each(|x| *x = round(*x));
            }
            memory[id.0 as usize] = floats;
        }
    }
    let of_kernels = program.ids().filter_map(|id| match &program.buffer(id).role {
        Role::Output(name) => Some((name.clone(), id)),
        _ => None,
    });
    of_kernels.chain(outputs).map(|(name, id)| (name, memory[id.0 as usize].clone())).collect()
}
