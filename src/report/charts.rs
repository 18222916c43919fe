//! The curves of a report.

use super::plot::{Curve, Plot};
use super::run::Run;
use crate::train::metrics::StepMetrics;

/// The charts of `runs`, those that there is something to be drawn in.
pub fn section(runs: &[Run]) -> String {
    let public = Charts { runs, all: Vec::new() };
    let public = public
        .add("epsilon", "Privacy spent, of all steps in the ledger", "ε", true, |line| line.epsilon)
        .add_valid()
        .add("rate", "Learning rate", "rate", true, |line| line.learning_rate)
        .add("noise", "Noise multiplier", "σ, in clip bounds", true, |line| line.noise_multiplier)
        .add_bounds()
        .add("samples", "Throughput", "samples a second", true, |line| Some(line.samples_per_second))
        .add("estimated", "Loss, as estimated with noise that is paid for", "loss", false, |line| line.estimates?.loss);
    let observed = Charts { runs, all: Vec::new() }
        .add("loss", "Training loss", "loss", false, |line| line.not_private?.loss)
        .add("clipped", "Gradients that were clipped", "%", true, |line| {
            Some(100.0 * line.not_private?.clipped_fraction?)
        });
    let figures = |charts: Charts<'_>| charts.all.iter().filter_map(Plot::figure).collect::<String>();
    let (public, observed) = (figures(public), figures(observed));
    let mut text = String::new();
    if !public.is_empty() {
        text += &format!("<section>\n<h2>Over the steps</h2>\n<div class=\"plots\">\n{public}</div>\n</section>\n");
    }
    if !observed.is_empty() {
        text += &format!(
            "<section>\n<h2>Recorded of the training data, not private</h2>\n<p class=\"warning\">No guarantee covers these curves: they \
             are worked out on the training data without noise, as <code>--record-private-metrics</code> or training without privacy \
             asks for. Whoever sees this page sees them.</p>\n<div class=\"plots\">\n{observed}</div>\n</section>\n"
        );
    }
    text
}

struct Charts<'a> {
    runs: &'a [Run],
    all: Vec<Plot>,
}

impl Charts<'_> {
    fn add(
        mut self,
        id: &str,
        title: &str,
        unit: &str,
        from_zero: bool,
        of: impl Fn(&StepMetrics) -> Option<f64>,
    ) -> Self {
        let curve = |(style, run): (usize, &Run)| Curve { name: run.name.clone(), style, points: run.points(&of) };
        let curves = self.runs.iter().enumerate().map(curve).collect();
        let [id, title, unit] = [id, title, unit].map(str::to_owned);
        self.all.push(Plot { id, title, unit, curves, from_zero });
        self
    }

    /// A chart for each figure of the evaluations.
    fn add_valid(mut self) -> Self {
        let mut known: Vec<(&'static str, &'static str, bool)> = Vec::new();
        for valid in self.runs.iter().flat_map(|run| &run.metrics).filter_map(|line| line.valid.as_ref()) {
            for figure in valid.figures() {
                if !known.iter().any(|(key, ..)| *key == figure.key) {
                    known.push((figure.key, figure.title, figure.percent));
                }
            }
        }
        for (key, title, percent) in known {
            let factor = if percent { 100.0 } else { 1.0 };
            let of = |line: &StepMetrics| {
                let figures = line.valid.as_ref()?.figures();
                figures.iter().find(|figure| figure.key == key).map(|figure| factor * figure.value)
            };
            let unit = if percent { "%" } else { title };
            self = self.add(&format!("valid-{key}"), &format!("Validation {title}"), unit, false, of);
        }
        self
    }

    /// The clip bounds, a curve for each group of parameters of one run, or the norm of all bounds of each of several.
    fn add_bounds(mut self) -> Self {
        let norm = |line: &StepMetrics| {
            let squares: f64 = line.clip_bounds.iter().map(|bound| bound * bound).sum();
            (!line.clip_bounds.is_empty()).then(|| squares.sqrt())
        };
        let groups = |run: &Run| run.metrics.first().map_or(0, |line| line.clip_bounds.len());
        match self.runs {
            [run] if (2..=6).contains(&groups(run)) => {
                let curve = |k: usize| Curve {
                    name: format!("group {}", k + 1),
                    style: k,
                    points: run.points(|line| line.clip_bounds.get(k).copied()),
                };
                let curves = (0..groups(run)).map(curve).collect();
                let [id, title, unit] = ["clip", "Clip bounds", "norm of a gradient"].map(str::to_owned);
                self.all.push(Plot { id, title, unit, curves, from_zero: true });
                self
            }
            _ => self.add("clip", "Clip bound, of all parameters", "norm of a gradient", true, norm),
        }
    }
}
