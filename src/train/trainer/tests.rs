//! The training loop against its definition, on a device that knows one model: linear regression.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::artifact::{FormatVersion, Manifest, OutputEntry, compiler};
use crate::device::{DeviceError, Session};
use crate::graph::DType;
use crate::import::axes::{Axes, Axis};
use crate::import::custom::CustomOps;
use crate::lower::host_outputs::{LOSS, NORM};
use crate::lower::program::Phase;
use crate::lower::program::{Buffer, BufferId, Extent, Program, Role};
use crate::lower::{host_inputs, hyper};
use crate::options::NormChoice;
use crate::options::optimizer::OptimizerSpec;
use crate::privacy::accountant::Rdp;
use crate::privacy::adjacency::Unit;
use crate::privacy::ledger::{LedgerError, Receipt};
use crate::privacy::noise::{GaussianNoise, Noise};
use crate::privacy::plan::PlanSpec;
use crate::privacy::sampler::Sampler;
use crate::privacy::sampling::Sampling;
use crate::ranks::Alone;
use crate::schema::{InputKind, InputSchema, LABEL, Schema, TargetKind, TargetSchema};
use crate::tensors::{Tensor, Tensors};
use crate::train::data::Array;
use crate::train::engine::{Engine, EngineError};
use crate::train::every::Every;
use crate::train::lr_schedule::LrSchedule;
use crate::train::step::StepError;

const WIDTH: usize = 3;
const RECORDS: usize = 20;
const OPTIMIZER: &str = "sgd:momentum=0.9";

/// Computes what a program of linear regression under half the squared error would.
struct Regression {
    /// Updates that go well before the device is lost.
    updates: AtomicU64,
}

impl Regression {
    fn new() -> Self {
        Self::lost_after(u64::MAX)
    }

    fn lost_after(updates: u64) -> Self {
        Self { updates: AtomicU64::new(updates) }
    }
}

struct RegressionSession {
    program: Arc<Program>,
    rows: usize,
    buffers: Vec<Vec<u32>>,
    updates: u64,
}

impl Device for Regression {
    fn name(&self) -> String {
        "regression".to_owned()
    }

    fn load(&self, program: Arc<Program>, rows: usize) -> Result<Box<dyn Session>, DeviceError> {
        let buffers = program.buffers.iter().map(|buffer| vec![0; buffer.len.at(rows)]).collect();
        let updates = self.updates.load(Ordering::Relaxed);
        Ok(Box::new(RegressionSession { program, rows, buffers, updates }))
    }
}

impl RegressionSession {
    fn at(&self, role: Role) -> usize {
        self.program.find(&role).unwrap().0 as usize
    }

    fn get(&self, role: Role) -> Vec<f32> {
        bytemuck::cast_slice(&self.buffers[self.at(role)]).to_vec()
    }

    fn set(&mut self, role: Role, values: &[f32]) {
        let at = self.at(role);
        self.buffers[at] = bytemuck::cast_slice(values).to_vec();
    }

    fn batch(&mut self, phase: Phase) {
        let x = self.get(input("x"));
        let label = self.get(input("label"));
        let weight = self.get(input(host_inputs::WEIGHT));
        let w = self.get(Role::Parameter("w".to_owned()));
        let mut sum = self.get(Role::GradientSum("w".to_owned()));
        let bound = self.get(input(host_inputs::CLIP_BOUNDS))[0];
        let (mut loss, mut norm, mut y) = (vec![0.0; self.rows], vec![0.0; self.rows], vec![0.0; self.rows]);
        for n in 0..self.rows {
            let x = &x[n * WIDTH..][..WIDTH];
            y[n] = x.iter().zip(&w).map(|(x, w)| x * w).sum::<f32>();
            let error = y[n] - label[n];
            loss[n] = error * error / 2.0;
            norm[n] = error.abs() * x.iter().map(|x| x * x).sum::<f32>().sqrt();
            let factor = match phase {
                Phase::Private => plan(0.0).clip.function().factor(norm[n], bound),
                Phase::Forward => 0.0,
                _ => 1.0,
            };
            for (sum, x) in sum.iter_mut().zip(x) {
                if weight[n] * factor > 0.0 {
                    *sum += weight[n] * factor * error * x;
                }
            }
        }
        self.set(Role::GradientSum("w".to_owned()), &sum);
        self.set(output(LOSS), &loss);
        self.set(output(NORM), &norm);
        self.set(output("y"), &y);
    }

