//! `--missing VALUE`: what stands for cells that hold nothing.

use std::collections::BTreeMap;
use std::str::FromStr;

/// What stands for missing values: one value for all columns, or one for a column. Nothing by itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Missing {
    everywhere: Option<String>,
    columns: BTreeMap<String, String>,
}

impl Missing {
    /// What stands for missing values of a column.
    pub fn of(&self, column: &str) -> Option<&str> {
        self.columns.get(column).or(self.everywhere.as_ref()).map(String::as_str)
    }

    /// Adds what `other` says, which has the last word.
    pub fn extend(&mut self, other: Self) {
        self.everywhere = other.everywhere.or(self.everywhere.take());
        self.columns.extend(other.columns);
    }
}

impl FromStr for Missing {
    type Err = String;

    /// `VALUE`, or `COLUMN=VALUE`.
    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text.rsplit_once('=') {
            Some((column, value)) if !column.trim().is_empty() => {
                let columns = BTreeMap::from([(column.trim().to_owned(), value.trim().to_owned())]);
                Self { everywhere: None, columns }
            }
            Some(_) => return Err("expected VALUE or COLUMN=VALUE, as in 0 or age=40".to_owned()),
            None => Self { everywhere: Some(text.trim().to_owned()), columns: BTreeMap::new() },
        })
    }
}

/// Whether a text stands for nothing, as pandas, R and the UCI repository write it.
pub fn is_missing(text: &str) -> bool {
    matches!(
        text,
        "" | "NA" | "N/A" | "n/a" | "#N/A" | "<NA>" | "NaN" | "nan" | "NULL" | "null" | "None" | "none" | "?"
    )
}
