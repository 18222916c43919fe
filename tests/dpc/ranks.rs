//! Several ranks in threads of one process train what one would: the same bits, the same ε, and an end for all where there is one
//! for any.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dpc::artifact::{self, Artifact};
use dpc::compile::{Options, compile};
use dpc::device::cpu::Cpu;
use dpc::device::{Device, TARGETS};
use dpc::onnx::{Source, discover};
use dpc::options::{NoiseKind, NormChoice};
use dpc::privacy::accountant::ACCOUNTANTS;
use dpc::privacy::adjacency::Unit;
use dpc::privacy::certificate::Certificate;
use dpc::privacy::correlation::Correlation;
use dpc::privacy::ledger::{Contents, LedgerError};
use dpc::privacy::plan::{PlanSpec, PrivacyPlan};
use dpc::privacy::sampling::Sampling;
use dpc::ranks::{Alone, Ranks, RanksError, Threads};
use dpc::train::augment::Augment;
use dpc::train::checkpoint::{Checkpoint, Checkpoints};
use dpc::train::data::{Array, Dataset, Values};
use dpc::train::lr_schedule::LrSchedule;
use dpc::train::metrics::{MetricsLog, StepMetrics};
use dpc::train::run_dir::RunDir;
use dpc::train::shards::{self, ShardError};
use dpc::train::step::StepError;
use dpc::train::trainer::{Summary, TrainError, Training, train_while};
use dpc::train::units::Units;

use super::faults::Fragile;
use super::place::models;
use super::zoo::{named, options};

const STEPS: u64 = 6;

/// A training without its ranks.
#[derive(Clone)]
struct Case {
    artifact: Artifact,
    data: Dataset,
    units: Units,
    plan: PrivacyPlan,
    augment: Option<Augment>,
    ema: Option<f64>,
    learning_rate: f64,
    shard_noise: bool,
}

/// How a rank ended.
struct Ended {
    summary: Result<Summary, TrainError>,
    /// The bits of the parameters after the last step that it took.
    parameters: BTreeMap<String, Vec<u32>>,
}

fn built(path: &Path, options: &Options) -> Artifact {
    let source = Source::open(path).expect("a model");
    let parameters = discover(&source, &[], &[]).expect("parameters");
    let compiled = compile(&source, &parameters, options, TARGETS).expect("it compiles");
    artifact::build(&source, &parameters, compiled, options, 64).expect("an artifact")
}

impl Case {
    fn new(artifact: Artifact, data: Dataset, units: Units, change: impl FnOnce(PlanSpec) -> PlanSpec) -> Case {
        let (rate, manifest) = (0.25, &artifact.manifest);
        let spec = PlanSpec {
            noise_multiplier: 1.0,
            delta: Some(1e-5),
            planned_steps: STEPS,
            insecure_seed: Some(7),
            grid: manifest.grid.clone(),
            clip_groups: manifest.clipped().groups,
            ..PlanSpec::new(Sampling::Poisson { rate }, rate * units.len() as f64, manifest.clip.clone())
        };
        let plan = PrivacyPlan::new(change(spec)).expect("a plan");
        Case { artifact, data, units, plan, augment: None, ema: None, learning_rate: 0.1, shard_noise: false }
    }

    /// A multilayer perceptron on random records.
    fn mlp(clip: &str, noise: NoiseKind, change: impl FnOnce(PlanSpec) -> PlanSpec) -> Case {
        let model = named("mlp");
        let options = Options {
            clip: clip.parse().expect("a clip rule"),
            optimizer: "adam".parse().expect("an optimizer"),
            per_sample: false,
            noise,
            ..options(model.loss.clone(), NormChoice::Auto)
        };
        let artifact = built(&model.files["ts"], &options);
        let data = Dataset::random(&artifact.manifest.schema, 200);
        Case::new(artifact, data, Units::single(200), change)
    }

