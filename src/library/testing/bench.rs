//! A compiled model on a device: what it computes, held to differences.

use std::sync::Arc;

use super::{CheckError, Checked, Numbers};
use crate::artifact::Artifact;
use crate::device::{Device, DeviceError, Session};
use crate::lower::program::{Phase, Role};
use crate::lower::{host_inputs, host_outputs};

/// Records of a batch.
const ROWS: usize = 3;
/// The step of the differences, which are of fourth order.
const STEP: f32 = 1.0 / 64.0;
/// How far a derivative may be off, of the operand's largest; and two devices or strategies of each other.
pub(super) const TOLERANCE: f32 = 1e-3;
/// Elements of an operand that differences are taken of; more are picked from.
const MOST_ELEMENTS: usize = 64;

/// Whether two numbers are further apart than `most`, or one of them is none.
fn is_far(a: f32, b: f32, most: f32) -> bool {
    let off = (a - b).abs();
    off.is_nan() || off > most
}

/// A compiled model on a device, with made-up records.
pub(super) struct Bench<'a> {
    device: String,
    artifact: &'a Artifact,
    session: Box<dyn Session>,
    range: [f32; 2],
}

impl<'a> Bench<'a> {
    pub(super) fn new(device: &dyn Device, artifact: &'a Artifact, range: [f32; 2]) -> Result<Bench<'a>, DeviceError> {
        let session = device.load(Arc::new(artifact.program.clone()), ROWS)?;
        let mut bench = Bench { device: device.name(), artifact, session, range };
        for id in artifact.program.ids() {
            match &artifact.program.buffer(id).role {
                Role::Parameter(name) => bench.write(&Role::Parameter(name.clone()), &artifact.weights[name].data)?,
                Role::Input(name) if name == host_inputs::WEIGHT => bench.weigh([1.0; ROWS])?,
                Role::Input(name) if name == host_inputs::CLIP_BOUNDS => {
                    let len = artifact.program.buffer(id).len.at(ROWS);
                    bench.session.write_f32(id, &vec![1.0; len])?;
                }
                _ => {}
            }
        }
        for (seed, name) in bench.inputs().into_iter().enumerate() {
            let values = bench.records(&name, seed as u32 + 100);
            bench.write(&Role::Input(name), &values)?;
        }
        Ok(bench)
    }

    /// The names of the model's inputs.
    fn inputs(&self) -> Vec<String> {
        self.artifact.manifest.schema.inputs.iter().map(|input| input.name.clone()).collect()
    }

    fn records(&self, input: &str, seed: u32) -> Vec<f32> {
        let role = Role::Input(input.to_owned());
        let len = self.artifact.program.find(&role).map_or(0, |id| self.artifact.program.buffer(id).len.at(ROWS));
        Numbers(seed).take(len, if input == "cotangent" { [-1.0, 1.0] } else { self.range })
    }

    fn write(&mut self, role: &Role, values: &[f32]) -> Result<(), DeviceError> {
        self.artifact.program.find(role).map_or(Ok(()), |id| self.session.write_f32(id, values))
    }

    fn weigh(&mut self, weights: [f32; ROWS]) -> Result<(), DeviceError> {
        self.write(&Role::Input(host_inputs::WEIGHT.to_owned()), &weights)
    }

    fn read(&mut self, name: &str) -> Result<Vec<f32>, DeviceError> {
        let found = self.artifact.program.find(&Role::Output(name.to_owned()));
        found.map_or(Ok(vec![]), |id| self.session.read_f32(id))
    }

    /// Each record's loss.
    pub(super) fn loss(&mut self) -> Result<Vec<f32>, DeviceError> {
        self.session.run(Phase::Forward)?;
        self.read(host_outputs::LOSS)
    }

    /// The names and lengths of what is trained.
    fn trained(&self) -> Vec<(String, usize)> {
        let trained = self.artifact.manifest.parameters.iter().filter(|parameter| parameter.trained);
        trained.map(|parameter| (parameter.name.clone(), parameter.dims.iter().product())).collect()
    }

    /// Each record's gradient of a parameter, the records one after the other; zeros where it has none.
    fn gradient(&mut self, parameter: &str, len: usize) -> Result<Vec<f32>, DeviceError> {
        let found = self.read(&format!("per_sample/{parameter}"))?;
        Ok(if found.is_empty() { vec![0.0; ROWS * len] } else { found })
    }

    fn differs(&self, what: &str, [found, expected]: [f32; 2]) -> CheckError {
        CheckError::Differs { what: what.to_owned(), device: self.device.clone(), found, expected }
    }

    pub(super) fn compare(
        &self,
        what: &str,
        found: &[f32],
        expected: &[f32],
        tolerance: f32,
    ) -> Result<(), CheckError> {
        let largest = expected.iter().fold(1e-6_f32, |most, x| most.max(x.abs()));
        let far = found.iter().zip(expected).find(|(a, b)| is_far(**a, **b, tolerance * largest));
        far.map_or(Ok(()), |(&a, &b)| Err(self.differs(what, [a, b])))
    }

    /// Holds gradients to differences of the losses, and norms to gradients.
    pub(super) fn derivatives(&mut self, checked: &mut Checked) -> Result<(), CheckError> {
        self.session.run(Phase::Private)?;
        let (norms, mut squares) = (self.read(host_outputs::NORM)?, [0.0_f64; ROWS]);
        let mut gradients = Vec::new();
        for (name, len) in self.trained() {
            let gradient = self.gradient(&name, len)?;
            for (square, own) in squares.iter_mut().zip(gradient.chunks(len.max(1))) {
                *square += own.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
            }
            gradients.push((name, len, gradient));
        }
        let expected: Vec<f32> = squares.iter().map(|square| square.sqrt() as f32).collect();
        self.compare("a norm", &norms, &expected, TOLERANCE)?;
        let losses = self.loss()?;
        let size = losses.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
        for (name, len, gradient) in gradients {
            let whole = self.artifact.weights[&name].data.clone();
            let picked: Vec<usize> = (0..len).step_by(len.div_ceil(MOST_ELEMENTS).max(1)).collect();
            let mut slopes = Vec::new();
            for &at in &picked {
                let mut shifted = |steps: f32| -> Result<Vec<f32>, DeviceError> {
                    let mut values = whole.clone();
                    values[at] += steps * STEP;
                    self.write(&Role::Parameter(name.clone()), &values)?;
                    self.loss()
                };
                let [a, b, c, d] = [shifted(-2.0)?, shifted(-1.0)?, shifted(1.0)?, shifted(2.0)?];
                let slope = |n: usize| (8.0 * (c[n] - b[n]) - (d[n] - a[n])) / (12.0 * STEP);
                slopes.push((0..ROWS).map(slope).collect::<Vec<f32>>());
            }
            self.write(&Role::Parameter(name.clone()), &whole)?;
            let largest = slopes.iter().flatten().fold(0.0_f32, |most, x| most.max(x.abs()));
            // What rounding the losses leaves in a difference, which is nothing of the derivative's.
            let noise = 4.0 * f32::EPSILON * size / STEP;
            for (&at, slopes) in picked.iter().zip(&slopes) {
                for (n, &slope) in slopes.iter().enumerate() {
                    let (found, off) = (gradient[n * len + at], (gradient[n * len + at] - slope).abs());
                    if is_far(found, slope, TOLERANCE * largest + noise) {
                        let operand = name.trim_start_matches('p');
                        let what = format!("the derivative by element {at} of operand {operand} for record {n}");
                        return Err(self.differs(&what, [found, slope]));
                    }
                    checked.derivatives += 1;
                    checked.farthest = checked.farthest.max(off / largest.max(f32::MIN_POSITIVE));
                }
            }
        }
        Ok(())
    }

    /// What every record but number 1 has, and the sum without it.
    fn of_others(&mut self) -> Result<Vec<(String, Vec<u32>)>, DeviceError> {
        let mut all = vec![("a loss".to_owned(), self.loss()?)];
        self.session.run(Phase::Private)?;
        for (name, len) in self.trained() {
            let gradient = self.gradient(&name, len)?;
            all.push((format!("the gradient by operand {}", name.trim_start_matches('p')), gradient));
        }
        let others = |values: Vec<f32>| -> Vec<u32> {
            let width = values.len() / ROWS;
            let own = values.iter().enumerate().filter(|(i, _)| i / width.max(1) != 1);
            own.map(|(_, x)| x.to_bits()).collect()
        };
        let mut all: Vec<(String, Vec<u32>)> = all.into_iter().map(|(what, values)| (what, others(values))).collect();
        for (name, len) in self.trained() {
            let Some(id) = self.artifact.program.find(&Role::GridSum(name)) else { continue };
            all.push(("the clipped sum without it".to_owned(), self.session.read(id)?));
            self.session.write(id, &vec![0; 2 * len])?;
        }
        Ok(all)
    }

    /// Makes sure that what record 1 holds, which is masked, changes nothing of the others.
    pub(super) fn independence(&mut self) -> Result<(), CheckError> {
        self.weigh([1.0, 0.0, 1.0])?;
        self.of_others()?;
        let before = self.of_others()?;
        for (seed, name) in self.inputs().into_iter().enumerate() {
            let (mut values, other) = (self.records(&name, seed as u32 + 100), self.records(&name, seed as u32 + 900));
            let width = values.len() / ROWS;
            values[width..2 * width].copy_from_slice(&other[width..2 * width]);
            self.write(&Role::Input(name), &values)?;
        }
        let after = self.of_others()?;
        self.weigh([1.0; ROWS])?;
        let changed = before.iter().zip(&after).find(|(before, after)| before != after);
        changed
            .map_or(Ok(()), |((what, _), _)| Err(CheckError::Meets { what: what.clone(), device: self.device.clone() }))
    }
}
