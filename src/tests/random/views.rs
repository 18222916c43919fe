//! What must hold where rows are views of records, whose mean gradient is clipped: by every way to compute norms.

use super::check::{ALLOWANCE, Bench, Expected, ROWS, TOLERANCE, USES, Values, integers, largest, near, passes, text};
use super::records::{FAR_APART, WILD, sums};
use crate::compile::{Compiled, Options};
use crate::device::Device;
use crate::lower::program::{Phase, Role};
use crate::lower::{host_inputs, host_outputs};
use crate::options::NormChoice;
use crate::privacy::grid;
use crate::tests::evaluate::evaluate;

/// Rows of a record.
const VIEWS: usize = 2;
/// The rows of each record.
const RECORDS: [[usize; VIEWS]; 3] = [[0, 1], [2, 0], [1, 1]];

/// The rows of a batch with these records, each with its weight.
fn rows(records: &[(usize, f64)]) -> Vec<(usize, f64)> {
    records.iter().flat_map(|&(record, weight)| RECORDS[record].map(|row| (row, weight))).collect()
}

const ALL: [(usize, f64); 3] = [(0, 1.0), (1, 1.0), (2, 1.0)];

impl Bench<'_> {
    /// Holds norms and sums to the mean gradients of `expected`, and the sums to what they must not depend on.
    pub(super) fn views(&self, device: &dyn Device, norm: NormChoice, expected: &Expected) -> Result<(), String> {
        let options = Options { per_sample: false, views: VIEWS, ..self.options(norm) };
        let compiled = self.compiled_with(&options)?.ok_or("no gradient")?;
        self.means(device, &compiled, expected)?;
        let whole = self.summed(device, &compiled, &self.values, &[&ALL])?;
        let parts: [&[(usize, f64)]; 2] = [&[(2, 1.0), (1, 0.0), (0, 1.0)], &[(1, 1.0)]];
        if self.summed(device, &compiled, &self.values, &parts)? != whole {
            return Err("in chunks, with a record masked, the sums are others".into());
        }
        for (seed, numbers) in [(5, &WILD[..]), (6, &FAR_APART)] {
            let values = self.hostile(seed, numbers);
            let others_masked: &[(usize, f64)] = &[(0, 0.0), (1, 1.0), (2, 0.0)];
            let [before, after] =
                [&self.values, &values].map(|values| self.summed(device, &compiled, values, &[others_masked]));
            if before? != after? {
                return Err("a masked record changes the sums".into());
            }
            for record in 0..RECORDS.len() {
                self.view_share(device, &compiled, &values, record)
                    .map_err(|e| format!("a hostile record {record}, of {numbers:?}: {e}"))?;
            }
        }
        (0..RECORDS.len()).try_for_each(|record| self.view_share(device, &compiled, &self.values, record))
    }

    fn means(&self, device: &dyn Device, compiled: &Compiled, expected: &Expected) -> Result<(), String> {
        let mut session = self.session(device, compiled, &self.values, &rows(&ALL))?;
        session.run(Phase::Private).map_err(text)?;
        let mean = |gradient: &Vec<f64>, record: usize, k: usize| {
            let len = gradient.len() / ROWS;
            RECORDS[record].iter().map(|row| gradient[row * len + k]).sum::<f64>() / VIEWS as f64
        };
        let square = |record: usize| {
            let of = |gradient: &Vec<f64>| {
                (0..gradient.len() / ROWS).map(|k| mean(gradient, record, k).powi(2)).sum::<f64>()
            };
            expected.gradients.values().map(of).sum::<f64>()
        };
        let norms: Vec<f64> = (0..RECORDS.len()).map(|record| square(record).sqrt()).collect();
        let all = largest(expected.gradients.values().map(Vec::as_slice)).max(1e-3);
        let id = compiled.program.find(&Role::Output(host_outputs::NORM.into())).ok_or("no norm")?;
        let found = bytemuck::cast_vec(session.read(id).map_err(text)?);
        near("the norm", &found, &norms, TOLERANCE * largest([norms.as_slice()]).max(all))?;
        let mut values = self.values.clone();
        for (name, values) in &mut values {
            if self.model.net.inputs.iter().any(|fed| fed.value.name == *name) {
                let width = values.len() / ROWS;
                *values = rows(&ALL).iter().flat_map(|(row, _)| values[row * width..][..width].to_vec()).collect();
            }
        }
        values.insert(host_inputs::WEIGHT.into(), vec![1.0; VIEWS * RECORDS.len()]);
        values.insert(host_inputs::CLIP_BOUNDS.into(), vec![self.bound]);
        let claimed = evaluate(&compiled.private, RECORDS.len(), &values);
        let unit = self.bound / f64::from(grid::UNITS);
        let factors: Vec<f64> = norms.iter().map(|norm| (expected.bound / norm).min(1.0)).collect();
        for (name, gradient) in &expected.gradients {
            let of =
                |k: usize| factors.iter().enumerate().map(|(n, factor)| factor * mean(gradient, n, k)).sum::<f64>();
            let sum: Vec<f64> = (0..gradient.len() / ROWS).map(of).collect();
            let size = largest([sum.as_slice()]).max(expected.bound.min(all));
            let claimed: Vec<f64> = claimed[&format!("sum/{name}")].iter().map(|x| x * unit).collect();
            let id = compiled.program.find(&Role::GridSum(name.clone())).ok_or("no sum")?;
            let words = session.read(id).map_err(text)?;
            let found: Vec<f32> = integers(&words).map(|x| (x as f64 * unit) as f32).collect();
            let rounding = 0.5 * unit * (RECORDS.len() * USES) as f64;
            near(&format!("the clipped sum of {name}"), &found, &claimed, TOLERANCE * size + rounding)?;
            let single: Vec<f32> = claimed.iter().map(|&x| x as f32).collect();
            near(&format!("the clipped sum of {name} with what it allows for"), &single, &sum, ALLOWANCE * size)?;
        }
        Ok(())
    }

    /// The bits of the sums over some batches.
    fn summed(
        &self,
        device: &dyn Device,
        compiled: &Compiled,
        values: &Values,
        batches: &[&[(usize, f64)]],
    ) -> Result<Vec<Vec<u32>>, String> {
        let mut found: Vec<Vec<u32>> = vec![];
        for records in batches {
            let mut session = self.session(device, compiled, values, &rows(records))?;
            for ((_, id), before) in sums(compiled).zip(&found) {
                session.write(id, before).map_err(text)?;
            }
            session.run(Phase::Private).map_err(text)?;
            found = sums(compiled).map(|(_, id)| session.read(id).map_err(text)).collect::<Result<_, _>>()?;
        }
        Ok(found)
    }

    /// Holds the share of a record, alone, to the bound.
    fn view_share(
        &self,
        device: &dyn Device,
        compiled: &Compiled,
        values: &Values,
        record: usize,
    ) -> Result<(), String> {
        let weights = ALL.map(|(n, _)| (n, if n == record { 1.0 } else { 0.0 }));
        let found = self.summed(device, compiled, values, &[&weights])?;
        let square: f64 = found.iter().flat_map(|words| integers(words)).map(|x| (x as f64).powi(2)).sum();
        let bound = compiled.grid.as_ref().ok_or("no grid")?.group_sensitivity(0);
        match passes(square.sqrt(), bound) {
            true => Err(format!("it adds {:e}, and the bound is {bound:e}", square.sqrt())),
            false => Ok(()),
        }
    }
}
