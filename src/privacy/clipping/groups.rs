//! The groups of parameters that a rule clips together, by the parameters' names.

use miette::Diagnostic;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{ClipRule, ClipScope};
use crate::glob::Glob;

/// Parameters that are clipped together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClipGroup {
    /// `all` for a flat rule, else the layer or the pattern.
    pub name: String,
    /// The bound on the L2 norm of their gradient.
    pub bound: f64,
    /// Their names.
    pub parameters: Vec<String>,
}

/// A rule that does not say for each parameter of a model how it is clipped.
#[derive(Clone, Debug, PartialEq, Error, Diagnostic)]
#[error("the clip rule `{rule}` does not fit the model's trained parameters: {}", list(problems))]
#[diagnostic(
    code(dpc::privacy::clip_groups),
    help("write patterns such that each trained parameter matches exactly one; `dpc inspect` lists the parameters")
)]
pub struct UnfitClipRule {
    rule: String,
    /// Everything that does not fit.
    pub problems: Vec<Misfit>,
}

fn list(problems: &[Misfit]) -> String {
    problems.iter().map(Misfit::to_string).collect::<Vec<_>>().join("; ")
}

/// What a rule and the parameters' names disagree on.
#[derive(Clone, Debug, PartialEq, Error)]
#[allow(missing_docs)]
pub enum Misfit {
    #[error("no pattern matches `{parameter}`")]
    Unmatched { parameter: String },
    #[error("`{parameter}` is matched by `{}`", patterns.join("` and `"))]
    Ambiguous { parameter: String, patterns: Vec<String> },
    #[error("`{pattern}` matches no parameter")]
    Unused { pattern: String },
}

impl ClipRule {
    /// The groups of a model whose trained parameters are `names`, in the order of their first parameter or, for
    /// patterns, in that of the rule. The L2 norm of their bounds is [`ClipRule::sensitivity`].
    ///
    /// A layer is the parameters whose names agree up to the last `.` or `/`; a name without either is a layer.
    ///
    /// # Errors
    /// Every parameter that not exactly one pattern matches, and every pattern that matches none.
    pub fn resolve<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Result<Vec<ClipGroup>, UnfitClipRule> {
        let names: Vec<&str> = names.into_iter().collect();
        match &self.scope {
            ClipScope::Flat { bound } => Ok(vec![ClipGroup {
                name: "all".to_owned(),
                bound: *bound,
                parameters: names.iter().map(|&name| name.to_owned()).collect(),
            }]),
            ClipScope::PerLayer { bound } => Ok(layers(&names, *bound)),
            ClipScope::PerGroup { bounds } => {
                matched(&names, bounds).map_err(|problems| UnfitClipRule { rule: self.to_string(), problems })
            }
        }
    }
}

fn layers(names: &[&str], bound: f64) -> Vec<ClipGroup> {
    let mut groups: Vec<ClipGroup> = Vec::new();
    for &name in names {
        let layer = name.rfind(['.', '/']).map_or(name, |end| &name[..end]);
        match groups.iter_mut().find(|group| group.name == layer) {
            Some(group) => group.parameters.push(name.to_owned()),
            None => groups.push(ClipGroup { name: layer.to_owned(), bound: 0.0, parameters: vec![name.to_owned()] }),
        }
    }
    let each = bound / (groups.len() as f64).sqrt();
    groups.iter_mut().for_each(|group| group.bound = each);
    groups
}

fn matched(names: &[&str], bounds: &[(Glob, f64)]) -> Result<Vec<ClipGroup>, Vec<Misfit>> {
    let group = |(glob, bound): &(Glob, f64)| ClipGroup { name: glob.to_string(), bound: *bound, parameters: vec![] };
    let mut groups: Vec<ClipGroup> = bounds.iter().map(group).collect();
    let mut used = vec![false; bounds.len()];
    let mut problems = Vec::new();
    for &name in names {
        let fits: Vec<usize> = (0..bounds.len()).filter(|&k| bounds[k].0.matches(name)).collect();
        fits.iter().for_each(|&k| used[k] = true);
        let parameter = name.to_owned();
        match fits[..] {
            [] => problems.push(Misfit::Unmatched { parameter }),
            [k] => groups[k].parameters.push(parameter),
            _ => {
                let patterns = fits.iter().map(|&k| groups[k].name.clone()).collect();
                problems.push(Misfit::Ambiguous { parameter, patterns });
            }
        }
    }
    let unused = groups.iter().zip(&used).filter(|(_, used)| !**used);
    problems.extend(unused.map(|(group, _)| Misfit::Unused { pattern: group.name.clone() }));
    if problems.is_empty() { Ok(groups) } else { Err(problems) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 6] = ["conv.weight", "conv.bias", "block/fc.weight", "block/fc.bias", "/head/w", "scale"];

    fn resolve(rule: &str) -> Result<Vec<ClipGroup>, UnfitClipRule> {
        rule.parse::<ClipRule>().unwrap().resolve(NAMES)
    }

    fn members(groups: &[ClipGroup]) -> Vec<(&str, usize)> {
        groups.iter().map(|group| (group.name.as_str(), group.parameters.len())).collect()
    }

    #[test]
    fn a_flat_rule_has_one_group() {
        let groups = resolve("flat:0.7").unwrap();
        assert_eq!(members(&groups), [("all", 6)]);
        assert_eq!(groups[0].bound, 0.7);
    }

    #[test]
    fn layers_share_a_prefix_and_the_bound() {
        let groups = resolve("per-layer:3").unwrap();
        assert_eq!(members(&groups), [("conv", 2), ("block/fc", 2), ("/head", 1), ("scale", 1)]);
        assert!(groups.iter().all(|group| group.bound == 1.5));
        assert_eq!("per-layer:1".parse::<ClipRule>().unwrap().resolve([]), Ok(vec![]));
    }

    #[test]
    fn patterns_share_out_the_parameters() {
        let groups = resolve("per-group:*.bias=1;scale=2;*w*=3").unwrap();
        assert_eq!(members(&groups), [("*.bias", 2), ("scale", 1), ("*w*", 3)]);
        assert_eq!(groups.iter().map(|group| group.bound).collect::<Vec<_>>(), [1.0, 2.0, 3.0]);
    }

    #[test]
    fn every_misfit_is_named() {
        let error = resolve("per-group:conv.*=1;*.weight=1;nothing=1").unwrap_err();
        let name = |name: &str| name.to_owned();
        assert_eq!(
            error.problems,
            [
                Misfit::Ambiguous { parameter: name("conv.weight"), patterns: vec![name("conv.*"), name("*.weight")] },
                Misfit::Unmatched { parameter: name("block/fc.bias") },
                Misfit::Unmatched { parameter: name("/head/w") },
                Misfit::Unmatched { parameter: name("scale") },
                Misfit::Unused { pattern: name("nothing") },
            ]
        );
        assert!(error.to_string().contains("`conv.weight` is matched by `conv.*` and `*.weight`"), "{error}");
    }
}
