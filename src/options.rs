//! What a user chooses about a compilation, in the text forms of the command line and the manifest.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The loss that dpc attaches to the model's output: for each record, the mean over the record's
/// own elements or tokens, a function of that record alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Loss {
    /// Softmax cross-entropy of logits against class ids; tokens labelled `ignore_index` count
    /// for nothing. Written `cross-entropy` or `cross-entropy:ignore_index=I`.
    CrossEntropy { ignore_index: i32 },
    /// Squared error.
    Mse,
    /// Binary cross-entropy of logits against probabilities.
    Bce,
}

impl Loss {
    /// PyTorch's default of `ignore_index`.
    pub const IGNORE_INDEX: i32 = -100;
}

impl FromStr for Loss {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(options) = text.strip_prefix("cross-entropy:") {
            return options
                .strip_prefix("ignore_index=")
                .and_then(|index| index.parse().ok())
                .map(|ignore_index| Self::CrossEntropy { ignore_index })
                .ok_or_else(|| format!("`{options}` should be ignore_index=I with an integer I"));
        }
        match text {
            "cross-entropy" => Ok(Self::CrossEntropy { ignore_index: Self::IGNORE_INDEX }),
            "mse" => Ok(Self::Mse),
            "bce" => Ok(Self::Bce),
            "nll" | "l1" | "huber" => Err(format!("the loss {text} is not there yet; give cross-entropy, mse or bce")),
            _ => Err(format!("`{text}` is no loss; give cross-entropy, mse or bce")),
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CrossEntropy { ignore_index } if *ignore_index != Self::IGNORE_INDEX => {
                write!(f, "cross-entropy:ignore_index={ignore_index}")
            }
            Self::CrossEntropy { .. } => f.write_str("cross-entropy"),
            Self::Mse => f.write_str("mse"),
            Self::Bce => f.write_str("bce"),
        }
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
        let error = |text: &str| text.parse::<Loss>().unwrap_err();
        assert!(error("hinge").contains("no loss"));
        assert!(error("huber").contains("not there yet"));
        assert!(error("cross-entropy:ignore_index=x").contains("integer"));
    }
}
