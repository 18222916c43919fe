//! The members of a certificate in words, for those who are told which of them does not hold.

use super::Comparison;
use crate::privacy::accountant::selection::Candidate;
use crate::privacy::accountant::{Mechanism, Selection};
use crate::privacy::ledger::Head;

/// A member in words.
pub(super) trait Words {
    fn words(&self) -> String;
}

impl Words for bool {
    fn words(&self) -> String {
        if *self { "yes" } else { "no" }.to_owned()
    }
}

impl Words for u64 {
    fn words(&self) -> String {
        self.to_string()
    }
}

impl Words for Option<f64> {
    fn words(&self) -> String {
        self.map_or("none that is finite".to_owned(), |number| number.to_string())
    }
}

impl Words for Option<Comparison> {
    fn words(&self) -> String {
        self.map_or("none".to_owned(), |Comparison { rdp_noise_multiplier, less_noise_percent }| {
            format!("noise multiplier {rdp_noise_multiplier:.4}, {less_noise_percent:.1} % less noise")
        })
    }
}

impl Words for Mechanism {
    fn words(&self) -> String {
        let Mechanism { noise_multiplier, sampling, steps } = self;
        let unit = match (sampling.epoch().is_some(), steps) {
            (true, 1) => "epoch",
            (true, _) => "epochs",
            (false, 1) => "step",
            (false, _) => "steps",
        };
        format!("{steps} {unit} of noise multiplier {noise_multiplier} with {sampling}")
    }
}

impl Words for Vec<Mechanism> {
    fn words(&self) -> String {
        match &self[..] {
            [] => "no step".to_owned(),
            steps => steps.iter().map(Words::words).collect::<Vec<_>>().join(", then "),
        }
    }
}

impl Words for String {
    fn words(&self) -> String {
        self.clone()
    }
}

impl Words for Candidate {
    fn words(&self) -> String {
        let numbers = self.numbers.map_or(String::new(), |numbers| format!(", {numbers} integers each"));
        format!("{}{numbers}", self.history.words())
    }
}

impl Words for Vec<Candidate> {
    fn words(&self) -> String {
        self.iter().map(Words::words).collect::<Vec<_>>().join("; or ")
    }
}

impl Words for Option<Selection> {
    fn words(&self) -> String {
        self.as_ref().map_or("none".to_owned(), |selection| {
            format!("the best of {} trials of {}", selection.trials, selection.candidates.words())
        })
    }
}

/// Numbers of ranks.
impl Words for Vec<u64> {
    fn words(&self) -> String {
        match &self[..] {
            [] => "1".to_owned(),
            numbers => numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(", then "),
        }
    }
}

impl Words for Vec<String> {
    fn words(&self) -> String {
        match &self[..] {
            [] => "nothing".to_owned(),
            items => items.iter().map(|item| format!("“{item}”")).collect::<Vec<_>>().join(", "),
        }
    }
}

impl Words for Head {
    fn words(&self) -> String {
        let Head { entries, hash } = self;
        format!("{entries} {}, the last of hash {hash}", if *entries == 1 { "line" } else { "lines" })
    }
}
