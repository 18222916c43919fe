//! What must hold of each record's share of a clipped sum: nothing of a masked one, the bound at most of any other, and all of
//! it wherever the batch is cut.

use super::check::{Bench, Expected, ROWS, Values, WHOLE, integers, passes, text};
use super::net::{Fed, Kind, Net};
use crate::compile::{Compiled, Options};
use crate::device::Device;
use crate::device::cpu::Cpu;
use crate::lower::host_outputs;
use crate::lower::program::{BufferId, Phase, Role};
use crate::options::{NoiseKind, NormChoice};

/// A bound that users may give; records of shorter gradients are held to this one.
const SMALLEST: f64 = 1e-3;
/// What makes a record hostile: what no data set should have, and what is finite and as far apart as squares are.
pub(super) const WILD: [f64; 5] = [1e30, f64::INFINITY, f64::NAN, -3.0, 0.0];
pub(super) const FAR_APART: [f64; 6] = [1e10, -1e10, 1e4, -3.0, 1e-20, 0.0];

/// The clipped sums, by parameter.
pub(super) fn sums(compiled: &Compiled) -> impl Iterator<Item = (String, BufferId)> {
    compiled.program.ids().filter_map(|id| match &compiled.program.buffer(id).role {
        Role::GridSum(name) if compiled.program.exact() => Some((name.clone(), id)),
        Role::GradientSum(name) if !compiled.program.exact() => Some((name.clone(), id)),
        _ => None,
    })
}

