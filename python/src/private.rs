//! A model that is trained privately.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dpc::artifact::Artifact;
use dpc::audit::Settings;
use dpc::device::{self, Device};
use dpc::files;
use dpc::lower::program::Phase;
use dpc::onnx::{self, Source};
use dpc::options::DeviceChoice;
use dpc::privacy::accountant::{ACCOUNTANTS, Mechanism};
use dpc::privacy::adjacency::Adjacency;
use dpc::privacy::certificate::Certificate;
use dpc::privacy::ledger::MemoryStore;
use dpc::tensors::to_safetensors;
use dpc::train::data::{Array, Dataset};
use dpc::train::engine::Engine;
use dpc::train::evaluate::{Scored, evaluate};
use dpc::train::predict::predict;
use dpc::train::run_dir::RunDir;
use dpc::train::trained::TrainedRun;
use dpc::{Model, Options};
use pyo3::prelude::*;

use crate::arrays::{self, Given, Taken};
use crate::errors::{self, Kind};
use crate::fit::Fit;
use crate::session::Session;

/// A compiled model, and what its training has cost.
#[pyclass(module = "dpc._dpc")]
pub struct Private {
    /// With the trained parameters, once there are some.
    pub artifact: Artifact,
    pub certificate: Option<Certificate>,
    /// What its trainings in memory cost; none where it was trained elsewhere.
    pub ledger: Option<MemoryStore>,
    /// What is to be known of the model before training.
    notices: Vec<String>,
    /// Which tensors begin with values of another file.
    initial: Option<String>,
}

/// Data from Python: what the command line's `--data` names, or arrays by name.
#[derive(FromPyObject)]
pub enum Data {
    Spec(String),
    Arrays(BTreeMap<String, Taken>),
}

#[pymethods]
impl Private {
    /// Compiles the bytes of an ONNX file, with the values of the file `init`; parameters in `train` are trained and those in `freeze` are not.
    #[staticmethod]
    #[pyo3(signature = (model, loss, clip, optimizer, train, freeze, noise, init))]
    #[allow(clippy::too_many_arguments)]
    fn compile(
        py: Python<'_>,
        model: Vec<u8>,
        loss: &str,
        clip: &str,
        optimizer: &str,
        train: Vec<String>,
        freeze: Vec<String>,
        noise: &str,
        init: Option<PathBuf>,
    ) -> PyResult<Private> {
        let read = |name, error: String| errors::option(name, error, Kind::Compile);
        let options = Options {
            clip: clip.parse().map_err(|error| Kind::Compile.of(&error))?,
            optimizer: optimizer.parse().map_err(|error| read("optimizer", error))?,
            noise: match noise {
                "exact" => dpc::options::NoiseKind::Exact,
                "float" => dpc::options::NoiseKind::Float,
                _ => return Err(read("noise", format!("`{noise}` is neither exact nor float"))),
            },
            ..Options::private(loss.parse().map_err(|error| read("loss", error))?)
        };
        let compile = || -> Result<_, Box<dpc::Error>> {
            let model = Model::from_bytes(model)?;
            let (model, initial) = match &init {
                Some(init) => model.begin_with(init).map(|(model, initial)| (model, Some(initial.to_string())))?,
                None => (model, None),
            };
            let [train, freeze] = [&train, &freeze].map(|all| all.iter().map(String::as_str).collect::<Vec<_>>());
            let model = match train.is_empty() && freeze.is_empty() {
                true => model,
                false => model.choosing(&train, &freeze)?,
            };
            Ok((model.compile(&options)?, initial))
        };
        let (compiled, initial) = py.detach(compile).map_err(|error| errors::library(&error))?;
        Ok(Private {
            artifact: compiled.artifact().clone(),
            certificate: None,
            ledger: Some(MemoryStore::default()),
            notices: compiled.notices().to_vec(),
            initial,
        })
    }

    /// Reads an artifact, with the certificate beside it, or the directory of a run.
    #[staticmethod]
    fn load(py: Python<'_>, path: PathBuf) -> PyResult<Private> {
        py.detach(|| {
            let (artifact, certificate) = match path.is_dir() {
                true => {
                    let run = TrainedRun::open(&path).map_err(|error| Kind::Train.of(&error))?;
                    (run.artifact, RunDir::new(&path).certificate())
                }
                false => (Artifact::load(&path).map_err(|error| Kind::Train.of(&error))?, beside(&path)),
            };
            let certificate = match certificate.exists() {
                true => Some(Certificate::read(&certificate).map_err(|error| Kind::Train.of(&error))?),
                false => None,
            };
            let ledger = certificate.is_none().then(MemoryStore::default);
            Ok(Private { artifact, certificate, ledger, notices: Vec::new(), initial: None })
        })
    }