    fn update(&mut self) {
        let numbers = self.get(input(host_inputs::HYPER));
        let sum = self.get(Role::GradientSum("w".to_owned()));
        let noise = self.get(Role::Noise("w".to_owned()));
        let gradient: Vec<f32> =
            sum.iter().zip(&noise).map(|(sum, noise)| (sum + noise) * numbers[hyper::INVERSE_BATCH]).collect();
        let mut w = self.get(Role::Parameter("w".to_owned()));
        let mut states = vec![self.get(momentum())];
        let optimizer: OptimizerSpec = OPTIMIZER.parse().unwrap();
        optimizer.update(numbers[hyper::LEARNING_RATE], 1, &mut w, &gradient, &mut states);
        self.set(Role::Parameter("w".to_owned()), &w);
        self.set(momentum(), &states[0]);
        self.set(Role::GradientSum("w".to_owned()), &[0.0; WIDTH]);
    }
}

impl Session for RegressionSession {
    fn rows(&self) -> usize {
        self.rows
    }

    fn write(&mut self, buffer: BufferId, words: &[u32]) -> Result<(), DeviceError> {
        self.buffers[buffer.0 as usize].copy_from_slice(words);
        Ok(())
    }

    fn read(&mut self, buffer: BufferId) -> Result<Vec<u32>, DeviceError> {
        Ok(self.buffers[buffer.0 as usize].clone())
    }

    fn run(&mut self, phase: Phase) -> Result<(), DeviceError> {
        if phase != Phase::Update {
            self.batch(phase);
        } else if self.updates == 0 {
            return Err(DeviceError::Lost { device: "regression".to_owned(), what: "unplugged".to_owned() });
        } else {
            self.updates -= 1;
            self.update();
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        0
    }
}

fn input(name: &str) -> Role {
    Role::Input(name.to_owned())
}

fn output(name: &str) -> Role {
    Role::Output(name.to_owned())
}

fn momentum() -> Role {
    Role::OptimizerState("w".to_owned(), "momentum".to_owned())
}

fn program() -> Program {
    let w = || "w".to_owned();
    let roles = [
        (input("x"), Extent::rows(WIDTH)),
        (input("label"), Extent::rows(1)),
        (input(host_inputs::WEIGHT), Extent::rows(1)),
        (input(host_inputs::HYPER), Extent::fixed(hyper::LEN)),
        (input(host_inputs::CLIP_BOUNDS), Extent::fixed(1)),
        (Role::Parameter(w()), Extent::fixed(WIDTH)),
        (Role::GradientSum(w()), Extent::fixed(WIDTH)),
        (Role::Noise(w()), Extent::fixed(WIDTH)),
        (momentum(), Extent::fixed(WIDTH)),
        (output(LOSS), Extent::rows(1)),
        (output(NORM), Extent::rows(1)),
        (output("y"), Extent::rows(1)),
    ];
    let buffer = |(role, len)| Buffer { name: String::new(), dtype: DType::F32, len, role, slot: 0 };
    Program { buffers: roles.map(buffer).into(), ..Program::default() }
}

fn schema() -> Schema {
    Schema {
        inputs: vec![InputSchema { name: "x".to_owned(), dims: vec![WIDTH], kind: InputKind::F32 }],
        targets: vec![TargetSchema::new(LABEL, &[], TargetKind::Real { within: None })],
    }
}

fn artifact() -> Artifact {
    Artifact {
        ops: CustomOps::default(),
        shaders: BTreeMap::new(),
        manifest: Manifest {
            format_version: FormatVersion::CURRENT,
            compiler: compiler(),
            schema: schema(),
            shared: vec![],
            inputs: BTreeMap::new(),
            outputs: vec![OutputEntry { nothing: None, name: "y".to_owned(), axes: Axes(vec![Axis::batch()]) }],
            loss: Some("y=mse".parse().unwrap()),
            clip: plan(0.0).clip.clone(),
            clip_groups: plan(0.0).clip.resolve(["w"]).unwrap(),
            norm: NormChoice::Auto,
            precision: Default::default(),
            optimizer: OPTIMIZER.parse().unwrap(),
            max_batch: 64,
            parameters: vec![],
            grid: None,
            norms: vec![],
            initial_values: None,
            members: BTreeMap::new(),
        },
        program: program(),
        source: Default::default(),
        weights: Tensors::from([("w".to_owned(), Tensor { dims: vec![WIDTH], data: vec![0.5, -0.5, 0.25] })]),
    }
}

/// Record n is `x[n, k] = sin(3n + k)` with the label `n mod 4`.
fn data() -> Dataset {
    let x: Vec<f32> = (0..RECORDS * WIDTH).map(|i| (i as f32).sin()).collect();
    let label: Vec<f32> = (0..RECORDS).map(|n| (n % 4) as f32).collect();
    dataset(&x, &label)
}

fn dataset(x: &[f32], label: &[f32]) -> Dataset {
    let arrays = BTreeMap::from([
        ("x".to_owned(), Array::from_f32(vec![label.len(), WIDTH], x)),
        ("label".to_owned(), Array::from_f32(vec![label.len()], label)),
    ]);
    Dataset::from_arrays("memory", &arrays, &schema()).unwrap()
}

fn spec(noise_multiplier: f64) -> PlanSpec {
    PlanSpec {
        noise_multiplier,
        delta: Some(1e-5),
        planned_steps: 6,
        insecure_seed: Some(11),
        ..PlanSpec::new(Sampling::Poisson { rate: 0.4 }, 8.0, "flat:0.7".parse().unwrap())
    }
}

fn plan(noise_multiplier: f64) -> PrivacyPlan {
    PrivacyPlan::new(spec(noise_multiplier)).unwrap()
}

/// A run's directory and what varies between runs.
struct Case {
    directory: tempfile::TempDir,
    plan: PrivacyPlan,
    data: Dataset,
    physical_batch: usize,
    learning_rate: f64,
    ema: Option<f64>,
    valid: Option<Dataset>,
    valid_every: Option<Every>,
    record_private_metrics: bool,
}

impl Case {
    fn new(plan: PrivacyPlan) -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self {
            directory,
            plan,
            data: data(),
            physical_batch: 3,
            learning_rate: 0.1,
            ema: None,
            valid: None,
            valid_every: None,
            record_private_metrics: true,
        }
    }

