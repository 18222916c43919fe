//! Measures of a model beside its loss and accuracy, as scikit-learn defines them, counted record by record.
//!
//! | of a loss on | measures | in `sklearn.metrics` |
//! |---|---|---|
//! | classes | macro F1 | `f1_score(average="macro")` |
//! | six classes or more | top-5 | `top_k_accuracy_score(k=5)` |
//! | two classes, by the difference of their scores | ROC AUC | `roc_auc_score` |
//! | binary labels | macro F1, ROC AUC | the same; of several labels a record, the means over the labels |
//! | real values | RMSE, MAE, R² | `mean_squared_error` to the power ½, `mean_absolute_error`, `r2_score(multioutput="variance_weighted")` |

use serde::{Deserialize, Serialize};

/// The classes from which on a rank of five says something.
const MANY_CLASSES: usize = 6;
/// The most labels of a record for which ROC AUC is worked out: the scores of all records are kept for it.
const MOST_RANKED: usize = 100;

/// Measures over all labels; those that do not fit the loss, or that the labels leave undefined, are `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measures {
    /// The fraction of the labels whose score is among the five largest, the earlier class first where scores are equal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top5: Option<f64>,
    /// The mean over the classes of 2 TP / (2 TP + FP + FN), of those that occur among labels or answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub macro_f1: Option<f64>,
    /// The chance that a positive label has a larger score than a negative one; equal scores count half.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roc_auc: Option<f64>,
    /// The root of the mean squared error over all elements.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rmse: Option<f64>,
    /// The mean absolute error over all elements.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mae: Option<f64>,
    /// 1 less the squared errors over the labels' squared distances from the mean of their place in a record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r2: Option<f64>,
}

impl Measures {
    /// The key in JSON, the title and the value of each measure that there is; whether it is a fraction to be shown in
    /// per cent comes last.
    pub fn named(&self) -> Vec<(&'static str, &'static str, f64, bool)> {
        let all = [
            ("top5", "top-5", self.top5, true),
            ("macro_f1", "macro F1", self.macro_f1, false),
            ("roc_auc", "ROC AUC", self.roc_auc, false),
            ("rmse", "RMSE", self.rmse, false),
            ("mae", "MAE", self.mae, false),
            ("r2", "R²", self.r2, false),
        ];
        all.into_iter().filter_map(|(key, title, value, percent)| Some((key, title, value?, percent))).collect()
    }

    /// Each measure that just one of `terms` has.
    pub fn of_only(terms: &[Measures]) -> Measures {
        let only = |of: fn(&Measures) -> Option<f64>| {
            let mut found = terms.iter().filter_map(of);
            found.next().filter(|_| found.next().is_none())
        };
        Measures {
            top5: only(|m| m.top5),
            macro_f1: only(|m| m.macro_f1),
            roc_auc: only(|m| m.roc_auc),
            rmse: only(|m| m.rmse),
            mae: only(|m| m.mae),
            r2: only(|m| m.r2),
        }
    }
}

/// Counts over labels that are classes.
#[derive(Default)]
pub(super) struct ClassCounts {
    /// Of each class: answers that are right, labels, and answers.
    classes: Vec<[u64; 3]>,
    labels: u64,
    among_five: u64,
    ranks: Ranks,
}

impl ClassCounts {
    /// Counts one label of a record of `labels` ones: its `scores`, and the class of the largest, if there is one.
    pub fn add(
        &mut self,
        label: usize,
        answer: Option<usize>,
        scores: impl ExactSizeIterator<Item = f32> + Clone,
        labels: usize,
    ) {
        if label >= scores.len() {
            return;
        }
        self.classes.resize(scores.len().max(self.classes.len()), [0; 3]);
        self.labels += 1;
        self.classes[label][1] += 1;
        if let Some(answer) = answer {
            self.classes[answer][2] += 1;
            self.classes[label][0] += u64::from(answer == label);
        }
        if scores.len() >= MANY_CLASSES
            && answer.is_some()
            && let Some(own) = scores.clone().nth(label)
        {
            let before = scores.clone().enumerate().filter(|&(k, score)| score > own || score == own && k < label);
            self.among_five += u64::from(before.count() < 5);
        }
        if scores.len() == 2 && labels <= MOST_RANKED {
            let [first, second] = [scores.clone().next(), scores.clone().nth(1)].map(Option::unwrap_or_default);
            self.ranks.add(second - first, label == 1);
        }
    }

    pub fn measures(&self) -> Measures {
        let f1: Vec<f64> =
            self.classes.iter().filter_map(|&[right, labels, answers]| f1(right, labels, answers)).collect();
        let many = self.labels > 0 && self.classes.len() >= MANY_CLASSES;
        Measures {
            top5: many.then(|| self.among_five as f64 / self.labels as f64),
            macro_f1: mean(&f1),
            roc_auc: self.ranks.area(),
            ..Measures::default()
        }
    }
}