    /// A convolutional network on digits.
    fn digits(clip: &str) -> Case {
        let options = Options {
            clip: clip.parse().expect("a clip rule"),
            optimizer: "sgd:momentum=0.9".parse().expect("an optimizer"),
            per_sample: false,
            ..options("cross-entropy".parse().expect("a loss"), NormChoice::Auto)
        };
        let artifact = built(Path::new(&models("digits_cnn.onnx")), &options);
        let data = Dataset::load(&models("digits_train.npz"), &artifact.manifest.schema).expect("data");
        let units = Units::single(data.records());
        Case::new(artifact, data, units, |spec| PlanSpec {
            expected_batch: 128.0,
            sampling: Sampling::Poisson { rate: 128.0 / 1500.0 },
            ..spec
        })
    }

    /// These records of its data.
    fn records(&self, records: &[usize]) -> Dataset {
        let mut arrays = BTreeMap::new();
        for column in self.data.inputs().iter().chain(self.data.targets()) {
            let dims = [&[records.len()][..], &column.dims].concat();
            let array = match column.gathered(records).expect("values") {
                Values::F32(values) => Array::from_f32(dims, &values),
                Values::I32(values) => Array::from_i32(dims, &values),
            };
            arrays.insert(column.name.clone(), array);
        }
        Dataset::from_arrays("memory", &arrays, &self.artifact.manifest.schema).expect("data")
    }

    /// What one rank makes of it, until `goes_on` ends it.
    fn rank(&self, (ranks, device): (Arc<dyn Ranks>, &dyn Device), out: &Path, until: u64, resume: bool) -> Ended {
        let mut parameters = BTreeMap::new();
        let training = Training {
            artifact: &self.artifact,
            device,
            data: &self.data,
            units: &self.units,
            augment: self.augment,
            valid: None,
            valid_every: None,
            plan: &self.plan,
            accountant: ACCOUNTANTS[0],
            learning_rate: self.learning_rate,
            lr_for: vec![],
            lr_schedule: LrSchedule::CONSTANT,
            ema: self.ema,
            // Another on each rank, but where the records of a group are clipped as one, whose sum is of floats.
            physical_batch: if self.plan.unit == Unit::Group { 16 } else { 5 + 3 * ranks.rank() },
            ledger: RunDir::new(out).ledger(),
            directory: RunDir::new(out),
            resume,
            checkpoint_interval: Duration::ZERO,
            progress: false,
            record_private_metrics: true,
            tensorboard: None,
            config: None,
            trial_of: None,
            shard_noise: self.shard_noise,
            ranks,
        };
        let summary = train_while(&training, &mut |run| {
            // A device that is lost here is so at the next call too.
            let Ok(now) = run.parameters() else { return true };
            parameters =
                now.into_iter().map(|(name, t)| (name, t.data.iter().map(|v| v.to_bits()).collect())).collect();
            run.step() < until
        });
        Ended { summary, parameters }
    }

    /// What each of `places` makes of it in `out`. A process that another test is starting has this one's locks for a moment.
    fn with(&self, places: impl Fn() -> Vec<Arc<dyn Ranks>>, out: &Path, until: u64, resume: bool) -> Vec<Ended> {
        loop {
            let ended = together(places(), |ranks| self.rank((ranks, &Cpu), out, until, resume));
            match &ended[0].summary {
                Err(TrainError::Ledger(LedgerError::Locked { .. }) | TrainError::InUse { .. }) => {
                    std::thread::yield_now()
                }
                _ => return ended,
            }
        }
    }

    /// The same of so many threads.
    fn on(&self, count: usize, out: &Path, until: u64, resume: bool) -> Vec<Ended> {
        self.with(|| places(count), out, until, resume)
    }
}

fn places(count: usize) -> Vec<Arc<dyn Ranks>> {
    match count {
        1 => vec![Arc::new(Alone)],
        _ => Threads::places(count).into_iter().map(|place| Arc::new(place) as _).collect(),
    }
}

/// What each of `places` makes of `work`, in a thread of its own.
fn together<T: Send>(places: Vec<Arc<dyn Ranks>>, work: impl Fn(Arc<dyn Ranks>) -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = places.into_iter().map(|ranks| scope.spawn(move || work(ranks))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a rank ends")).collect()
    })
}

