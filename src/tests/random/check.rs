//! What must hold of a random model.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use prost::Message;

use super::net::{Fed, Kind, Net};
use super::{Model, model, oracle, write};
use crate::artifact;
use crate::compile::{Compiled, Options, compile};
use crate::device::cpu::Cpu;
use crate::device::gpu::Gpu;
use crate::device::{Device, Session, TARGETS};
use crate::glob::Glob;
use crate::graph::DType;
use crate::lower::program::{Phase, Role};
use crate::lower::{host_inputs, host_outputs};
use crate::onnx::{Parameters, Source, discover};
use crate::options::NormChoice;
use crate::privacy::{ClipRule, grid};
use crate::tests::evaluate::{evaluate, evaluate_with};
use crate::train::data::Array;
use crate::train::predict::predict;

/// Records of a batch; a size of models too, which must not be taken for it.
pub const ROWS: usize = 3;

/// The contents of inputs and parameters.
pub type Values = BTreeMap<String, Vec<f64>>;

/// How far a result of a device may be off, of the largest of its kind.
pub(super) const TOLERANCE: f64 = 1e-4;
/// How much less than its share a record may count for, as clip factors allow for what rounding hides of norms.
pub(super) const ALLOWANCE: f64 = 1e-3;
/// By how much all that a model is computed of, and all that it computes, is moved to see what rounding does to a gradient, and
/// how many times what that changes a device may be off.
const ROUNDING: (f64, f64) = (1.0 / (1 << 24) as f64, 8.0);
/// How often they are moved at random: of few draws the largest change says little.
const DRAWS: u64 = 4;
/// How far a derivative in double precision may be off differences in it, of the largest.
const EXACT: f64 = 1e-5;
/// Beyond this, single precision has too few digits left for a comparison.
const LARGE: f64 = 1e5;

/// What was done, of some models.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    /// Compared with tract.
    pub by_tract: usize,
    /// Gradients compared with differences.
    pub differentiated: usize,
    /// Derivatives along a direction, of all records.
    pub derivatives: usize,
    /// Models without a trained parameter on the way to the loss.
    pub without_gradient: usize,
    /// Models whose values or gradients are too large or not finite.
    pub left: usize,
    /// Run on the gpu too.
    pub on_gpu: usize,
}

/// The uses of a parameter that a random model may have.
pub(super) const USES: usize = 8;

/// The integers of 64 bits in words, the low one first.
pub(super) fn integers(words: &[u32]) -> impl Iterator<Item = i64> {
    words.as_chunks::<2>().0.iter().map(|&[low, high]| (u64::from(high) << 32 | u64::from(low)) as i64)
}

impl Outcome {
    pub fn add(&mut self, other: Outcome) {
        self.by_tract += other.by_tract;
        self.differentiated += other.differentiated;
        self.derivatives += other.derivatives;
        self.without_gradient += other.without_gradient;
        self.left += other.left;
        self.on_gpu += other.on_gpu;
    }
}

/// Checks a model with random data. Where rounding decides, as between equal elements of a row, precisions differ: a problem is
/// one that other data have as well.
pub fn check(number: u64, gpu: Option<&Gpu>) -> Result<Outcome, String> {
    let model = model(number);
    let mut problem = String::new();
    for draw in 0..3 {
        match attempt(&model, number, draw, gpu) {
            Ok(outcome) => return Ok(outcome),
            Err(found) if draw == 0 => problem = found,
            Err(_) => {}
        }
    }
    Err(format!("{problem}\n{}", model.net.ops().collect::<Vec<_>>().join(" ")))
}

