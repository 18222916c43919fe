//! The host's side of a compiled program: which buffers it fills and reads, and the two halves of a
//! logical step, physical batches and the update.

mod sums;
mod update;
mod values;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use miette::Diagnostic;
use thiserror::Error;

use super::chance::{Chance, Row};
use super::data::{Batch, DataError, Dataset, Values};
use crate::device::{Device, DeviceError, Session};
use crate::graph::DType;
use crate::lower::kernels::Kernel;
use crate::lower::program::{BufferId, Dispatch, Phase, Program, Role};
use crate::lower::{host_inputs, host_outputs, rates};
use crate::tensors::Tensors;

/// A program on a device, with its parameters.
pub struct Engine {
    session: Box<dyn Session>,
    program: Arc<Program>,
    /// In the order of the program's parameters.
    parameters: Vec<Parameter>,
    inputs: BTreeMap<String, BufferId>,
    results: BTreeMap<String, BufferId>,
    /// The numbers of updates with a learning rate of their own, and that rate before its schedule.
    own_rates: Vec<(BufferId, f64)>,
    batch: Batch,
    words: Vec<u32>,
}

/// The buffers of a parameter.
struct Parameter {
    name: String,
    dims: Vec<usize>,
    value: BufferId,
    /// `None` where the parameter is frozen, or no phase has gradients.
    sum: Option<BufferId>,
    /// The sum of integers, where private sums are such.
    grid_sum: Option<BufferId>,
    /// `None` where the parameter is not updated.
    noise: Option<BufferId>,
    states: Vec<(String, BufferId)>,
}

/// What a physical batch shows: losses of its rows, and norms of its records, which are its rows but where each has several views.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shown {
    pub loss: Vec<f32>,
    /// Norms of the per-sample gradients over all parameters; empty in non-private training.
    pub norm: Vec<f32>,
    /// The same in each of the K clip groups, K a record.
    pub group_norms: Vec<f32>,
}

/// How many of the `rows` rows of a physical batch are run for `records` records: as many eighths as hold these, at least one, so that
/// how long a step takes tells no more than that of how many records were drawn.
fn in_parts(records: usize, rows: usize) -> usize {
    let part = rows.div_ceil(8).max(1);
    (records.div_ceil(part).max(1) * part).min(rows)
}

/// The norms over all parameters, of norms in `groups` clip groups for each record.
pub fn total_norms(group_norms: &[f32], groups: usize) -> Vec<f32> {
    let total = |norms: &[f32]| norms.iter().map(|&norm| f64::from(norm).powi(2)).sum::<f64>().sqrt() as f32;
    group_norms.chunks_exact(groups.max(1)).map(total).collect()
}