    fn dir(&self) -> RunDir {
        RunDir::new(self.directory.path())
    }

    fn train(&self, device: &Regression, resume: bool) -> Result<Summary, TrainError> {
        self.run(device, resume, &self.dir().ledger())
    }

    fn with_ledger(&self, ledger: &Path) -> Result<Summary, TrainError> {
        self.run(&Regression::new(), false, ledger)
    }

    fn run(&self, device: &Regression, resume: bool, ledger: &Path) -> Result<Summary, TrainError> {
        train(&Training {
            artifact: &artifact(),
            device,
            data: &self.data,
            units: &Units::single(self.data.records()),
            augment: None,
            valid: self.valid.as_ref(),
            valid_every: self.valid_every,
            plan: &self.plan,
            accountant: &Rdp,
            learning_rate: self.learning_rate,
            lr_for: vec![],
            lr_schedule: LrSchedule::CONSTANT,
            ema: self.ema,
            physical_batch: self.physical_batch,
            directory: self.dir(),
            ledger: ledger.to_owned(),
            resume,
            checkpoint_interval: Duration::ZERO,
            progress: false,
            record_private_metrics: self.record_private_metrics,
            tensorboard: None,
            trial_of: None,
            shard_noise: false,
            config: Some("lr = 0.1\n"),
            ranks: Arc::new(Alone),
        })
    }

    fn parameters(&self) -> Vec<f32> {
        let checkpoints = Checkpoints::at(&self.dir().checkpoints());
        checkpoints.latest().unwrap().unwrap().parameters["w"].data.clone()
    }

    fn trained(&self) -> Vec<f32> {
        self.train(&Regression::new(), false).unwrap();
        self.parameters()
    }
}

