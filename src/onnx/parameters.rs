//! Which initialisers are parameters.
//!
//! An ONNX file does not say what is trained: besides weights, its float initialisers hold scales, bounds, masks and
//! buffers. Without `--train`, what the exporter declares, the [slots](slots) that an initialiser reaches, directly or
//! through nodes that no input reaches (a transposed, repacked or normalised weight), its name and its values [decide](decide).
//! Everything that is decided is in the table that [`Parameters`] prints.

mod decide;
mod evidence;
mod hazards;
pub(super) mod slots;
mod table;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::str::FromStr;

use super::error::OnnxError;
use super::exporter::Exporter;
use super::source::Source;
use super::tensor::Tensor;
use crate::glob::Glob;
use decide::{Decision, decide};
use evidence::Evidence;
pub use slots::{Slot, SlotKind};

/// A float initialiser.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// The initialiser's name.
    pub name: String,
    /// The size of each axis.
    pub dims: Vec<usize>,
    /// Whether its values are trained.
    pub trainable: bool,
    /// Where it meets the data; empty if it is not used, or only by other constants.
    pub slots: Vec<Slot>,
    /// Why it is trained or not, e.g. `Gemm.1 of /fc1/Gemm`.
    pub reason: String,
    /// The names of the other parameters of the module that are one with it.
    pub aliases: Vec<String>,
    /// The row of a table that gets no gradient, where the user names it.
    pub padding_idx: Option<i64>,
}

impl Parameter {
    /// Whether a pattern is for it, by its own name or another of the module's.
    fn matches(&self, glob: &Glob) -> bool {
        glob.matches(&self.name) || self.aliases.iter().any(|alias| glob.matches(alias))
    }

    /// The number of elements.
    pub fn count(&self) -> usize {
        self.dims.iter().product()
    }
}

/// A row of the tables that a pattern matches, counted from the end where it is negative. Written `GLOB=ID`.
#[derive(Clone, Debug)]
pub struct Padding {
    /// The tables.
    pub glob: Glob,
    /// The row.
    pub row: i64,
}

impl FromStr for Padding {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let split = text.rsplit_once('=').and_then(|(glob, row)| Some((glob, row.parse().ok()?)));
        let (glob, row) = split.ok_or_else(|| format!("`{text}` should be GLOB=ID, as in emb.weight=0"))?;
        Ok(Self { glob: Glob::new(glob), row })
    }
}

/// The float initialisers of a model, in the order of their first use.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parameters {
    list: Vec<Parameter>,
    /// What the user should know before training, one sentence each.
    pub warnings: Vec<String>,
    /// Whether the file comes from PyTorch, whose `requires_grad=False` no exporter writes.
    from_torch: bool,
}

impl Parameters {
    /// The parameters that are trained.
    pub fn trainable(&self) -> impl Iterator<Item = &Parameter> {
        self.list.iter().filter(|parameter| parameter.trainable)
    }

    /// Gives the tables that `padding` is for a row without gradient.
    ///
    /// # Errors
    ///
    /// [`OnnxError::Padding`] with every pattern that matches no table of an embedding, and every row outside of its table.
    pub fn pad(&mut self, padding: &[Padding]) -> Result<(), OnnxError> {
        let mut problems = Vec::new();
        for Padding { glob, row } in padding {
            let is_table = |p: &&mut Parameter| {
                p.matches(glob) && p.slots.iter().any(|slot| slot.op_type == "Gather" && slot.position == 0)
            };
            let mut tables = 0;
            for table in self.list.iter_mut().filter(is_table) {
                tables += 1;
                let rows = table.dims.first().map_or(0, |&rows| rows as i64);
                match (-rows..rows).contains(row) {
                    true => table.padding_idx = Some(*row),
                    false => problems.push(format!("`{glob}={row}`: `{}` has {rows} rows", table.name)),
                }
            }
            if tables == 0 {
                problems.push(format!("`{glob}={row}`: no embedding's table matches"));
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(OnnxError::Padding { problems }) }
    }

    /// These parameters, of which some have to be trained.
    ///
    /// # Errors
    ///
    /// [`OnnxError::NoParameters`] if none is.
    pub fn require_trainable(self) -> Result<Parameters, OnnxError> {
        if self.trainable().next().is_none() {
            let frozen = self.list.iter().any(|parameter| parameter.reason == FROZEN);
            return Err(OnnxError::NoParameters { frozen });
        }
        Ok(self)
    }
}

impl Deref for Parameters {
    type Target = [Parameter];

