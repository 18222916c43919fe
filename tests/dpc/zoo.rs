//! The models in `models/` and their golden files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dpc::compile::{Compiled, Options, compile};
use dpc::device::{Device, Session, TARGETS};
use dpc::glob::Glob;
use dpc::lower::cost::CostModel;
use dpc::lower::host_inputs;
use dpc::lower::program::{BufferId, Program, Role};
use dpc::onnx::{Source, discover};
use dpc::options::{Loss, NoiseKind, NormChoice, Precision};
use dpc::privacy::{ClipRule, grid};
use dpc::train::data::npz::Npz;

/// A file under `models/`.
pub fn models(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(path)
}

/// A model of the zoo.
pub struct Model {
    /// Its name.
    pub name: String,
    /// Its files, by export recipe.
    pub files: BTreeMap<String, PathBuf>,
    /// Its golden file.
    pub golden: PathBuf,
    /// Its loss.
    pub loss: Loss,
    /// For each recipe, the initialiser's name of the parameters that the golden file calls something else.
    pub renamed: BTreeMap<(String, String), String>,
    /// Whether the golden file holds the results without dropout.
    pub inference: bool,
}

/// All models of the zoo.
pub fn zoo() -> Vec<Model> {
    let text = std::fs::read_to_string(models("zoo/manifest.json")).expect("the manifest is there");
    let entries: Vec<serde_json::Value> = serde_json::from_str(&text).expect("the manifest is JSON");
    entries
        .iter()
        .map(|e| {
            let text = |key: &str| e[key].as_str().expect("a string").to_string();
            let files = e["files"].as_object().expect("files");
            let file = |f: &serde_json::Value| models("zoo").join(f.as_str().expect("a path"));
            Model {
                name: text("name"),
                files: files.iter().map(|(recipe, f)| (recipe.clone(), file(f))).collect(),
                golden: models("zoo").join(text("golden")),
                loss: loss(&text("loss"), &e["class_axis"]),
                renamed: e["renamed"]
                    .as_object()
                    .into_iter()
                    .flatten()
                    .flat_map(|(recipe, names)| {
                        let names = names.as_object().expect("names").clone();
                        let recipe = recipe.clone();
                        names
                            .into_iter()
                            .map(move |(a, b)| ((recipe.clone(), a), b.as_str().expect("a name").to_string()))
                    })
                    .collect(),
                inference: text("notes").contains("inference-mode"),
            }
        })
        .collect()
}

/// The networks of the Opacus paper at full size, the tanh variant and two for digits.
pub fn paper() -> Vec<Model> {
    ["mnist_cnn", "mnist_cnn_tanh", "cifar_cnn", "imdb_embedding", "imdb_lstm", "digits_cnn", "digits_edges"]
        .into_iter()
        .map(|name| Model {
            name: name.into(),
            files: [("ts".to_string(), models(&format!("{name}.onnx")))].into(),
            golden: models(&format!("goldens/{name}.npz")),
            loss: loss("cross-entropy", &1.into()),
            renamed: BTreeMap::new(),
            inference: false,
        })
        .collect()
}

fn loss(name: &str, class_axis: &serde_json::Value) -> Loss {
    let axis = class_axis.as_i64().filter(|&a| a != 1);
    let text = match axis {
        Some(_) => format!("{name}:axis=last"),
        None => name.to_string(),
    };
    text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
}

/// The options that the tests compile with: per-sample gradients, and a bound of 0.5.
pub fn options(loss: Loss, norm: NormChoice) -> Options {
    Options {
        loss: Some(loss),
        output: None,
        clip: ClipRule::flat(0.5).expect("a bound"),
        norm,
        optimizer: "sgd".parse().expect("an optimizer"),
        costs: CostModel::default(),
        precision: Precision::default(),
        views: 1,
        per_sample: true,
        noise: NoiseKind::Exact,
    }
}

/// The buffers of a program's clipped sums, with their parameters.
pub fn sums_of(program: &Program) -> Vec<(String, BufferId)> {
    let exact = program.exact();
    let sum = |id: BufferId| match &program.buffer(id).role {
        Role::GridSum(name) if exact => Some((name.clone(), id)),
        Role::GradientSum(name) if !exact => Some((name.clone(), id)),
        _ => None,
    };
    program.ids().filter_map(sum).collect()
}

/// The clipped sum of a parameter.
pub fn read_sum(session: &mut dyn Session, compiled: &Compiled, parameter: &str) -> Vec<f32> {
    let sum = sums_of(&compiled.program).into_iter().find(|(name, _)| name == parameter);
    let (_, id) = sum.unwrap_or_else(|| panic!("{parameter} has no sum"));
    let words = session.read(id).expect("a read");
    if !compiled.program.exact() {
        return words.into_iter().map(f32::from_bits).collect();
    }
    let group = compiled.clip_groups.iter().find(|group| group.parameters.iter().any(|name| name == parameter));
    let unit = grid::unit(group.expect("a clip group").bound);
    let integers = words.as_chunks::<2>().0.iter();
    integers.map(|&[low, high]| ((u64::from(high) << 32 | u64::from(low)) as i64 as f64 * unit) as f32).collect()
}

