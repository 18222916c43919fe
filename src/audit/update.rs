//! Whether what the audit sees released is what parameters are updated by.
//!
//! All else is measured on a program with one change, in which what a step releases is a result that can be read, so that
//! its memory is shared otherwise. Here the program runs as it is beside it, with the same key and a learning rate above 0:
//! both must come to the same parameters, bit by bit, and to those that the optimizer makes of what was released.

use super::AuditError;
use super::records::Records;
use super::report::Check;
use super::subject::Rig;
use crate::options::optimizer::OptimizerSpec;

/// Steps that are compared.
const STEPS: u64 = 3;
/// How far a parameter may be from the host's by rounding, relative to how far it moves.
const ROUNDING: f64 = 1e-3;

/// A learning rate at which noise of standard deviation `std` moves parameters by about a tenth.
pub fn learning_rate(optimizer: &OptimizerSpec, std: f64) -> f64 {
    match optimizer {
        OptimizerSpec::Sgd(_) => 0.1 / std,
        OptimizerSpec::Adam(_) | OptimizerSpec::AdamW(_) => 0.1,
    }
}

/// The checks of steps at `learning_rate` of the program that is `observed` and of the one that is `stored`.
///
/// # Errors
/// When there is no noise, or a device fails.
pub fn checks(
    observed: &mut Rig<'_>,
    stored: &mut Rig<'_>,
    records: &Records,
    optimizer: &OptimizerSpec,
    learning_rate: f64,
) -> Result<Vec<Check>, AuditError> {
    let sizes = observed.sizes().to_vec();
    let mut states: Vec<Vec<Vec<f32>>> =
        sizes.iter().map(|&size| optimizer.states().iter().map(|_| vec![0.0; size]).collect()).collect();
    let (mut apart, mut differing, mut farthest) = (0.0_f64, 0, String::new());
    for step in 0..STEPS {
        let before = observed.weights()?;
        let released = observed.release(step, &[&records.ordinary])?;
        stored.train(step, &[&records.ordinary])?;
        let (after, of_stored) = (observed.weights()?, stored.weights()?);
        let mut rest = &released[..];
        for ((name, &size), states) in observed.parameters().iter().zip(&sizes).zip(&mut states) {
            let (gradient, others) = rest.split_at(size);
            rest = others;
            if size == 0 {
                continue;
            }
            let mut expected = before[name].data.clone();
            optimizer.update(learning_rate as f32, step + 1, &mut expected, gradient, states);
            let off = largest(&expected, &after[name].data) / largest(&expected, &before[name].data);
            if off.is_nan() || off > apart {
                (apart, farthest) = (if off.is_nan() { f64::INFINITY } else { off }, name.clone());
            }
        }
        for (name, tensor) in &after {
            let pairs = tensor.data.iter().zip(&of_stored[name].data);
            differing += pairs.filter(|(a, b)| a.to_bits() != b.to_bits()).count();
        }
    }
    Ok(vec![
        Check::at_most("parameters that differ from the unchanged program's", differing as f64, 0.0)
            .with(format!("after each of {STEPS} steps")),
        Check::at_most("distance from the optimizer's step by what is released / its length", apart, ROUNDING)
            .with(farthest),
    ])
}

/// The largest difference of two elements.
fn largest(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs()).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::super::ending::Ending;
    use super::super::mutation::MUTATIONS;
    use super::super::subject::{Bench, Noise};
    use super::super::tests::{KINDS, artifact_of, claim_of, settings};
    use super::*;
    use crate::device::cpu::Cpu;
    use crate::lower::kernels::Kernel;
    use crate::lower::program::Program;
    use crate::options::NoiseKind;
    use crate::privacy::keys::RunKey;

    /// Whether both checks pass where `observed` is looked into and `stored` is beside it, made of an artifact's program.
    fn passes(
        noise: NoiseKind,
        observed: impl Fn(Program) -> Program,
        stored: impl Fn(Program) -> Program,
    ) -> [bool; 2] {
        let (artifact, settings) = (artifact_of("mlp", "cross-entropy", noise), settings());
        let records = Records::new(&artifact.manifest.schema, 4).unwrap();
        let claim = claim_of(&artifact, &settings);
        let subject = claim.of(observed(artifact.program.clone()));
        let optimizer = &artifact.manifest.optimizer;
        let rate = learning_rate(optimizer, claim.deviation());
        let bench = || {
            let key = RunKey::insecure(8);
            Bench::new(&Cpu, &artifact, &records, &subject, Noise::On, key).unwrap().training(rate)
        };
        let (seen, beside) = (bench(), bench().unobserved(&stored(artifact.program.clone())));
        let found = checks(&mut seen.rig(4).unwrap(), &mut beside.rig(4).unwrap(), &records, optimizer, rate).unwrap();
        [found[0].passed, found[1].passed]
    }

    /// An optimizer's step that reads the sum before the noise.
    fn without_noise(mut program: Program) -> Program {
        let end = program.private_update();
        let dispatches = program.phases.entry(end).or_default();
        let (ends, ending) =
            dispatches.iter().enumerate().find_map(|(at, d)| Some((at, Ending::of(&d.kernel)?))).unwrap();
        let step = dispatches.iter().position(|dispatch| matches!(dispatch.kernel, Kernel::Sgd(_))).unwrap();
        dispatches[step].buffers[0] = dispatches[ends].buffers[ending.sum];
        program
    }

    fn other(noise: NoiseKind, program: Program) -> Program {
        let artifact = artifact_of("mlp", "cross-entropy", noise);
        let subject = claim_of(&artifact, &settings()).of(program);
        let bare = MUTATIONS.iter().find(|mutation| mutation.name.contains("smallest")).unwrap();
        bare.of(&subject).unwrap().unwrap().program
    }

    #[test]
    fn parameters_are_those_of_what_is_released() {
        for noise in KINDS {
            assert_eq!(passes(noise, |program| program, |program| program), [true, true]);
            assert_eq!(passes(noise, |program| program, |program| other(noise, program)), [false, true]);
        }
        // The words of integers are no gradient that an optimizer's step could read.
        assert_eq!(passes(NoiseKind::Float, without_noise, without_noise), [true, false]);
    }
}