fn attempt(model: &Model, number: u64, draw: u64, gpu: Option<&Gpu>) -> Result<Outcome, String> {
    let mut outcome = Outcome::default();
    let mut bench = Bench::new(model, number.wrapping_mul(8) + draw)?;
    let found = bench.forward()?;
    if let Some(directory) = std::env::var_os("DPC_RANDOM_OUT") {
        write::write(Path::new(&directory), number, model, &bench.values, &found).map_err(|e| e.to_string())?;
    }
    let large = |values: &[f32]| values.iter().any(|&x| passes(f64::from(x.abs()), LARGE));
    if found.values().any(|values| large(values)) {
        return Ok(Outcome { left: 1, ..outcome });
    }
    if let Ok(expected) = oracle::outputs(model, &bench.values) {
        for (name, expected) in &expected {
            let expected: Vec<f64> = expected.iter().map(|&x| x.into()).collect();
            let size = largest([expected.as_slice()]);
            near(&format!("`{name}` by tract"), &found[name], &expected, TOLERANCE * size + 1e-5)?;
        }
        outcome.by_tract = 1;
    }
    let Some(compiled) = bench.compiled(NormChoice::Auto)? else {
        return Ok(Outcome { without_gradient: 1, ..outcome });
    };
    let Some(expected) = bench.expected(&compiled) else { return Ok(Outcome { left: 1, ..outcome }) };
    outcome.derivatives = bench.differences(&compiled, &expected)?;
    outcome.differentiated = 1;
    for norm in NORMS {
        let own = bench.compiled(norm)?.ok_or("no gradient")?;
        bench.holds(&Cpu, &own, &expected).map_err(|e| format!("{norm:?}: {e}"))?;
    }
    bench.masks(&Cpu, &compiled)?;
    for norm in NORMS {
        bench.shares(&Cpu, norm, &expected).map_err(|e| format!("{norm:?}: {e}"))?;
    }
    bench.chunks(&compiled)?;
    for norm in NORMS {
        bench.views(&Cpu, norm, &expected).map_err(|e| format!("{norm:?}, in views: {e}"))?;
    }
    if let Some(gpu) = gpu {
        bench.holds(gpu, &compiled, &expected).map_err(|e| format!("gpu: {e}"))?;
        bench.masks(gpu, &compiled).map_err(|e| format!("gpu: {e}"))?;
        bench.shares(gpu, NormChoice::Auto, &expected).map_err(|e| format!("gpu: {e}"))?;
        bench.views(gpu, NormChoice::Auto, &expected).map_err(|e| format!("gpu, in views: {e}"))?;
        outcome.on_gpu = 1;
    }
    Ok(outcome)
}

/// The ways to compute norms.
const NORMS: [NormChoice; 4] = [NormChoice::Auto, NormChoice::Materialize, NormChoice::Ghost, NormChoice::Tile];

/// All records, each once.
pub(super) const WHOLE: [(usize, f64); ROWS] = [(0, 1.0), (1, 1.0), (2, 1.0)];

pub(super) fn text(error: crate::device::DeviceError) -> String {
    error.to_string()
}

pub(super) fn largest<'a>(all: impl IntoIterator<Item = &'a [f64]>) -> f64 {
    all.into_iter().flatten().fold(0.0, |most, x| most.max(x.abs()))
}

/// Whether a distance is larger than `most`, or none.
pub(super) fn passes(off: f64, most: f64) -> bool {
    off.is_nan() || off > most
}

pub(super) fn near(what: &str, found: &[f32], expected: &[f64], allowed: f64) -> Result<(), String> {
    if found.len() != expected.len() {
        return Err(format!("{what} has {} elements in place of {}", found.len(), expected.len()));
    }
    let off = |(a, b): (&f32, &f64)| (f64::from(*a) - b).abs();
    let far = found.iter().zip(expected).position(|pair| passes(off(pair), allowed));
    far.map_or(Ok(()), |k| {
        Err(format!("{what}: element {k} is {} and should be {}, within {allowed:.1e}", found[k], expected[k]))
    })
}

/// What a model's gradients are, in double precision.
pub(super) struct Expected {
    loss: Vec<f64>,
    pub(super) norm: Vec<f64>,
    /// Each record's gradient, one after the other, by parameter.
    pub(super) gradients: Values,
    /// What a rounding of data and parameters changes of each of those.
    unsure: BTreeMap<String, f64>,
    pub(super) bound: f64,
}

/// A model with data.
pub(super) struct Bench<'m> {
    pub(super) model: &'m Model,
    source: Source,
    parameters: Parameters,
    pub(super) values: Values,
    pub(super) bound: f64,
}

