//! What the user has changed in a file as it is read: symbolic axes get a size, and [batch
//! normalisation](super::batch_norm) another form.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use super::batch_norm::Substitute;
use super::error::OnnxError;
use super::proto::{Dimension, DimensionValue, GraphProto, TensorShapeProto, TypeValue, ValueInfoProto};

/// A change to what a file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fix {
    /// Sizes for symbolic axes.
    Axes(AxisFixes),
    /// `batch-norm=group`, `instance` or `frozen`: another normalisation in the place of one over the batch.
    BatchNorm(Substitute),
}

impl FromStr for Fix {
    type Err = String;

    fn from_str(text: &str) -> Result<Fix, String> {
        match text.strip_prefix("batch-norm=") {
            Some(form) if form.parse::<u32>().is_err() => Ok(Fix::BatchNorm(form.parse()?)),
            _ => Ok(Fix::Axes(text.parse()?)),
        }
    }
}

/// A size for symbolic axes: `SYMBOL=SIZE` for every axis of that symbol, or `INPUT:AXIS=SIZE` for the one in that
/// position, whether it has a name or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AxisFix {
    /// The symbol, or the input and the axis.
    axes: String,
    size: usize,
}

impl FromStr for AxisFix {
    type Err = String;

    fn from_str(text: &str) -> Result<AxisFix, String> {
        let (axes, size) = text.rsplit_once('=').ok_or("give it as SYMBOL=SIZE or INPUT:AXIS=SIZE")?;
        match (axes, size.parse::<u32>()) {
            ("", _) => Err("the symbol, or the input and the axis, are missing before the `=`".to_owned()),
            (_, Ok(size @ 1..)) => Ok(AxisFix { axes: axes.to_owned(), size: size as usize }),
            _ if size.contains("..") => Err(format!(
                "`{size}` is a range, and a compiled model has one size of each axis: give the largest and pad shorter records \
                 in the data, with what the model does not heed, or compile once for each size"
            )),
            _ => Err(format!("`{size}` is no size of an axis: give a number from 1 on")),
        }
    }
}

/// Sizes for several axes, `SYMBOL=SIZE,INPUT:AXIS=SIZE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AxisFixes(pub Vec<AxisFix>);

impl FromStr for AxisFixes {
    type Err = String;

    fn from_str(text: &str) -> Result<AxisFixes, String> {
        // A symbol may hold commas, as in `max(a, b)=5`: only one behind a number ends it.
        let mut fixes = Vec::new();
        let mut start = 0;
        for (comma, _) in text.match_indices(',') {
            let (fix, is_number) = (&text[start..comma], |c: char| c.is_ascii_digit() || c == '.');
            if fix.rsplit_once('=').is_some_and(|(_, size)| !size.is_empty() && size.chars().all(is_number)) {
                fixes.push(fix.trim().parse()?);
                start = comma + 1;
            }
        }
        fixes.push(text[start..].trim().parse()?);
        Ok(AxisFixes(fixes))
    }
}

impl fmt::Display for AxisFix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.axes, self.size)
    }
}

/// An axis of an input: the input's position among the graph's, and the axis.
type Site = (usize, usize);

