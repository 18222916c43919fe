//! What a user chooses about a compilation, in the text forms of the command line and the manifest.

mod loss;
pub mod optimizer;

use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use loss::{Classes, GRAMMAR, LABEL, Loss, LossKind, Reduction, Term};

/// How the norms of per-sample gradients are worked out: by the cost model, or one way wherever it
/// applies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "host", derive(clap::ValueEnum))]
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

/// What clipped gradients are summed as, and what the noise is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "host", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum NoiseKind {
    /// Integers, and the discrete Gaussian: what is released depends on a record by no more than the bound, to the last bit.
    #[default]
    Exact,
    /// Floats, and the continuous Gaussian in floating point.
    Float,
}

/// What the values of a record that wait for the backward pass, or for the sums over the batch, are kept in. All else is of
/// `f32`: parameters, the optimizer, noise, and every sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "host", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// As they were computed.
    #[default]
    F32,
    /// 16 bits: 11 digits, up to 65,504.
    F16,
    /// 16 bits: 8 digits, and the range of f32.
    Bf16,
}

impl Precision {
    /// Whether nothing is rounded to 16 bits.
    pub fn is_default(&self) -> bool {
        *self == Precision::F32
    }

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::F16 => "f16",
            Precision::Bf16 => "bf16",
        }
    }
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
}