/// Sets all clipped sums to zero.
pub fn clear_sums(session: &mut dyn Session, program: &Program) {
    for (_, id) in sums_of(program) {
        let zeros = vec![0; program.buffer(id).len.at(1)];
        session.write(id, &zeros).expect("a write");
    }
}

/// A model of the zoo by its name.
pub fn named(name: &str) -> Model {
    zoo().into_iter().find(|model| model.name == name).unwrap_or_else(|| panic!("no model {name}"))
}

/// Opens and compiles a model.
pub fn compiled(path: &Path, options: &Options) -> Result<(Source, Compiled), String> {
    compiled_without(path, options, &[])
}

/// Opens and compiles a model whose parameters of the names in `frozen` are not trained.
pub fn compiled_without(path: &Path, options: &Options, frozen: &[Glob]) -> Result<(Source, Compiled), String> {
    let report = |e: miette::Report| format!("{e:?}");
    let source = Source::open(path).map_err(|e| report(e.into()))?;
    let parameters = discover(&source, &[], frozen).map_err(|e| report(e.into()))?;
    let compiled = compile(&source, &parameters, options, TARGETS).map_err(|e| report(e.into()))?;
    Ok((source, compiled))
}

/// A golden file, opened.
pub struct Golden {
    npz: Npz,
    path: PathBuf,
}

impl Golden {
    /// Opens a golden file.
    pub fn open(path: &Path) -> Golden {
        Golden { npz: Npz::open(path).expect("a golden file"), path: path.into() }
    }

    /// The names of its arrays.
    pub fn names(&self) -> Vec<String> {
        self.npz.names()
    }

    /// The parameters that it holds gradients of, by PyTorch's names.
    pub fn parameters(&self) -> Vec<String> {
        let kinds = ["per_sample/", "per_sample_rows/", "per_sample_flat/"];
        let names = self.npz.names();
        names.iter().filter_map(|n| kinds.iter().find_map(|k| n.strip_prefix(k))).map(str::to_string).collect()
    }

    /// An array of floats.
    pub fn floats(&mut self, name: &str) -> Vec<f64> {
        let array = self.npz.read(name).unwrap_or_else(|e| panic!("{}: {name}: {e}", self.path.display()));
        match array.dtype() {
            dpc::train::data::DType::F64 => {
                array.bytes().chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().expect("8 bytes"))).collect()
            }
            _ => array.to_f32().into_iter().map(f64::from).collect(),
        }
    }

    /// An array of integers.
    pub fn ints(&mut self, name: &str) -> Vec<i64> {
        let array = self.npz.read(name).unwrap_or_else(|e| panic!("{}: {name}: {e}", self.path.display()));
        array.to_i64().expect("integers")
    }
}

/// Loads a program for the golden batch of `rows` records and fills its inputs.
pub fn session(
    device: &dyn Device,
    (source, compiled): (&Source, &Compiled),
    golden: &mut Golden,
    rows: usize,
) -> Box<dyn Session> {
    let program = &compiled.program;
    let mut session = device.load(Arc::new(program.clone()), rows).expect("the program loads");
    for id in program.ids() {
        if let Role::Parameter(name) = &program.buffer(id).role {
            session.write_f32(id, source.initializers[name].floats().expect("floats")).expect("a write");
        }
        let Role::Input(name) = &program.buffer(id).role else { continue };
        match name.as_str() {
            host_inputs::WEIGHT => session.write_f32(id, &vec![1.0; rows]).expect("a write"),
            host_inputs::HYPER => {}
            // Only read where a step is released.
            host_inputs::GRID_UNITS => {}
            host_inputs::CLIP_BOUNDS => {
                let bounds: Vec<f32> = compiled.clip_groups.iter().map(|group| group.bound as f32).collect();
                session.write_f32(id, &bounds).expect("a write");
            }
            host_inputs::DROPOUT_KEYS => {
                session.write_i32(id, &(0..2 * rows as i32).collect::<Vec<_>>()).expect("a write");
            }
            name if program.buffer(id).dtype == dpc::graph::DType::F32 => {
                let values: Vec<f32> = golden.floats(name).into_iter().map(|x| x as f32).collect();
                session.write_f32(id, &values).expect("a write");
            }
            name => {
                let table = compiled.proved.ids.get(name).copied().unwrap_or(0) as i64;
                let wrap = |x: i64| if x < 0 && table > 0 { x + table } else { x };
                let values: Vec<i32> = golden.ints(name).into_iter().map(|x| wrap(x) as i32).collect();
                session.write_i32(id, &values).expect("a write");
            }
        }
    }
    session
}

/// Reads a result of the last phase.
pub fn result(session: &mut dyn Session, compiled: &Compiled, name: &str) -> Vec<f32> {
    let role = Role::Output(name.into());
    let id = compiled.program.find(&role).unwrap_or_else(|| panic!("no result {name}"));
    session.read_f32(id).expect("a read")
}
