//! Progress of a run on standard error: a bar on a terminal, now and then a plain line elsewhere.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::metrics::StepMetrics;
use crate::privacy::adjacency::Unit;

/// Between plain lines.
const INTERVAL: Duration = Duration::from_secs(5);

/// Shows how far a run is.
pub struct Progress {
    steps: u64,
    first: u64,
    unit: Unit,
    started: Instant,
    /// What the last evaluation said.
    valid: Option<String>,
    display: Display,
}

enum Display {
    Bar(ProgressBar),
    Lines { last: Option<Instant> },
    Silent,
}

impl Progress {
    /// A display for a run of `steps` logical steps of units of kind `unit`, `first` of which are taken already.
    pub fn new(steps: u64, first: u64, unit: Unit) -> Self {
        let display = if std::io::stderr().is_terminal() {
            let bar = ProgressBar::new(steps).with_position(first);
            bar.set_style(
                ProgressStyle::with_template("{bar:24} {pos}/{len} {msg}").expect("the template is well formed"),
            );
            Display::Bar(bar)
        } else {
            Display::Lines { last: None }
        };
        Self::with(steps, first, unit, display)
    }

    /// Shows nothing.
    pub fn silent() -> Self {
        Self::with(0, 0, Unit::Record, Display::Silent)
    }

    fn with(steps: u64, first: u64, unit: Unit, display: Display) -> Self {
        Self { steps, first, unit, started: Instant::now(), valid: None, display }
    }

    /// Whether it is on a terminal, and so kept nowhere.
    pub fn is_watched(&self) -> bool {
        matches!(self.display, Display::Bar(_))
    }

    /// Whether an [`Progress::update`] now would be seen, for figures that cost something.
    pub fn is_due(&self) -> bool {
        match &self.display {
            Display::Bar(_) => true,
            Display::Lines { last } => last.is_none_or(|last| last.elapsed() >= INTERVAL),
            Display::Silent => false,
        }
    }

    /// Shows the figures after a step. Plain lines come no more often than every five seconds, but also
    /// at the last step and where there are new figures on the validation data.
    pub fn update(&mut self, metrics: &StepMetrics) {
        let due = self.is_due() || metrics.step == self.steps || metrics.valid.is_some();
        let left = self.left(metrics.step);
        if let Some(valid) = &metrics.valid {
            self.valid = Some(format!("valid {} at step {}", valid.text(4), metrics.step));
        }
        let valid = self.valid.as_deref();
        match &mut self.display {
            Display::Bar(bar) => {
                bar.set_position(metrics.step);
                bar.set_message(line(metrics, self.unit, left, valid));
            }
            Display::Lines { last } if due => {
                *last = Some(Instant::now());
                let line = line(metrics, self.unit, left, valid);
                // Training goes on where nobody can read its progress.
                let _ = writeln!(std::io::stderr(), "step {}/{}  {line}", metrics.step, self.steps);
            }
            Display::Lines { .. } | Display::Silent => {}
        }
    }

    /// Shows what is to be known beside the figures.
    pub fn say(&self, text: &str) {
        match &self.display {
            Display::Bar(bar) => bar.println(text),
            Display::Lines { .. } => drop(writeln!(std::io::stderr(), "{text}")),
            Display::Silent => {}
        }
    }

    /// Leaves the last figures in place.
    pub fn finish(&self) {
        if let Display::Bar(bar) = &self.display {
            bar.abandon();
        }
    }

    fn left(&self, step: u64) -> Duration {
        let done = step.saturating_sub(self.first).max(1) as f64;
        let rest = self.steps.saturating_sub(step) as f64;
        self.started.elapsed().mul_f64(rest / done)
    }
}

fn line(metrics: &StepMetrics, unit: Unit, left: Duration, valid: Option<&str>) -> String {
    let mut parts = vec![format!("epoch {:.1}", metrics.epoch)];
    if let Some(loss) = metrics.estimates.and_then(|estimates| estimates.loss) {
        parts.push(format!("loss ≈ {loss:.2}"));
    }
    if let Some(observed) = metrics.not_private {
        parts.extend(observed.loss.map(|loss| format!("loss {loss:.4} (not private)")));
        if observed.nonfinite_losses > 0 {
            parts.push(format!("losses not finite and left out: {}", observed.nonfinite_losses));
        }
        let gradients = observed.nonfinite_units.filter(|&units| units > 0);
        parts.extend(gradients.map(|units| format!("gradients not finite: {units}")));
    }
    if let Some(epsilon) = metrics.epsilon {
        parts.push(format!("ε {epsilon:.3}"));
    }
    parts.push(format!("{:.0} {unit}s/s", metrics.samples_per_second));
    parts.push(format!("{} left", time(left)));
    parts.extend(valid.map(str::to_owned));
    parts.join("  ")
}

fn time(duration: Duration) -> String {
    let seconds = duration.as_secs_f64().round() as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m{s:02}s"),
        (h, m, _) => format!("{h}h{m:02}m"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::metrics::{Estimated, Observed};
    use super::*;

    #[test]
    fn a_line_says_what_is_private_and_what_is_left() {
        let metrics = StepMetrics {
            step: 3,
            epoch: 0.25,
            epsilon: Some(1.2345),
            noise_multiplier: Some(1.0),
            clip_bounds: vec![0.5],
            learning_rate: Some(0.1),
            lr_for: Default::default(),
            steps_per_second: Some(2.0),
            samples_per_second: 3412.4,
            valid: None,
            estimates: Some(Estimated { batch_size: 255.0, loss: Some(0.456) }),
            not_private: Some(Observed { loss: Some(0.5), ..Observed::default() }),
        };
        assert_eq!(
            line(&metrics, Unit::Group, Duration::from_secs(83), Some("valid loss 0.3 at step 2")),
            "epoch 0.2  loss ≈ 0.46  loss 0.5000 (not private)  ε 1.234  3412 groups/s  1m23s left  valid loss 0.3 at step 2"
        );
        let observed = Observed { nonfinite_losses: 3, nonfinite_units: Some(2), ..Observed::default() };
        let said = line(&StepMetrics { not_private: Some(observed), ..metrics }, Unit::Record, Duration::ZERO, None);
        assert!(said.contains("losses not finite and left out: 3  gradients not finite: 2"), "{said}");
        assert_eq!(time(Duration::from_secs(7265)), "2h01m");
        assert_eq!(time(Duration::from_millis(4900)), "5s");
    }
}