/// DP-SGD as it is defined (Abadi et al. 2016, Algorithm 1; Andrew et al. 2021, Algorithm 1, for bounds that adapt), in
/// double precision: the parameters and the clip bound after the last step.
fn by_definition(plan: &PrivacyPlan, data: &Dataset) -> (Vec<f64>, f64) {
    let key = RunKey::for_plan(plan, &SystemEntropy).unwrap();
    let sampler = Sampler::new(&key, plan, data.records()).unwrap();
    let noise = GaussianNoise::new(&key, plan);
    let (x, label) = match (data.inputs()[0].values().unwrap(), data.targets()[0].values().unwrap()) {
        (crate::train::data::Values::F32(x), crate::train::data::Values::F32(label)) => (x, label),
        _ => unreachable!(),
    };
    let (mut w, mut velocity, mut bound) = (vec![0.5, -0.5, 0.25], [0.0; WIDTH], plan.clip.sensitivity());
    for step in 0..plan.planned_steps {
        let (mut sum, mut below) = ([0.0; WIDTH], 0.0);
        let scaled = bound * plan.clip_schedule.at(step);
        for n in sampler.sample(step) {
            let x: Vec<f64> = x[n * WIDTH..][..WIDTH].iter().map(|&x| f64::from(x)).collect();
            let error = x.iter().zip(&w).map(|(x, w)| x * w).sum::<f64>() - f64::from(label[n]);
            let gradient: Vec<f64> = x.iter().map(|x| error * x).collect();
            let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
            let factor = if plan.non_private { 1.0 } else { (scaled / norm).min(1.0) };
            sum.iter_mut().zip(gradient).for_each(|(sum, g)| *sum += factor * g);
            below += if norm <= bound { 0.5 } else { -0.5 };
        }
        let multiplier = plan.noise_multiplier * plan.noise_schedule.at(step);
        let mut std = multiplier * scaled;
        if let Some(adaptive) = plan.clip.adaptive() {
            // The paper's σ_b = L/20, whose cost is that of a multiplier 2σ_b.
            let sigma_b = plan.expected_batch / 20.0;
            std = scaled * (multiplier.powi(-2) - (2.0 * sigma_b).powi(-2)).powf(-0.5);
            let mut z = [0.0f32];
            noise.fill(step, (1, 0), &mut z);
            let fraction = (below + sigma_b * f64::from(z[0])) / plan.expected_batch + 0.5;
            bound *= (-adaptive.rate * (fraction - adaptive.quantile)).exp();
        }
        let mut added = [0.0f32; WIDTH];
        if !plan.non_private {
            noise.fill(step, (0, 0), &mut added);
        }
        for k in 0..WIDTH {
            velocity[k] = 0.9 * velocity[k] + (sum[k] + std * f64::from(added[k])) / plan.expected_batch;
            w[k] -= 0.1 * velocity[k];
        }
    }
    (w, bound)
}

fn assert_close(found: &[f32], expected: &[f64]) {
    for (a, b) in found.iter().zip(expected) {
        assert!((f64::from(*a) - b).abs() < 1e-5, "{found:?} is not {expected:?}");
    }
}

#[test]
fn a_run_is_dp_sgd_whatever_the_physical_batch() {
    for plan in [plan(1.3), plan(0.0)] {
        let (expected, _) = by_definition(&plan, &data());
        for physical_batch in [1, 7, 64] {
            let case = Case { physical_batch, ..Case::new(plan.clone()) };
            assert_close(&case.trained(), &expected);
        }
    }
}

#[test]
fn schedules_and_adaptive_bounds_follow_their_definition() {
    let schedules = |clip: &str| PlanSpec {
        clip: clip.parse().unwrap(),
        clip_schedule: "table:0=1,3=0.5".parse().unwrap(),
        noise_schedule: "exponential:factor=1.1".parse().unwrap(),
        ..spec(0.3)
    };
    for clip in ["flat:0.7", "flat:0.7,adaptive,quantile=0.3,rate=0.4"] {
        let plan = PrivacyPlan::new(schedules(clip)).unwrap();
        let (expected, bound) = by_definition(&plan, &data());
        let case = Case::new(plan);
        assert_close(&case.trained(), &expected);
        let checkpoint = Checkpoints::at(&case.dir().checkpoints()).latest().unwrap().unwrap();
        let context: Context = serde_json::from_value(checkpoint.context).unwrap();
        assert!((context.clip.sensitivity(1.0) / bound - 1.0).abs() < 1e-6, "{bound}");
        assert_eq!(bound != 0.7, clip.contains("adaptive"));
    }
}

#[test]
fn adaptive_bounds_go_on_after_a_lost_device() {
    let plan = || PrivacyPlan::new(PlanSpec { clip: "flat:0.7,adaptive".parse().unwrap(), ..spec(0.3) }).unwrap();
    let whole = Case::new(plan()).trained();
    let case = Case::new(plan());
    case.train(&Regression::lost_after(3), false).unwrap_err();
    case.train(&Regression::new(), true).unwrap();
    assert_eq!(case.parameters(), whole);
}