fn last(out: &Path) -> Checkpoint {
    Checkpoints::at(&RunDir::new(out).checkpoints()).latest().expect("a checkpoint").expect("one")
}

fn lines(out: &Path) -> Vec<StepMetrics> {
    MetricsLog::read(&RunDir::new(out).metrics()).expect("metrics")
}

fn scratch() -> (tempfile::TempDir, impl Fn(&str) -> PathBuf) {
    let place = tempfile::tempdir().expect("a directory");
    let root = place.path().to_owned();
    (place, move |name: &str| root.join(name))
}

/// Trains `case` on one rank and on several, and compares all that is left.
fn is_the_same(what: &str, case: &Case) {
    let (_place, at) = scratch();
    let alone = case.on(1, &at("1"), u64::MAX, false);
    let expected = alone[0].summary.as_ref().unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(expected.steps, STEPS);
    let begun = case.on(1, &at("begun"), 0, false);
    assert_ne!(alone[0].parameters, begun[0].parameters, "{what}");
    for count in 2..=4 {
        let out = at(&count.to_string());
        for (rank, ended) in case.on(count, &out, u64::MAX, false).into_iter().enumerate() {
            let summary = ended.summary.unwrap_or_else(|error| panic!("{what}, rank {rank} of {count}: {error}"));
            assert!(ended.parameters == alone[0].parameters, "{what}: rank {rank} of {count} has other parameters");
            assert_eq!((summary.steps, summary.epsilon, summary.delta), (STEPS, expected.epsilon, expected.delta));
        }
        let (one, all) = (last(&at("1")), last(&out));
        assert!(one.parameters == all.parameters && one.states == all.states && one.averages == all.averages, "{what}");
        assert_eq!(one.context["clip"], all.context["clip"], "{what}");
        let ledger = Contents::read(&RunDir::new(&out).ledger()).expect("a ledger");
        assert_eq!((ledger.steps(), ledger.ranks()), (STEPS, vec![count as u64]));
        let certificate = Certificate::read(&RunDir::new(&out).certificate()).expect("a certificate");
        assert_eq!((&certificate.ranks, certificate.mismatches(&ledger)), (&vec![count as u64], Ok(vec![])));
        assert!(certificate.page().contains(&format!("| ranks that took each step together | {count} |")));
        let (one, all) = (lines(&at("1")), lines(&out));
        // A line is written once a second, so that those of slow runs are of other steps.
        let ([one], [all]) = (&one[..], &all[..]) else { continue };
        assert_eq!(one.estimates, all.estimates, "{what}");
        let [one, all] = [one, all].map(|line| line.not_private.expect("observations"));
        assert_eq!(one.clipped_fraction, all.clipped_fraction, "{what}");
        let near = one.loss.zip(all.loss).is_some_and(|(a, b)| (a - b).abs() < 1e-9 * b.abs().max(1.0));
        assert!(near, "{what}: a loss of {:?} and of {:?}", one.loss, all.loss);
    }
}

#[test]
fn digits_are_learned_to_the_same_bits() {
    is_the_same("per-layer", &Case::digits("per-layer:0.5"));
    is_the_same("parts of the noise", &Case { shard_noise: true, ..Case::digits("per-layer:0.5") });
}