/// A program that lacks what its use needs.
#[derive(Debug, Error, Diagnostic)]
pub enum EngineError {
    #[error(transparent)]
    #[diagnostic(transparent)]
    Device(#[from] DeviceError),

    #[error(transparent)]
    #[diagnostic(transparent)]
    Data(#[from] Box<DataError>),

    #[error("the compiled program has no {what}")]
    #[diagnostic(code(dpc::engine::incomplete), help("compile the model again with this version of dpc"))]
    Incomplete { what: String },

    #[error("{found} clip bounds were given, and the compiled program has {expected} clip groups")]
    #[diagnostic(code(dpc::engine::clip_bounds), help("compile the model again with this version of dpc"))]
    ClipBounds { found: usize, expected: usize },

    #[error("parameter `{name}` has {found} values, but the compiled program needs {expected}")]
    #[diagnostic(code(dpc::engine::parameter), help("these parameters belong to another model; compile it again"))]
    Parameter { name: String, found: usize, expected: usize },
}

impl Engine {
    /// Puts the `phases` of `program` on `device` for physical batches of `rows`, or as many as its sums allow where those are
    /// fewer, with the parameters' values `weights` by their ONNX names. Where a record has several rows, these are whole records, one
    /// at least.
    pub fn new(
        device: &dyn Device,
        program: Arc<Program>,
        weights: &Tensors,
        rows: usize,
        phases: &[Phase],
    ) -> Result<Self, EngineError> {
        Self::with_rates(device, program, weights, rows, phases, &BTreeMap::new())
    }

    /// [`Engine::new`] with learning rates of their own for some parameters, by their names.
    pub fn with_rates(
        device: &dyn Device,
        program: Arc<Program>,
        weights: &Tensors,
        rows: usize,
        phases: &[Phase],
        own: &BTreeMap<String, f64>,
    ) -> Result<Self, EngineError> {
        let mut groups: Vec<(f64, Vec<&str>)> = Vec::new();
        for (name, &rate) in own {
            match groups.iter_mut().find(|(of, _)| *of == rate) {
                Some((_, names)) => names.push(name),
                None => groups.push((rate, vec![name])),
            }
        }
        let (own_rates, groups): (Vec<f64>, Vec<Vec<&str>>) = groups.into_iter().unzip();
        let program = match groups.is_empty() {
            true => program.restricted(phases),
            false => rates::regroup(&program, &groups).restricted(phases),
        };
        let program = Arc::new(program);
        let records = (rows / program.views).max(1);
        let records = program.most_rows().map_or(records, |most| records.min(most));
        let session = device.load(program.clone(), records)?;
        let parameters = parameters(&program, weights)?;
        let (inputs, results) = names(&program);
        let numbers = |(group, rate)| Some((inputs.get(&rates::input(group)).copied()?, rate));
        let own_rates = own_rates.into_iter().enumerate().filter_map(numbers).collect();
        let (batch, words) = (Batch::default(), Vec::new());
        let mut engine = Self { session, program, parameters, inputs, results, own_rates, batch, words };
        engine.set_parameters(weights)?;
        Ok(engine)
    }

    /// Rows of a physical batch.
    pub fn rows(&self) -> usize {
        self.session.rows() * self.program.views
    }

    /// Rows of the batch that are one record in the private phase, whose mean gradient is clipped.
    pub fn views(&self) -> usize {
        self.program.views
    }

    /// Bytes of device memory in use.
    pub fn bytes(&self) -> usize {
        self.session.bytes()
    }

    /// The number of values of each trained parameter, in the order in which
    /// [`Engine::update`] takes noise.
    pub fn noise_lengths(&self) -> Vec<usize> {
        let updated = self.parameters.iter().filter(|p| p.noise.is_some());
        updated.map(|p| p.dims.iter().product()).collect()
    }

    /// The clip group of each trained parameter, in the same order, where private sums are of integers.
    pub fn noise_groups(&self) -> Vec<usize> {
        let group = |sum: BufferId| {
            let of = |dispatch: &Dispatch| match &dispatch.kernel {
                Kernel::Release(release) if dispatch.buffers.contains(&sum) => Some(release.group),
                _ => None,
            };
            self.program.phase(Phase::Release).iter().find_map(of)
        };
        let updated = self.parameters.iter().filter(|p| p.noise.is_some());
        updated.filter_map(|p| group(p.grid_sum?)).collect()
    }

    /// Number of clip groups, K.
    pub fn clip_groups(&self) -> usize {
        self.input(host_inputs::CLIP_BOUNDS).map_or(0, |buffer| self.program.buffer(buffer).len.fixed)
    }

    /// Sets the bound of each clip group; until then it is 0. Phases that do not clip have none.
    pub fn set_clip_bounds(&mut self, bounds: &[f32]) -> Result<(), EngineError> {
        let Some(buffer) = self.input(host_inputs::CLIP_BOUNDS) else { return Ok(()) };
        let (found, expected) = (bounds.len(), self.clip_groups());
        if found != expected {
            return Err(EngineError::ClipBounds { found, expected });
        }
        Ok(self.session.write_f32(buffer, bounds)?)
    }

    /// Runs `phase` on one physical batch: the records of `data` in the first rows, masked rows
    /// after them. With what is random at a step, it is the first view of each.
    ///
    /// # Panics
    /// If there are more records than rows.
    pub fn run(
        &mut self,
        phase: Phase,
        data: &Dataset,
        records: &[usize],
        chance: Option<(&Chance, u64)>,
    ) -> Result<(), EngineError> {
        let of_batch: Vec<Row> = records.iter().map(|&record| (record, 0)).collect();
        self.run_rows(phase, data, &of_batch, 1.0, chance)
    }

    /// [`Engine::run`] on these rows, with the gradient of each multiplied by `weight`.
    pub(super) fn run_rows(
        &mut self,
        phase: Phase,
        data: &Dataset,
        of_batch: &[Row],
        weight: f32,
        chance: Option<(&Chance, u64)>,
    ) -> Result<(), EngineError> {
        let rows = self.rows();
        let mut batch = std::mem::take(&mut self.batch);
        let records: Vec<usize> = of_batch.iter().map(|(record, _)| *record).collect();
        data.fill(&records, rows, &mut batch).map_err(Box::new)?;
        let numbered = chance.map_or(Cow::Borrowed(of_batch), |(chance, _)| chance.numbered(of_batch));
        if let Some((Chance { views: Some(views), .. }, step)) = chance {
            views.apply(data, step, &numbered, &mut batch);
        }
        let inputs = data.inputs().iter().zip(&batch.inputs);
        for (column, values) in inputs.chain(data.targets().iter().zip(&batch.targets)) {
            self.write_input(&column.name, values)?;
        }
        if let Some(buffer) = self.input(host_inputs::WEIGHT) {
            batch.weights.iter_mut().for_each(|of_row| *of_row *= weight);
            self.session.write_f32(buffer, &batch.weights)?;
        }
        self.batch = batch;
        if let Some(buffer) = self.input(host_inputs::DROPOUT_KEYS) {
            self.words.clear();
            self.words.resize(2 * rows, 0);
            if let Some((chance, step)) = chance {
                chance.dropout.fill(step, &numbered, &mut self.words);
            }
            self.session.write(buffer, &self.words)?;
        }
        self.has(phase)?;
        let records = of_batch.len().div_ceil(self.program.views);
        Ok(self.session.run_rows(phase, in_parts(records, self.session.rows()))?)
    }

    /// Runs `phase` on whatever the inputs hold.
    pub fn run_once(&mut self, phase: Phase) -> Result<(), EngineError> {
        self.has(phase)?;
        Ok(self.session.run(phase)?)
    }

    fn has(&self, phase: Phase) -> Result<(), EngineError> {
        match self.program.phases.contains_key(&phase) {
            true => Ok(()),
            false => Err(EngineError::Incomplete { what: format!("phase {}", phase.name()) }),
        }
    }

    /// The seconds that each dispatch of `phase` takes on whatever the inputs hold, in the order of the program.
    pub fn time(&mut self, phase: Phase) -> Result<Vec<f64>, EngineError> {
        Ok(self.session.time(phase)?)
    }

    /// Adds the gradient of a unit of several rows to the unit sums: the mean over all views of its `records`,
    /// clipped as one. Shows the loss of each row and the unit's norms. Takes the phases plain and
    /// fold.
    pub fn add_unit(
        &mut self,
        data: &Dataset,
        records: &[usize],
        (chance, step): (&Chance, u64),
    ) -> Result<Shown, EngineError> {
        let mut loss = Vec::new();
        let rows = chance.rows(records);
        for batch in rows.chunks(self.rows()) {
            self.run_rows(Phase::Plain, data, batch, 1.0 / rows.len() as f32, Some((chance, step)))?;
            loss.extend(self.shown(Phase::Plain, batch.len())?.loss);
        }
        self.run_once(Phase::Fold)?;
        let group_norms = self.floats(host_outputs::UNIT_NORM)?;
        Ok(Shown { loss, norm: total_norms(&group_norms, group_norms.len()), group_norms })
    }

    /// Moves the unit sums to where [`Engine::update`] finds them, after the last unit of a logical step.
    pub fn collect_units(&mut self) -> Result<(), EngineError> {
        self.run_once(Phase::Collect)
    }

    /// What the last [`Engine::run`] of a training phase shows of its `rows` rows: losses of these, and norms of records.
    pub fn shown(&mut self, phase: Phase, rows: usize) -> Result<Shown, EngineError> {
        let names: &[&str] = match phase {
            Phase::Private => &[host_outputs::LOSS, host_outputs::NORM],
            _ => &[host_outputs::LOSS],
        };
        let buffers = names.iter().map(|name| self.result(name)).collect::<Result<Vec<_>, _>>()?;
        let mut read = self.session.read_all(&buffers)?.into_iter().map(bytemuck::cast_vec::<u32, f32>);
        let mut loss = read.next().unwrap_or_default();
        loss.truncate(rows);
        let Some(mut group_norms) = read.next() else {
            return Ok(Shown { loss, ..Shown::default() });
        };
        let groups = group_norms.len() / self.session.rows();
        group_norms.truncate(rows / self.program.views * groups);
        Ok(Shown { loss, norm: total_norms(&group_norms, groups), group_norms })
    }

    /// Reads the result `name` of the last phase: for each row of the physical batch, or one for all rows together where
    /// the result does not depend on the batch.
    pub fn output(&mut self, name: &str) -> Result<Values, EngineError> {
        let buffer = self.result(name)?;
        Ok(match self.program.buffer(buffer).dtype {
            DType::F32 => Values::F32(self.session.read_f32(buffer)?),
            DType::I32 | DType::Bool => Values::I32(bytemuck::cast_vec(self.session.read(buffer)?)),
        })
    }

    /// Reads the f32 result `name` of the last phase.
    pub fn floats(&mut self, name: &str) -> Result<Vec<f32>, EngineError> {
        match self.output(name)? {
            Values::F32(values) => Ok(values),
            Values::I32(_) => Err(EngineError::Incomplete { what: format!("result `{name}` of floats") }),
        }
    }

    /// The parameters that have gradients, in the order of the program.
    pub fn trained(&self) -> Vec<String> {
        self.parameters.iter().filter(|p| p.sum.is_some() || p.grid_sum.is_some()).map(|p| p.name.clone()).collect()
    }

    /// The sum of a parameter's (clipped) gradients over the physical batches since the last update, if it is of floats.
    pub fn gradient_sum(&mut self, parameter: &str) -> Result<Vec<f32>, EngineError> {
        let missing = || EngineError::Incomplete { what: format!("gradient of `{parameter}`") };
        let buffer = self.named(parameter).and_then(|p| p.sum).ok_or_else(missing)?;
        Ok(self.session.read_f32(buffer)?)
    }

    /// The sum of a parameter's clipped gradients over the physical batches since the last update in grid units, if it is of
    /// integers.
    pub fn grid_sum(&mut self, parameter: &str) -> Result<Vec<i64>, EngineError> {
        let missing = || EngineError::Incomplete { what: format!("integer gradient of `{parameter}`") };
        let buffer = self.named(parameter).and_then(|p| p.grid_sum).ok_or_else(missing)?;
        let words = self.session.read(buffer)?;
        Ok(words
            .as_chunks::<2>()
            .0
            .iter()
            .map(|&[low, high]| (u64::from(high) << 32 | u64::from(low)) as i64)
            .collect())
    }

    fn named(&self, parameter: &str) -> Option<&Parameter> {
        self.parameters.iter().find(|p| p.name == parameter)
    }

    /// Whether private sums are of integers.
    pub fn exact(&self) -> bool {
        self.program.exact()
    }

    fn result(&self, name: &str) -> Result<BufferId, EngineError> {
        let missing = || EngineError::Incomplete { what: format!("result `{name}`") };
        self.results.get(name).copied().ok_or_else(missing)
    }

    fn input(&self, name: &str) -> Option<BufferId> {
        self.inputs.get(name).copied()
    }

    /// Fills an input that all records share, or a whole physical batch. An input that the program does not read is
    /// left out of it.
    pub fn write_input(&mut self, name: &str, values: &Values) -> Result<(), EngineError> {
        if let Some(buffer) = self.input(name) {
            match values {
                Values::F32(values) => self.session.write_f32(buffer, values)?,
                Values::I32(values) => self.session.write_i32(buffer, values)?,
            }
        }
        Ok(())
    }
}

/// The buffers of a program's inputs and outputs, by name.
fn names(program: &Program) -> (BTreeMap<String, BufferId>, BTreeMap<String, BufferId>) {
    let (mut inputs, mut results) = (BTreeMap::new(), BTreeMap::new());
    for id in program.ids() {
        match &program.buffer(id).role {
            Role::Input(name) => {
                inputs.entry(name.clone()).or_insert(id);
            }
            Role::Output(name) => {
                results.entry(name.clone()).or_insert(id);
            }
            _ => {}
        }
    }
    (inputs, results)
}

/// The parameters of `program`, in its order, with the shapes of `weights`.
fn parameters(program: &Program, weights: &Tensors) -> Result<Vec<Parameter>, EngineError> {
    let (mut sums, mut grid_sums, mut noise) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let mut states: BTreeMap<&str, Vec<(String, BufferId)>> = BTreeMap::new();
    for id in program.ids() {
        match &program.buffer(id).role {
            Role::GradientSum(name) => {
                sums.insert(name.as_str(), id);
            }
            Role::GridSum(name) => {
                grid_sums.insert(name.as_str(), id);
            }
            Role::Noise(name) | Role::GridNoise(name) => {
                noise.insert(name.as_str(), id);
            }
            Role::OptimizerState(name, state) => {
                let of_parameter = states.entry(name.as_str()).or_default();
                of_parameter.push((state.clone(), id));
            }
            _ => {}
        }
    }
    let mut out = Vec::new();
    for id in program.ids() {
        let buffer = program.buffer(id);
        let Role::Parameter(name) = &buffer.role else {
            continue;
        };
        let Some(tensor) = weights.get(name) else {
            return Err(EngineError::Incomplete { what: format!("values of parameter `{name}`") });
        };
        let expected = buffer.len.at(1);
        if tensor.data.len() != expected {
            return Err(EngineError::Parameter { name: name.clone(), found: tensor.data.len(), expected });
        }
        out.push(Parameter {
            name: name.clone(),
            dims: tensor.dims.clone(),
            value: id,
            sum: sums.get(name.as_str()).copied(),
            grid_sum: grid_sums.get(name.as_str()).copied(),
            noise: noise.get(name.as_str()).copied(),
            states: states.remove(name.as_str()).unwrap_or_default(),
        });
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_eighths_of_a_batch_are_run_as_hold_its_records() {
        let run = |rows| [0, 1, 19, 20, 104, 152].map(|records| in_parts(records, rows));
        assert_eq!(run(152), [19, 19, 19, 38, 114, 152]);
        assert_eq!(
            [(0, 1), (1, 1), (1, 3), (3, 3), (6, 7), (7, 9), (9, 9)].map(|(n, rows)| in_parts(n, rows)),
            [1, 1, 1, 3, 6, 8, 9]
        );
    }
}
