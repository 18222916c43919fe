//! Random models of all operators: forward against tract, each record's gradient against finite differences in double
//! precision, every norm strategy, each record's share of the sum, and chunks of a batch; a sample of them on the gpu too.
//!
//! A model is a function of its number. By default there are as many as take about a minute;
//! `DPC_RANDOM_MODELS=2000 cargo test --lib random_models` checks more, from the number that `DPC_RANDOM_FIRST` says. What was
//! found once stays in [`ONCE_FAILED`]. `DPC_RANDOM_OUT=DIR` writes files, data and results, which
//! `tests/oracles/random_models.py DIR` compares with onnxruntime.

mod check;
mod elementwise;
mod layers;
mod moves;
mod net;
mod oracle;
mod records;
mod rows;
mod views;
mod write;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use rayon::prelude::*;

use self::check::Outcome;
use self::net::{Attr, Kind, Net, Val};
use crate::device::gpu::Gpu;
use crate::import::rules;

/// Models that failed once: an Einsum whose ellipsis stands for axes of one operand, and a position in what is computed of a
/// parameter, which were refused.
const ONCE_FAILED: &[u64] = &[93, 217, 700150, 700422, 11001193];

/// Models that are checked where nobody says how many.
const MODELS: u64 = 400;
/// One in so many models runs on the gpu too.
const ON_GPU: u64 = 16;

/// Extends a model by some operator, if it can.
type Make = fn(&mut Net) -> Option<Val>;

/// What models are made of, each as likely as often as it is listed.
const MAKERS: &[Make] = &[
    elementwise::unary,
    elementwise::unary,
    elementwise::unary,
    elementwise::unary,
    elementwise::gelu,
    elementwise::binary,
    elementwise::binary,
    elementwise::binary,
    elementwise::variadic,
    elementwise::clip,
    elementwise::compare,
    elementwise::logic,
    elementwise::guard,
    elementwise::choose,
    elementwise::choose,
    elementwise::cast,
    elementwise::integers,
    rows::reduce,
    rows::reduce,
    rows::softmax,
    rows::positions,
    rows::top,
    rows::cumulative,
    rows::layer_norm,
    rows::channel_norm,
    rows::vector_norm,
    rows::linear,
    rows::linear,
    rows::linear,
    rows::product,
    rows::einsum,
    layers::conv,
    layers::conv,
    layers::conv_transpose,
    layers::pool,
    layers::pool,
    layers::global_pool,
    layers::resize,
    layers::blocks,
    layers::recurrence,
    layers::recurrence,
    layers::attention,
    layers::rotary,
    layers::loss,
    moves::reshape,
    moves::reshape_like,
    moves::transpose,
    moves::transpose,
    moves::bring_back,
    moves::ones,
    moves::concat,
    moves::split,
    moves::slice,
    moves::pad,
    moves::repeat,
    moves::triangle,
    moves::embedding,
    moves::embedding,
    moves::take,
    moves::elements,
    moves::tuples,
    moves::scatter,
    moves::one_hot,
    moves::compress,
    moves::made,
    moves::dropout,
];

/// Operators that no random model has, and why.
const LEFT_OUT: &[(&str, &str)] = &[
    ("RandomUniformLike", "dropout draws numbers of its own, which no other implementation draws"),
    ("Scatter", "of operator sets before 11, and ScatterElements since"),
    ("Upsample", "of operator sets before 10, and Resize since"),
    ("GridSample", "tract has no rule for it; models/situations.py holds it to PyTorch"),
    ("Col2Im", "the same"),
    ("MaxUnpool", "the same"),
    ("Det", "the same"),
    ("QuantizeLinear", "of constants alone, which are worked out when a file is read"),
    ("DequantizeLinear", "the same; models/situations.py has a model"),
    ("ai.onnx.ml.Normalizer", "tract has no rule for it; models/situations.py holds it to PyTorch"),
    ("RandomNormalLike", "random"),
    ("ai.onnx.preview.training.Gradient", "ONNX's own cases hold it to their results"),
    ("ai.onnx.preview.training.Adagrad", "the same"),
    ("ai.onnx.preview.training.Adam", "the same"),
    ("ai.onnx.preview.training.Momentum", "the same"),
];

/// A model, with its loss and the other outputs.
pub struct Model {
    pub net: Net,
    pub loss: Val,
    pub outputs: Vec<Val>,
}