/// Gives the axes that `fixes` name their sizes, in the inputs and, where a symbol is gone from all of them, in the
/// declared shapes of every other value.
///
/// # Errors
///
/// [`OnnxError::Fixes`] with every fix that names no axis of an input, or one that has another size.
pub(super) fn apply(graph: &mut GraphProto, fixes: &[AxisFix]) -> Result<(), OnnxError> {
    let stored: BTreeSet<&str> = graph.initializer.iter().map(|tensor| tensor.name()).collect();
    let mut axes: BTreeMap<Site, Option<DimensionValue>> = BTreeMap::new();
    for (position, input) in graph.input.iter().enumerate().filter(|(_, input)| !stored.contains(input.name())) {
        for (axis, dimension) in shape(input).into_iter().flat_map(|shape| &shape.dim).enumerate() {
            axes.insert((position, axis), dimension.value.clone());
        }
    }
    let mut sizes: BTreeMap<Site, usize> = BTreeMap::new();
    let mut problems = Vec::new();
    for fix in fixes {
        let sites = match sites(graph, &axes, &fix.axes) {
            Ok(sites) => sites,
            Err(problem) => {
                problems.push(format!("`{fix}`: {problem}"));
                continue;
            }
        };
        for site in sites {
            let input = graph.input[site.0].name();
            let declared = match axes[&site] {
                Some(DimensionValue::Value(size)) => usize::try_from(size).ok(),
                _ => None,
            };
            let other = declared.or(sizes.get(&site).copied()).filter(|&size| size != fix.size);
            match other {
                Some(size) => problems.push(format!("`{fix}`: axis {} of input `{input}` has size {size}", site.1)),
                None => _ = sizes.insert(site, fix.size),
            }
        }
    }
    if !problems.is_empty() {
        return Err(OnnxError::Fixes { fixes: problems, symbols: symbols(&axes) });
    }
    let gone = gone(&axes, &sizes);
    for (&(position, axis), &size) in &sizes {
        if let Some(dimension) = shape_mut(&mut graph.input[position]).and_then(|shape| shape.dim.get_mut(axis)) {
            set(dimension, size);
        }
    }
    for value in graph.output.iter_mut().chain(&mut graph.value_info) {
        for dimension in shape_mut(value).into_iter().flat_map(|shape| &mut shape.dim) {
            if let Some(DimensionValue::Param(symbol)) = &dimension.value
                && let Some(&size) = gone.get(symbol)
            {
                set(dimension, size);
            }
        }
    }
    Ok(())
}

/// The axes that a fix names: those of a symbol, or else the one in a position.
fn sites(
    graph: &GraphProto,
    axes: &BTreeMap<Site, Option<DimensionValue>>,
    named: &str,
) -> Result<Vec<Site>, &'static str> {
    let is_named =
        |value: &Option<DimensionValue>| matches!(value, Some(DimensionValue::Param(symbol)) if symbol == named);
    let of_symbol: Vec<Site> = axes.iter().filter(|(_, value)| is_named(value)).map(|(&site, _)| site).collect();
    if !of_symbol.is_empty() {
        return Ok(of_symbol);
    }
    let (input, axis) = named.rsplit_once(':').ok_or("no axis of an input has this symbol")?;
    let axis: usize = axis.parse().map_err(|_| "no axis of an input has this symbol")?;
    let position = graph.input.iter().position(|found| found.name() == input).ok_or("there is no such input")?;
    match axes.contains_key(&(position, axis)) {
        true => Ok(vec![(position, axis)]),
        false => Err("the input has no such axis"),
    }
}

/// The symbols of the inputs.
fn symbols(axes: &BTreeMap<Site, Option<DimensionValue>>) -> Vec<String> {
    let symbols = axes.values().filter_map(|value| match value {
        Some(DimensionValue::Param(symbol)) if !symbol.is_empty() => Some(symbol.clone()),
        _ => None,
    });
    symbols.collect::<BTreeSet<_>>().into_iter().collect()
}

/// The symbols that no input keeps, and the one size that they got.
fn gone(axes: &BTreeMap<Site, Option<DimensionValue>>, sizes: &BTreeMap<Site, usize>) -> BTreeMap<String, usize> {
    let mut gone: BTreeMap<String, Option<usize>> = BTreeMap::new();
    for (site, value) in axes {
        let Some(DimensionValue::Param(symbol)) = value else { continue };
        let size = sizes.get(site).copied();
        let common = gone.entry(symbol.clone()).or_insert(size);
        *common = common.filter(|_| *common == size);
    }
    gone.into_iter().filter_map(|(symbol, size)| Some((symbol, size?))).collect()
}

fn set(dimension: &mut Dimension, size: usize) {
    dimension.value = i64::try_from(size).ok().map(DimensionValue::Value);
}

fn shape(value: &ValueInfoProto) -> Option<&TensorShapeProto> {
    match value.r#type.as_ref()?.value.as_ref()? {
        TypeValue::Tensor(tensor) => tensor.shape.as_ref(),
        _ => None,
    }
}