    /// Writes the model as it is trained: `.onnx`, `.safetensors`, or an artifact with its certificate beside it.
    fn save(&self, path: PathBuf) -> PyResult<()> {
        let failed = |error: &dyn miette::Diagnostic| Kind::Train.of(error);
        let statement = self.certificate.as_ref().map(|certificate| certificate.statement.clone());
        let bytes = match path.extension().and_then(|ending| ending.to_str()) {
            Some("onnx") => {
                let source = Source::from_bytes(self.artifact.source.clone(), &path);
                let source = source.map_err(|error| failed(&error))?;
                let metadata: Vec<_> = statement.into_iter().map(|said| (METADATA.to_owned(), said)).collect();
                onnx::export(&source, &self.artifact.weights, &metadata).map_err(|error| failed(&error))?
            }
            Some("safetensors") => {
                let said = statement.map(|said| (METADATA, said));
                to_safetensors(&self.artifact.weights, said).map_err(|e| errors::option("path", e, Kind::Train))?
            }
            _ => {
                self.artifact.save(&path).map_err(|error| failed(&error))?;
                if let Some(certificate) = &self.certificate {
                    certificate.write(&beside(&path)).map_err(|error| failed(&error))?;
                }
                return Ok(());
            }
        };
        files::write_atomic(&path, |file| file.write_all(&bytes)).map_err(|error| failed(&error))
    }

    /// What is to be known of the model before training.
    fn notices(&self) -> Vec<String> {
        self.notices.clone()
    }

    /// Which tensors begin with values of another file, as a table; none where no file was named.
    fn initial(&self) -> Option<String> {
        self.initial.clone()
    }

    /// The arrays that data need, as JSON.
    fn schema(&self) -> PyResult<String> {
        json(&self.artifact.manifest.schema)
    }

