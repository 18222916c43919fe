//! What one term of a loss adds up to, record by record.

use std::ops::Range;

use super::measures::{BinaryCounts, ClassCounts, Measures, RealSums};
use super::{ScoredTerm, TermEvaluation};
use crate::import::axes::Axes;
use crate::options::{Classes, LossKind, Term};
use crate::train::data::Values;

/// Sums over the records so far.
#[derive(Default)]
pub(super) struct Tally {
    records: u64,
    /// Of the losses of all labels.
    loss: f64,
    /// What that is divided by.
    weight: f64,
    /// Class ids that are not ignored.
    labels: Option<u64>,
    answers: u64,
    right: u64,
    measured: Measured,
}

/// What other measures are made of.
#[derive(Default)]
enum Measured {
    #[default]
    Nothing,
    Classes(ClassCounts),
    Binary(BinaryCounts),
    Real(RealSums),
}

impl ScoredTerm {
    /// Whether more than the loss can be said of its output.
    pub fn is_measured(&self) -> bool {
        !matches!(self.term.kind, LossKind::Output(_))
    }
}

impl Measured {
    fn classes(&mut self) -> Option<&mut ClassCounts> {
        if let Self::Nothing = self {
            *self = Self::Classes(ClassCounts::default());
        }
        if let Self::Classes(counts) = self { Some(counts) } else { None }
    }

    fn binary(&mut self, scores: &[f32], labels: &[f32]) {
        if let Self::Nothing = self {
            *self = Self::Binary(BinaryCounts::default());
        }
        if let Self::Binary(counts) = self {
            counts.add(scores, labels);
        }
    }

    fn real(&mut self, said: &[f32], labels: &[f32]) {
        if let Self::Nothing = self {
            *self = Self::Real(RealSums::default());
        }
        if let Self::Real(sums) = self {
            sums.add(said, labels);
        }
    }
}

impl Tally {
    /// Counts one record: its share in the loss, times the term's factor, its scores where they say a class, and its labels,
    /// which are some of all labels that there are.
    pub fn count(&mut self, term: &ScoredTerm, share: f64, scores: &[f32], target: Option<(&Values, Range<usize>)>) {
        self.records += 1;
        let loss = share / f64::from(term.term.factor);
        match (&term.term.kind, target) {
            (LossKind::CrossEntropy(classes) | LossKind::Nll(classes), Some((Values::I32(labels), of_record))) => {
                self.ids(term, classes, loss, scores, &labels[of_record]);
            }
            (LossKind::CrossEntropy(classes), Some((Values::F32(labels), of_record))) => {
                self.add(loss, 1.0, 1.0);
                self.probabilities(term, classes, scores, &labels[of_record]);
            }
            (LossKind::Bce { .. }, Some((Values::F32(labels), of_record))) => {
                self.add(loss, 1.0, 1.0);
                let labels = &labels[of_record];
                for (score, label) in scores.iter().zip(labels) {
                    self.answer((*score > 0.0) == (*label > 0.5) && !score.is_nan());
                }
                self.measured.binary(scores, labels);
            }
            (LossKind::Mse | LossKind::L1 | LossKind::Huber { .. }, Some((Values::F32(labels), of_record))) => {
                self.add(loss, 1.0, 1.0);
                self.measured.real(scores, &labels[of_record]);
            }
            _ => self.add(loss, 1.0, 1.0),
        }
    }

    /// The figures of a term over all records.
    pub fn mean(&self, term: &ScoredTerm) -> TermEvaluation {
        TermEvaluation {
            term: Term { factor: 1.0, ..term.term.clone() }.to_string(),
            factor: term.term.factor.to_string().parse().unwrap_or_default(),
            loss: self.loss / self.weight,
            accuracy: (self.answers > 0).then(|| self.right as f64 / self.answers as f64),
            labels: self.labels,
            measures: match &self.measured {
                Measured::Nothing => Measures::default(),
                Measured::Classes(counts) => counts.measures(),
                Measured::Binary(counts) => counts.measures(),
                Measured::Real(sums) => sums.measures(),
            },
        }
    }

    /// Adds a mean over `count` labels whose weights are `weight` together.
    fn add(&mut self, mean: f64, count: f64, weight: f64) {
        self.loss += mean * count;
        self.weight += weight;
    }

    fn answer(&mut self, right: bool) {
        self.answers += 1;
        self.right += u64::from(right);
    }

    fn ids(&mut self, term: &ScoredTerm, classes: &Classes, loss: f64, scores: &[f32], labels: &[i32]) {
        let places = Places::of(&term.axes, classes, scores.len() / labels.len().max(1));
        let (mut count, mut weight) = (0, 0.0);
        for (at, &label) in labels.iter().enumerate().filter(|(_, label)| **label != classes.ignore_index) {
            count += 1;
            weight += classes.weights.get(label as usize).map_or(1.0, |&weight| f64::from(weight));
            let answer = places.largest(scores, at);
            self.answer(answer == Some(label as usize));
            if let Some(counts) = self.measured.classes() {
                counts.add(label as usize, answer, places.scores(scores, at), labels.len());
            }
        }
        *self.labels.get_or_insert(0) += count;
        if count > 0 {
            self.add(loss, count as f64, weight);
        }
    }

