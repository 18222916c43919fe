//! What exporters do to parameters, as far as it can be seen in the file.

use std::collections::BTreeMap;

use super::decide::stands_for;
use super::evidence::{Declared, Evidence};
use super::{Parameter, SlotKind, is_anonymous, values};
use crate::onnx::exporter::Exporter;
use crate::onnx::flatten::without_turns;
use crate::onnx::node::OnnxNode;
use crate::onnx::source::Source;

/// Warnings about parameters that were merged, folded, deleted or untied, or that may be none, one sentence for each kind
/// and parameter. `doubtful` are trained, and the file cannot say whether they are parameters.
pub(super) fn find(source: &Source, evidence: &Evidence, parameters: &[Parameter], doubtful: &[String]) -> Vec<String> {
    let mut warnings = Vec::new();
    merged(source, evidence, parameters, &mut warnings);
    tied(source, parameters, &mut warnings);
    lost(source, evidence, parameters, &mut warnings);
    nameless(source, evidence, parameters, &mut warnings);
    overlooked(source, evidence, parameters, &mut warnings);
    untied(source, parameters, &mut warnings);
    without_bias(source, &mut warnings);
    not_finite(source, evidence, parameters, &mut warnings);
    if !doubtful.is_empty() {
        warnings.push(format!(
            "the file does not say whether {} are parameters or buffers: they are trained; keep buffers as they are with \
             --freeze NAME",
            quoted(doubtful)
        ));
    }
    warnings
}

fn quoted<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> String {
    names.into_iter().map(|name| format!("`{}`", name.as_ref())).collect::<Vec<_>>().join(", ")
}

/// For each initialiser, the other parameters of the module that it stands for: where a node's call has a parameter that
/// the file lacks and the node reads one that the call does not have, or where no call has it and its own module's calls
/// have one of another module's.
pub(super) fn aliases(source: &Source, evidence: &Evidence) -> BTreeMap<String, Vec<String>> {
    let mut aliases: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (argument, missing) in evidence.missing(source) {
        // What reads the parameters of a batch normalisation may be the convolution that it was folded into.
        let normalises = |node: &OnnxNode| node.aten.as_ref().is_some_and(|call| call.operator.contains("batch_norm"));
        let readers = source.nodes.iter().filter(|node| calls(node, argument) && !normalises(node));
        let mut stand_ins = readers.flat_map(|node| node.inputs.iter().map(move |input| (node, input)));
        let stands_in = |(node, input): &(&OnnxNode, &String)| {
            evidence.declared(input) == Some(Declared::Parameter)
                && !evidence.argument(input).is_some_and(|own| calls(node, own))
        };
        let (module, leaf) = missing.rsplit_once('.').unwrap_or(("", missing));
        let of_module = |node: &&OnnxNode| node.module == module && !module.is_empty();
        let called = source.nodes.iter().any(|node| calls(node, argument));
        let mut inside = source.nodes.iter().filter(of_module).flat_map(|node| &node.inputs);
        let other = |input: &&String| {
            let (owner, name) = input.rsplit_once('.').unwrap_or(("", input));
            owner != module && name == leaf && evidence.declared(input) == Some(Declared::Parameter)
        };
        let stand_in = stand_ins.find(stands_in).map(|(_, input)| input);
        if let Some(input) = stand_in.or_else(|| inside.find(other).filter(|_| !called)) {
            aliases.entry(input.clone()).or_default().push(missing.to_owned());
        }
    }
    aliases
}

fn calls(node: &OnnxNode, argument: &str) -> bool {
    node.aten.as_ref().is_some_and(|call| call.reads(argument))
}

fn constant(source: &Source, name: &str) -> bool {
    source.initializers[name].floats().is_some_and(|values| values.windows(2).all(|pair| pair[0] == pair[1]))
}

/// Initialisers with one value throughout that serve several biases or norms: exporters merge equal tensors, and
/// parameters are equal before they are trained.
fn merged(source: &Source, evidence: &Evidence, parameters: &[Parameter], warnings: &mut Vec<String>) {
    for parameter in parameters.iter().filter(|parameter| parameter.trainable && constant(source, &parameter.name)) {
        let nodes: BTreeMap<String, &str> = parameter
            .slots
            .iter()
            .filter(|slot| matches!(slot.kind, SlotKind::Bias | SlotKind::Operand))
            .map(|slot| (without_turns(&slot.node), slot.node.as_str()))
            .collect();
        let own = |node: &&str| {
            let call = source.node(node).zip(evidence.argument(&parameter.name));
            call.is_some_and(|(node, argument)| calls(node, argument))
        };
        if nodes.len() < 2 || nodes.values().all(own) {
            continue;
        }
        let nodes: Vec<&str> = nodes.into_values().collect();
        let also = match parameter.aliases.is_empty() {
            true => String::new(),
            false => format!(" (of the module: also {})", quoted(&parameter.aliases)),
        };
        warnings.push(format!(
            "`{}`{also} serves {} nodes ({}) and has one value throughout: the exporter may have merged parameters that \
             were equal before training, which would train as one; if they are separate, give them different values \
             before the export, or {}",
            parameter.name,
            nodes.len(),
            nodes.join(", "),
            source.exporter.keeping_parameters()
        ));
    }
}

