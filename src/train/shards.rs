//! Data of which each rank holds its own records, a hospital each, and whose union is what is trained on.

use miette::Diagnostic;
use thiserror::Error;

use super::data::{DataError, Dataset};
use super::units::{Shard, Units};
use crate::ranks::{Ranks, RanksError};

/// What the ranks hold is no union.
#[derive(Debug, Error, Diagnostic)]
pub enum ShardError {
    #[error(transparent)]
    #[diagnostic(transparent)]
    Ranks(#[from] RanksError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Data(#[from] Box<DataError>),

    #[error("rank {other} holds the same data as rank {rank}")]
    #[diagnostic(
        code(dpc::train::same_shard),
        help(
            "with --data-shard every rank has records of its own; leave it out where all read the same data, or write {{rank}} in \
             --data where the number of the rank is to stand"
        )
    )]
    Same { rank: usize, other: usize },

    #[error("ranks {rank} and {other} both hold records of one group")]
    #[diagnostic(
        code(dpc::train::divided_group),
        help(
            "all records of a group must be with one rank, since they are protected as one; or train with --unit record"
        )
    )]
    Divided { rank: usize, other: usize },
}

/// The `units` of this rank's `data` with their place among those of all ranks. `groups` are the ids of the groups that are units, if
/// they are such.
///
/// # Errors
/// When two ranks hold the same data, or records of one group.
pub fn place(ranks: &dyn Ranks, data: &Dataset, units: Units, groups: Option<&[i64]>) -> Result<Units, ShardError> {
    let digest = data.digest().map_err(Box::new)?;
    let digests = ranks.gather(digest.as_bytes())?;
    for (other, digest) in digests.iter().enumerate() {
        if let Some(rank) = digests[..other].iter().position(|before| before == digest) {
            return Err(ShardError::Same { rank, other });
        }
    }
    let mut ids = groups.unwrap_or_default().to_vec();
    ids.sort_unstable();
    ids.dedup();
    let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
    let mut held: Vec<([u8; 8], usize)> = Vec::new();
    for (rank, bytes) in ranks.gather(&bytes)?.iter().enumerate() {
        held.extend(bytes.as_chunks::<8>().0.iter().map(|&id| (id, rank)));
    }
    held.sort_unstable();
    if let Some(pair) = held.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(ShardError::Divided { rank: pair[0].1, other: pair[1].1 });
    }
    let own = [units.len() as u64, data.records() as u64].map(u64::to_le_bytes).concat();
    let lengths: Vec<[usize; 2]> = ranks.gather(&own)?.iter().map(|bytes| pair(bytes)).collect();
    let before = &lengths[..ranks.rank()];
    let shard = Shard {
        units_before: before.iter().map(|[units, _]| units).sum(),
        records_before: before.iter().map(|[_, records]| records).sum(),
        all_units: lengths.iter().map(|[units, _]| units).sum(),
    };
    Ok(units.as_shard(shard))
}

fn pair(bytes: &[u8]) -> [usize; 2] {
    let numbers = bytes.as_chunks::<8>().0;
    [0, 1].map(|at| numbers.get(at).map_or(0, |number| u64::from_le_bytes(*number) as usize))
}
