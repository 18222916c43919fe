//! What exporters do to parameters, as far as it can be seen in the file.

use std::collections::{BTreeMap, BTreeSet};

use super::{Parameter, SlotKind, is_anonymous};
use crate::onnx::source::Source;

/// The key under which torch.export leaves the role of each input.
const SIGNATURE: &str = "pkg.torch.export.ExportedProgram.graph_signature";

/// Warnings about parameters that were merged, folded or untied, one sentence for each kind and parameter.
pub(super) fn find(source: &Source, parameters: &[Parameter]) -> Vec<String> {
    let mut warnings = Vec::new();
    merged(source, parameters, &mut warnings);
    folded(source, parameters, &mut warnings);
    overlooked(parameters, &mut warnings);
    untied(source, parameters, &mut warnings);
    warnings
}

/// The names that the exporter lists as buffers: running statistics, masks, position tables.
pub(super) fn buffers(source: &Source) -> BTreeSet<String> {
    signature(source).into_iter().filter(|(_, role)| role == "BUFFER").map(|(name, _)| name).collect()
}

/// The target and role of each initialiser in the exporter's signature, from lines such as
/// `p_fc1_weight: PARAMETER target='fc1.weight'`.
fn signature(source: &Source) -> Vec<(String, String)> {
    let graph = source.model.graph.iter().flat_map(|graph| &graph.metadata_props);
    let Some(entry) = source.model.metadata_props.iter().chain(graph).find(|entry| entry.key() == SIGNATURE) else {
        return Vec::new();
    };
    let inputs = entry.value().lines().take_while(|line| line.trim() != "# outputs");
    inputs
        .filter_map(|line| {
            let (_, role) = line.split_once(": ")?;
            let (role, target) = role.split_once(" target='")?;
            Some((target.split('\'').next()?.to_owned(), role.trim().to_owned()))
        })
        .collect()
}

/// Initialisers with one value throughout that serve several biases or norms: exporters merge equal tensors, and
/// parameters are equal before they are trained.
fn merged(source: &Source, parameters: &[Parameter], warnings: &mut Vec<String>) {
    for parameter in parameters.iter().filter(|parameter| parameter.trainable) {
        let nodes: BTreeSet<&str> = parameter
            .slots
            .iter()
            .filter(|slot| matches!(slot.kind, SlotKind::Bias | SlotKind::Operand))
            .map(|slot| slot.node.as_str())
            .collect();
        let constant = source.initializers[&parameter.name]
            .floats()
            .is_some_and(|values| values.windows(2).all(|pair| pair[0] == pair[1]));
        if nodes.len() > 1 && constant {
            let nodes: Vec<&str> = nodes.into_iter().collect();
            warnings.push(format!(
                "`{}` serves {} nodes ({}) and has one value throughout: the exporter may have merged parameters that were \
                 equal before training, which would train as one; export with optimize=False if they are separate",
                parameter.name,
                nodes.len(),
                nodes.join(", ")
            ));
        }
    }
}

/// Parameters that the exporter computed with: they are gone, or stand in the file under a made-up name.
fn folded(source: &Source, parameters: &[Parameter], warnings: &mut Vec<String>) {
    let lost: Vec<String> = signature(source)
        .into_iter()
        .filter(|(name, role)| role == "PARAMETER" && !source.initializers.contains_key(name))
        .map(|(name, _)| format!("`{name}`"))
        .collect();
    let nameless: Vec<String> = parameters
        .iter()
        .filter(|parameter| parameter.trainable && is_anonymous(&parameter.name))
        .map(|parameter| format!("`{}`", parameter.name))
        .collect();
    if !lost.is_empty() {
        warnings.push(format!(
            "the exported module had the parameters {}, which the file does not have under these names: the exporter \
             merged or folded them; export with optimize=False to keep them",
            lost.join(", ")
        ));
    }
    if !nameless.is_empty() {
        warnings.push(format!(
            "the weights {} have names that the exporter made up: it transposed or repacked the module's own, and the \
             trained values come under these names; export with optimize=False, or in training mode without constant \
             folding, to keep the module's",
            nameless.join(", ")
        ));
    }
}

/// Nameless vectors that scale or shift the data and are not trained: the scale and bias of a norm end up so.
fn overlooked(parameters: &[Parameter], warnings: &mut Vec<String>) {
    let vector = |dims: &[usize]| dims.iter().filter(|&&size| size != 1).count() == 1;
    let names: Vec<String> = parameters
        .iter()
        .filter(|parameter| !parameter.trainable && is_anonymous(&parameter.name) && vector(&parameter.dims))
        .filter(|parameter| parameter.slots.iter().any(|slot| slot.kind == SlotKind::Operand))
        .map(|parameter| format!("`{}`", parameter.name))
        .collect();
    if !names.is_empty() {
        warnings.push(format!(
            "the vectors {} have names that the exporter made up and are not trained; they may be the folded scales and \
             biases of norms: train them with --train, or export with optimize=False, or in training mode without \
             constant folding",
            names.join(", ")
        ));
    }
}

/// Matrices that are each other's transposes: a tied weight that the exporter copied.
fn untied(source: &Source, parameters: &[Parameter], warnings: &mut Vec<String>) {
    let mut by_shape: BTreeMap<(usize, usize), Vec<&Parameter>> = BTreeMap::new();
    for parameter in parameters.iter().filter(|parameter| parameter.trainable) {
        let &[rows, columns] = parameter.dims.as_slice() else { continue };
        for other in by_shape.get(&(columns, rows)).into_iter().flatten() {
            if transposes(source, parameter, other) {
                warnings.push(format!(
                    "`{}` and `{}` are transposes of each other: if the module ties them, the exporter made a copy \
                     that would train apart; export with optimize=False, or in training mode without constant folding",
                    other.name, parameter.name
                ));
            }
        }
        by_shape.entry((rows, columns)).or_default().push(parameter);
    }
}

fn transposes(source: &Source, a: &Parameter, b: &Parameter) -> bool {
    let floats = |parameter: &Parameter| source.initializers[&parameter.name].floats();
    let (Some(x), Some(y), &[rows, columns]) = (floats(a), floats(b), a.dims.as_slice()) else { return false };
    let distinct = x.iter().any(|value| *value != x[0]);
    distinct && (0..rows).all(|row| (0..columns).all(|column| x[row * columns + column] == y[column * rows + row]))
}