    /// The trained parameters by their names, and by those of the parameters that are tied to them.
    fn parameters<'py>(&self, py: Python<'py>) -> BTreeMap<String, Given<'py>> {
        let all = arrays::tensors(py, &self.artifact.weights);
        let entries = self.artifact.manifest.parameters.iter().filter(|entry| entry.trained);
        let names = entries.flat_map(|entry| {
            let aliases = entry.aliases.iter().map(|alias| (alias.clone(), entry.name.clone()));
            [(entry.name.clone(), entry.name.clone())].into_iter().chain(aliases)
        });
        names.filter_map(|(name, of)| Some((name, all.get(&of)?.clone()))).collect()
    }

    /// What is guaranteed, as JSON; none before any training.
    fn certificate(&self) -> PyResult<Option<String>> {
        self.certificate.as_ref().map(json).transpose()
    }

    /// ε of all steps taken, at this δ.
    fn epsilon(&self, py: Python<'_>, delta: f64) -> PyResult<f64> {
        let (history, adjacency): (&[Mechanism], Adjacency) = match &self.certificate {
            Some(certificate) if certificate.plan.non_private => return Ok(f64::INFINITY),
            Some(Certificate { selection: Some(selection), plan, .. }) => {
                let epsilon = py.detach(|| selection.epsilon(plan.adjacency, delta));
                return epsilon.map_err(|error| Kind::Plan.of(&error));
            }
            Some(certificate) => (&certificate.history, certificate.plan.adjacency),
            None => return Ok(0.0),
        };
        py.detach(|| ACCOUNTANTS[0].epsilon(history, adjacency, delta)).map_err(|error| Kind::Plan.of(&error))
    }

    /// Loss and accuracy, as JSON.
    fn evaluate(&self, py: Python<'_>, data: Data, device: &str) -> PyResult<String> {
        let data = self.dataset(data)?;
        let device = opened(device)?;
        let evaluation = py.detach(|| {
            let manifest = &self.artifact.manifest;
            let rows = manifest.max_batch.min(data.records());
            let program = Arc::new(self.artifact.program.clone());
            let mut engine = Engine::new(&*device, program, &self.artifact.weights, rows, &[Phase::Forward])
                .map_err(|error| Kind::Train.of(&error))?;
            let scored = Scored::of(manifest).ok_or_else(|| errors::library(&dpc::Error::NoLoss))?;
            evaluate(&mut engine, &data, &scored).map_err(|error| Kind::Train.of(&error))
        })?;
        json(&evaluation)
    }

    /// The model's outputs by name.
    fn predict<'py>(
        &self,
        py: Python<'py>,
        inputs: BTreeMap<String, Taken>,
        device: &str,
    ) -> PyResult<BTreeMap<String, Given<'py>>> {
        let inputs = arrays::taken(inputs)?;
        let device = opened(device)?;
        let outputs = py.detach(|| predict(&*device, &self.artifact, "the inputs", &inputs));
        let outputs = outputs.map_err(|error| Kind::Data.of(&error))?;
        Ok(outputs.iter().map(|(name, array)| (name.clone(), arrays::given(py, array))).collect())
    }

    /// What the records of a batch do to the gradient: losses, norms, the clipped sum, and each one's own if asked for.
    fn gradients<'py>(
        &self,
        py: Python<'py>,
        data: Data,
        per_sample: bool,
        device: &str,
    ) -> PyResult<BTreeMap<&'static str, BTreeMap<String, Given<'py>>>> {
        let (data, device) = (self.dataset(data)?, opened(device)?);
        let compiled = dpc::Compiled::from(self.artifact.clone());
        let found = py.detach(|| compiled.gradients(&data, &*device, per_sample).map_err(Box::new));
        let found = found.map_err(|error| errors::library(&error))?;
        let of_records = |(name, values): (String, Vec<f32>)| {
            (name, arrays::given(py, &Array::from_f32(vec![values.len()], &values)))
        };
        let records = [("loss".to_owned(), found.loss), ("norm".to_owned(), found.norm)];
        Ok(BTreeMap::from([
            ("records", records.into_iter().map(of_records).collect()),
            ("groups", found.group_norms.into_iter().map(of_records).collect()),
            ("sum", arrays::tensors(py, &found.sum)),
            ("per_sample", arrays::tensors(py, &found.per_sample)),
        ]))
    }

    /// Audits how the model is trained: whether it passed, and the report as text and as JSON.
    #[pyo3(signature = (device, replays, canaries, mutate))]
    fn audit(
        &self,
        py: Python<'_>,
        device: &str,
        replays: u64,
        canaries: Option<u64>,
        mutate: bool,
    ) -> PyResult<(bool, String, String)> {
        let devices = [opened(device)?];
        let settings = Settings { replays, canaries, mutate, ..Settings::default() };
        let audit = || dpc::audit::audit(&self.artifact, &devices, &settings, |_| {}).map_err(Box::new);
        let report = py.detach(audit).map_err(|error| Kind::Train.of(&*error))?;
        Ok((report.passed, report.to_string(), json(&report)?))
    }

    /// Begins a training.
    fn begin(&self, py: Python<'_>, data: Data, options: Fit) -> PyResult<Session> {
        let data = self.dataset(data)?;
        options.begin(py, self, data)
    }

    /// Takes over what the steps of `session` so far have come to.
    fn follow(&mut self, py: Python<'_>, session: &Session) -> PyResult<()> {
        if let Some(state) = session.state(py)? {
            self.artifact.weights = state.parameters;
            self.certificate = Some(state.certificate);
            if session.plan().in_directory {
                self.ledger = None;
            }
        }
        Ok(())
    }
}

impl Private {
    fn dataset(&self, data: Data) -> PyResult<Dataset> {
        let schema = &self.artifact.manifest.schema;
        let data = match data {
            Data::Spec(spec) => Dataset::load(&spec, schema),
            Data::Arrays(given) => Dataset::from_arrays("the data", &arrays::taken(given)?, schema),
        };
        data.map_err(|error| Kind::Data.of(&error))
    }
}

/// The entry of an exported file's metadata that says what is guaranteed.
const METADATA: &str = "dpc.privacy";

/// Where the certificate of an artifact is.
fn beside(path: &Path) -> PathBuf {
    path.with_extension("certificate.json")
}

/// The device of this name.
pub fn opened(device: &str) -> PyResult<Box<dyn Device>> {
    let choice: DeviceChoice = device.parse().map_err(|error: String| errors::option("device", error, Kind::Train))?;
    device::open(&choice).map_err(|error| Kind::Train.of(&error))
}

fn json(value: &impl serde::Serialize) -> PyResult<String> {
    serde_json::to_string(value).map_err(|error| errors::option("JSON", error, Kind::Train))
}
