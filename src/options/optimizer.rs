//! Optimizers: what `--optimizer` says and what one update does, as in `torch.optim`.
//!
//! With parameter θ, gradient g (here the privatized mean gradient), learning rate η, weight
//! decay λ and step t = 1, 2, …:
//!
//! | | update |
//! |---|---|
//! | SGD | `g ← g + λθ`; with momentum μ: `m ← μm + g`, then `g ← m`, or `g ← g + μm` with Nesterov; `θ ← θ − ηg` |
//! | Adam | `g ← g + λθ`; `m ← β₁m + (1−β₁)g`; `v ← β₂v + (1−β₂)g²`; `θ ← θ − (η / (1−β₁ᵗ)) · m / (√v / √(1−β₂ᵗ) + ε)` |
//! | AdamW | `θ ← θ − ηλθ`, then Adam with λ = 0 |
//!
//! States start as zeros; there is no dampening. Sources:
//! <https://docs.pytorch.org/docs/stable/generated/torch.optim.SGD.html>, `Adam` and `AdamW` beside it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An optimizer and its numbers, all but the learning rate.
///
/// Written `NAME` or `NAME:KEY=VALUE,…`, where the names are `sgd`, `adam` and `adamw`; keys left
/// out have PyTorch's defaults.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum OptimizerSpec {
    Sgd(Sgd),
    Adam(Adam),
    AdamW(Adam),
}

/// Keys `momentum`, `nesterov`, `weight_decay`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    pub momentum: f32,
    pub nesterov: bool,
    pub weight_decay: f32,
}

/// Keys `beta1`, `beta2`, `eps`, `weight_decay`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    pub beta1: f32,
    pub beta2: f32,
    pub eps: f32,
    pub weight_decay: f32,
}

/// SGD without momentum.
impl Default for OptimizerSpec {
    fn default() -> OptimizerSpec {
        OptimizerSpec::Sgd(OptimizerSpec::SGD)
    }
}

impl OptimizerSpec {
    const SGD: Sgd = Sgd { momentum: 0.0, nesterov: false, weight_decay: 0.0 };
    const ADAM: Adam = Adam { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0 };
    const ADAMW: Adam = Adam { weight_decay: 0.01, ..Self::ADAM };

    /// The names of the states kept for each parameter, each of the parameter's shape.
    pub fn states(&self) -> &'static [&'static str] {
        match self {
            Self::Sgd(sgd) if sgd.momentum == 0.0 => &[],
            Self::Sgd(_) => &["momentum"],
            Self::Adam(_) | Self::AdamW(_) => &["exp_avg", "exp_avg_sq"],
        }
    }

    /// One update of one parameter on the host: what the devices' kernels are tested against.
    ///
    /// `step` counts from 1; `states` are in the order of [`OptimizerSpec::states`], each as long
    /// as the parameter.
    pub fn update(
        &self,
        learning_rate: f32,
        step: u64,
        parameter: &mut [f32],
        gradient: &[f32],
        states: &mut [Vec<f32>],
    ) {
        for (at, value) in parameter.iter_mut().enumerate() {
            let theta = f64::from(*value);
            let g = f64::from(gradient[at]);
            let eta = f64::from(learning_rate);
            *value = match self {
                Self::Sgd(sgd) => {
                    let g = g + f64::from(sgd.weight_decay) * theta;
                    let mu = f64::from(sgd.momentum);
                    let direction = if let [momentum] = states {
                        let m = mu * f64::from(momentum[at]) + g;
                        momentum[at] = m as f32;
                        if sgd.nesterov { g + mu * m } else { m }
                    } else {
                        g
                    };
                    theta - eta * direction
                }
                Self::Adam(adam) => {
                    let g = g + f64::from(adam.weight_decay) * theta;
                    theta - eta * adam.direction(step, at, g, states)
                }
                Self::AdamW(adam) => {
                    let decayed = theta - eta * f64::from(adam.weight_decay) * theta;
                    decayed - eta * adam.direction(step, at, g, states)
                }
            } as f32;
        }
    }
}