    fn probabilities(&mut self, term: &ScoredTerm, classes: &Classes, scores: &[f32], labels: &[f32]) {
        let places = Places::of(&term.axes, classes, 0);
        let tokens = scores.len() / places.classes.max(1);
        // A label without any probability names no class.
        for at in (0..tokens).filter(|&at| (0..places.classes).any(|class| labels[places.index(at, class)] > 0.0)) {
            let (answer, label) = (places.largest(scores, at), places.largest(labels, at));
            self.answer(answer == label);
            if let (Some(counts), Some(label)) = (self.measured.classes(), label) {
                counts.add(label, answer, places.scores(scores, at), tokens);
            }
        }
    }
}

/// Where the scores of a label are in those of a record.
struct Places {
    classes: usize,
    /// Elements between the scores of neighbouring classes.
    stride: usize,
}

impl Places {
    /// By the class axis as the loss counts it: among all axes, from the last one where it is negative.
    fn of(axes: &Axes, classes: &Classes, otherwise: usize) -> Self {
        let axis = if classes.axis < 0 { classes.axis + axes.rank() as i64 } else { classes.axis };
        let at = usize::try_from(axis).ok().filter(|&axis| axis < axes.rank()).and_then(|axis| axes.record_axis(axis));
        let dims = axes.per_record();
        Self {
            classes: at.map_or(otherwise, |at| dims[at]),
            stride: dims[at.map_or(0, |at| at + 1)..].iter().product(),
        }
    }

    fn index(&self, at: usize, class: usize) -> usize {
        at / self.stride * self.stride * self.classes + at % self.stride + class * self.stride
    }

    /// The scores of the classes.
    fn scores<'a>(&'a self, values: &'a [f32], at: usize) -> impl ExactSizeIterator<Item = f32> + Clone + 'a {
        (0..self.classes).map(move |class| values[self.index(at, class)])
    }

