//! What the guarantee is about: which datasets count as neighbours, and what one change is.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Which datasets count as neighbours.
///
/// Noise is scaled by what adding or removing one unit can do to the sum, whatever the adjacency;
/// that replacing one can move it twice as far is the accountant's to know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Adjacency {
    /// One unit is added or removed.
    #[default]
    AddRemove,
    /// One unit is replaced by another; the number of units is public.
    ReplaceOne,
}

/// What one change to a dataset is, and so what is sampled and clipped as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// One record (row) of the data.
    #[default]
    Record,
    /// All records of one group (a user), as the data's `group` array says.
    Group,
}

impl fmt::Display for Adjacency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Adjacency::AddRemove => "add-remove",
            Adjacency::ReplaceOne => "replace-one",
        })
    }
}

impl FromStr for Adjacency {
    type Err = String;

    fn from_str(text: &str) -> Result<Adjacency, String> {
        match text {
            "add-remove" => Ok(Adjacency::AddRemove),
            "replace-one" => Ok(Adjacency::ReplaceOne),
            _ => Err(format!("`{text}` is no adjacency; give add-remove or replace-one")),
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unit::Record => "record",
            Unit::Group => "group",
        })
    }
}
