//! Graphs of typed values on both devices, against double precision.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::evaluate::evaluate;
use super::ops::{conv, conv_input_gradient, pool, recurrence};
use super::sketch::{ROWS, SIGNED, Sketch};
use crate::device::Device;
use crate::device::cases::Data;
use crate::device::cpu::Cpu;
use crate::device::gpu::Gpu;
use crate::graph::DType;
use crate::lower::lower_graph;
use crate::lower::program::{Phase, Program, Role};
use crate::lower::scalar::Func;
use crate::ops::Graph;
use crate::ops::{Op, elementwise::Elementwise};
use crate::passes::differentiate::differentiate;
use crate::passes::fuse::fuse;

fn devices() -> [Box<dyn Device>; 2] {
    let gpu = Gpu::open(None).unwrap_or_else(|e| panic!("the tests need a GPU adapter ({e})"));
    [Box::new(Cpu), Box::new(gpu)]
}

/// Holds all outputs of a graph on a device to those in double precision.
fn check(device: &dyn Device, sketch: &Sketch, graph: &Graph) {
    let mut program = Program::default();
    let outputs: BTreeMap<_, _> = lower_graph(graph, &mut program, Phase::Forward).unwrap_or_else(|e| panic!("{e}"));
    // What is read back is an output.
    for (name, id) in &outputs {
        program.buffers[id.0 as usize].role = Role::Output(name.clone());
    }
    let program = Arc::new(program);
    let mut session = device.load(program.clone(), ROWS).unwrap_or_else(|e| panic!("{}: {e}", sketch.name));
    for id in program.ids() {
        let buffer = program.buffer(id);
        if let Role::Input(name) | Role::Parameter(name) = &buffer.role {
            let words = match buffer.dtype {
                DType::F32 => bytemuck::cast_vec(sketch.values[name].iter().map(|&x| x as f32).collect()),
                _ => bytemuck::cast_vec(sketch.values[name].iter().map(|&x| x as i32).collect::<Vec<i32>>()),
            };
            session.write(id, &words).unwrap();
        }
    }
    session.run(Phase::Forward).unwrap();
    let expected = evaluate(graph, ROWS, &sketch.values);
    for (name, id) in outputs {
        let data = Data::from_words(program.buffer(id).dtype, session.read(id).unwrap());
        let result = data.compare(&expected[&name]);
        assert!(result.is_ok(), "{} on {}: {name}: {}", sketch.name, device.name(), result.unwrap_err());
    }
}

/// Runs a graph and its gradients as they are and fused.
fn check_everywhere(sketches: &[Sketch]) {
    for device in devices() {
        for sketch in sketches {
            let gradients = differentiate(&sketch.graph).unwrap_or_else(|e| panic!("{}: {}", sketch.name, e[0]));
            check(&*device, sketch, &gradients);
            check(&*device, sketch, &fuse(&gradients).unwrap());
        }
    }
}

#[test]
fn choices_have_values_and_gradients() {
    let mut sketch = Sketch::new("where not (x < y)");
    let x = sketch.value(true, &[7, 3], &SIGNED);
    let y = sketch.value(false, &[3], &SIGNED);
    let less = sketch.call(Func::Less, &[x, y]);
    let not = sketch.call(Func::Not, &[less]);
    let chosen = sketch.call(Func::Select, &[not, x, y]);
    let sketch = sketch.loss_of(chosen);
    let fused = fuse(&sketch.graph).unwrap();
    let longest = |id| matches!(fused.op(id), Op::Elementwise(Elementwise { expr }) if expr.calls() > 3);
    assert!(fused.ids().any(longest), "the comparison is not fused\n{fused}");
    check_everywhere(&[sketch]);
}

#[test]
fn integers_and_booleans_are_values() {
    let mut sketch = Sketch::new("x · float((i + j) mod 5) where i ≠ j or given");
    let x = sketch.value(true, &[2, 5], &SIGNED);
    let (i, j) = (sketch.ids(true, &[2, 5], 0..9), sketch.ids(false, &[5], 0..9));
    let given = sketch.integers(DType::Bool, true, &[2, 1], 0..2);
    let sum = sketch.call(Func::AddI32, &[i, j]);
    let fives =
        sketch.add(crate::ops::leaf::Constant { dims: vec![], data: crate::ops::leaf::Data::I32([-5].into()) }, &[]);
    let modulo = sketch.call(Func::ModI32, &[sum, fives]);
    let factor = sketch.call(Func::I32ToF32, &[modulo]);
    let scaled = sketch.call(Func::Mul, &[x, factor]);
    let equal = sketch.call(Func::EqualI32, &[i, j]);
    let unequal = sketch.call(Func::Not, &[equal]);
    let either = sketch.call(Func::Or, &[unequal, given]);
    let chosen = sketch.call(Func::Select, &[either, scaled, x]);
    let mut sketch = sketch.loss_of(chosen);
    sketch.graph.outputs.extend([("modulo".to_string(), modulo), ("either".to_string(), either)]);
    assert_eq!(sketch.graph.ty(either).to_string(), "bool[N, 2, 5]");
    check_everywhere(&[sketch]);
}

#[test]
fn windows_slide_over_one_two_and_three_axes() {
    check_everywhere(&[conv(), conv_input_gradient(), pool()].concat());
}

#[test]
fn recurrences_run_in_both_directions() {
    // Those of several steps.
    let sketches: Vec<Sketch> = recurrence().into_iter().filter(|sketch| sketch.name.starts_with('3')).collect();
    assert!(sketches.iter().any(|sketch| sketch.name.contains("Reverse")));
    check_everywhere(&sketches);
}
