//! Whether records meet, tried out: one of random records is exchanged for another, and what belongs to the others has to
//! stay the same to the bit.
//!
//! The proof says so for all data; this says so for a few, of the program as it runs.

use std::sync::Arc;

use miette::Diagnostic;
use thiserror::Error;

use super::chance::Chance;
use super::data::Dataset;
use super::engine::{Engine, EngineError, total_norms};
use crate::artifact::Artifact;
use crate::device::Device;
use crate::lower::host_outputs::{LOSS, NORM};
use crate::lower::program::Phase;
use crate::privacy::clipping::ClipState;
use crate::privacy::keys::RunKey;

/// Records in the batch. Each is exchanged in turn.
pub const RECORDS: usize = 6;

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trial {
    /// The exchanged records whose own loss or norm changed. Where it is none, the trial says nothing.
    pub moved: usize,
}

#[derive(Debug, Error, Diagnostic)]
pub enum TrialError {
    #[error(transparent)]
    #[diagnostic(transparent)]
    Engine(#[from] EngineError),

    #[error("{what} of record {other} changes where record {exchanged} of the batch is exchanged for another")]
    #[diagnostic(
        code(dpc::check::empirical),
        help(
            "the model was proved to treat every record alone: this is a defect of dpc; please report it with the model"
        )
    )]
    Meet { what: &'static str, exchanged: usize, other: usize },
}

/// Exchanges each of [`RECORDS`] random records for another on `device`, and compares the losses and the gradients' norms of
/// the others.
///
/// # Errors
/// [`TrialError::Meet`] where one of them is not the same.
pub fn exchange(artifact: &Artifact, device: &dyn Device) -> Result<Trial, TrialError> {
    let manifest = &artifact.manifest;
    let data = Dataset::random(&manifest.schema, 2 * RECORDS);
    let program = Arc::new(artifact.program.clone());
    let mut engine = Engine::new(device, program, &artifact.weights, RECORDS, &[Phase::Private])?;
    engine.set_clip_bounds(&ClipState::new(&manifest.clip, &manifest.clip_groups).bounds(1.0))?;
    let chance = Chance::new(&RunKey::insecure(0), None);
    let mut run = |records: &[usize]| -> Result<[Vec<u32>; 2], EngineError> {
        engine.run(Phase::Private, &data, records, Some((&chance, 0)))?;
        let norms = total_norms(&engine.floats(NORM)?, manifest.clip_groups.len());
        let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect();
        Ok([bits(engine.floats(LOSS)?), bits(norms)])
    };
    let records: Vec<usize> = (0..RECORDS).collect();
    let before = run(&records)?;
    let mut trial = Trial { moved: 0 };
    for exchanged in 0..RECORDS {
        let mut records = records.clone();
        records[exchanged] = RECORDS + exchanged;
        let after = run(&records)?;
        for (what, (before, after)) in
            ["the loss", "the norm of the gradient"].into_iter().zip(before.iter().zip(&after))
        {
            let changed = |other: &usize| *other != exchanged && before[*other] != after[*other];
            if let Some(other) = (0..RECORDS).find(changed) {
                return Err(TrialError::Meet { what, exchanged, other });
            }
        }
        trial.moved += usize::from((0..2).any(|k| before[k][exchanged] != after[k][exchanged]));
    }
    Ok(trial)
}