    fn deref(&self) -> &[Parameter] {
        &self.list
    }
}

const FROZEN: &str = "frozen by --freeze";

/// The float initialisers of `source`, and which of them are trained.
///
/// `train` replaces the default choice; `freeze` takes away from either.
///
/// # Errors
///
/// [`OnnxError::Patterns`] with every pattern that matches no float initialiser.
pub fn discover(source: &Source, train: &[Glob], freeze: &[Glob]) -> Result<Parameters, OnnxError> {
    let evidence = Evidence::of(source);
    let mut slots = slots::of(source);
    let mut aliases = hazards::aliases(source, &evidence);
    let mut list: Vec<Parameter> = Vec::new();
    let mut doubtful = Vec::new();
    for name in in_order_of_use(source) {
        let slots = slots.remove(&name).unwrap_or_default();
        let Decision { trainable, reason, doubtful: doubt } = decide(source, &evidence, &name, &slots);
        if doubt {
            doubtful.push(name.clone());
        }
        let dims = source.initializers[&name].dims.clone();
        let aliases = aliases.remove(&name).unwrap_or_default();
        list.push(Parameter { name, dims, trainable, slots, reason, aliases, padding_idx: None });
    }
    check_patterns(train.iter().chain(freeze), &list)?;
    let mut warnings = Vec::new();
    for parameter in &mut list {
        let matched = |globs: &[Glob], parameter: &Parameter| globs.iter().any(|glob| parameter.matches(glob));
        let (named, frozen) = (matched(train, parameter), matched(freeze, parameter));
        let name = &parameter.name;
        if named && !frozen {
            if parameter.slots.is_empty() {
                warnings.push(format!("`{name}` is trained but reaches no data: its gradient is zero"));
            }
            if !values::finite(&source.initializers[name]) {
                warnings.push(format!("`{name}` is trained but holds values that are not finite, as masks do"));
            }
        }
        if named && frozen {
            warnings.push(format!("`{name}` is matched by --train and by --freeze; it is frozen"));
        }
        if !train.is_empty() || frozen {
            doubtful.retain(|doubt| doubt != name);
        }
        if !train.is_empty() {
            parameter.trainable = named;
            parameter.reason = match named {
                true => format!("matched by --train, {}", slots::describe(&parameter.slots)),
                false => "not matched by --train".to_owned(),
            };
        }
        if frozen {
            (parameter.trainable, parameter.reason) = (false, FROZEN.to_owned());
        }
    }
    warnings.extend(hazards::find(source, &evidence, &list, &doubtful));
    let from_torch = matches!(source.exporter, Exporter::TorchExport | Exporter::TorchScript);
    Ok(Parameters { list, warnings, from_torch })
}

/// The float initialisers that are surely no parameters, whatever they meet.
pub(super) fn constants(source: &Source) -> BTreeSet<String> {
    let evidence = Evidence::of(source);
    let floats = source.initializers.iter().filter(|(_, tensor)| tensor.floats().is_some());
    let constant = |(name, tensor): &(&String, &Tensor)| {
        source.is_narrow(name) || decide::is_constant(source.exporter, &evidence, name, tensor)
    };
    floats.filter(constant).map(|(name, _)| name.clone()).collect()
}

/// Whether an exporter made the name up: the value is a constant, or a weight that was folded into another.
pub(super) fn is_anonymous(name: &str) -> bool {
    let numbered = |prefix: &str| {
        name.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
    };
    const PREFIXES: [&str; 5] = ["onnx::", "/", "_tensor_constant", "lifted_tensor", "c_lifted_tensor"];
    numbered("val_") || numbered("") || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// The names of the float initialisers: those that nodes use, in that order, then the others.
fn in_order_of_use(source: &Source) -> Vec<String> {
    let mut position = BTreeMap::new();
    for (index, name) in source.nodes.iter().flat_map(|node| &node.inputs).enumerate() {
        position.entry(name.as_str()).or_insert(index);
    }
    let floats =
        source.initializers.iter().filter(|(name, tensor)| tensor.floats().is_some() && !source.is_narrow(name));
    let mut names: Vec<&String> = floats.map(|(name, _)| name).collect();
    names.sort_by_key(|name| position.get(name.as_str()).copied().unwrap_or(usize::MAX));
    names.into_iter().cloned().collect()
}

fn check_patterns<'a>(globs: impl Iterator<Item = &'a Glob>, list: &[Parameter]) -> Result<(), OnnxError> {
    let mut patterns: Vec<String> = Vec::new();
    for glob in globs.filter(|glob| !list.iter().any(|parameter| parameter.matches(glob))) {
        let literal = glob.to_string();
        let names = list.iter().flat_map(|parameter| [&parameter.name].into_iter().chain(&parameter.aliases));
        let mut near: Vec<&String> = names.filter(|name| !is_anonymous(name)).collect();
        near.sort_by_key(|name| distance(&literal, name));
        let near: Vec<String> = near.iter().take(3).map(|name| format!("`{name}`")).collect();
        patterns.push(match near.is_empty() {
            true => format!("`{glob}`"),
            false => format!("`{glob}`; near it: {}", near.join(", ")),
        });
    }
    if patterns.is_empty() { Ok(()) } else { Err(OnnxError::Patterns { patterns }) }
}

/// The edit distance between a pattern and a name, where wildcards are free.
fn distance(pattern: &str, name: &str) -> usize {
    let name: Vec<char> = name.chars().collect();
    let mut row: Vec<usize> = (0..=name.len()).collect();
    for p in pattern.chars() {
        let mut diagonal = row[0];
        row[0] += usize::from(p != '*');
        for (column, &n) in name.iter().enumerate() {
            let above = row[column + 1];
            row[column + 1] = match p {
                '*' => above.min(row[column]),
                _ => (diagonal + usize::from(p != n && p != '?')).min(above + 1).min(row[column] + 1),
            };
            diagonal = above;
        }
    }
    row[name.len()]
}

#[cfg(test)]
mod tests;
