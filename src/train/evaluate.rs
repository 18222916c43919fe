//! Loss and accuracy of a model on a data set.

use serde::Serialize;

use super::data::{Column, Dataset, Values};
use super::engine::{Engine, EngineError};
use crate::artifact::Manifest;
use crate::graph::axes::Axes;
use crate::lower::host_outputs;
use crate::lower::program::Phase;
use crate::options::Loss;

/// What a model does on a data set.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    pub records: usize,
    /// Mean over the records.
    pub loss: f64,
    /// The fraction of labels, ignored ones aside, that the largest logit (or its sign, for binary
    /// cross-entropy) gives; `None` for losses without classes.
    pub accuracy: Option<f64>,
}

/// Where the classes are in a model's output, and which output it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// The ONNX name of the output that the loss is on.
    pub output: String,
    pub axes: Axes,
    pub loss: Loss,
}

impl Scored {
    /// What the manifest's loss is on; `None` where it has no loss.
    pub fn of(manifest: &Manifest) -> Option<Self> {
        let output = manifest.outputs.first()?;
        Some(Self { output: output.name.clone(), axes: output.axes.clone(), loss: manifest.loss? })
    }
}

/// Evaluates the engine's parameters on all of `data`.
///
/// # Panics
/// If `data` has no target.
pub fn evaluate(engine: &mut Engine, data: &Dataset, scored: &Scored) -> Result<Evaluation, EngineError> {
    let target = data.target().expect("data to evaluate on has a target");
    let mut loss = 0.0;
    let mut tally = Tally::default();
    let all: Vec<usize> = (0..data.records()).collect();
    for records in all.chunks(engine.rows()) {
        engine.run(Phase::Forward, data, records, None)?;
        let losses = engine.floats(host_outputs::LOSS)?;
        loss += losses[..records.len()].iter().map(|&l| f64::from(l)).sum::<f64>();
        if scored.loss != Loss::Mse {
            let scores = engine.floats(&scored.output)?;
            let width: usize = scored.axes.per_record().iter().product();
            for (&record, scores) in records.iter().zip(scores.chunks_exact(width)) {
                tally.count(scored, scores, target, record);
            }
        }
    }
    Ok(Evaluation {
        records: data.records(),
        loss: loss / data.records() as f64,
        accuracy: (tally.labels > 0).then(|| tally.right as f64 / tally.labels as f64),
    })
}

#[derive(Default)]
struct Tally {
    labels: u64,
    right: u64,
}

impl Tally {
    /// Counts one record's labels against its scores.
    fn count(&mut self, scored: &Scored, scores: &[f32], target: &Column, record: usize) {
        let span = record * target.width()..(record + 1) * target.width();
        match (&target.values, scored.loss) {
            (Values::F32(labels), _) => {
                for (score, label) in scores.iter().zip(&labels[span]) {
                    self.add((*score > 0.0) == (*label > 0.5));
                }
            }
            (Values::I32(labels), Loss::CrossEntropy(kind) | Loss::Nll(kind)) => {
                let classes = scores.len() / target.width();
                let stride = class_stride(&scored.axes, kind.axis);
                for (at, &label) in labels[span].iter().enumerate() {
                    if label != kind.ignore_index {
                        let first = at / stride * stride * classes + at % stride;
                        let of_class = |class: usize| scores[first + class * stride];
                        self.add(largest(classes, of_class) == label as usize);
                    }
                }
            }
            (Values::I32(_), _) => {}
        }
    }

    fn add(&mut self, right: bool) {
        self.labels += 1;
        self.right += u64::from(right);
    }
}

/// Elements between the scores of neighbouring classes in a record, for a class axis as the loss counts it: among all
/// axes, from the last one where it is negative.
fn class_stride(axes: &Axes, axis: i64) -> usize {
    let axis = if axis < 0 { axis + axes.rank() as i64 } else { axis };
    let at = usize::try_from(axis).ok().filter(|&axis| axis < axes.rank()).and_then(|axis| axes.record_axis(axis));
    axes.per_record()[at.map_or(0, |at| at + 1)..].iter().product()
}

fn largest(classes: usize, of_class: impl Fn(usize) -> f32) -> usize {
    (1..classes).fold(0, |best, class| if of_class(class) > of_class(best) { class } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::axes::Axis;

    fn accuracy(loss: &str, dims: &[usize], scores: &[f32], labels: Values) -> (u64, u64) {
        let width = match &labels {
            Values::F32(values) => values.len(),
            Values::I32(values) => values.len(),
        };
        let target = Column { name: "label".to_owned(), dims: vec![width], values: labels };
        let axes = [vec![Axis::batch()], Axes::shared(dims).0].concat();
        let scored = Scored { output: "logits".to_owned(), axes: Axes(axes), loss: loss.parse().unwrap() };
        let mut tally = Tally::default();
        tally.count(&scored, scores, &target, 0);
        (tally.right, tally.labels)
    }

    #[test]
    fn classes_are_where_the_loss_says() {
        let labels = || Values::I32(vec![2, -100]);
        let last = [0.0, 1.0, 2.0, 5.0, 0.0, 0.0];
        let first = [0.0, 5.0, 1.0, 0.0, 2.0, 0.0];
        assert_eq!(accuracy("cross-entropy:axis=last", &[2, 3], &last, labels()), (1, 1));
        assert_eq!(accuracy("cross-entropy", &[3, 2], &first, labels()), (1, 1));
        let square = [1.0, 2.0, 0.0, 5.0];
        assert_eq!(accuracy("nll", &[2, 2], &square, Values::I32(vec![0, 1])), (2, 2));
        assert_eq!(accuracy("nll:axis=last", &[2, 2], &square, Values::I32(vec![1, 1])), (2, 2));
    }

    #[test]
    fn binary_labels_go_by_the_sign_of_the_logit() {
        let labels = Values::F32(vec![1.0, 0.0, 1.0]);
        assert_eq!(accuracy("bce", &[3], &[0.3, -2.0, -0.1], labels), (2, 3));
    }
}