#[test]
fn a_perceptron_is_trained_to_the_same_bits_whatever_is_released() {
    let exact = |clip: &str, change: fn(PlanSpec) -> PlanSpec| Case::mlp(clip, NoiseKind::Exact, change);
    is_the_same("flat", &exact("flat:0.5", |spec| spec));
    is_the_same("average", &Case { ema: Some(0.5), ..exact("flat:0.5", |spec| spec) });
    let estimates = |spec| PlanSpec { estimates: Some(Default::default()), ..spec };
    is_the_same("adaptive", &exact("per-layer:0.5,adaptive", estimates));
    is_the_same("parts of the noise", &Case { shard_noise: true, ..exact("per-layer:0.5,adaptive", estimates) });
    let fixed = |spec: PlanSpec| PlanSpec {
        sampling: Sampling::FixedSize { units: 200, batch: 50 },
        public_units: Some(200),
        adjacency: dpc::privacy::adjacency::Adjacency::ReplaceOne,
        ..spec
    };
    is_the_same("fixed size", &exact("flat:0.5", fixed));
    let correlated = |spec: PlanSpec| PlanSpec {
        sampling: Sampling::Cyclic { rate: 1.0, parts: 4 },
        correlation: Some(Correlation::Banded { bands: 3 }.strategy(4, STEPS)),
        public_units: None,
        ..spec
    };
    is_the_same("correlated", &exact("flat:0.5", correlated));
    let views = |spec| PlanSpec { views: 3, ..spec };
    let augment = Some("3:noise=0.2".parse().expect("a way"));
    is_the_same("views", &Case { augment, ..exact("flat:0.5", views) });
    let groups: Vec<i64> = (0..200).map(|record| record * record % 61).collect();
    let mut grouped = exact("flat:0.5", |spec| PlanSpec { unit: Unit::Group, ..spec });
    grouped.units = Units::grouped(&groups);
    is_the_same("groups", &grouped);
    // So few that some ranks have none.
    is_the_same(
        "hardly any",
        &exact("flat:0.5", |spec| PlanSpec { sampling: Sampling::Poisson { rate: 0.01 }, ..spec }),
    );
}

/// Parts of what has none are refused, and nothing is trained.
#[test]
fn noise_of_floats_and_correlated_noise_have_no_parts() {
    let correlated = |spec: PlanSpec| PlanSpec {
        sampling: Sampling::Cyclic { rate: 1.0, parts: 4 },
        correlation: Some(Correlation::Banded { bands: 3 }.strategy(4, STEPS)),
        public_units: None,
        ..spec
    };
    for case in
        [Case::mlp("flat:0.5", NoiseKind::Float, |spec| spec), Case::mlp("flat:0.5", NoiseKind::Exact, correlated)]
    {
        let (_place, at) = scratch();
        let case = Case { shard_noise: true, ..case };
        for rank in case.on(2, &at("out"), u64::MAX, false) {
            let error = rank.summary.expect_err("it is refused").to_string();
            assert!(error.contains("cannot make a part of the noise each"), "{error}");
        }
        assert!(!at("out").exists());
    }
}

#[test]
fn sums_of_floats_agree_up_to_rounding() {
    let private = Case::mlp("flat:0.5", NoiseKind::Float, |spec| spec);
    let plain = Case::mlp("flat:0.5", NoiseKind::Float, |spec| PlanSpec {
        non_private: true,
        noise_multiplier: 0.0,
        delta: None,
        insecure_seed: Some(7),
        ..spec
    });
    for case in [private, plain] {
        let (_place, at) = scratch();
        let alone = &case.on(1, &at("1"), u64::MAX, false)[0].parameters;
        let ended = case.on(3, &at("3"), u64::MAX, false);
        for rank in &ended {
            rank.summary.as_ref().expect("a run");
            assert!(rank.parameters == ended[0].parameters);
            for (name, expected) in alone {
                let [found, expected] = [&rank.parameters[name], expected]
                    .map(|bits| bits.iter().map(|&bits| f64::from(f32::from_bits(bits))).collect::<Vec<f64>>());
                let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
                let apart = norm(&mut found.iter().zip(&expected).map(|(a, b)| a - b));
                assert!(apart <= 1e-6 * norm(&mut expected.iter().copied()), "{name}: {apart}");
            }
        }
    }
}