impl Bench<'_> {
    /// The bits of what all records but number 1, which is masked, leave: losses, gradients and clipped sums.
    fn without(
        &self,
        device: &dyn Device,
        compiled: &Compiled,
        values: &Values,
    ) -> Result<Vec<(String, Vec<u32>)>, String> {
        let mut session = self.session(device, compiled, values, &[(0, 1.0), (1, 0.0), (2, 1.0)])?;
        session.run(Phase::Private).map_err(text)?;
        let mut all = Vec::new();
        for id in compiled.program.ids() {
            match &compiled.program.buffer(id).role {
                Role::GridSum(name) => all.push((format!("the sum of {name}"), session.read(id).map_err(text)?)),
                Role::Output(name) if name == host_outputs::LOSS || name.starts_with("per_sample/") => {
                    let words = session.read(id).map_err(text)?;
                    let width = words.len() / ROWS;
                    all.push((name.clone(), [&words[..width], &words[2 * width..]].concat()));
                }
                _ => {}
            }
        }
        Ok(all)
    }

    /// The data, with numbers for record 1 that no data set should have.
    pub(super) fn hostile(&self, seed: u64, numbers: &[f64]) -> Values {
        let mut values = self.values.clone();
        let mut random = Net::new(seed);
        for Fed { value, low, high } in &self.model.net.inputs {
            let data = values.get_mut(&value.name).expect("an input");
            let width = data.len() / ROWS;
            for x in &mut data[width..2 * width] {
                *x = match value.kind {
                    Kind::F => *random.one_of(numbers),
                    _ => random.real(*low, *high).floor(),
                };
            }
        }
        values
    }

    /// What a masked record holds changes nothing, to the last bit.
    pub(super) fn masks(&self, device: &dyn Device, compiled: &Compiled) -> Result<(), String> {
        let before = self.without(device, compiled, &self.values)?;
        let values = self.hostile(17, &WILD);
        let after = self.without(device, compiled, &values)?;
        let changed = before.iter().zip(&after).find(|(before, after)| before != after);
        changed.map_or(Ok(()), |((what, _), _)| Err(format!("a masked record changes {what}")))
    }

    /// A record that is alone in its batch adds its share and nothing else, which no other record's roundings are in: it is never
    /// longer than the bound as the device has it, to the last bit, where the gradient is as long as that, where it is longer, and
    /// where the record is hostile. Gradients that only the check wants are not among what is computed.
    pub(super) fn shares(&mut self, device: &dyn Device, norm: NormChoice, expected: &Expected) -> Result<(), String> {
        let noises =
            if norm == NormChoice::Auto { &[NoiseKind::Exact, NoiseKind::Float][..] } else { &[NoiseKind::Exact] };
        for &noise in noises {
            let options = Options { per_sample: false, noise, ..self.options(norm) };
            let compiled = self.compiled_with(&options)?.ok_or("no gradient")?;
            self.bounded(device, &compiled, expected).map_err(|e| format!("{noise:?}: {e}"))?;
        }
        Ok(())
    }

    fn bounded(&mut self, device: &dyn Device, compiled: &Compiled, expected: &Expected) -> Result<(), String> {
        let kept = self.bound;
        let mut random = Net::new(43);
        for n in 0..ROWS {
            let edge = expected.norm[n].max(SMALLEST);
            for (what, bound) in [("at", edge), ("beyond", (edge * random.real(0.01, 1.0)).max(SMALLEST))] {
                self.bound = bound;
                self.share(device, compiled, &self.values, n)
                    .map_err(|e| format!("record {n}, {what} the bound: {e}"))?;
            }
        }
        self.bound = kept;
        for (seed, numbers) in [(1, &WILD[..]), (2, &FAR_APART), (3, &FAR_APART), (4, &FAR_APART[2..])] {
            let values = self.hostile(seed, numbers);
            self.share(device, compiled, &values, 1).map_err(|e| format!("a hostile record, of {numbers:?}: {e}"))?;
        }
        Ok(())
    }

    /// Holds the share of record `n`, alone, to the bound.
    fn share(&self, device: &dyn Device, compiled: &Compiled, values: &Values, n: usize) -> Result<(), String> {
        let mut weights = WHOLE.map(|(record, _)| (record, 0.0));
        weights[n].1 = 1.0;
        let mut session = self.session(device, compiled, values, &weights)?;
        session.run(Phase::Private).map_err(text)?;
        let mut square = 0.0;
        for (_, id) in sums(compiled) {
            let words = session.read(id).map_err(text)?;
            square += match compiled.grid {
                Some(_) => integers(&words).map(|x| (x as f64).powi(2)).sum::<f64>(),
                None => words.iter().map(|&x| f64::from(f32::from_bits(x)).powi(2)).sum::<f64>(),
            };
        }
        let bound = compiled.grid.as_ref().map_or(f64::from(self.bound as f32), |grid| grid.group_sensitivity(0));
        let length = square.sqrt();
        match passes(length, bound) {
            true => Err(format!("it adds {length:e}, and the bound is {bound:e}")),
            false => Ok(()),
        }
    }

    /// The sums of a batch in two chunks are those of the batch, to the last bit.
    pub(super) fn chunks(&self, compiled: &Compiled) -> Result<(), String> {
        let mut session = self.session(&Cpu, compiled, &self.values, &WHOLE)?;
        session.run(Phase::Private).map_err(text)?;
        let mut whole = Vec::new();
        for (name, id) in sums(compiled) {
            whole.push((name, session.read(id).map_err(text)?));
        }
        let mut parts: Vec<Vec<u32>> = vec![];
        for records in [[(2, 1.0), (0, 1.0)], [(0, 0.0), (1, 1.0)]] {
            let mut session = self.session(&Cpu, compiled, &self.values, &records)?;
            // What the chunk before has left.
            for ((_, id), part) in sums(compiled).zip(&parts) {
                session.write(id, part).map_err(text)?;
            }
            session.run(Phase::Private).map_err(text)?;
            parts = sums(compiled).map(|(_, id)| session.read(id).map_err(text)).collect::<Result<_, _>>()?;
        }
        for ((name, whole), part) in whole.iter().zip(&parts) {
            if whole != part {
                return Err(format!("in chunks, the sum of {name} is another"));
            }
        }
        Ok(())
    }
}
