//! The loss that dpc attaches to the model's outputs, and its text form.
//!
//! ```text
//! LOSS = TERM (+ TERM)*
//! TERM = [FACTOR*][OUTPUT=]NAME[:OPTION,…]  |  [FACTOR*]output:OUTPUT[,reduction=mean|sum]
//! ```
//!
//! An option is `KEY=VALUE`, or a value that continues the list of the option before it. An output's name is written as it
//! is, dots, slashes and colons too: what stands before `=` is a name where the name of a loss follows. A name that could be
//! misread is put between double quotes, in which `\` stands before a quote or a backslash.

mod parse;

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a loss is written, for the help of the command line.
pub const GRAMMAR: &str = "\
The loss: cross-entropy, nll, mse, l1, huber or bce, with options as in \
cross-entropy:axis=last,ignore_index=0,weights=1,2,5,smoothing=0.1, cross-entropy:probabilities, huber:delta=1.5 or \
bce:pos_weight=3; output:NAME for an output that is the loss of each record; a sum over outputs as in \
'logits=cross-entropy + 0.3*aux=mse', whose labels are `label` and `label.aux`";

/// A sum of losses, for each record: a function of that record alone. It has at least one term.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Loss {
    /// The terms.
    pub terms: Vec<Term>,
}

/// One loss on one output, times a factor.
#[derive(Clone, Debug, PartialEq)]
pub struct Term {
    /// What it is multiplied by in the sum.
    pub factor: f32,
    /// The model's output; `None` for its only one.
    pub output: Option<String>,
    /// The loss.
    pub kind: LossKind,
}

/// What a loss is. For each record it is the mean over the record's own elements, or over its labels that are not ignored.
#[derive(Clone, Debug, PartialEq)]
pub enum LossKind {
    /// Softmax cross-entropy of logits.
    CrossEntropy(Classes),
    /// Negative log-likelihood: cross-entropy of log-probabilities.
    Nll(Classes),
    /// Squared error.
    Mse,
    /// Absolute error.
    L1,
    /// Half the squared error up to `delta`, and linear from there.
    Huber {
        /// Where it becomes linear.
        delta: f32,
    },
    /// Binary cross-entropy of logits against probabilities.
    Bce {
        /// What the loss of positive labels is multiplied by: nothing, one number, or one for each of the last axis.
        pos_weight: Vec<f32>,
    },
    /// The output itself, without a label.
    Output(Reduction),
}

/// How the elements of a record make its loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reduction {
    /// By their mean.
    #[default]
    Mean,
    /// By their sum.
    Sum,
}

/// How labels relate to the classes of an output.
#[derive(Clone, Debug, PartialEq)]
pub struct Classes {
    /// The axis of the output that holds the classes, the batch axis counted; negative numbers count from the last axis.
    /// By default axis 1, as in PyTorch.
    pub axis: i64,
    /// Tokens with this label count for nothing.
    pub ignore_index: i32,
    /// What each class's share of the loss is multiplied by; nothing for 1. A record's loss is still divided by the number of
    /// its labels: a mean that divides by the sum of weights, as PyTorch's over a batch, would make records meet.
    pub weights: Vec<f32>,
    /// The share of each label that is spread evenly over the classes.
    pub smoothing: f32,
    /// Whether labels are probabilities of the classes, of the output's shape, in place of class ids.
    pub probabilities: bool,
}

impl Default for Classes {
    fn default() -> Self {
        let ignore_index = Self::IGNORE_INDEX;
        Self { axis: 1, ignore_index, weights: Vec::new(), smoothing: 0.0, probabilities: false }
    }
}

impl Classes {
    /// PyTorch's default of `ignore_index`.
    pub const IGNORE_INDEX: i32 = -100;
}

/// The array that holds the labels of the first term that takes some; those of other outputs are in `label.OUTPUT`.
pub const LABEL: &str = "label";

/// The form of a term's labels: terms on one output with labels of the same form share them.
#[derive(PartialEq)]
enum Form {
    Ids { axis: i64, ignore_index: i32 },
    Probabilities { axis: i64 },
    Real,
    Unit,
}

