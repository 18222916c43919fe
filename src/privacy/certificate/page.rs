//! The certificate as a page for people, in Markdown.

use std::fmt::Write;

use super::words::Words;
use super::{Certificate, Comparison};
use crate::privacy::adjacency::Adjacency;
use crate::privacy::grid;

impl Certificate {
    /// The page: a function of the certificate alone.
    pub fn page(&self) -> String {
        let mut page = format!("# Privacy certificate\n\n**{}**\n\n", self.statement);
        let mut row = |name: &str, value: String| {
            // Writing to a string does not fail.
            let _ = writeln!(page, "| {name} | {value} |");
        };
        row("quantity", "value".to_owned());
        row("---", "---".to_owned());
        row("ε", self.epsilon.map_or("none".to_owned(), |epsilon| epsilon.to_string()));
        row("δ", self.plan.delta.map_or("none".to_owned(), |delta| delta.to_string()));
        row("accountant", self.accountant.clone());
        if let Some(Comparison { rdp_noise_multiplier, less_noise_percent }) = self.comparison {
            let asked = format!("{less_noise_percent:.1} % less (it asks for σ = {rdp_noise_multiplier:.4})");
            row("noise beside Rényi accounting", asked);
        }
        row(
            "neighbouring data sets",
            match self.plan.adjacency {
                Adjacency::AddRemove => format!("one {} more or less", self.plan.unit),
                Adjacency::ReplaceOne => format!("one {} replaced", self.plan.unit),
            },
        );
        row("sampling", self.plan.sampling.to_string());
        row("noise multiplier σ", format!("{} ({})", self.plan.noise_multiplier, self.plan.noise_schedule));
        if let Some(strategy) = &self.plan.correlation {
            row("correlation of noise", strategy.to_string());
        }
        row(
            "sums and noise",
            match &self.plan.grid {
                Some(_) => format!("integers of {} to the clip bound, discrete Gaussian", grid::UNITS),
                None => "floating point".to_owned(),
            },
        );
        if let Some(selection) = &self.selection {
            row("chosen as the best of a random number of trials", selection.trials.to_string());
        }
        row("clip rule", format!("{} ({})", self.plan.clip, self.plan.clip_schedule));
        row("divisor (expected batch)", self.plan.expected_batch.to_string());
        match &self.selection {
            Some(_) => row("steps of the released run", self.plan.planned_steps.to_string()),
            None => row("steps in the ledger", self.steps.to_string()),
        }
        if !self.ranks.is_empty() {
            row("ranks that took each step together", self.ranks.words());
        }
        row("source model, SHA-256", self.provenance.source_model.clone());
        row("program, SHA-256", self.provenance.program.clone());
        row("data schema, SHA-256", self.provenance.data_schema.clone());
        if let Some(initial) = &self.provenance.initial_values {
            row("initial values, taken to be public", initial.to_string());
        }
        row("ledger", format!("{} lines, the last of hash {}", self.ledger.entries, self.ledger.hash));
        row("software", self.software.clone());
        let list = |title: &str, items: &[String]| -> String {
            let items: Vec<String> = items.iter().map(|item| format!("- {item}\n")).collect();
            format!("\n## {title}\n\n{}", items.concat())
        };
        if !self.covers.is_empty() {
            page.push_str(&list("What the guarantee covers", &self.covers));
        }
        page.push_str(&list("What it does not cover", &self.does_not_cover));
        if !self.post_processing.is_empty() {
            page.push_str(&list("What was made of the released steps", &self.post_processing));
        }
        page.push_str("\nCheck it against its ledger with `dpc verify-certificate DIR`.\n");
        page
    }
}