/// Averages are worked out here from the parameters of runs that end after 1, 2, … steps.
#[test]
fn the_trained_model_is_the_moving_average() {
    let after = |planned_steps| {
        let plan = PrivacyPlan::new(PlanSpec { planned_steps, ..spec(1.3) }).unwrap();
        Case::new(plan).trained()
    };
    let decay: f64 = 0.3;
    let mut expected = [0.5, -0.5, 0.25];
    for step in 1..=6 {
        let kept = decay.min((1.0 + step as f64) / (10.0 + step as f64));
        let now = after(step);
        expected.iter_mut().zip(now).for_each(|(e, w)| *e = kept * *e + (1.0 - kept) * f64::from(w));
    }
    let case = Case { ema: Some(decay), ..Case::new(plan(1.3)) };
    assert_eq!(case.trained(), after(6));
    let last = Checkpoints::at(&case.dir().checkpoints()).latest().unwrap().unwrap();
    assert_close(&last.averages["w"].data, &expected);
    let run = crate::train::trained::TrainedRun::open(case.dir().path()).unwrap();
    assert_eq!(run.artifact.weights["w"], last.averages["w"]);
    let certificate = Certificate::read(&case.dir().certificate()).unwrap();
    assert!(certificate.post_processing[0].contains("decay 0.3") && certificate.page().contains("decay 0.3"));
}

#[test]
fn a_moving_average_goes_on_after_a_lost_device() {
    let case = || Case { ema: Some(0.9), ..Case::new(plan(1.3)) };
    let last = |case: &Case| Checkpoints::at(&case.dir().checkpoints()).latest().unwrap().unwrap();
    let (whole, lost) = (case(), case());
    whole.trained();
    lost.train(&Regression::lost_after(3), false).unwrap_err();
    let lost = Case { ema: Some(0.8), ..lost };
    let error = lost.train(&Regression::new(), true).unwrap_err().to_string();
    assert!(error.ends_with("decay of the moving average 0.9, now 0.8"), "{error}");
    let lost = Case { ema: Some(0.9), ..lost };
    lost.train(&Regression::new(), true).unwrap();
    assert_eq!((last(&lost).averages, last(&lost).parameters), (last(&whole).averages, last(&whole).parameters));
}

#[test]
fn non_private_training_neither_clips_nor_adds_noise() {
    let plan = PrivacyPlan::new(PlanSpec { non_private: true, delta: None, ..spec(0.0) }).unwrap();
    let (expected, _) = by_definition(&plan, &data());
    assert_close(&Case::new(plan).trained(), &expected);
}

#[test]
fn a_step_without_records_still_gets_noise() {
    let plan =
        PrivacyPlan::new(PlanSpec { sampling: Sampling::Poisson { rate: 1e-12 }, planned_steps: 1, ..spec(2.0) })
            .unwrap();
    let (expected, _) = by_definition(&plan, &data());
    let found = Case::new(plan).trained();
    assert_close(&found, &expected);
    assert!(found.iter().zip([0.5, -0.5, 0.25]).all(|(found, start)| *found != start));
}

#[test]
fn a_lost_device_loses_nothing_and_every_step_is_counted() {
    let whole = Case::new(plan(1.3)).trained();
    let case = Case::new(plan(1.3));
    let error = case.train(&Regression::lost_after(4), false).unwrap_err();
    assert!(matches!(error, TrainError::Step(StepError::Engine(EngineError::Device(DeviceError::Lost { .. })))));
    let summary = case.train(&Regression::new(), true).unwrap();
    assert_eq!(case.parameters(), whole);
    assert_eq!(summary.steps, 6);
    // The fifth step was paid for, lost, and paid for again.
    let ledger = Contents::read(&case.dir().ledger()).unwrap();
    let steps: Vec<u64> = ledger.entries().iter().map(|entry| entry.step).collect();
    assert_eq!(steps, [0, 1, 2, 3, 4, 4, 5]);
    let certificate = Certificate::read(&case.dir().certificate()).unwrap();
    assert_eq!(certificate.steps, 7);
    assert!(certificate.mismatches(&ledger).unwrap().is_empty());
}