impl Adam {
    fn direction(&self, step: u64, at: usize, g: f64, states: &mut [Vec<f32>]) -> f64 {
        let (beta1, beta2) = (f64::from(self.beta1), f64::from(self.beta2));
        let m = beta1 * f64::from(states[0][at]) + (1.0 - beta1) * g;
        let v = beta2 * f64::from(states[1][at]) + (1.0 - beta2) * g * g;
        states[0][at] = m as f32;
        states[1][at] = v as f32;
        let (correction1, correction2) = bias_corrections(self, step);
        m / correction1 / (v.sqrt() / correction2.sqrt() + f64::from(self.eps))
    }
}

/// Adam's `1 − β₁ᵗ` and `1 − β₂ᵗ`.
pub fn bias_corrections(adam: &Adam, step: u64) -> (f64, f64) {
    let step = step as f64;
    (1.0 - f64::from(adam.beta1).powf(step), 1.0 - f64::from(adam.beta2).powf(step))
}

impl FromStr for OptimizerSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, options) = text.split_once(':').unwrap_or((text, ""));
        let options = Options::parse(options)?;
        match name {
            "sgd" => parse_sgd(&options).map(Self::Sgd),
            "adam" => parse_adam(&options, Self::ADAM).map(Self::Adam),
            "adamw" => parse_adam(&options, Self::ADAMW).map(Self::AdamW),
            _ => Err(format!("`{name}` is no optimizer; give sgd, adam or adamw, as in sgd:momentum=0.9")),
        }
    }
}

fn parse_sgd(options: &Options) -> Result<Sgd, String> {
    options.known(&["momentum", "nesterov", "weight_decay"])?;
    let base = OptimizerSpec::SGD;
    let momentum = options.number("momentum", base.momentum, 0.0..f32::INFINITY)?;
    let nesterov = match options.get("nesterov") {
        None | Some("false") => false,
        Some("true") => true,
        Some(other) => return Err(format!("nesterov is true or false, not `{other}`")),
    };
    if nesterov && momentum == 0.0 {
        return Err("nesterov needs a momentum above 0".to_owned());
    }
    let weight_decay = options.number("weight_decay", base.weight_decay, 0.0..f32::INFINITY)?;
    Ok(Sgd { momentum, nesterov, weight_decay })
}

fn parse_adam(options: &Options, base: Adam) -> Result<Adam, String> {
    options.known(&["beta1", "beta2", "eps", "weight_decay"])?;
    Ok(Adam {
        beta1: options.number("beta1", base.beta1, 0.0..1.0)?,
        beta2: options.number("beta2", base.beta2, 0.0..1.0)?,
        eps: options.number("eps", base.eps, 0.0..f32::INFINITY)?,
        weight_decay: options.number("weight_decay", base.weight_decay, 0.0..f32::INFINITY)?,
    })
}

/// `KEY=VALUE,…`
struct Options<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Options<'a> {
    fn parse(text: &'a str) -> Result<Self, String> {
        let mut pairs: Vec<(&str, &str)> = Vec::new();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').ok_or_else(|| format!("`{part}` should be KEY=VALUE"))?;
            if pairs.iter().any(|(other, _)| *other == key) {
                return Err(format!("`{key}` is given twice"));
            }
            pairs.push((key, value));
        }
        Ok(Self(pairs))
    }

    fn known(&self, keys: &[&str]) -> Result<(), String> {
        match self.0.iter().find(|(key, _)| !keys.contains(key)) {
            None => Ok(()),
            Some((key, _)) => Err(format!("unknown key `{key}`; there are {}", keys.join(", "))),
        }
    }

    fn get(&self, key: &str) -> Option<&'a str> {
        self.0.iter().find(|(name, _)| *name == key).map(|(_, value)| *value)
    }

    fn number(&self, key: &str, default: f32, range: std::ops::Range<f32>) -> Result<f32, String> {
        let Some(text) = self.get(key) else {
            return Ok(default);
        };
        text.parse().ok().filter(|number| range.contains(number)).ok_or_else(|| match range.end {
            f32::INFINITY => format!("{key} must be a number from 0, not `{text}`"),
            end => format!("{key} must be in [0, {end}), not `{text}`"),
        })
    }
}