impl<'m> Bench<'m> {
    fn new(model: &'m Model, seed: u64) -> Result<Bench<'m>, String> {
        let outputs: Vec<_> = model.outputs.iter().chain([&model.loss]).collect();
        let bytes = model.net.model(&outputs).encode_to_vec();
        let report = |e: miette::Report| format!("{e:?}");
        let source = Source::from_bytes(bytes.into(), Path::new("random.onnx")).map_err(|e| report(e.into()))?;
        let named = |prefix: char| {
            let any = source.initializers.iter().any(|(name, t)| name.starts_with(prefix) && t.floats().is_some());
            any.then(|| Glob::new(format!("{prefix}*"))).into_iter().collect::<Vec<_>>()
        };
        let parameters = discover(&source, &named('p'), &named('c')).map_err(|e| report(e.into()))?;
        let mut values = Values::new();
        let mut random = Net::new(seed ^ 0xda7a);
        for Fed { value, low, high } in &model.net.inputs {
            let draw = |_| match value.kind {
                Kind::F => f64::from(random.real(*low, *high) as f32),
                _ => random.real(*low, *high).floor(),
            };
            values.insert(value.name.clone(), (0..ROWS * value.len()).map(draw).collect());
        }
        for (name, tensor) in &source.initializers {
            if let Some(floats) = tensor.floats() {
                values.insert(name.clone(), floats.iter().map(|&x| x.into()).collect());
            }
        }
        values.insert(host_inputs::WEIGHT.into(), vec![1.0; ROWS]);
        Ok(Bench { model, source, parameters, values, bound: 1.0 })
    }

    pub(super) fn options(&self, norm: NormChoice) -> Options {
        let loss = format!("output:{}", self.model.loss.name).parse().expect("a loss");
        let clip = ClipRule::flat(self.bound).expect("a bound");
        Options { norm, clip, per_sample: true, ..Options::private(loss) }
    }

    /// The model, compiled; `None` where no trained parameter reaches the loss.
    fn compiled(&self, norm: NormChoice) -> Result<Option<Compiled>, String> {
        self.compiled_with(&self.options(norm))
    }

    pub(super) fn compiled_with(&self, options: &Options) -> Result<Option<Compiled>, String> {
        use crate::compile::CompileError::NothingToTrain;
        match compile(&self.source, &self.parameters, options, TARGETS) {
            Ok(compiled) => Ok(Some(compiled)),
            Err(NothingToTrain) => Ok(None),
            Err(error) => Err(format!("{:?}", miette::Report::from(error))),
        }
    }

    /// The outputs on the cpu.
    fn forward(&self) -> Result<BTreeMap<String, Vec<f32>>, String> {
        let report = |e: miette::Report| format!("{e:?}");
        let options = Options { loss: None, ..self.options(NormChoice::Auto) };
        let compiled = compile(&self.source, &self.parameters, &options, TARGETS).map_err(|e| report(e.into()))?;
        let artifact =
            artifact::build(&self.source, &self.parameters, compiled, &options, ROWS).map_err(|e| report(e.into()))?;
        let inputs: BTreeMap<String, Array> = self
            .model
            .net
            .inputs
            .iter()
            .map(|Fed { value, .. }| {
                let mut dims = value.dims.clone();
                dims[0] = ROWS;
                let data = &self.values[&value.name];
                let array = match value.kind {
                    Kind::F => Array::from_f32(dims, &data.iter().map(|&x| x as f32).collect::<Vec<_>>()),
                    _ => Array::from_i64(dims, &data.iter().map(|&x| x as i64).collect::<Vec<_>>()),
                };
                (value.name.clone(), array)
            })
            .collect();
        let found = predict(&Cpu, &artifact, "random", &inputs).map_err(|e| report(e.into()))?;
        Ok(found.into_iter().map(|(name, array)| (name, array.to_f32())).collect())
    }

    /// Gradients in double precision, and a bound that clips some of them; `None` where they are too large.
    fn expected(&mut self, compiled: &Compiled) -> Option<Expected> {
        let mut values = self.values.clone();
        values.insert(host_inputs::CLIP_BOUNDS.into(), vec![1.0]);
        let mut results = evaluate(&compiled.private, ROWS, &values);
        let (loss, norm) = (results.remove(host_outputs::LOSS)?, results.remove(host_outputs::NORM)?);
        let gradients: Values = results
            .into_iter()
            .filter_map(|(name, each)| Some((name.strip_prefix("per_sample/")?.to_owned(), each)))
            .collect();
        let fine = |x: &f64| x.abs() < LARGE;
        if !loss.iter().chain(&norm).chain(gradients.values().flatten()).all(fine) {
            return None;
        }
        let mut sorted = norm.clone();
        sorted.sort_by(f64::total_cmp);
        let bound = Some(sorted[ROWS / 2]).filter(|median| *median > 1e-3).unwrap_or(1.0);
        self.bound = bound;
        let unsure = self.unsure(compiled, &gradients);
        Some(Expected { loss, norm, gradients, unsure, bound })
    }

    /// What a rounding of data, of parameters and of all that is computed of them changes of gradients.
    fn unsure(&self, compiled: &Compiled, gradients: &Values) -> BTreeMap<String, f64> {
        let mut unsure = BTreeMap::new();
        let integers =
            |name: &str| self.model.net.inputs.iter().any(|fed| fed.value.name == name && fed.value.kind != Kind::F);
        for seed in 0..DRAWS {
            let mut random = Net::new(29 + seed);
            let mut values = self.values.clone();
            for (name, values) in &mut values {
                if !integers(name) && name != host_inputs::WEIGHT {
                    values.iter_mut().for_each(|x| *x *= 1.0 + ROUNDING.0 * random.real(-1.0, 1.0));
                }
            }
            values.insert(host_inputs::CLIP_BOUNDS.into(), vec![1.0]);
            // What is an integer has no rounding.
            let mut round = |x: f64| if x == x.trunc() { x } else { x * (1.0 + ROUNDING.0 * random.real(-1.0, 1.0)) };
            let moved = evaluate_with(&compiled.private, ROWS, &values, &mut round);
            for (name, gradient) in gradients {
                let pairs = gradient.iter().zip(&moved[&format!("per_sample/{name}")]);
                let most = pairs.fold(0.0_f64, |most, (a, b)| most.max((a - b).abs()));
                let so_far = unsure.entry(name.clone()).or_insert(0.0);
                *so_far = most.max(*so_far);
            }
        }
        unsure
    }

    /// Holds gradients to differences of the loss along random directions, a parameter at a time. Returns how many were held.
    fn differences(&self, compiled: &Compiled, expected: &Expected) -> Result<usize, String> {
        let mut random = Net::new(91);
        let mut count = 0;
        for parameter in self.parameters.iter().filter(|parameter| parameter.trainable) {
            let name = &parameter.name;
            let len = self.values[name].len();
            let zeros = vec![0.0; ROWS * len];
            let gradient = expected.gradients.get(name).unwrap_or(&zeros);
            let direction: Vec<f64> = (0..len).map(|_| random.real(-1.0, 1.0)).collect();
            let slope = |n: usize| gradient[n * len..][..len].iter().zip(&direction).map(|(g, d)| g * d).sum::<f64>();
            let slopes: Vec<f64> = (0..ROWS).map(slope).collect();
            let size = largest([gradient.as_slice(), expected.loss.as_slice()]).max(1e-3);
            let mut closest = f64::INFINITY;
            let mut last = Vec::new();
            // A step that is short enough crosses no kink; one that is too short drowns in rounding.
            for step in [1e-5, 1e-6, 1e-7] {
                let loss = |sign: f64| {
                    let mut values = self.values.clone();
                    let moved = values.get_mut(name).expect("a parameter").iter_mut().zip(&direction);
                    moved.for_each(|(x, d)| *x += sign * step * d);
                    evaluate(&compiled.graph, ROWS, &values).remove(host_outputs::LOSS).expect("a loss")
                };
                let (above, below) = (loss(1.0), loss(-1.0));
                let found: Vec<f64> = (0..ROWS).map(|n| (above[n] - below[n]) / (2.0 * step)).collect();
                let off = found.iter().zip(&slopes).fold(0.0_f64, |most, (a, b)| most.max((a - b).abs()));
                closest = closest.min(off);
                last = found;
                if closest <= EXACT * size {
                    break;
                }
            }
            if passes(closest, EXACT * size) {
                return Err(format!("along {name}: {slopes:?} by the rules, {last:?} by differences"));
            }
            count += ROWS;
        }
        Ok(count)
    }

    /// A session with some rows of the data, each with its weight.
    pub(super) fn session(
        &self,
        device: &dyn Device,
        compiled: &Compiled,
        values: &Values,
        records: &[(usize, f64)],
    ) -> Result<Box<dyn Session>, String> {
        let program = &compiled.program;
        let mut session = device.load(Arc::new(program.clone()), records.len() / program.views).map_err(text)?;
        for id in program.ids() {
            let buffer = program.buffer(id);
            let data: Vec<f64> = match &buffer.role {
                Role::Parameter(name) => values[name].clone(),
                Role::Input(name) if name == host_inputs::CLIP_BOUNDS => vec![self.bound],
                Role::Input(name) if name == host_inputs::WEIGHT => records.iter().map(|record| record.1).collect(),
                Role::Input(name) if values.contains_key(name) => {
                    let all = &values[name];
                    let width = all.len() / ROWS;
                    records.iter().flat_map(|record| &all[record.0 * width..][..width]).copied().collect()
                }
                _ => continue,
            };
            let words: Vec<u32> = match buffer.dtype {
                DType::F32 => data.iter().map(|&x| (x as f32).to_bits()).collect(),
                _ => data.iter().map(|&x| x as i32 as u32).collect(),
            };
            session.write(id, &words).map_err(text)?;
        }
        Ok(session)
    }

    /// Holds losses, gradients, norms and clipped sums on a device to those in double precision.
    fn holds(&self, device: &dyn Device, compiled: &Compiled, expected: &Expected) -> Result<(), String> {
        let mut session = self.session(device, compiled, &self.values, &WHOLE)?;
        session.run(Phase::Private).map_err(text)?;
        let mut read_words = |role: Role| -> Result<Vec<u32>, String> {
            let id = compiled.program.find(&role).ok_or_else(|| format!("no {role:?}"))?;
            session.read(id).map_err(text)
        };
        let mut read_floats = |role: Role| Ok::<Vec<f32>, String>(bytemuck::cast_vec(read_words(role)?));
        let size = largest([expected.loss.as_slice()]).max(1e-2);
        // What cancels is as exact as what it cancels of.
        let all = largest(expected.gradients.values().map(Vec::as_slice)).max(size * 0.1);
        near("the loss", &read_floats(Role::Output(host_outputs::LOSS.into()))?, &expected.loss, TOLERANCE * size)?;
        for (name, gradient) in &expected.gradients {
            let found = read_floats(Role::Output(format!("per_sample/{name}")))?;
            let rounding = (ROUNDING.1 * expected.unsure[name]).min(TOLERANCE * all);
            let allowed = TOLERANCE * largest([gradient.as_slice()]) + 0.05 * TOLERANCE * all + rounding;
            near(&format!("the gradient by {name}"), &found, gradient, allowed)?;
        }
        let norms = read_floats(Role::Output(host_outputs::NORM.into()))?;
        near("the norm", &norms, &expected.norm, TOLERANCE * largest([expected.norm.as_slice()]).max(all))?;
        // The sums as the compiled graph has them in double precision, whose clip factors allow for rounding.
        let mut values = self.values.clone();
        values.insert(host_inputs::CLIP_BOUNDS.into(), vec![self.bound]);
        let claimed = evaluate(&compiled.private, ROWS, &values);
        let factors: Vec<f64> = expected.norm.iter().map(|norm| (expected.bound / norm).min(1.0)).collect();
        for (name, gradient) in &expected.gradients {
            let len = gradient.len() / ROWS;
            let of = |k: usize| (0..ROWS).map(|n| factors[n] * gradient[n * len + k]).sum::<f64>();
            let sum: Vec<f64> = (0..len).map(of).collect();
            let size = largest([sum.as_slice()]).max(expected.bound.min(all));
            // Both in grid units; each record's own are rounded for every use of the parameter.
            let unit = self.bound / f64::from(grid::UNITS);
            let claimed: Vec<f64> = claimed[&format!("sum/{name}")].iter().map(|x| x * unit).collect();
            let words = read_words(Role::GridSum(name.clone()))?;
            let found: Vec<f32> = integers(&words).map(|x| (x as f64 * unit) as f32).collect();
            let rounding = 0.5 * unit * (ROWS * USES) as f64;
            near(&format!("the clipped sum of {name}"), &found, &claimed, TOLERANCE * size + rounding)?;
            let single: Vec<f32> = claimed.iter().map(|&x| x as f32).collect();
            near(&format!("the clipped sum of {name} with what it allows for"), &single, &sum, ALLOWANCE * size)?;
        }
        Ok(())
    }
}