#[test]
fn a_run_is_resumed_only_as_it_was_started() {
    let case = Case::new(plan(1.3));
    case.train(&Regression::lost_after(2), false).unwrap_err();
    assert!(matches!(case.train(&Regression::new(), false), Err(TrainError::Exists { .. })));
    let other = Case { plan: plan(0.9), learning_rate: 0.2, ..case };
    let error = other.train(&Regression::new(), true).unwrap_err().to_string();
    let said = "was started otherwise: noise multiplier 1.3, now 0.9; learning rate 0.1, now 0.2";
    assert!(error.ends_with(said), "{error}");
}

/// σ for ε = 3, found without the search that the command line makes.
fn within(epsilon: f64, steps: u64) -> PrivacyPlan {
    let with = |sigma: f64| {
        let spec = PlanSpec { target_epsilon: Some(epsilon), planned_steps: steps, ..spec(sigma) };
        PrivacyPlan::new(spec).unwrap()
    };
    let cost = |plan: &PrivacyPlan| Rdp.epsilon(&plan.planned(0..steps), plan.adjacency, 1e-5).unwrap();
    let sigma = (0..).map(|i| 1.0 + f64::from(i) / 1e3).find(|&sigma| cost(&with(sigma)) <= epsilon).unwrap();
    with(sigma)
}

#[test]
fn the_target_epsilon_is_never_exceeded() {
    let case = Case::new(within(3.0, 6));
    case.train(&Regression::lost_after(4), false).unwrap_err();
    // One step was paid for and lost, so that one fewer can be taken.
    let summary = case.train(&Regression::new(), true).unwrap();
    assert_eq!((summary.steps, summary.planned_steps), (5, 6));
    let certificate = Certificate::read(&case.dir().certificate()).unwrap();
    assert_eq!(certificate.steps, 6);
    assert!(certificate.epsilon.unwrap() <= 3.0);
    // There is nothing left for another run that shares the ledger.
    let other = Case::new(within(3.0, 6));
    let ledger = case.dir().ledger();
    let error = other.with_ledger(&ledger).unwrap_err();
    assert!(matches!(error, TrainError::Spent { target: 3.0, reached, .. } if reached > 3.0), "{error}");
    assert!(!other.dir().artifact().exists() && !other.dir().lock().exists());
}

#[test]
fn runs_that_share_a_ledger_are_certified_together() {
    let secret = |spec: PlanSpec| PrivacyPlan::new(PlanSpec { insecure_seed: None, ..spec }).unwrap();
    let (first, second) = (Case::new(secret(spec(1.3))), Case::new(secret(spec(2.0))));
    first.train(&Regression::new(), false).unwrap();
    let ledger = first.dir().ledger();
    second.with_ledger(&ledger).unwrap();
    let certificate = Certificate::read(&second.dir().certificate()).unwrap();
    assert!(certificate.guarantee);
    assert_eq!((certificate.steps, certificate.history.len()), (12, 2));

    // The noise of a run with a known seed can be subtracted, so nothing holds for the ledger from here on.
    Case::new(plan(2.0)).with_ledger(&ledger).unwrap();
    let third = Case::new(secret(spec(2.0)));
    third.with_ledger(&ledger).unwrap();
    let certificate = Certificate::read(&third.dir().certificate()).unwrap();
    assert!(!certificate.guarantee && certificate.statement.contains("seed"), "{}", certificate.statement);

    let groups = Case::new(secret(PlanSpec { unit: Unit::Group, ..spec(2.0) }));
    let error = groups.with_ledger(&ledger).unwrap_err();
    assert!(matches!(error, TrainError::Ledger(LedgerError::Unit { .. })), "{error}");
}

#[test]
fn only_a_run_is_resumed() {
    let case = Case::new(plan(1.3));
    assert!(matches!(case.train(&Regression::new(), true), Err(TrainError::NoRun { .. })));
    assert!(!case.dir().ledger().exists());
    case.train(&Regression::lost_after(0), false).unwrap_err();
    assert_eq!(plan_of(&case.dir()).unwrap().as_ref(), Some(&case.plan));
    // Before its first step, too, a run goes on as it began.
    let other = Case { plan: plan(0.9), ..case };
    assert!(matches!(other.train(&Regression::new(), true), Err(TrainError::OtherRun { .. })));
}

#[test]
fn an_old_certificate_goes_when_a_run_goes_on() {
    let case = Case::new(plan(1.3));
    case.trained();
    let last = case.dir().checkpoints().join("step-0000000006.safetensors");
    std::fs::remove_file(last).unwrap();
    case.train(&Regression::lost_after(0), true).unwrap_err();
    assert!(!case.dir().certificate().exists() && !case.dir().certificate_page().exists());
}

