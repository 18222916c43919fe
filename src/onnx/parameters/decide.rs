//! Whether an initialiser is trained when nobody says so.
//!
//! The first of these that applies decides:
//!
//! 1. What is empty, holds values that are not finite, or meets no data is constant.
//! 2. What the exporter declares: a parameter is trained, a buffer or a constant is not.
//! 3. In a file whose exporter declares its tensors, another one is of the exporter's making. It is trained where it
//!    stands for a parameter that the file lacks, by the call of the node that reads it, or is a weight by its slot.
//! 4. In other files a weight or a bias by its [slot](super::slots) is trained, except that a nameless scale or bias of a
//!    normalisation is one that the exporter put there to have none.
//! 5. Any other operand is trained if it has a name of its own and values that a parameter may have; a single number only
//!    in PyTorch's files, where constants have no names of their own. The file cannot say whether such an operand is a
//!    parameter or a buffer, unless its name ends as those of parameters do.

use super::evidence::{Declared, Evidence};
use super::slots::{Slot, SlotKind, describe};
use super::{is_anonymous, values};
use crate::onnx::exporter::Exporter;
use crate::onnx::lift::Lifted;
use crate::onnx::node::OnnxNode;
use crate::onnx::source::Source;
use crate::onnx::tensor::Tensor;

/// What is decided of an initialiser.
pub(super) struct Decision {
    pub trainable: bool,
    pub reason: String,
    /// Whether the file cannot say.
    pub doubtful: bool,
}

impl Decision {
    fn constant(why: impl std::fmt::Display) -> Decision {
        Decision { trainable: false, reason: format!("constant: {why}"), doubtful: false }
    }

    fn trained(slots: &[Slot]) -> Decision {
        Decision { trainable: true, reason: describe(slots), doubtful: false }
    }
}

/// Decides on the initialiser `name`, which meets the data at `slots`.
pub(super) fn decide(source: &Source, evidence: &Evidence, name: &str, slots: &[Slot]) -> Decision {
    let tensor = &source.initializers[name];
    if source.lifted.get(name) == Some(&Lifted::Literal) {
        return Decision::constant(format_args!("a Constant node beside weights that are none, {}", describe(slots)));
    }
    match evidence.declared(name) {
        _ if tensor.dims.contains(&0) => Decision::constant("it is empty"),
        _ if !values::finite(tensor) => Decision::constant("it holds values that are not finite, as masks do"),
        Some(Declared::Buffer) => Decision::constant("the exporter lists it as a buffer"),
        Some(Declared::Constant) => Decision::constant("the exporter lists it as a constant"),
        _ if slots.is_empty() => Decision::constant("it meets no data"),
        Some(Declared::Parameter) => Decision::trained(slots),
        None if evidence.speaks() => made_by_exporter(source, evidence, name, slots),
        None => by_use(source.exporter, name, tensor, slots),
    }
}

/// Whether `name` is surely no parameter, whatever it meets: a value that shape inference may compute with.
pub(super) fn is_constant(exporter: Exporter, evidence: &Evidence, name: &str, tensor: &Tensor) -> bool {
    match evidence.declared(name) {
        Some(Declared::Parameter) => !values::finite(tensor),
        Some(Declared::Buffer | Declared::Constant) => true,
        None if !values::finite(tensor) => true,
        None if tensor.len() != 1 => false,
        None => evidence.speaks() || is_anonymous(name) || (tensor.dims.is_empty() && !names_scalars(exporter)),
    }
}

/// A tensor that the module does not have: computed from its own, or a number in its code.
fn made_by_exporter(source: &Source, evidence: &Evidence, name: &str, slots: &[Slot]) -> Decision {
    if is_anonymous(name) && is_neutral(&source.initializers[name], slots) {
        return Decision::constant(format_args!("the exporter's way to scale or shift nothing, {}", describe(slots)));
    }
    if let Some(parameter) = stands_for(source, evidence, name, slots) {
        let mut decision = Decision::trained(slots);
        decision.reason = format!("it stands for `{parameter}`, {}", decision.reason);
        return decision;
    }
    let many = source.initializers[name].dims.len() > 1;
    match slots.iter().any(|slot| slot.kind == SlotKind::Weight) && many {
        true => Decision::trained(slots),
        false => Decision::constant(format_args!("no parameter of the module, {}", describe(slots))),
    }
}