impl LossKind {
    /// The name of the loss.
    pub fn name(&self) -> &'static str {
        match self {
            Self::CrossEntropy(_) => "cross-entropy",
            Self::Nll(_) => "nll",
            Self::Mse => "mse",
            Self::L1 => "l1",
            Self::Huber { .. } => "huber",
            Self::Bce { .. } => "bce",
            Self::Output(_) => "output",
        }
    }

    /// The classes of a loss that has some.
    pub fn classes(&self) -> Option<&Classes> {
        match self {
            Self::CrossEntropy(classes) | Self::Nll(classes) => Some(classes),
            _ => None,
        }
    }

    fn form(&self) -> Option<Form> {
        match self {
            Self::CrossEntropy(Classes { probabilities: true, axis, .. }) => Some(Form::Probabilities { axis: *axis }),
            Self::CrossEntropy(Classes { axis, ignore_index, .. }) | Self::Nll(Classes { axis, ignore_index, .. }) => {
                Some(Form::Ids { axis: *axis, ignore_index: *ignore_index })
            }
            Self::Mse | Self::L1 | Self::Huber { .. } => Some(Form::Real),
            Self::Bce { .. } => Some(Form::Unit),
            Self::Output(_) => None,
        }
    }

    fn options(&self) -> Vec<String> {
        let list = |values: &[f32]| values.iter().map(f32::to_string).collect::<Vec<_>>().join(",");
        match self {
            Self::CrossEntropy(classes) | Self::Nll(classes) => {
                let usual = Classes::default();
                let axis = if classes.axis == -1 { "last".to_owned() } else { classes.axis.to_string() };
                let options = [
                    (classes.axis != usual.axis).then(|| format!("axis={axis}")),
                    (classes.ignore_index != usual.ignore_index)
                        .then(|| format!("ignore_index={}", classes.ignore_index)),
                    (!classes.weights.is_empty()).then(|| format!("weights={}", list(&classes.weights))),
                    (classes.smoothing != 0.0).then(|| format!("smoothing={}", classes.smoothing)),
                    classes.probabilities.then(|| "probabilities".to_owned()),
                ];
                options.into_iter().flatten().collect()
            }
            Self::Huber { delta } if *delta != 1.0 => vec![format!("delta={delta}")],
            Self::Bce { pos_weight } if !pos_weight.is_empty() => vec![format!("pos_weight={}", list(pos_weight))],
            _ => vec![],
        }
    }
}

impl Loss {
    /// The names of the arrays that hold the labels of each term; `None` for a term that takes none. The first term that
    /// takes labels has [`LABEL`], others have `label.OUTPUT`; terms on one output whose labels have the same form share
    /// theirs.
    pub fn labels(&self) -> Vec<Option<String>> {
        let mut named: Vec<(&Term, Option<String>)> = Vec::new();
        for term in &self.terms {
            let label = term.kind.form().map(|form| {
                let same = |(other, _): &&(&Term, Option<String>)| {
                    other.output == term.output && other.kind.form().as_ref() == Some(&form)
                };
                let known = named.iter().find(same).and_then(|(_, label)| label.clone());
                known.unwrap_or_else(|| match &term.output {
                    Some(output) if named.iter().any(|(_, label)| label.is_some()) => format!("{LABEL}.{output}"),
                    _ => LABEL.to_owned(),
                })
            });
            named.push((term, label));
        }
        named.into_iter().map(|(_, label)| label).collect()
    }

    /// Whether it is `compiled`, whose terms all say which output they are on.
    pub fn is(&self, compiled: &Loss) -> bool {
        let same = |(a, b): (&Term, &Term)| {
            a.factor == b.factor && a.kind == b.kind && (a.output.is_none() || a.output == b.output)
        };
        self.terms.len() == compiled.terms.len() && self.terms.iter().zip(&compiled.terms).all(same)
    }

    /// The same loss with labels of the other form in the array `label`: class ids, or probabilities of the classes. `None`
    /// where some term has one form only.
    pub fn with_other_labels(&self, label: &str) -> Option<Loss> {
        let mut loss = self.clone();
        for (term, _) in loss.terms.iter_mut().zip(self.labels()).filter(|(_, of)| of.as_deref() == Some(label)) {
            match &mut term.kind {
                LossKind::CrossEntropy(classes) => classes.probabilities = !classes.probabilities,
                _ => return None,
            }
        }
        Some(loss)
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let terms: Vec<String> = self.terms.iter().map(Term::to_string).collect();
        f.write_str(&terms.join(" + "))
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.factor != 1.0 {
            write!(f, "{}*", self.factor)?;
        }
        let output = self.output.as_deref().map(quoted);
        if let LossKind::Output(reduction) = &self.kind {
            let reduction = if *reduction == Reduction::Sum { ",reduction=sum" } else { "" };
            return write!(f, "output:{}{reduction}", output.unwrap_or_default());
        }
        if let Some(output) = output {
            write!(f, "{output}=")?;
        }
        f.write_str(self.kind.name())?;
        let options = self.kind.options();
        if options.is_empty() { Ok(()) } else { write!(f, ":{}", options.join(",")) }
    }
}

/// A name as it stands in the text form.
fn quoted(name: &str) -> String {
    let misread = |c: char| c.is_whitespace() || "+*=,\"\\".contains(c);
    if !name.is_empty() && !name.contains(misread) && !name.starts_with("output:") {
        return name.to_owned();
    }
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}

impl TryFrom<String> for Loss {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Loss> for String {
    fn from(loss: Loss) -> Self {
        loss.to_string()
    }
}

#[cfg(test)]
mod tests;