#[test]
fn a_directory_is_in_use_by_one_process() {
    let case = Case::new(plan(1.3));
    let _lock = crate::files::lock(&case.dir().lock()).unwrap().unwrap();
    assert!(matches!(case.train(&Regression::new(), false), Err(TrainError::InUse { .. })));
}

#[test]
fn a_record_that_is_not_finite_counts_as_zero_and_is_reported() {
    let plan = PrivacyPlan::new(PlanSpec { sampling: Sampling::Poisson { rate: 1.0 }, ..spec(0.0) }).unwrap();
    let x: Vec<f32> = (0..RECORDS * WIDTH).map(|i| if i == 4 { f32::NAN } else { (i as f32).sin() }).collect();
    let label: Vec<f32> = (0..RECORDS).map(|n| (n % 4) as f32).collect();
    let without = |values: &[f32], width: usize| [&values[..width], &values[2 * width..]].concat();
    let (expected, _) = by_definition(&plan, &dataset(&without(&x, WIDTH), &without(&label, 1)));
    let case = Case { data: dataset(&x, &label), ..Case::new(plan) };
    assert_close(&case.trained(), &expected);
    let metrics = std::fs::read_to_string(case.dir().metrics()).unwrap();
    let last: StepMetrics = serde_json::from_str(metrics.lines().last().unwrap()).unwrap();
    assert_eq!(last.not_private.unwrap().nonfinite_units, Some(6));
}

#[test]
fn a_run_whose_parameters_overflow_stops_and_keeps_its_last_checkpoint() {
    let case = Case { learning_rate: 1e39, ..Case::new(plan(1.3)) };
    let error = case.train(&Regression::new(), false).unwrap_err();
    let TrainError::NotFinite { step, saved, what, .. } = &error else { panic!("{error}") };
    assert!((1..6).contains(step), "{error}");
    assert!(what.contains(&"`w`".to_owned()) && error.to_string().contains(&format!("step {step}")), "{error}");
    // The step is paid for; no other is, and what it left is nowhere.
    assert_eq!(Contents::read(&case.dir().ledger()).unwrap().steps(), *step);
    assert!(!case.dir().certificate().exists());
    let checkpoint = Checkpoints::at(&case.dir().checkpoints()).latest().unwrap().unwrap();
    assert_eq!(checkpoint.step, *saved);
    assert!(*saved < *step && checkpoint.parameters["w"].data.iter().all(|w| w.is_finite()));
    let metrics = std::fs::read_to_string(case.dir().metrics()).unwrap();
    let last: StepMetrics = serde_json::from_str(metrics.lines().last().unwrap()).unwrap();
    assert_eq!(last.step, *step);
    let again = case.train(&Regression::new(), true).unwrap_err();
    assert!(matches!(again, TrainError::NotFinite { .. }), "{again}");
}

#[test]
fn a_run_does_not_begin_with_what_is_not_finite() {
    let case = Case::new(plan(1.3));
    case.train(&Regression::lost_after(2), false).unwrap_err();
    let checkpoints = Checkpoints::at(&case.dir().checkpoints());
    let good = checkpoints.latest().unwrap().unwrap();
    let mut bad = Checkpoint { step: good.step + 1, ..good.clone() };
    bad.states.get_mut("w/momentum").unwrap().data[1] = f32::NAN;
    let path = checkpoints.save(&bad).unwrap();
    let error = case.train(&Regression::new(), true).unwrap_err();
    let TrainError::NotFiniteAtStart { what, .. } = &error else { panic!("{error}") };
    assert_eq!(what, &["momentum of `w`"]);
    std::fs::remove_file(path).unwrap();
    case.train(&Regression::new(), true).unwrap();
}

