//! What a user chooses about a compilation, in the text forms of the command line and the manifest.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The loss that dpc attaches to the model's output: for each record, the mean over the record's own elements or tokens,
/// a function of that record alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Loss {
    /// Softmax cross-entropy of logits against class ids.
    CrossEntropy(Classes),
    /// Negative log-likelihood: cross-entropy of log-probabilities.
    Nll(Classes),
    /// Squared error.
    Mse,
    /// Binary cross-entropy of logits against probabilities.
    Bce,
}

/// How class ids relate to the model's output. Written after the loss as `:axis=A,ignore_index=I`, either alone or both;
/// `axis=last` is `axis=-1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Classes {
    /// The axis of the output that holds the classes, the batch axis counted; negative numbers count from the last axis.
    /// By default axis 1, as in PyTorch.
    pub axis: i64,
    /// Tokens with this label count for nothing.
    pub ignore_index: i32,
}

impl Default for Classes {
    fn default() -> Self {
        Self { axis: 1, ignore_index: Loss::IGNORE_INDEX }
    }
}

impl Loss {
    /// PyTorch's default of `ignore_index`.
    pub const IGNORE_INDEX: i32 = -100;
}

impl FromStr for Classes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut classes = Self::default();
        for option in text.split(',') {
            let wrong = || format!("`{option}` should be ignore_index=I with an integer I, axis=A or axis=last");
            match option.split_once('=').ok_or_else(wrong)? {
                ("axis", "last") => classes.axis = -1,
                ("axis", axis) => classes.axis = axis.parse().map_err(|_| wrong())?,
                ("ignore_index", index) => classes.ignore_index = index.parse().map_err(|_| wrong())?,
                _ => return Err(wrong()),
            }
        }
        Ok(classes)
    }
}

impl fmt::Display for Classes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let usual = Self::default();
        let axis = if self.axis == -1 { "last".to_owned() } else { self.axis.to_string() };
        let options = [
            (self.axis != usual.axis).then(|| format!("axis={axis}")),
            (self.ignore_index != usual.ignore_index).then(|| format!("ignore_index={}", self.ignore_index)),
        ];
        f.write_str(&options.into_iter().flatten().collect::<Vec<_>>().join(","))
    }
}

impl FromStr for Loss {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, options) = text.split_once(':').map_or((text, None), |(name, options)| (name, Some(options)));
        let classes = || options.map_or(Ok(Classes::default()), Classes::from_str);
        match name {
            "cross-entropy" => Ok(Self::CrossEntropy(classes()?)),
            "nll" => Ok(Self::Nll(classes()?)),
            "mse" | "bce" if options.is_some() => Err(format!("the loss {name} has no options")),
            "mse" => Ok(Self::Mse),
            "bce" => Ok(Self::Bce),
            "l1" | "huber" => Err(format!("the loss {name} is not there yet; give cross-entropy, nll, mse or bce")),
            _ => Err(format!("`{text}` is no loss; give cross-entropy, nll, mse or bce")),
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, classes) = match self {
            Self::CrossEntropy(classes) => ("cross-entropy", classes.to_string()),
            Self::Nll(classes) => ("nll", classes.to_string()),
            Self::Mse => ("mse", String::new()),
            Self::Bce => ("bce", String::new()),
        };
        if classes.is_empty() { f.write_str(name) } else { write!(f, "{name}:{classes}") }
    }
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

/// How the norms of per-sample gradients are worked out: by the cost model, or one way wherever it
/// applies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum NormChoice {
    /// The cheapest way for each parameter.
    #[default]
    Auto,
    /// Store per-sample gradients.
    Materialize,
    /// Gram matrices over positions.
    Ghost,
    /// Per-sample gradients in tiles that are never stored.
    Tile,
}

/// Which device runs a program. Written `auto`, `cpu`, `gpu` or `gpu:NAME`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// A hardware GPU where there is one, else the CPU.
    #[default]
    Auto,
    Cpu,
    /// The first adapter, software ones too, whose name contains `name` (in any case).
    Gpu {
        name: Option<String>,
    },
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.strip_prefix("gpu:")) {
            ("auto", _) => Ok(Self::Auto),
            ("cpu", _) => Ok(Self::Cpu),
            ("gpu", _) => Ok(Self::Gpu { name: None }),
            (_, Some(name)) if !name.is_empty() => Ok(Self::Gpu { name: Some(name.to_owned()) }),
            _ => Err(format!("`{text}` is no device; give auto, cpu, gpu or gpu:NAME (`dpc devices` lists names)")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_read() {
        let parse = |text: &str| text.parse::<DeviceChoice>();
        assert_eq!(parse("auto"), Ok(DeviceChoice::Auto));
        assert_eq!(parse("gpu"), Ok(DeviceChoice::Gpu { name: None }));
        let name = Some("llvmpipe".to_owned());
        assert_eq!(parse("gpu:llvmpipe"), Ok(DeviceChoice::Gpu { name }));
        assert!(parse("gpu:").is_err());
        assert!(parse("tpu").unwrap_err().contains("dpc devices"));
    }

    #[test]
    fn losses_read_back() {
        for text in ["cross-entropy", "cross-entropy:ignore_index=0", "mse", "bce"] {
            assert_eq!(text.parse::<Loss>().unwrap().to_string(), text);
        }
        assert_eq!("nll:axis=-1".parse::<Loss>().unwrap().to_string(), "nll:axis=last");
        let error = |text: &str| text.parse::<Loss>().unwrap_err();
        assert!(error("hinge").contains("no loss"));
        assert!(error("huber").contains("not there yet"));
        assert!(error("cross-entropy:ignore_index=x").contains("integer"));
        assert!(error("nll:classes=3").contains("axis"));
        assert!(error("mse:axis=1").contains("no options"));
    }
}