    /// The class of the largest value; `None` where one is not a number.
    fn largest(&self, values: &[f32], at: usize) -> Option<usize> {
        let of_class = |class: usize| values[self.index(at, class)];
        if (0..self.classes).any(|class| of_class(class).is_nan()) {
            return None;
        }
        Some((1..self.classes).fold(0, |best, class| if of_class(class) > of_class(best) { class } else { best }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::axes::Axis;
    use crate::options::Loss;

    fn tally(loss: &str, dims: &[usize], records: &[(f64, &[f32])], labels: Values) -> TermEvaluation {
        let width = match &labels {
            Values::F32(values) => values.len(),
            Values::I32(values) => values.len(),
        };
        let width = width / records.len();
        let axes = Axes([vec![Axis::batch()], Axes::shared(dims).0].concat());
        let term = loss.parse::<Loss>().unwrap().terms.remove(0);
        let scored = ScoredTerm { term, axes, target: Some(0) };
        let mut tally = Tally::default();
        for (record, (loss, scores)) in records.iter().enumerate() {
            tally.count(&scored, *loss, scores, Some((&labels, record * width..(record + 1) * width)));
        }
        tally.mean(&scored)
    }

    fn accuracy(loss: &str, dims: &[usize], scores: &[f32], labels: Values) -> Option<f64> {
        tally(loss, dims, &[(0.0, scores)], labels).accuracy
    }

    #[test]
    fn classes_are_where_the_loss_says() {
        let labels = || Values::I32(vec![2, -100]);
        let last = [0.0, 1.0, 2.0, 5.0, 0.0, 0.0];
        let first = [0.0, 5.0, 1.0, 0.0, 2.0, 0.0];
        assert_eq!(accuracy("cross-entropy:axis=last", &[2, 3], &last, labels()), Some(1.0));
        assert_eq!(accuracy("cross-entropy", &[3, 2], &first, labels()), Some(1.0));
        let square = [1.0, 2.0, 0.0, 5.0];
        assert_eq!(accuracy("nll", &[2, 2], &square, Values::I32(vec![0, 1])), Some(1.0));
        assert_eq!(accuracy("nll:axis=last", &[2, 2], &square, Values::I32(vec![1, 1])), Some(1.0));
        let soft = Values::F32(vec![0.1, 0.9, 0.2, 0.0, 0.0, 0.0]);
        assert_eq!(accuracy("cross-entropy:axis=last,probabilities", &[2, 3], &last, soft), Some(0.0));
        let soft = Values::F32(vec![0.1, 0.9, 0.1, 0.0, 0.8, 0.1]);
        assert_eq!(accuracy("cross-entropy:probabilities", &[3, 2], &first, soft), Some(1.0));
    }

    #[test]
    fn binary_labels_go_by_the_sign_of_the_logit() {
        let labels = Values::F32(vec![1.0, 0.0, 1.0, 0.0]);
        assert_eq!(accuracy("bce", &[4], &[0.3, -2.0, -0.1, -1.0], labels), Some(0.75));
    }

    #[test]
    fn a_score_that_is_no_number_is_wrong() {
        let nan = f32::NAN;
        assert_eq!(accuracy("bce", &[2], &[nan, nan], Values::F32(vec![0.0, 1.0])), Some(0.0));
        assert_eq!(accuracy("nll", &[2], &[nan, 0.0], Values::I32(vec![0])), Some(0.0));
        assert_eq!(accuracy("cross-entropy", &[2], &[0.0, nan], Values::I32(vec![0])), Some(0.0));
    }

    /// What scikit-learn makes of random scores, by `tests/oracles/metrics.py`.
    #[derive(serde::Deserialize)]
    struct Golden {
        loss: String,
        dims: Vec<usize>,
        label_dims: Vec<usize>,
        scores: Vec<f32>,
        labels: Vec<f32>,
        measures: std::collections::BTreeMap<String, f64>,
    }

    #[test]
    fn measures_are_those_of_scikit_learn() {
        let goldens = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/metrics.json"));
        let goldens: Vec<Golden> = serde_json::from_str(goldens).unwrap();
        assert!(goldens.len() > 10);
        for golden in goldens {
            let width: usize = golden.dims.iter().product();
            let records: Vec<(f64, &[f32])> = golden.scores.chunks(width).map(|scores| (1.0, scores)).collect();
            let labels = match golden.loss.starts_with("cross") || golden.loss.starts_with("nll") {
                true => Values::I32(golden.labels.iter().map(|&label| label as i32).collect()),
                false => Values::F32(golden.labels.clone()),
            };
            assert_eq!(golden.labels.len(), records.len() * golden.label_dims.iter().product::<usize>());
            let found = tally(&golden.loss, &golden.dims, &records, labels);
            let mut all: Vec<(&str, f64)> =
                found.measures.named().iter().map(|&(key, _, value, _)| (key, value)).collect();
            all.extend(found.accuracy.map(|value| ("accuracy", value)));
            all.sort_by_key(|(key, _)| *key);
            let names: Vec<&str> = all.iter().map(|(key, _)| *key).collect();
            assert_eq!(names, golden.measures.keys().collect::<Vec<_>>(), "{}", golden.loss);
            for ((key, found), expected) in all.iter().zip(golden.measures.values()) {
                assert!((found - expected).abs() < 1e-12, "{} {key}: {found} is not {expected}", golden.loss);
            }
        }
    }

    #[test]
    fn what_labels_leave_undefined_is_left_out() {
        let measures =
            |loss: &str, scores: &[f32], labels| tally(loss, &[scores.len()], &[(0.0, scores)], labels).measures;
        // A score that is no number has no rank, and is no answer.
        let nan = measures("bce", &[f32::NAN], Values::F32(vec![1.0]));
        assert_eq!((nan.roc_auc, nan.macro_f1), (None, Some(0.0)));
        // Of more labels than are kept there is the accuracy alone.
        assert_eq!(measures("bce", &[1.0; 101], Values::F32(vec![1.0; 101])), Measures::default());
        assert_eq!(measures("mse", &[1.0], Values::F32(vec![2.0])).r2, None);
        assert_eq!(measures("nll", &[0.0, 1.0], Values::I32(vec![-100])), Measures::default());
    }

    #[test]
    fn losses_are_over_the_labels_that_count() {
        // Means over two labels, over one, and over none: 1, 2 and 6 of the three together.
        let scores = [0.0; 4];
        let records: [(f64, &[f32]); 3] = [(1.5, &scores), (6.0, &scores), (0.0, &scores)];
        let labels = || Values::I32(vec![0, 1, -100, 1, -100, -100]);
        let mean = tally("cross-entropy:axis=last", &[2, 2], &records, labels());
        assert_eq!((mean.loss, mean.labels), (3.0, Some(3)));
        // By the weights 1, 4 and 4.
        assert_eq!(tally("cross-entropy:axis=last,weights=1,4", &[2, 2], &records, labels()).loss, 1.0);
        // Shares are times the factor.
        assert_eq!(tally("0.5*cross-entropy:axis=last", &[2, 2], &records, labels()).loss, 6.0);
        let none = tally("nll:axis=last", &[2, 2], &records[2..], Values::I32(vec![-100, -100]));
        assert!(none.loss.is_nan() && none.accuracy.is_none() && none.labels == Some(0));
        assert_eq!(tally("mse", &[2], &[(1.0, &[]), (3.0, &[])], Values::F32(vec![0.0; 4])).loss, 2.0);
    }
}
