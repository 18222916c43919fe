//! Training from memory that goes on from a checkpoint, as a page in a browser does.

use dpc::device::cpu::Cpu;
use dpc::privacy::ledger::{Contents, MemoryStore};
use dpc::privacy::plan::PrivacyPlan;
use dpc::privacy::request::PlanRequest;
use dpc::train::checkpoint::Checkpoint;
use dpc::train::data::Dataset;
use dpc::train::data::npz::Npz;
use dpc::train::terms::plan_at;
use dpc::{Compiled, Error, Model, Options, Setup, Trainer};

fn compiled() -> (Compiled, Dataset) {
    let model = Model::from_bytes(std::fs::read("models/digits_cnn.onnx").unwrap()).unwrap();
    let options = Options {
        optimizer: "sgd:momentum=0.9".parse().unwrap(),
        clip: "flat:1,adaptive".parse().unwrap(),
        ..Options::private("cross-entropy".parse().unwrap())
    };
    let compiled = model.compile(&options).unwrap();
    let data = Npz::from_bytes("train", std::fs::read("models/digits_train.npz").unwrap()).unwrap();
    let data = compiled.dataset(data).unwrap();
    (compiled, data)
}

fn request() -> PlanRequest {
    PlanRequest { insecure_seed: Some(7), ..PlanRequest::epsilon(3.0, 1e-4, 64.0).steps(8) }
}

fn setup(ledger: &MemoryStore, resume: Option<Checkpoint>) -> Setup {
    Setup { ledger: Box::new(ledger.clone()), resume, ema: Some(0.9), ..Setup::new(0.5) }
}

/// Steps taken, and the checkpoint after them as a file would hold it.
fn train(compiled: &Compiled, data: &Dataset, plan: &PrivacyPlan, setup: Setup, steps: usize) -> Vec<u8> {
    let mut trainer = Trainer::new(compiled, data, plan, &Cpu, setup).unwrap();
    (0..steps).for_each(|_| assert!(trainer.step().unwrap().is_some()));
    trainer.checkpoint().unwrap().to_bytes().unwrap()
}

#[test]
fn a_run_in_memory_goes_on_where_it_was() {
    let (compiled, data) = compiled();
    let plan = compiled.plan(&request(), &data).unwrap();
    let [whole, parts] = [MemoryStore::default(), MemoryStore::default()];
    let expected = train(&compiled, &data, &plan, setup(&whole, None), 8);

    let half = train(&compiled, &data, &plan, setup(&parts, None), 3);
    let half = Checkpoint::from_bytes("half", &half).unwrap();
    let plan = plan_at(&half).unwrap();
    let mut trainer = Trainer::new(&compiled, &data, &plan, &Cpu, setup(&parts, Some(half.clone()))).unwrap();
    assert_eq!(trainer.steps(), 3);
    trainer.train(|_| {}).unwrap();
    assert_eq!((trainer.steps(), trainer.last_step()), (8, 8));
    let found = trainer.checkpoint().unwrap();
    let expected = Checkpoint::from_bytes("whole", &expected).unwrap();
    assert_eq!((&found.parameters, &found.states), (&expected.parameters, &expected.states));
    assert_eq!((found.averages, found.context["clip"].clone()), (expected.averages, expected.context["clip"].clone()));
    assert_eq!(trainer.certificate().unwrap().steps, 8);
    drop(trainer);

    // Steps that are repeated are paid for again, and end the run earlier.
    let mut again = Trainer::new(&compiled, &data, &plan, &Cpu, setup(&parts, Some(half.clone()))).unwrap();
    assert!(again.step().unwrap().is_none());
    drop(again);

    let cut = MemoryStore::holding(parts.text()[..parts.text().len() / 4].to_vec());
    let rewound = Trainer::new(&compiled, &data, &plan, &Cpu, setup(&cut, Some(half.clone())));
    assert!(matches!(rewound.err(), Some(Error::Ledger(_))));
    let other = Setup { learning_rate: 0.25, ..setup(&parts, Some(half)) };
    let what = match Trainer::new(&compiled, &data, &plan, &Cpu, other).err() {
        Some(Error::OtherRun { what }) => what,
        other => panic!("{other:?}"),
    };
    assert_eq!(what, ["learning rate 0.5, now 0.25"]);
}

#[test]
fn what_was_spent_before_counts() {
    let (compiled, data) = compiled();
    let ledger = MemoryStore::default();
    let plan = compiled.plan(&request(), &data).unwrap();
    train(&compiled, &data, &plan, setup(&ledger, None), 2);
    let spent = Contents::held(&mut ledger.clone()).unwrap().unwrap();
    let after = compiled.plan_after(&request(), &data, &spent).unwrap();
    assert!(after.noise_multiplier > plan.noise_multiplier);
    let mut trainer = Trainer::new(&compiled, &data, &after, &Cpu, setup(&ledger, None)).unwrap();
    trainer.train(|_| {}).unwrap();
    let certificate = trainer.certificate().unwrap();
    assert_eq!((trainer.steps(), certificate.steps), (8, 10));
    assert!(certificate.epsilon.unwrap() <= 3.0 && certificate.epsilon.unwrap() > 2.9);
}

#[test]
fn an_artifact_is_the_same_from_bytes() {
    let (compiled, _) = compiled();
    let bytes = compiled.artifact().to_bytes().unwrap();
    let artifact = dpc::artifact::Artifact::from_bytes("m.dpc", &bytes).unwrap();
    assert_eq!(artifact.to_bytes().unwrap(), bytes);
    assert_eq!(artifact.weights, compiled.artifact().weights);
    let cut = dpc::artifact::Artifact::from_bytes("m.dpc", &bytes[..bytes.len() / 2]);
    assert!(cut.unwrap_err().to_string().starts_with("m.dpc is no dpc artifact"));
}
