//! Discrete Gaussian noise of any parameter at any step.

use miette::Diagnostic;
use thiserror::Error;

use super::sampler::{BATCH, DiscreteGaussian, GROUP, OPEN};
use super::words::{Extras, Place, ROOM_BITS, VALUES, Words};
use crate::privacy::keys::{Domain, RunKey};

/// Where the discrete Gaussian noise of a run comes from.
///
/// The stream number of the key stream is the step, and each parameter has its own range of 2⁴⁰ blocks of 64 bytes, as for floating-point noise, of which
/// every 4,096 values have 4,096. So any parameter of any step can be made alone, and any part of it that begins at a multiple of
/// [`DiscreteNoise::BLOCK`] too, by another thread say. The values are the same on every processor.
#[derive(Clone)]
pub struct DiscreteNoise {
    key: [u8; 32],
}

/// The base-2 logarithm of the key-stream blocks kept for one parameter.
const PARAMETER_BITS: u32 = 40;

impl DiscreteNoise {
    /// Values that are made together. A part of a parameter may begin at any multiple of it.
    pub const BLOCK: usize = VALUES;
    /// How many parameters there can be.
    pub const MAX_PARAMETERS: u32 = 1 << (u64::BITS - PARAMETER_BITS);
    /// How many blocks of values a parameter can have.
    pub const MAX_BLOCKS: u64 = 1 << (PARAMETER_BITS - ROOM_BITS);

    /// The noise of a run.
    pub fn new(run: &RunKey) -> DiscreteNoise {
        DiscreteNoise { key: run.derive(Domain::DiscreteNoise) }
    }

    /// Overwrites `out` with independent values of `N_Z(0, s²)`, the noise of parameter number `parameter` at `step` from its first element on.
    /// A function of the key, `step`, `parameter`, s and the element's number, so that fewer values are a prefix of more;
    /// independent over steps, parameters and elements. A step number must not be used for two different sums.
    ///
    /// # Errors
    /// When `parameter` or the length is beyond what the key stream has room for.
    pub fn fill(&self, step: u64, parameter: u32, sampler: &DiscreteGaussian, out: &mut [i64]) -> Result<(), NoRoom> {
        self.fill_from(step, parameter, 0, sampler, out)
    }

    /// [`DiscreteNoise::fill`] from element number `block` · [`DiscreteNoise::BLOCK`] on.
    ///
    /// # Errors
    /// As [`DiscreteNoise::fill`].
    pub fn fill_from(
        &self,
        step: u64,
        parameter: u32,
        block: u64,
        sampler: &DiscreteGaussian,
        out: &mut [i64],
    ) -> Result<(), NoRoom> {
        if parameter >= DiscreteNoise::MAX_PARAMETERS {
            return Err(NoRoom::Parameter { parameter });
        }
        let blocks = out.len().div_ceil(VALUES) as u64;
        if block.checked_add(blocks).is_none_or(|end| end > DiscreteNoise::MAX_BLOCKS) {
            return Err(NoRoom::Element);
        }
        for (block, values) in (block..).zip(out.chunks_mut(VALUES)) {
            let first = u64::from(parameter) << PARAMETER_BITS | block << ROOM_BITS;
            let (heads, extras) = Place::room(&self.key, step, first);
            fill_block(sampler, Words::new(heads), Extras::new(extras), values);
        }
        Ok(())
    }
}

/// Values in the order of the words that they come from.
pub(super) fn fill_block(sampler: &DiscreteGaussian, mut words: Words, mut extras: Extras, mut values: &mut [i64]) {
    let (mut heads, mut proposed, mut open) = ([0; BATCH], [0; BATCH], [false; BATCH / GROUP]);
    while !values.is_empty() {
        words.fill(&mut heads);
        sampler.propose(&heads, &mut proposed, &mut open);
        let groups = heads.as_chunks::<GROUP>().0.iter().zip(proposed.as_chunks::<GROUP>().0).zip(open);
        let mut made = 0;
        for ((heads, proposed), open) in groups {
            if let (false, Some(values)) = (open, values[made..].first_chunk_mut::<GROUP>()) {
                *values = *proposed;
                made += GROUP;
                continue;
            }
            for (&word, &value) in heads.iter().zip(proposed) {
                if made == values.len() {
                    break;
                }
                let decided = if value == OPEN { sampler.resolve(word, &mut extras) } else { Some(value) };
                if let Some(value) = decided {
                    values[made] = value;
                    made += 1;
                }
            }
        }
        values = &mut values[made..];
    }
}

/// The key stream has no room for that much noise. The step must not be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error, Diagnostic)]
#[allow(missing_docs)]
pub enum NoRoom {
    #[error(
        "parameter number {parameter} is beyond what one noise stream can serve ({})",
        DiscreteNoise::MAX_PARAMETERS
    )]
    #[diagnostic(code(dpc::privacy::discrete::parameters), help("train fewer parameters, or merge small ones"))]
    Parameter { parameter: u32 },
    #[error("a parameter has more elements than one noise stream can serve (2^40)")]
    #[diagnostic(code(dpc::privacy::discrete::elements), help("divide the parameter"))]
    Element,
}