/// Goes on with another number of ranks after every stop, and ends as a run that never stopped.
#[test]
fn a_run_goes_on_with_another_number_of_ranks() {
    let correlated = |spec: PlanSpec| PlanSpec {
        sampling: Sampling::Cyclic { rate: 1.0, parts: 4 },
        correlation: Some(Correlation::Banded { bands: 3 }.strategy(4, STEPS)),
        public_units: None,
        ..spec
    };
    let adaptive = |spec| PlanSpec { estimates: Some(Default::default()), ..spec };
    for case in [
        Case::mlp("flat:0.5", NoiseKind::Exact, correlated),
        Case::mlp("per-layer:0.5,adaptive", NoiseKind::Exact, adaptive),
    ] {
        let (_place, at) = scratch();
        let whole = &case.on(1, &at("whole"), u64::MAX, false)[0];
        let mut ended = Vec::new();
        for (count, until) in [(2, 1), (3, 3), (1, 4), (4, u64::MAX)] {
            ended = case.on(count, &at("parts"), until, until > 1);
            ended.iter().for_each(|rank| assert!(rank.summary.is_ok()));
        }
        assert!(ended.iter().all(|rank| rank.parameters == whole.parameters));
        let epsilons: Vec<_> = ended.into_iter().map(|rank| rank.summary.expect("a run").epsilon).collect();
        assert_eq!(epsilons, [whole.summary.as_ref().expect("a run").epsilon; 4]);
        let ledger = Contents::read(&RunDir::new(&at("parts")).ledger()).expect("a ledger");
        assert_eq!((ledger.steps(), ledger.ranks()), (STEPS, vec![2, 3, 1, 4]));
    }
}

#[test]
fn ranks_that_would_train_otherwise_are_refused_before_the_first_step() {
    let case = Case::mlp("flat:0.5", NoiseKind::Exact, |spec| spec);
    let other_data = case.records(&(0..200).rev().collect::<Vec<_>>());
    let others = [
        ("rank 1 has another data set", Case { data: other_data, ..case.clone() }),
        ("rank 1 has the learning rate 0.2, rank 0 0.1", Case { learning_rate: 0.2, ..case.clone() }),
        (
            "rank 1 has another privacy plan",
            Case::mlp("flat:0.5", NoiseKind::Exact, |spec| PlanSpec { noise_multiplier: 2.0, ..spec }),
        ),
        ("rank 1 has another artifact", Case::mlp("flat:0.25", NoiseKind::Exact, |spec| spec)),
        ("rank 1 has the decay of the moving average 0.5, rank 0 none", Case { ema: Some(0.5), ..case.clone() }),
        (
            "rank 1 has the choice to make parts of the noise true, rank 0 false",
            Case { shard_noise: true, ..case.clone() },
        ),
    ];
    for (what, other) in others {
        let (_place, at) = scratch();
        let ended = together(places(3), |ranks| {
            let own = if ranks.rank() == 1 { &other } else { &case };
            own.rank((ranks, &Cpu), &at("out"), u64::MAX, false).summary
        });
        for ended in ended {
            let error = ended.expect_err("it is refused").to_string();
            assert!(error.contains(what) && error.contains("not of one run"), "{what}: {error}");
        }
        assert!(!at("out").exists(), "{what}");
    }
}

/// Each rank holds records of its own, and what is trained is what one process makes of all of them.
#[test]
fn records_that_stay_with_their_ranks_are_trained_on_as_one_data_set() {
    let augment = Some("3:noise=0.2".parse::<Augment>().expect("a way"));
    let groups: Vec<i64> = (0..200).map(|record| record / 7).collect();
    let mut grouped = Case::mlp("flat:0.5", NoiseKind::Exact, |spec| PlanSpec { unit: Unit::Group, ..spec });
    grouped.units = Units::grouped(&groups);
    for (case, groups) in [
        (Case::mlp("flat:0.5", NoiseKind::Exact, |spec| spec), None),
        (Case { augment, ..Case::mlp("flat:0.5", NoiseKind::Exact, |spec| PlanSpec { views: 3, ..spec }) }, None),
        (grouped, Some(&groups)),
    ] {
        let (_place, at) = scratch();
        let whole = &case.on(1, &at("whole"), u64::MAX, false)[0].parameters;
        let starts = [0, 70, 84, 200];
        let ended = together(places(3), |ranks| {
            let records: Vec<usize> = (starts[ranks.rank()]..starts[ranks.rank() + 1]).collect();
            let data = case.records(&records);
            let ids: Option<Vec<i64>> = groups.map(|groups| records.iter().map(|&record| groups[record]).collect());
            let units = ids.as_deref().map_or(Units::single(records.len()), Units::grouped);
            let units = shards::place(&*ranks, &data, units, ids.as_deref()).expect("parts of one");
            let part = Case { data, units, ..case.clone() };
            part.rank((ranks, &Cpu), &at("parts"), u64::MAX, false)
        });
        for rank in ended {
            rank.summary.expect("a run");
            assert!(rank.parameters == *whole);
        }
    }
}