#[test]
fn without_privacy_a_record_that_is_not_finite_is_counted_and_ends_the_run() {
    let spec = PlanSpec { non_private: true, delta: None, sampling: Sampling::Poisson { rate: 1.0 }, ..spec(0.0) };
    let x: Vec<f32> = (0..RECORDS * WIDTH).map(|i| if i == 4 { f32::NAN } else { (i as f32).sin() }).collect();
    let label: Vec<f32> = (0..RECORDS).map(|n| (n % 4) as f32).collect();
    let case = Case { data: dataset(&x, &label), ..Case::new(PrivacyPlan::new(spec).unwrap()) };
    let error = case.train(&Regression::new(), false).unwrap_err();
    assert!(matches!(error, TrainError::NotFinite { step: 1, saved: 0, .. }), "{error}");
    let metrics = std::fs::read_to_string(case.dir().metrics()).unwrap();
    let last: StepMetrics = serde_json::from_str(metrics.lines().last().unwrap()).unwrap();
    let observed = last.not_private.unwrap();
    assert_eq!((observed.nonfinite_units, observed.nonfinite_losses), (Some(1), 1));
    assert!(observed.loss.unwrap().is_finite());
}

#[test]
fn a_receipt_pays_for_its_own_step_and_once() {
    let (artifact, data, plan) = (artifact(), data(), plan(1.0));
    let program = Arc::new(artifact.program.clone());
    let engine = Engine::new(&Regression::new(), program, &artifact.weights, 3, Stepper::phases(&plan)).unwrap();
    let clip = ClipState::new(&plan.clip, &artifact.manifest.clip_groups);
    let setting = Setting {
        plan: &plan,
        data: &data,
        units: Cow::Owned(Units::single(data.records())),
        augment: None,
        optimizer: artifact.manifest.optimizer,
        learning_rate: 0.1,
        lr_schedule: Cow::Owned(LrSchedule::CONSTANT),
    };
    let mut stepper =
        Stepper::new(setting, engine, clip, &RunKey::for_plan(&plan, &SystemEntropy).unwrap(), 0).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(&directory.path().join("ledger"), "a run", &plan).unwrap();
    let mut pay = |step| ledger.record(step).unwrap();
    let mut refused = |stepper: &mut Stepper<'_>, paid: u64, summed: Option<u64>| {
        let before = stepper.engine().parameters().unwrap();
        match stepper.release(pay(paid)) {
            Err(StepError::Unpaid { summed: s, paid: p }) => assert_eq!((s, p), (summed, paid)),
            other => panic!("{other:?}"),
        }
        assert_eq!(stepper.engine().parameters().unwrap(), before);
    };
    refused(&mut stepper, 0, None);
    stepper.accumulate(0, |_, _, _| ()).unwrap();
    refused(&mut stepper, 1, Some(0));
    stepper.accumulate(0, |_, _, _| ()).unwrap();
    stepper.release(Receipt::of_made_up_records(0)).unwrap();
    refused(&mut stepper, 0, None);
}

#[test]
fn evaluations_on_the_way_change_nothing_and_are_of_the_averages() {
    let plain = Case { ema: Some(0.5), ..Case::new(plan(1.3)) };
    let (trained, averages) = (plain.trained(), |case: &Case| {
        Checkpoints::at(&case.dir().checkpoints()).latest().unwrap().unwrap().averages["w"].data.clone()
    });
    let every = |every: &str| Some(every.parse().unwrap());
    let case = Case { ema: Some(0.5), valid: Some(data()), valid_every: every("2"), ..Case::new(plan(1.3)) };
    let summary = case.train(&Regression::new(), false).unwrap();
    assert_eq!(case.parameters(), trained);
    assert_eq!(averages(&case), averages(&plain));
    let steps: Vec<u64> = summary.evaluated.iter().map(|line| line.step).collect();
    assert_eq!(steps, [2, 4, 6]);
    assert_eq!(summary.evaluated[2].valid, summary.valid);
    // Half the squared error is the loss of this device.
    let w = averages(&case);
    let x = |i: usize| (i as f32).sin();
    let error = |n: usize| (0..WIDTH).map(|k| x(n * WIDTH + k) * w[k]).sum::<f32>() - (n % 4) as f32;
    let loss = (0..RECORDS).map(|n| f64::from(error(n)).powi(2) / 2.0).sum::<f64>() / RECORDS as f64;
    let found = summary.valid.unwrap().loss;
    assert!((found - loss).abs() < 1e-6, "{found} is not {loss}");

    // Rates of 0.4: epochs end after the steps 3, 5 and (planned last) 6.
    let case = Case { valid: Some(data()), valid_every: every("1epoch"), ..Case::new(plan(1.3)) };
    case.train(&Regression::lost_after(4), false).unwrap_err();
    let summary = case.train(&Regression::new(), true).unwrap();
    assert_eq!(summary.evaluated.iter().map(|line| line.step).collect::<Vec<_>>(), [3, 5, 6]);
}