/// The parameter of the module, not in the file under its own name, that `name` was made of: an argument of the call of a
/// node that reads it. Where the call has several such, the weights come before the biases.
pub(super) fn stands_for<'s>(
    source: &'s Source,
    evidence: &'s Evidence,
    name: &str,
    slots: &[Slot],
) -> Option<&'s str> {
    // A single number is one of the code, except as a slope.
    let slope = |slot: &Slot| slot.op_type == "PRelu";
    if is_looked_up(name) {
        let reads = |node: &OnnxNode, argument: &str, module: &str| {
            node.module == module || node.aten.as_ref().is_some_and(|call| call.reads(argument))
        };
        let left_out = |(argument, name): &(&str, &str)| {
            let module = name.rsplit_once('.').map_or("", |(module, _)| module);
            !source.nodes.iter().any(|node| reads(node, argument, module))
        };
        return evidence.missing(source).find(left_out).map(|(_, name)| name);
    }
    if !is_anonymous(name) || (source.initializers[name].len() == 1 && !slots.iter().any(slope)) {
        return None;
    }
    // The states that a recurrence begins with are values, never parameters of the call.
    let state =
        |slot: &&Slot| slot.kind == SlotKind::Operand && matches!(slot.op_type.as_str(), "LSTM" | "GRU" | "RNN");
    slots.iter().filter(|slot| !state(slot)).find_map(|slot| {
        let node = source.node(&slot.node)?;
        let reads = |argument: &str, name: &str| match &node.aten {
            Some(call) if !call.arguments.is_empty() => call.reads(argument),
            _ => name.rsplit_once('.').is_some_and(|(module, _)| module == node.module),
        };
        let mut lost = evidence.missing(source).filter(|(argument, name)| reads(argument, name)).map(|(_, name)| name);
        match slot.kind {
            SlotKind::Weight => lost.next(),
            _ if slot.op_type == "Mul" => lost.next(),
            _ => lost.last(),
        }
    })
}

/// Whether PyTorch's newer exporter names the rows so that a constant lookup takes from a table: it makes them of the table
/// and leaves that out.
fn is_looked_up(name: &str) -> bool {
    name.strip_prefix("embedding").is_some_and(|rest| {
        rest.is_empty()
            || rest.strip_prefix('_').is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    })
}

/// Whether it is the scale of ones or the shift of zeros that an instance normalisation has where the layer is another one,
/// a group normalisation say, whose own come after it.
fn is_neutral(tensor: &Tensor, slots: &[Slot]) -> bool {
    let all = |value: f32| tensor.floats().is_some_and(|values| values.iter().all(|&found| found == value));
    slots.iter().all(|slot| {
        slot.op_type == "InstanceNormalization"
            && ((slot.position == 1 && all(1.0)) || (slot.position == 2 && all(0.0)))
    })
}

/// Whether PyTorch's exporters name a tensor in the module's code so.
fn is_in_code(name: &str) -> bool {
    ["_tensor_constant", "lifted_tensor", "c_lifted_tensor"].iter().any(|prefix| name.starts_with(prefix))
}

/// Where the file says nothing.
fn by_use(exporter: Exporter, name: &str, tensor: &Tensor, slots: &[Slot]) -> Decision {
    let anonymous = is_anonymous(name);
    let firm = |slot: &&Slot| match slot.kind {
        SlotKind::Weight => !anonymous || tensor.dims.len() > 1,
        SlotKind::Bias => !(anonymous && (slot.op_type.ends_with("Normalization") || is_in_code(name))),
        SlotKind::Operand | SlotKind::Other => false,
    };
    if !tensor.dims.is_empty() && slots.iter().any(|slot| firm(&slot)) {
        return Decision::trained(slots);
    }
    if tensor.dims.is_empty() && (anonymous || !names_scalars(exporter)) {
        return Decision::constant(format_args!("a scalar, {}", describe(slots)));
    }
    if anonymous {
        return Decision::constant(format_args!("a nameless operand, {}", describe(slots)));
    }
    if !slots.iter().any(|slot| slot.kind != SlotKind::Other) {
        return Decision::constant(format_args!("no parameter's place, {}", describe(slots)));
    }
    if is_buffer_name(name) {
        return Decision::constant(format_args!("its name is a buffer's, {}", describe(slots)));
    }
    if let Some(why) = values::betray(tensor) {
        return Decision::constant(why);
    }
    Decision { doubtful: !is_parameter_name(name), ..Decision::trained(slots) }
}

/// Whether a number with a name of its own is one of the module's tensors: others write constants as nodes.
fn names_scalars(exporter: Exporter) -> bool {
    matches!(exporter, Exporter::TorchScript | Exporter::TorchExport)
}

/// The last part of a dotted name.
fn last_part(name: &str) -> &str {
    name.rsplit(['.', '/']).next().unwrap_or(name)
}

fn is_buffer_name(name: &str) -> bool {
    const BUFFERS: [&str; 9] = [
        "running_mean",
        "running_var",
        "num_batches_tracked",
        "inv_freq",
        "position_ids",
        "token_type_ids",
        "freqs_cis",
        "relative_position_index",
        "masked_bias",
    ];
    let last = last_part(name);
    BUFFERS.contains(&last) || last.ends_with("mask")
}

fn is_parameter_name(name: &str) -> bool {
    const PARAMETERS: [&str; 8] =
        ["weight", "bias", "gamma", "beta", "kernel", "embedding", "coefficient", "intercepts"];
    let last = last_part(name).trim_end_matches(|c: char| c.is_ascii_digit());
    PARAMETERS.iter().any(|ending| last.ends_with(ending))
}