#[test]
fn records_that_are_with_two_ranks_are_refused() {
    let case = Case::mlp("flat:0.5", NoiseKind::Exact, |spec| spec);
    let placed = |records: fn(usize) -> std::ops::Range<usize>, groups: Option<[i64; 2]>| {
        together(places(2), |ranks| {
            let data = case.records(&records(ranks.rank()).collect::<Vec<_>>());
            let ids = groups.map(|groups| vec![groups[ranks.rank()]; data.records()]);
            let units = Units::single(data.records());
            shards::place(&*ranks, &data, units, ids.as_deref()).expect_err("it is refused")
        })
    };
    for error in placed(|_| 0..9, None) {
        assert!(matches!(error, ShardError::Same { rank: 0, other: 1 }), "{error}");
    }
    for error in placed(|rank| 9 * rank..9 * rank + 9, Some([5, 5])) {
        assert!(matches!(error, ShardError::Divided { rank: 0, other: 1 }), "{error}");
    }
}

/// The first `calls` calls of rank 1's device go well.
fn broken_at(case: &Case, calls: u64, out: &Path) -> (Vec<Ended>, u64) {
    let device = Fragile::lost_after(calls);
    let ended = together(places(3), |ranks| match ranks.rank() {
        1 => case.rank((ranks, &device), out, u64::MAX, false),
        _ => case.rank((ranks, &Cpu), out, u64::MAX, false),
    });
    (ended, calls - device.calls.load(Ordering::Relaxed))
}

#[test]
fn a_rank_that_fails_at_any_call_ends_all_and_two_go_on() {
    let case = Case::mlp("flat:0.5", NoiseKind::Exact, |spec| spec);
    let (_place, at) = scratch();
    let whole = &case.on(1, &at("whole"), u64::MAX, false)[0].parameters;
    let (_, calls) = broken_at(&case, u64::MAX, &at("unbroken"));
    // Every call in turn would take minutes.
    for calls in (0..calls).step_by(23) {
        let out = at(&calls.to_string());
        let (ended, _) = broken_at(&case, calls, &out);
        if ended.iter().all(|rank| rank.summary.is_ok()) {
            // Only what this test looks at was lost.
            continue;
        }
        for (rank, ended) in ended.into_iter().enumerate() {
            let error = ended.summary.expect_err("a lost device").to_string();
            let left = "rank 1 has left: fragile was lost: unplugged".to_owned();
            assert!(error.contains(if rank == 1 { "was lost" } else { &left }), "rank {rank} after {calls}: {error}");
        }
        let begun = RunDir::new(&out).artifact().exists();
        let stored = if begun { last(&out).step } else { 0 };
        let paid = Contents::read_if_any(&RunDir::new(&out).ledger()).expect("a ledger").steps();
        assert!((stored..=stored + 1).contains(&paid), "{stored} steps are stored, {paid} are paid for");
        for rank in case.on(2, &out, u64::MAX, begun) {
            rank.summary.expect("it goes on");
            assert!(rank.parameters == *whole);
        }
        let paid = Contents::read(&RunDir::new(&out).ledger()).expect("a ledger").steps();
        assert!((STEPS..=STEPS + 1).contains(&paid), "{paid}");
    }
}

