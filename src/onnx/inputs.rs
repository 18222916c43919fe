//! The inputs of a graph and their batch axis.
//!
//! A symbolic leading axis is the batch axis, whatever its symbol is called (exporters write `batch_0`, `batch_1`, … for
//! one batch). A symbol on another axis is the batch axis of an input that has no other symbol, if it is the leading
//! symbol of another input, or the only symbol of all. Any further symbol is an error. A graph without symbols has no
//! batch axis.

use std::collections::{BTreeMap, BTreeSet};

use super::error::OnnxError;
use super::proto::{Dimension, DimensionValue, GraphProto, TypeValue, ValueInfoProto};
use super::source::{Dim, ValueInfo};
use super::tensor::{Elem, Tensor};

/// The inputs that no initialiser provides, with their symbols resolved.
///
/// # Errors
///
/// [`OnnxError::Input`] for inputs that are no tensors or have no declared shape, [`OnnxError::ElementType`] and
/// [`OnnxError::SymbolicAxes`], each naming all of its kind.
pub(super) fn inputs(
    graph: &GraphProto,
    initializers: &BTreeMap<String, Tensor>,
    notes: &mut Vec<String>,
) -> Result<Vec<ValueInfo>, OnnxError> {
    let fed = || graph.input.iter().filter(|input| !initializers.contains_key(input.name()));
    let (mut declared, mut wrong, mut types) = (Vec::new(), Vec::new(), Vec::new());
    let mut seen = BTreeSet::new();
    for input in fed() {
        if !seen.insert(input.name()) {
            wrong.push(format!("`{}`: there are two inputs of this name", input.name()));
        }
        match read(input) {
            Ok(found) if matches!(found.dtype, Elem::Other(_)) => {
                types.push(format!("`{}`: {}", found.name, found.dtype))
            }
            Ok(found) => declared.push(found),
            Err(problem) => wrong.push(format!("`{}`: {problem}", input.name())),
        }
    }
    if !wrong.is_empty() {
        return Err(OnnxError::Input { inputs: wrong });
    }
    if !types.is_empty() {
        return Err(OnnxError::ElementType { values: types });
    }
    resolve(&declared, notes)
}

/// What the file declares of the results of nodes that are not ONNX's own, with the batch on the axes that have the symbol of
/// an input's. One with another symbol is left out.
pub(super) fn foreign(graph: &GraphProto, inputs: &[ValueInfo]) -> Vec<ValueInfo> {
    let own = |domain: &str| matches!(domain, "" | "ai.onnx");
    let nodes = graph.node.iter().filter(|node| !own(node.domain()));
    let wanted: BTreeSet<&str> = nodes.flat_map(|node| &node.output).map(String::as_str).collect();
    let batch: BTreeSet<String> = graph
        .input
        .iter()
        .filter_map(|input| Some((read(input).ok()?, inputs.iter().find(|info| info.name == input.name())?)))
        .flat_map(|(declared, info)| declared.axes.into_iter().zip(&info.dims))
        .filter_map(|(axis, dim)| match (axis, dim) {
            (Axis::Symbol(symbol), Dim::Batch(1)) => symbol,
            _ => None,
        })
        .collect();
    let values = graph.value_info.iter().chain(&graph.output).filter(|value| wanted.contains(value.name()));
    let resolved = values.filter_map(|value| read(value).ok()).filter_map(|value| {
        let dim = |axis: &Axis| match axis {
            Axis::Known(size) => Some(Dim::Known(*size)),
            Axis::Symbol(symbol) => symbol.as_ref().filter(|symbol| batch.contains(*symbol)).map(|_| Dim::Batch(1)),
        };
        let dims = value.axes.iter().map(dim).collect::<Option<_>>()?;
        Some(ValueInfo { name: value.name, dtype: value.dtype, dims })
    });
    resolved.collect()
}

/// An axis as the file declares it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Axis {
    Known(usize),
    /// A symbol; without a name, an unknown size.
    Symbol(Option<String>),
}

/// The axes of the value `name` as the file declares them.
pub(super) fn axes(graph: &GraphProto, name: &str) -> Option<Vec<Axis>> {
    let declared = graph.value_info.iter().chain(&graph.output).find(|value| value.name() == name)?;
    read(declared).ok().map(|declared| declared.axes)
}

struct Declared {
    name: String,
    dtype: Elem,
    axes: Vec<Axis>,
}

impl Declared {
    fn symbols(&self) -> impl Iterator<Item = (usize, Option<&str>)> {
        self.axes.iter().enumerate().filter_map(|(axis, size)| match size {
            Axis::Symbol(symbol) => Some((axis, symbol.as_deref())),
            Axis::Known(_) => None,
        })
    }
}

fn read(input: &ValueInfoProto) -> Result<Declared, &'static str> {
    let Some(TypeValue::Tensor(tensor)) = input.r#type.as_ref().and_then(|t| t.value.as_ref()) else {
        return Err("it is not a tensor");
    };
    let shape = tensor.shape.as_ref().ok_or("it has no declared shape")?;
    let axis = |dimension: &Dimension| match &dimension.value {
        Some(DimensionValue::Value(size)) => usize::try_from(*size).map_or(Axis::Symbol(None), Axis::Known),
        Some(DimensionValue::Param(symbol)) if !symbol.is_empty() => Axis::Symbol(Some(symbol.clone())),
        _ => Axis::Symbol(None),
    };
    Ok(Declared {
        name: input.name().to_owned(),
        dtype: Elem::from_onnx(tensor.elem_type()),
        axes: shape.dim.iter().map(axis).collect(),
    })
}

