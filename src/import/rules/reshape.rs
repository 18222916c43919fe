//! Other dims for the same elements: [Reshape](https://onnx.ai/onnx/operators/onnx__Reshape.html), Flatten, Squeeze,
//! Unsqueeze. The batch factor stays whole: it may be merged with others and cut off again.

use crate::import::axes::{Axes, Axis, Factor};
use crate::import::fixed_batch::freed;
use crate::import::{Import, Refusal, Rule, Value};
use crate::onnx::{Dim, OnnxNode};

pub(super) const RULES: &[(&str, Rule)] =
    &[("Reshape", reshape), ("Flatten", reshape), ("Squeeze", reshape), ("Unsqueeze", reshape)];

fn reshape(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    const HELP: &str = "keep the batch axis whole: reshape each record to its own shape";
    let x = cx.value(node, 0)?;
    let dims = match cx.output_dims(node, 0) {
        Ok(dims) => dims,
        Err(_) if x.axes.batch_axis().is_some() && cx.symbolic(node, 1).is_some() => {
            return Err(cx.mixes(node, format!("it cuts the batch axis of {} into pieces", x.axes), HELP));
        }
        Err(refusal) => return Err(refusal),
    };
    let dims = freed(cx, node, &x.axes, dims);
    let Some(axes) = recut(&x.axes, &dims) else {
        let dims: Vec<String> = dims.iter().map(Dim::to_string).collect();
        let why = format!("{} becomes [{}]", x.axes, dims.join(", "));
        if x.axes.batch_axis().is_none() {
            return Err(cx.invalid(node, why));
        }
        return Err(cx.mixes(node, format!("{why}, which cuts the batch into pieces"), HELP));
    };
    Ok(vec![cx.relabel(node, x.node, axes)?])
}

/// The factors of `axes`, in row-major order, cut anew into axes of these dims; `None` if a cut would go through the
/// batch factor or the sizes do not match.
fn recut(axes: &Axes, dims: &[Dim]) -> Option<Axes> {
    let flat = axes.flatten();
    let mut rest = flat.factors().iter().copied();
    let mut front = rest.next();
    let mut out = Vec::new();
    for &dim in dims {
        let (mut size, mut batch) = match dim {
            Dim::Known(size) => (size, false),
            Dim::Batch(size) => (size, true),
        };
        let mut factors = Vec::new();
        while size != 1 || batch {
            match front? {
                Factor::Batch if batch => {
                    batch = false;
                    factors.push(Factor::Batch);
                    front = rest.next();
                }
                Factor::Size(n) if n > 1 && size > 0 && size.is_multiple_of(n) => {
                    size /= n;
                    factors.push(Factor::Size(n));
                    front = rest.next();
                }
                Factor::Size(n) if size > 1 && n.is_multiple_of(size) => {
                    factors.push(Factor::Size(size));
                    front = Some(Factor::Size(n / size));
                    size = 1;
                }
                _ => return None,
            }
        }
        out.push(Axis::of(&factors));
    }
    front.is_none().then_some(Axes(out))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Factor::{Batch, Size};

    fn axes(axes: &[&[Factor]]) -> Axes {
        Axes(axes.iter().map(|f| Axis::of(f)).collect())
    }

    fn recut_text(from: &[&[Factor]], to: &[Dim]) -> Option<String> {
        recut(&axes(from), to).map(|a| a.to_string())
    }

    #[test]
    fn a_reshape_merges_the_batch_and_cuts_it_off_again() {
        let cut = recut_text(&[&[Size(5)], &[Batch], &[Size(6)]], &[Dim::Known(5), Dim::Batch(2), Dim::Known(3)]);
        assert_eq!(cut.as_deref(), Some("[5, N·2, 3]"));
        let cut = recut_text(&[&[Size(5)], &[Batch], &[Size(6)]], &[Dim::Batch(5), Dim::Known(6)]);
        assert_eq!(cut.as_deref(), Some("[5·N, 6]"));
        let cut = recut_text(&[&[Size(5), Batch], &[Size(6)]], &[Dim::Known(5), Dim::Batch(1), Dim::Known(6)]);
        assert_eq!(cut.as_deref(), Some("[5, N, 6]"));
        let cut = recut_text(&[&[Batch], &[Size(6)], &[Size(4)]], &[Dim::Batch(1), Dim::Known(8), Dim::Known(3)]);
        assert_eq!(cut.as_deref(), Some("[N, 8, 3]"));
        let cut = recut_text(&[&[Batch], &[Size(1)]], &[Dim::Known(1), Dim::Batch(1)]);
        assert_eq!(cut.as_deref(), Some("[1, N]"));
    }

    #[test]
    fn a_reshape_that_cuts_the_batch_is_refused() {
        assert_eq!(recut_text(&[&[Batch], &[Size(2)]], &[Dim::Known(2), Dim::Batch(1)]), None);
        assert_eq!(recut_text(&[&[Size(2)], &[Batch], &[Size(3)]], &[Dim::Batch(1), Dim::Known(6)]), None);
        assert_eq!(recut_text(&[&[Size(4)], &[Batch]], &[Dim::Known(6), Dim::Batch(1)]), None);
        assert_eq!(recut_text(&[&[Batch], &[Size(4)]], &[Dim::Batch(1), Dim::Known(2)]), None);
        assert_eq!(recut_text(&[&[Size(0)], &[Batch]], &[Dim::Known(0), Dim::Batch(1)]), None);
    }
}
