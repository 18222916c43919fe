//! Which initialisers are parameters.
//!
//! An ONNX file does not say what is trained: besides weights, its float initialisers hold scales, bounds, masks and
//! buffers. Without `--train`, a float initialiser of rank one or more is trained if it reaches a [slot](slots) that
//! holds a parameter, directly or through nodes that no input reaches (a transposed, repacked or normalised weight).
//! Everything that is decided is in the table that [`Parameters`] prints.

mod hazards;
pub(super) mod slots;
mod table;

use std::collections::BTreeMap;
use std::ops::Deref;

use super::error::OnnxError;
use super::lift::Lifted;
use super::source::Source;
use crate::glob::Glob;
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
}

impl Parameter {
    /// The number of elements.
    pub fn count(&self) -> usize {
        self.dims.iter().product()
    }
}

/// The float initialisers of a model, in the order of their first use.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parameters {
    list: Vec<Parameter>,
    /// What the user should know before training, one sentence each.
    pub warnings: Vec<String>,
}

impl Parameters {
    /// The parameters that are trained.
    pub fn trainable(&self) -> impl Iterator<Item = &Parameter> {
        self.list.iter().filter(|parameter| parameter.trainable)
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
    let mut slots = slots::find(&source.nodes, &source.inputs, &source.initializers);
    let buffers = hazards::buffers(source);
    let names: Vec<String> = in_order_of_use(source);
    check_patterns(train.iter().chain(freeze), &names)?;
    let matches = |globs: &[Glob], name: &str| globs.iter().any(|glob| glob.matches(name));
    let mut warnings = Vec::new();
    let mut list = Vec::new();
    for name in names {
        let dims = source.initializers[&name].dims.clone();
        let slots = slots.remove(&name).unwrap_or_default();
        let (mut trainable, mut reason) = match source.lifted.get(&name) {
            Some(Lifted::Literal) => {
                (false, format!("a Constant node beside weights that are none, {}", slots::describe(&slots)))
            }
            _ => by_default(&name, &dims, &slots, buffers.contains(&name)),
        };
        if !train.is_empty() {
            trainable = matches(train, &name);
            reason = match trainable {
                true => format!("matched by --train, {}", slots::describe(&slots)),
                false => "not matched by --train".to_owned(),
            };
            if trainable && slots.is_empty() {
                warnings.push(format!("`{name}` is trained but reaches no data: its gradient is zero"));
            }
        }
        if matches(freeze, &name) {
            if matches(train, &name) {
                warnings.push(format!("`{name}` is matched by --train and by --freeze; it is frozen"));
            }
            (trainable, reason) = (false, FROZEN.to_owned());
        }
        list.push(Parameter { name, dims, trainable, slots, reason });
    }
    warnings.extend(hazards::find(source, &list));
    Ok(Parameters { list, warnings })
}

/// Whether an initialiser is trained when nobody says so, and why.
fn by_default(name: &str, dims: &[usize], slots: &[Slot], buffer: bool) -> (bool, String) {
    let constant = |why: &str| (false, format!("constant: {why}"));
    if buffer {
        return constant("the exporter lists it as a buffer");
    }
    if dims.is_empty() {
        return constant("a scalar");
    }
    if dims.contains(&0) {
        return constant("it is empty");
    }
    if slots.is_empty() {
        return constant("it meets no data");
    }
    let anonymous = is_anonymous(name);
    let trains = |slot: &&Slot| match slot.kind {
        SlotKind::Weight => !anonymous || dims.len() > 1,
        // A nameless scale or bias of a normalisation is one that the exporter put there to have none.
        SlotKind::Bias => !anonymous || !slot.op_type.ends_with("Normalization"),
        SlotKind::Operand => !anonymous,
        SlotKind::Other => false,
    };
    match slots.iter().find(trains) {
        Some(_) => (true, slots::describe(slots)),
        None if anonymous => constant(&format!("a nameless operand, {}", slots::describe(slots))),
        None => constant(&format!("no parameter's place, {}", slots::describe(slots))),
    }
}

/// Whether an exporter made the name up: the value is a constant, or a weight that was folded into another.
fn is_anonymous(name: &str) -> bool {
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
    let mut names: Vec<&String> =
        source.initializers.iter().filter(|(_, tensor)| tensor.floats().is_some()).map(|(name, _)| name).collect();
    names.sort_by_key(|name| position.get(name.as_str()).copied().unwrap_or(usize::MAX));
    names.into_iter().cloned().collect()
}

fn check_patterns<'a>(globs: impl Iterator<Item = &'a Glob>, names: &[String]) -> Result<(), OnnxError> {
    let mut patterns: Vec<String> = Vec::new();
    for glob in globs.filter(|glob| !names.iter().any(|name| glob.matches(name))) {
        let literal = glob.to_string();
        let mut near: Vec<&String> = names.iter().filter(|name| !is_anonymous(name)).collect();
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
