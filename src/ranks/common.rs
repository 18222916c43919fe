//! What ranks must have in common to train one model.

use super::{Ranks, RanksError};

/// The longest value that a difference is told with; what is longer is a digest, or as good as one.
const SHOWN: usize = 40;

/// Something that all ranks must have the same of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Common {
    /// What it is, in words.
    pub name: &'static str,
    /// Its value, or a digest of it.
    pub value: String,
}

impl Common {
    /// What is `value` on this rank.
    pub fn new(name: &'static str, value: impl ToString) -> Common {
        Common { name, value: value.to_string() }
    }
}

/// Checks that all ranks have the same of everything in `own`, which has the same names on each.
///
/// # Errors
/// Every difference from rank 0, on all ranks; and when a rank has left.
pub fn agree(ranks: &dyn Ranks, own: &[Common]) -> Result<(), RanksError> {
    let values: Vec<&[u8]> = own.iter().map(|common| common.value.as_bytes()).collect();
    let all = ranks.gather(&encoded(&values))?;
    let all: Vec<Vec<String>> = all.iter().map(|bytes| decoded(bytes)).collect();
    let mut what = Vec::new();
    for (rank, values) in all.iter().enumerate() {
        if values.len() != own.len() {
            what.push(format!("rank {rank} is of another version of dpc"));
            continue;
        }
        for ((common, theirs), first) in
            own.iter().zip(values).zip(&all[0]).filter(|((_, theirs), first)| theirs != first)
        {
            what.push(match theirs.len().max(first.len()) <= SHOWN {
                true => format!("rank {rank} has the {} {theirs}, rank 0 {first}", common.name),
                false => format!("rank {rank} has another {} than rank 0", common.name),
            });
        }
    }
    if what.is_empty() { Ok(()) } else { Err(RanksError::Differ { what }) }
}

fn encoded(values: &[&[u8]]) -> Vec<u8> {
    let with_length = |value: &&[u8]| [&(value.len() as u64).to_le_bytes()[..], value].concat();
    values.iter().flat_map(with_length).collect()
}

fn decoded(mut bytes: &[u8]) -> Vec<String> {
    let mut values = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<8>() {
        let (value, rest) = rest.split_at(rest.len().min(u64::from_le_bytes(*length) as usize));
        values.push(String::from_utf8_lossy(value).into_owned());
        bytes = rest;
    }
    values
}