/// Counts over binary labels, one or more a record.
#[derive(Default)]
pub(super) struct BinaryCounts {
    places: Vec<BinaryPlace>,
}

/// Counts over one label of each record.
#[derive(Default)]
struct BinaryPlace {
    /// Of 0 and of 1: answers that are right, labels, and answers.
    classes: [[u64; 3]; 2],
    ranks: Ranks,
}

impl BinaryCounts {
    /// Counts one record: a score and a label for each place. The answer is 1 where a score is above 0.
    pub fn add(&mut self, scores: &[f32], labels: &[f32]) {
        if labels.len() > MOST_RANKED {
            return;
        }
        self.places.resize_with(labels.len().max(self.places.len()), BinaryPlace::default);
        for (place, (&score, &label)) in self.places.iter_mut().zip(scores.iter().zip(labels)) {
            let label = usize::from(label > 0.5);
            place.classes[label][1] += 1;
            if !score.is_nan() {
                let answer = usize::from(score > 0.0);
                place.classes[answer][2] += 1;
                place.classes[label][0] += u64::from(answer == label);
            }
            place.ranks.add(score, label == 1);
        }
    }

    pub fn measures(&self) -> Measures {
        let of = |&[right, labels, answers]: &[u64; 3]| f1(right, labels, answers);
        let f1: Vec<f64> = match &self.places[..] {
            [only] => only.classes.iter().filter_map(of).collect(),
            places => places.iter().map(|place| of(&place.classes[1]).unwrap_or(0.0)).collect(),
        };
        let areas: Vec<f64> = self.places.iter().filter_map(|place| place.ranks.area()).collect();
        Measures { macro_f1: mean(&f1), roc_auc: mean(&areas), ..Measures::default() }
    }
}

/// Sums over real labels.
#[derive(Default)]
pub(super) struct RealSums {
    elements: u64,
    squared: f64,
    absolute: f64,
    /// Of each place in a record: labels, their mean, and the sum of their squared distances from it (Welford 1962).
    places: Vec<(f64, f64, f64)>,
}

impl RealSums {
    /// Adds one record: what the model says, and the label, of each place.
    pub fn add(&mut self, said: &[f32], labels: &[f32]) {
        self.places.resize(labels.len().max(self.places.len()), (0.0, 0.0, 0.0));
        for ((count, mean, spread), (&said, &label)) in self.places.iter_mut().zip(said.iter().zip(labels)) {
            let (said, label) = (f64::from(said), f64::from(label));
            self.elements += 1;
            self.squared += (said - label).powi(2);
            self.absolute += (said - label).abs();
            *count += 1.0;
            let before = label - *mean;
            *mean += before / *count;
            *spread += before * (label - *mean);
        }
    }

    pub fn measures(&self) -> Measures {
        let any = self.elements > 0;
        let spread: f64 = self.places.iter().map(|(_, _, spread)| spread).sum();
        Measures {
            rmse: any.then(|| (self.squared / self.elements as f64).sqrt()),
            mae: any.then(|| self.absolute / self.elements as f64),
            r2: (spread > 0.0).then(|| 1.0 - self.squared / spread),
            ..Measures::default()
        }
    }
}

/// Scores with what their labels are.
#[derive(Default)]
struct Ranks(Vec<(f32, bool)>);

impl Ranks {
    fn add(&mut self, score: f32, positive: bool) {
        self.0.push((score, positive));
    }

    /// The area under the receiver operating characteristic, by the ranks of the positive labels' scores (Mann and Whitney
    /// 1947); `None` where a score is not a number, or labels are of one kind alone.
    fn area(&self) -> Option<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
        let positive = sorted.iter().filter(|(_, positive)| *positive).count() as f64;
        let negative = sorted.len() as f64 - positive;
        if sorted.iter().any(|(score, _)| score.is_nan()) || positive == 0.0 || negative == 0.0 {
            return None;
        }
        let (mut ranks, mut before) = (0.0, 0.0);
        for equal in sorted.chunk_by(|a, b| a.0 == b.0) {
            let count = equal.len() as f64;
            ranks += (before + (count + 1.0) / 2.0) * equal.iter().filter(|(_, positive)| *positive).count() as f64;
            before += count;
        }
        Some((ranks - positive * (positive + 1.0) / 2.0) / (positive * negative))
    }
}

/// 2 TP / (2 TP + FP + FN); `None` for a class that nothing is of.
fn f1(right: u64, labels: u64, answers: u64) -> Option<f64> {
    (labels + answers > 0).then(|| 2.0 * right as f64 / (labels + answers) as f64)
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}