fn shape_mut(value: &mut ValueInfoProto) -> Option<&mut TensorShapeProto> {
    match value.r#type.as_mut()?.value.as_mut()? {
        TypeValue::Tensor(tensor) => tensor.shape.as_mut(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::proto::{TensorType, TypeProto};

    /// A value with these axes: sizes, symbols, or `?` for an axis without a name.
    fn value(name: &str, axes: &[&str]) -> ValueInfoProto {
        let dimension = |axis: &&str| Dimension {
            value: match axis.parse() {
                Ok(size) => Some(DimensionValue::Value(size)),
                Err(_) if *axis == "?" => None,
                Err(_) => Some(DimensionValue::Param((*axis).to_owned())),
            },
            ..Dimension::default()
        };
        let shape = TensorShapeProto { dim: axes.iter().map(dimension).collect() };
        let tensor = TensorType { elem_type: Some(1), shape: Some(shape) };
        let r#type = Some(TypeProto { value: Some(TypeValue::Tensor(tensor)), ..TypeProto::default() });
        ValueInfoProto { name: Some(name.to_owned()), r#type, ..ValueInfoProto::default() }
    }

    fn text(value: &ValueInfoProto) -> String {
        let dimension = |dimension: &Dimension| match &dimension.value {
            Some(DimensionValue::Value(size)) => size.to_string(),
            Some(DimensionValue::Param(symbol)) => symbol.clone(),
            None => "?".to_owned(),
        };
        shape(value).unwrap().dim.iter().map(dimension).collect::<Vec<_>>().join(",")
    }

    /// The axes of `ids`, `mask`, `x:0` and the output once `fixes` are applied.
    fn fixed(fixes: &[&str]) -> Result<[String; 4], Vec<String>> {
        let mut graph = GraphProto {
            input: vec![
                value("ids", &["batch", "seq"]),
                value("mask", &["batch", "seq", "?"]),
                value("x:0", &["n", "n"]),
            ],
            output: vec![value("y", &["batch", "seq", "n", "other"])],
            ..GraphProto::default()
        };
        let fixes: Vec<AxisFix> = fixes.iter().map(|fix| fix.parse().unwrap()).collect();
        match apply(&mut graph, &fixes) {
            Ok(()) => Ok([&graph.input[0], &graph.input[1], &graph.input[2], &graph.output[0]].map(text)),
            Err(OnnxError::Fixes { fixes, symbols }) => {
                assert_eq!(symbols, ["batch", "n", "seq"]);
                Err(fixes)
            }
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn a_symbol_is_fixed_wherever_it_stands() {
        assert_eq!(fixed(&[]).unwrap(), ["batch,seq", "batch,seq,?", "n,n", "batch,seq,n,other"]);
        assert_eq!(fixed(&["seq=32"]).unwrap(), ["batch,32", "batch,32,?", "n,n", "batch,32,n,other"]);
        assert_eq!(fixed(&["n=4"]).unwrap(), ["batch,seq", "batch,seq,?", "4,4", "batch,seq,4,other"]);
    }

    #[test]
    fn an_axis_is_fixed_by_its_position() {
        let found = fixed(&["mask:2=5", "seq=3", "x:0:1=4"]).unwrap();
        assert_eq!(found, ["batch,3", "batch,3,5", "n,4", "batch,3,n,other"]);
        // A symbol that some input keeps stays where the others have it.
        assert_eq!(fixed(&["ids:1=3"]).unwrap(), ["batch,3", "batch,seq,?", "n,n", "batch,seq,n,other"]);
        let both = fixed(&["ids:1=3", "mask:1=3"]).unwrap();
        assert_eq!(both, ["batch,3", "batch,3,?", "n,n", "batch,3,n,other"]);
        // Axes that turn out to have different sizes leave the output open.
        assert_eq!(fixed(&["ids:1=3", "mask:1=4"]).unwrap()[3], "batch,seq,n,other");
    }

    #[test]
    fn fixes_that_fit_no_axis_are_named_together() {
        let problems = fixed(&["len=3", "ids:2=3", "idx:1=3", "other=2", "seq=4", "ids:1=5", "seq=4"]).unwrap_err();
        assert_eq!(
            problems,
            [
                "`len=3`: no axis of an input has this symbol",
                "`ids:2=3`: the input has no such axis",
                "`idx:1=3`: there is no such input",
                "`other=2`: no axis of an input has this symbol",
                "`ids:1=5`: axis 1 of input `ids` has size 4",
            ]
        );
    }

    #[test]
    fn what_is_no_fix_is_said_to_be_none() {
        for text in ["seq", "=3", "seq=0", "seq=-1", "seq=many", "seq=4294967296", ""] {
            assert!(text.parse::<AxisFix>().is_err(), "{text}");
        }
        assert_eq!("a=b=3".parse::<AxisFix>().unwrap().to_string(), "a=b=3");
    }
}