/// A rank that breaks a rule of what it adds up.
#[derive(Debug)]
struct Broken {
    ranks: Threads,
    how: How,
    sums: AtomicU64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    /// Its share of a step never arrives.
    Lost,
    /// Nor does that show in the number of units.
    LostUnseen,
    /// It adds its own noise to what all have.
    NoiseAfter,
    /// Each adds noise before the sum.
    NoiseBefore,
    /// Its part of the noise is counted as none.
    NoPart,
}

impl Ranks for Broken {
    fn rank(&self) -> usize {
        self.ranks.rank()
    }

    fn size(&self) -> usize {
        self.ranks.size()
    }

    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, RanksError> {
        self.ranks.gather(own)
    }

    fn broadcast(&self, bytes: &mut Vec<u8>) -> Result<(), RanksError> {
        self.ranks.broadcast(bytes)
    }

    fn sum_i64(&self, values: &mut [i64]) -> Result<(), RanksError> {
        let (one, second) = (self.rank() == 1, self.sums.fetch_add(1, Ordering::Relaxed) == 1);
        let (units, sums) = values.split_last_mut().expect("the number of units");
        match self.how {
            How::Lost if one && second => {
                sums.fill(0);
                *units = 0;
            }
            How::LostUnseen if one && second => sums.fill(0),
            How::NoPart if one && second => *sums.last_mut().expect("the elements that got noise") = 0,
            How::NoiseBefore => sums.iter_mut().zip(0..).for_each(|(sum, k)| *sum += 1000 * (k % 3 - 1)),
            _ => {}
        }
        self.ranks.sum_i64(values)?;
        if self.how == How::NoiseAfter && one && second {
            values[0] += 1_000_000;
        }
        Ok(())
    }

    fn sum_f64(&self, values: &mut [f64]) -> Result<(), RanksError> {
        self.ranks.sum_f64(values)
    }

    fn leave(&self, why: &str) {
        self.ranks.leave(why);
    }
}

#[test]
fn a_share_that_is_lost_and_noise_that_is_not_common_are_found() {
    let case = Case::mlp("flat:0.5", NoiseKind::Exact, |spec| spec);
    let (_place, at) = scratch();
    let whole = &case.on(1, &at("whole"), u64::MAX, false)[0].parameters;
    let broken = |how: How| {
        let place = |ranks| Arc::new(Broken { ranks, how, sums: AtomicU64::new(0) }) as Arc<dyn Ranks>;
        let out = at(&format!("{how:?}"));
        let ended = case.with(|| Threads::places(3).into_iter().map(place).collect(), &out, u64::MAX, false);
        (ended, Contents::read(&RunDir::new(&out).ledger()).expect("a ledger").steps())
    };
    // While it is paid for.
    let (ended, paid) = broken(How::Lost);
    for rank in &ended {
        let error = rank.summary.as_ref().expect_err("a lost share");
        assert!(matches!(error, TrainError::Step(StepError::Shares)), "{error}");
    }
    assert_eq!(paid, 2);
    // After the step, which all have paid for.
    let (ended, paid) = broken(How::NoiseAfter);
    for rank in &ended {
        let error = rank.summary.as_ref().expect_err("another replica");
        assert!(matches!(error, TrainError::Step(StepError::Replicas { rank: 1, step: 2 })), "{error}");
    }
    assert_eq!(paid, 2);
    // Parts of the noise, of which one is missing.
    let parts = Case { shard_noise: true, ..case.clone() };
    let place = |ranks| Arc::new(Broken { ranks, how: How::NoPart, sums: AtomicU64::new(0) }) as Arc<dyn Ranks>;
    let out = at("parts");
    for rank in parts.with(|| Threads::places(3).into_iter().map(place).collect(), &out, u64::MAX, false) {
        let error = rank.summary.expect_err("a missing part");
        assert!(matches!(error, TrainError::Step(StepError::NoiseParts)), "{error}");
    }
    // What all ranks have alike nobody of them can see; the bits of a single process do.
    for how in [How::LostUnseen, How::NoiseBefore] {
        for rank in broken(how).0 {
            rank.summary.expect("a run");
            assert!(rank.parameters != *whole, "{how:?}");
        }
    }
}