/// The model of a number.
pub fn model(number: u64) -> Model {
    let mut net = Net::new(number);
    for _ in 0..1 + net.below(2) {
        let rank = 1 + net.below(4);
        let dims: Vec<usize> = (0..rank).map(|_| if rank > 2 { net.small() } else { net.size() }).collect();
        if dims.iter().product::<usize>() > 400 {
            continue;
        }
        let x = net.input(Kind::F, &dims, -1.5, 1.5);
        net.values.push(x.clone());
        // Whatever follows, there is a parameter before it.
        let weight = net.parameter(&dims);
        net.emit("Mul", &[&x, &weight], vec![], x.clone());
    }
    if net.inputs.is_empty() || net.one_in(3) {
        let dims = [net.small()];
        let x = net.input(Kind::F, &dims, -1.5, 1.5);
        let weight = net.parameter(&dims);
        net.values.push(x.clone());
        net.emit("Add", &[&x, &weight], vec![], x.clone());
    }
    if net.one_in(3) {
        // Something that is computed of parameters alone.
        let dims = [net.size()];
        let weight = net.parameter(&dims);
        net.emit("Tanh", &[&weight], vec![], weight.clone());
    }
    let most = if net.one_in(4) { 24 } else { 12 };
    let (mut made, wanted) = (0, 2 + net.below(most));
    for _ in 0..100 {
        let make = *net.one_of(MAKERS);
        made += usize::from(make(&mut net).is_some());
        if made == wanted {
            break;
        }
    }
    let mut leaves: Vec<Val> = net.leaves().into_iter().filter(|value| value.batch.is_some()).collect();
    leaves.reverse();
    leaves.truncate(4);
    let loss = loss(&mut net, &leaves);
    Model { net, loss, outputs: leaves }
}

/// The sum over all elements of `leaves`, each times a number that records have.
fn loss(net: &mut Net, leaves: &[Val]) -> Val {
    let mut total: Option<Val> = None;
    for leaf in leaves {
        let mut x = leaf.clone();
        if x.kind != Kind::F {
            let like = x.clone().of(Kind::F, x.most);
            x = net.hidden("Cast", &[&x], vec![("to", Attr::Int(1))], like);
        }
        if let Some(batch) = x.batch.filter(|&batch| batch > 0) {
            let perm: Vec<usize> = std::iter::once(batch).chain((0..x.rank()).filter(|&axis| axis != batch)).collect();
            let dims = perm.iter().map(|&axis| x.dims[axis]).collect();
            let perm = perm.iter().map(|&axis| axis as i64).collect();
            let like = Val { dims, batch: Some(0), ..x.clone() };
            x = net.hidden("Transpose", &[&x], vec![("perm", Attr::Ints(perm))], like);
        }
        let factor = net.input(Kind::F, &x.dims[1..], -1.0, 1.0);
        let mut part = net.hidden("Mul", &[&x, &factor], vec![], x.clone());
        if x.rank() > 1 {
            let axes: Vec<i64> = (1..x.rank() as i64).collect();
            let axes = net.ints(&axes);
            let like = part.with(vec![1]);
            part = net.hidden("ReduceSum", &[&part, &axes], vec![("keepdims", Attr::Int(0))], like);
        }
        total = Some(match total {
            None => part,
            Some(total) => net.hidden("Add", &[&total, &part], vec![], part.clone()),
        });
    }
    total.expect("a value that no node takes")
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn random_models_are_computed_and_differentiated_as_they_should_be() {
    let (first, count) = (setting("DPC_RANDOM_FIRST").unwrap_or(0), setting("DPC_RANDOM_MODELS").unwrap_or(MODELS));
    let gpu = Gpu::open(None).unwrap_or_else(|e| panic!("the tests need a GPU adapter ({e})"));
    let numbers: Vec<u64> = ONCE_FAILED.iter().copied().chain(first..first + count).collect();
    let tally = Mutex::new(Outcome::default());
    let problems: Vec<String> = numbers
        .par_iter()
        .filter_map(|&number| {
            let device = number.is_multiple_of(ON_GPU).then_some(&gpu);
            let outcome = catch_unwind(AssertUnwindSafe(|| check::check(number, device)));
            match outcome.unwrap_or_else(|_| Err("it panics".into())) {
                Ok(outcome) => {
                    tally.lock().expect("no panic").add(outcome);
                    None
                }
                Err(problem) => Some(format!("model {number}: {problem}")),
            }
        })
        .collect();
    let tally = tally.into_inner().expect("no panic");
    eprintln!("{} models: {tally:?}; {} problems", numbers.len(), problems.len());
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
    // Checks that few models reach would show nothing.
    let most = numbers.len();
    assert!(tally.differentiated * 10 > most * 9 && tally.by_tract * 3 > most && tally.on_gpu * 30 > most, "{tally:?}");
}

#[test]
fn random_models_have_every_operator() {
    let seen: BTreeSet<String> =
        (0..3000).flat_map(|number| model(number).net.ops().map(str::to_owned).collect::<Vec<_>>()).collect();
    let missing: Vec<&str> = rules()
        .map(|(op, _)| op)
        .filter(|op| !seen.contains(*op) && !LEFT_OUT.iter().any(|(left, _)| left == op))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(LEFT_OUT.iter().all(|(op, _)| !seen.contains(*op)));
}