fn resolve(inputs: &[Declared], notes: &mut Vec<String>) -> Result<Vec<ValueInfo>, OnnxError> {
    let symbols = || inputs.iter().flat_map(Declared::symbols);
    let leading: BTreeSet<Option<&str>> = symbols().filter(|&(axis, _)| axis == 0).map(|(_, symbol)| symbol).collect();
    let all: BTreeSet<Option<&str>> = symbols().map(|(_, symbol)| symbol).collect();
    let only = if leading.is_empty() && all.len() == 1 { all.first().copied().flatten() } else { None };
    let mut surplus = Vec::new();
    let mut resolved = Vec::new();
    for input in inputs {
        let single = input.symbols().count() == 1;
        let mut dims = Vec::new();
        for (axis, size) in input.axes.iter().enumerate() {
            dims.push(match size {
                Axis::Known(size) => Dim::Known(*size),
                Axis::Symbol(_) if axis == 0 => Dim::Batch(1),
                Axis::Symbol(Some(symbol))
                    if single && (only == Some(symbol) || leading.contains(&Some(symbol.as_str()))) =>
                {
                    if only.is_some() {
                        notes.push(format!(
                            "axis {axis} of input `{}`, `{symbol}`, is taken as the batch axis",
                            input.name
                        ));
                    }
                    Dim::Batch(1)
                }
                Axis::Symbol(symbol) => {
                    // A symbol that is the batch's elsewhere cannot be fixed by its name.
                    let named = symbol.clone().filter(|symbol| !leading.contains(&Some(symbol.as_str())));
                    let flag = named.unwrap_or_else(|| format!("{}:{axis}", input.name));
                    let symbol = symbol.as_deref().unwrap_or("of unknown size");
                    surplus.push(format!("input `{}`, axis {axis}: {symbol} (--dim {flag}=SIZE)", input.name));
                    Dim::Batch(1)
                }
            });
        }
        resolved.push(ValueInfo { name: input.name.clone(), dtype: input.dtype, dims });
    }
    if !surplus.is_empty() {
        return Err(OnnxError::SymbolicAxes { axes: surplus });
    }
    let named: Vec<&str> = leading.iter().copied().flatten().collect();
    if named.len() > 1 {
        notes.push(format!("the leading axes {} are all taken as the batch axis", named.join(", ")));
    }
    Ok(resolved)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(name: &str, axes: &[&str]) -> Declared {
        let axis = |text: &&str| match text.parse() {
            Ok(size) => Axis::Known(size),
            Err(_) => Axis::Symbol((*text != "?").then(|| (*text).to_owned())),
        };
        Declared { name: name.to_owned(), dtype: Elem::F32, axes: axes.iter().map(axis).collect() }
    }

    fn shapes(inputs: &[(&str, &[&str])]) -> Result<Vec<String>, String> {
        let inputs: Vec<Declared> = inputs.iter().map(|(name, axes)| declared(name, axes)).collect();
        match resolve(&inputs, &mut Vec::new()) {
            Ok(inputs) => Ok(inputs
                .iter()
                .map(|input| input.dims.iter().map(Dim::to_string).collect::<Vec<_>>().join(","))
                .collect()),
            Err(OnnxError::SymbolicAxes { axes }) => Err(axes.join("; ")),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn leading_symbols_are_the_batch() {
        assert_eq!(shapes(&[("x", &["batch", "3"])]).unwrap(), ["N,3"]);
        assert_eq!(shapes(&[("x", &["?", "3"])]).unwrap(), ["N,3"]);
        assert_eq!(shapes(&[("x", &["batch_0", "3"]), ("y", &["batch_1"])]).unwrap(), ["N,3", "N"]);
        assert_eq!(shapes(&[("x", &["1", "3"])]).unwrap(), ["1,3"]);
        assert_eq!(shapes(&[("x", &["n", "3"]), ("mask", &["4", "4"])]).unwrap(), ["N,3", "4,4"]);
    }

    #[test]
    fn a_sequence_first_input_has_its_batch_on_another_axis() {
        assert_eq!(shapes(&[("x", &["n", "3"]), ("s", &["7", "n", "4"])]).unwrap(), ["N,3", "7,N,4"]);
        assert_eq!(shapes(&[("s", &["7", "n", "4"])]).unwrap(), ["7,N,4"]);
    }

    #[test]
    fn further_symbols_are_named_together() {
        assert_eq!(
            shapes(&[("ids", &["batch", "seq"]), ("mask", &["batch", "?"])]).unwrap_err(),
            "input `ids`, axis 1: seq (--dim seq=SIZE); input `mask`, axis 1: of unknown size (--dim mask:1=SIZE)"
        );
        assert_eq!(shapes(&[("x", &["n", "n"])]).unwrap_err(), "input `x`, axis 1: n (--dim x:1=SIZE)");
        assert_eq!(
            shapes(&[("x", &["n", "3"]), ("y", &["4", "m"])]).unwrap_err(),
            "input `y`, axis 1: m (--dim m=SIZE)"
        );
    }
}