impl fmt::Display for OptimizerSpec {
    /// The text form, without the keys that have their defaults.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut options = Vec::new();
        let mut number = |key: &str, value: f32, default: f32| {
            if value != default {
                options.push(format!("{key}={value}"));
            }
        };
        let name = match self {
            Self::Sgd(sgd) => {
                number("momentum", sgd.momentum, Self::SGD.momentum);
                number("weight_decay", sgd.weight_decay, Self::SGD.weight_decay);
                if sgd.nesterov {
                    options.push("nesterov=true".to_owned());
                }
                "sgd"
            }
            Self::Adam(adam) | Self::AdamW(adam) => {
                let (name, base) = match self {
                    Self::AdamW(_) => ("adamw", Self::ADAMW),
                    _ => ("adam", Self::ADAM),
                };
                number("beta1", adam.beta1, base.beta1);
                number("beta2", adam.beta2, base.beta2);
                number("eps", adam.eps, base.eps);
                number("weight_decay", adam.weight_decay, base.weight_decay);
                name
            }
        };
        f.write_str(name)?;
        if !options.is_empty() {
            write!(f, ":{}", options.join(","))?;
        }
        Ok(())
    }
}

impl TryFrom<String> for OptimizerSpec {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<OptimizerSpec> for String {
    fn from(spec: OptimizerSpec) -> Self {
        spec.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// θ after four steps of `torch.optim` (float64) at η = 0.1 from [0.5, -1.25, 2].
    #[test]
    fn four_steps_agree_with_pytorch() {
        let gradients = [[0.1, -0.2, 0.0], [0.3, 0.4, -1.5], [-0.7, 0.05, 0.25], [0.0, 1.0, 2.0]];
        let expected: [(&str, [f64; 3]); 8] = [
            ("sgd", [0.530000000, -1.375000000, 1.925000000]),
            ("sgd:weight_decay=0.05", [0.520173252, -1.350061378, 1.883927751]),
            ("sgd:momentum=0.9", [0.517310000, -1.399120000, 2.159000000]),
            ("sgd:momentum=0.9,nesterov=true,weight_decay=0.05", [0.516934845, -1.434257834, 1.941119450]),
            ("adam", [0.361027501, -1.286671564, 2.097275600]),
            ("adam:beta1=0.8,beta2=0.95,eps=0.01,weight_decay=0.05", [0.369285413, -1.256064761, 1.976211192]),
            ("adamw", [0.359484635, -1.281870349, 2.089092607]),
            ("adamw:weight_decay=0.2", [0.331146237, -1.193358262, 1.938140509]),
        ];
        for (text, expected) in expected {
            let spec: OptimizerSpec = text.parse().unwrap();
            let mut theta = [0.5, -1.25, 2.0];
            let mut states = vec![vec![0.0; 3]; spec.states().len()];
            for (step, gradient) in (1..).zip(&gradients) {
                spec.update(0.1, step, &mut theta, gradient, &mut states);
            }
            for (found, expected) in theta.iter().zip(expected) {
                assert!((f64::from(*found) - expected).abs() < 1e-6, "{text}: {theta:?}");
            }
        }
    }

    #[test]
    fn text_reads_back() {
        for text in [
            "sgd",
            "sgd:momentum=0.9,weight_decay=0.0005,nesterov=true",
            "adam:beta1=0.5",
            "adamw",
            "adamw:eps=0.001,weight_decay=0",
        ] {
            let spec: OptimizerSpec = text.parse().unwrap();
            assert_eq!(spec.to_string(), text);
        }
    }

    #[test]
    fn mistakes_are_named() {
        let error = |text: &str| text.parse::<OptimizerSpec>().unwrap_err();
        assert!(error("rmsprop").contains("no optimizer"));
        assert_eq!(error("sgd:beta1=0.9"), "unknown key `beta1`; there are momentum, nesterov, weight_decay");
        assert_eq!(error("adam:beta1=1"), "beta1 must be in [0, 1), not `1`");
        assert_eq!(error("sgd:momentum=x"), "momentum must be a number from 0, not `x`");
        assert_eq!(error("sgd:nesterov=true"), "nesterov needs a momentum above 0");
        assert_eq!(error("sgd:momentum"), "`momentum` should be KEY=VALUE");
        assert_eq!(error("adam:eps=1,eps=2"), "`eps` is given twice");
    }
}
