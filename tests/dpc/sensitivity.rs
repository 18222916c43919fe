//! What one record can do to the clipped sum, whatever it holds and however norms are computed.

use dpc::compile::Compiled;
use dpc::device::cpu::Cpu;
use dpc::device::gpu::Gpu;
use dpc::device::{Device, Session};
use dpc::graph::DType;
use dpc::lower::host_inputs;
use dpc::lower::program::{BufferId, Phase, Role};
use dpc::options::NormChoice;

use crate::zoo::{CLIP, Golden, compiled, options, session, zoo};

const WAYS: [NormChoice; 4] = [NormChoice::Auto, NormChoice::Materialize, NormChoice::Ghost, NormChoice::Tile];

/// Models with every kind of weight gradient: dense, convolutional, embedding, recurrent, tied, shared, broadcast.
const MODELS: [&str; 8] = [
    "mlp",
    "mnist_small",
    "embedding_small",
    "lstm_small",
    "tied_embedding",
    "shared_linear",
    "scale_and_token",
    "attention_heads",
];

/// The clipped sum of a physical batch, all parameters in one vector; the gradient sums are zero afterwards.
fn clipped_sum(session: &mut dyn Session, compiled: &Compiled, weight: &[f32]) -> Vec<f32> {
    let program = &compiled.program;
    let find = |role: Role| program.find(&role).expect("a buffer");
    session.write_f32(find(Role::Input(host_inputs::WEIGHT.into())), weight).expect("a write");
    session.run(Phase::Private).expect("a run");
    let mut all = Vec::new();
    for id in program.ids() {
        if let Role::GradientSum(_) = program.buffer(id).role {
            let sum = session.read_f32(id).expect("a read");
            session.write_f32(id, &vec![0.0; sum.len()]).expect("a write");
            all.extend(sum);
        }
    }
    all
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2)).sum::<f64>().sqrt()
}

/// The float input of the model, if it has one, and what it holds.
fn float_input(session: &mut dyn Session, compiled: &Compiled) -> Option<(BufferId, Vec<f32>)> {
    let program = &compiled.program;
    let id = program.ids().find(|&id| {
        let buffer = program.buffer(id);
        let model =
            matches!(&buffer.role, Role::Input(name) if !name.starts_with("dpc.") && name != host_inputs::LABEL);
        model && buffer.dtype == DType::F32
    })?;
    let values = session.read_f32(id).expect("a read");
    Some((id, values))
}

fn check(device: &dyn Device, name: &str, way: NormChoice) {
    let model = zoo().into_iter().find(|m| m.name == name).unwrap_or_else(|| panic!("no model {name}"));
    let mut golden = Golden::open(&model.golden);
    let rows = golden.floats("loss").len();
    let (source, compiled) = compiled(&model.files["ts"], &options(model.loss, way)).expect("it compiles");
    let mut session = session(device, (&source, &compiled), &mut golden, rows);
    let session = session.as_mut();
    let everyone = vec![1.0; rows];
    let mut others = everyone.clone();
    others[1] = 0.0;
    let all = clipped_sum(session, &compiled, &everyone);
    let without = clipped_sum(session, &compiled, &others);
    let moved = distance(&all, &without);
    assert!(moved > 0.0 && moved <= CLIP * (1.0 + 1e-4), "{name} {way:?}: one record moves the sum by {moved}");

    let Some((input, values)) = float_input(session, &compiled) else { return };
    let width = values.len() / rows;
    for (what, value) in [("zeros", 0.0), ("huge", 1e30), ("infinite", f32::INFINITY), ("NaN", f32::NAN)] {
        let mut changed = values.clone();
        changed[width..2 * width].fill(value);
        session.write_f32(input, &changed).expect("a write");
        let masked = clipped_sum(session, &compiled, &others);
        assert_eq!(masked, without, "{name} {way:?}: a masked row of {what} changes the sum");
        let with = clipped_sum(session, &compiled, &everyone);
        let moved = distance(&with, &without);
        assert!(moved <= CLIP * (1.0 + 1e-4), "{name} {way:?}: a record of {what} moves the sum by {moved}");
    }
}

fn check_all(device: &dyn Device) {
    for name in MODELS {
        for way in WAYS {
            check(device, name, way);
        }
    }
}

#[test]
fn one_record_moves_the_sum_by_the_bound_at_most_on_cpu() {
    check_all(&Cpu);
}

#[test]
fn one_record_moves_the_sum_by_the_bound_at_most_on_gpu() {
    check_all(&Gpu::open(None).unwrap_or_else(|e| panic!("{:?}", miette::Report::from(e))));
}