/// Parameters that the module has under several names. Where they have one value throughout, they may only have been
/// equal: [`merged`] says so.
fn tied(source: &Source, parameters: &[Parameter], warnings: &mut Vec<String>) {
    for parameter in parameters.iter().filter(|p| !p.aliases.is_empty() && !constant(source, &p.name)) {
        warnings.push(format!(
            "{} and `{}` are one parameter of the module, tied, which the file has as `{}`",
            quoted(&parameter.aliases),
            parameter.name,
            parameter.name
        ));
    }
}

/// Parameters of the module that are nowhere in the file.
fn lost(source: &Source, evidence: &Evidence, parameters: &[Parameter], warnings: &mut Vec<String>) {
    let found = |name: &str| {
        parameters.iter().any(|parameter| {
            parameter.aliases.iter().any(|alias| alias == name)
                || stands_for(source, evidence, &parameter.name, &parameter.slots) == Some(name)
        })
    };
    let lost: Vec<&str> = evidence.missing(source).map(|(_, name)| name).filter(|name| !found(name)).collect();
    if !lost.is_empty() {
        warnings.push(format!(
            "the file lacks the module's parameters {}, which do not train: the exporter deletes biases that are all zero, \
             as they are in a fresh module, and folds others into their neighbours, a BatchNorm into a convolution say; {}",
            quoted(lost),
            source.exporter.keeping_parameters()
        ));
    }
}

/// Weights under a made-up name: the exporter computed with the module's own.
fn nameless(source: &Source, evidence: &Evidence, parameters: &[Parameter], warnings: &mut Vec<String>) {
    let nameless: Vec<String> = parameters
        .iter()
        .filter(|parameter| parameter.trainable && evidence.declared(&parameter.name).is_none())
        .filter_map(|parameter| match stands_for(source, evidence, &parameter.name, &parameter.slots) {
            Some(own) => Some(format!("`{}` (the module's `{own}`)", parameter.name)),
            None => is_anonymous(&parameter.name).then(|| format!("`{}`", parameter.name)),
        })
        .collect();
    if !nameless.is_empty() {
        warnings.push(format!(
            "the parameters {} have names that the exporter made up: it transposed, repacked or cut the module's own, and the \
             trained values come under these names; {}",
            nameless.join(", "),
            source.exporter.keeping_parameters()
        ));
    }
}

/// Nameless vectors that scale or shift the data and are not trained: the scale and bias of a norm end up so.
fn overlooked(source: &Source, evidence: &Evidence, parameters: &[Parameter], warnings: &mut Vec<String>) {
    let vector = |dims: &[usize]| dims.iter().filter(|&&size| size != 1).count() == 1;
    let names: Vec<&str> = parameters
        .iter()
        .filter(|parameter| !parameter.trainable && is_anonymous(&parameter.name) && vector(&parameter.dims))
        .filter(|parameter| parameter.slots.iter().any(|slot| slot.kind == SlotKind::Operand))
        .filter(|parameter| values::finite(&source.initializers[&parameter.name]))
        .map(|parameter| parameter.name.as_str())
        .collect();
    if !names.is_empty() && (!evidence.speaks() || evidence.missing(source).next().is_some()) {
        warnings.push(format!(
            "the vectors {} have names that the exporter made up and are not trained; they may be the folded scales and \
             biases of norms: train them with --train, or {}",
            quoted(names),
            source.exporter.keeping_parameters()
        ));
    }
}

/// Layers of a file of tf2onnx that add no bias: it deletes those that are all zero, as in a fresh model.
fn without_bias(source: &Source, warnings: &mut Vec<String>) {
    if source.exporter != Exporter::Tf2Onnx {
        return;
    }
    let weight = |node: &OnnxNode| node.input(1).is_some_and(|name| source.initializers.contains_key(name));
    let added = |node: &OnnxNode| {
        node.input(2).is_some()
            || source.nodes.iter().any(|reader| {
                reader.op_type == "Add" && reader.inputs.iter().any(|input| node.output(0) == Some(input.as_str()))
            })
    };
    let layers: Vec<&str> = source
        .nodes
        .iter()
        .filter(|node| matches!(node.op_type.as_str(), "MatMul" | "Gemm" | "Conv") && weight(node) && !added(node))
        .map(|node| node.name.as_str())
        .collect();
    if !layers.is_empty() {
        warnings.push(format!(
            "the layers {} add no bias: tf2onnx deletes biases that are all zero, as they are in a fresh model; if they \
             have one, give it other values before the export, small random ones say",
            quoted(layers)
        ));
    }
}

/// Declared parameters that hold something else than numbers, which are left alone.
fn not_finite(source: &Source, evidence: &Evidence, parameters: &[Parameter], warnings: &mut Vec<String>) {
    let declared = |name: &str| evidence.declared(name) == Some(Declared::Parameter);
    let broken: Vec<&str> = parameters
        .iter()
        .filter(|p| !p.trainable && declared(&p.name) && !values::finite(&source.initializers[&p.name]))
        .map(|parameter| parameter.name.as_str())
        .collect();
    if !broken.is_empty() {
        warnings.push(format!(
            "the parameters {} hold values that are not finite and are not trained: the module was not initialised, or \
             its training failed",
            quoted(broken)
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
                     that would train apart; {}",
                    other.name,
                    parameter.name,
                    source.exporter.keeping_parameters()
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
