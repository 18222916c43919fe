//! dpc from memory: what the command line does with files, for programs that have a model, data and a ledger of their own.
//!
//! A [`Model`] is opened from the bytes of an ONNX file and compiled; the [`Compiled`] model tells what data it takes and
//! makes a privacy plan; a [`Trainer`] takes the plan's steps on a device, evaluates, exports, and certifies. Every step is
//! paid for in a ledger first, which is kept in memory or in a [`LedgerStore`](crate::privacy::ledger::LedgerStore) of the
//! caller's. Ops that ONNX does not have are added by [`custom`], and tested by [`testing`].
//!
//! ```
//! use dpc::device::cpu::Cpu;
//! use dpc::privacy::request::PlanRequest;
//! use dpc::train::data::npz::Npz;
//! use dpc::{Model, Options, Setup, Trainer};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let model = Model::from_bytes(std::fs::read("models/digits_cnn.onnx")?)?;
//! let options = Options { optimizer: "sgd:momentum=0.9".parse()?, ..Options::private("cross-entropy".parse()?) };
//! let compiled = model.compile(&options)?;
//!
//! let train = Npz::from_bytes("train", std::fs::read("models/digits_train.npz")?)?;
//! let test = Npz::from_bytes("test", std::fs::read("models/digits_test.npz")?)?;
//! let (train, test) = (compiled.dataset(train)?, compiled.dataset(test)?);
//!
//! // As little noise as keeps to ε = 3 at δ = 1e-4, in batches of about 128 records for 10 passes over the data.
//! let plan = compiled.plan(&PlanRequest::epsilon(3.0, 1e-4, 128.0).epochs(10.0), &train)?;
//! let mut trainer = Trainer::new(&compiled, &train, &plan, &Cpu, Setup::new(0.5))?;
//! trainer.train(|step| {
//!     if step.number % 25 == 0 {
//!         println!("step {} of {}", step.number, plan.planned_steps);
//!     }
//! })?;
//!
//! let scored = trainer.evaluate(&test)?;
//! assert!(scored.accuracy > Some(0.6), "{scored:?}");
//! let certificate = trainer.certificate()?;
//! assert!(certificate.epsilon.is_some_and(|epsilon| epsilon <= 3.0));
//! println!("{}", certificate.statement);
//! let onnx: Vec<u8> = trainer.export()?;
//! # assert!(Model::from_bytes(onnx).is_ok());
//! # Ok(())
//! # }
//! ```

pub mod custom;
mod error;
mod model;
pub mod testing;
mod trainer;

pub use error::Error;
pub use model::{Compiled, Model};
pub use trainer::{Setup, Step, Trainer};
