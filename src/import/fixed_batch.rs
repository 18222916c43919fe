//! The batch among the constant sizes of a file that was exported for a fixed number of records.

use super::Import;
use super::axes::{Axes, Factor};
use crate::onnx::{Dim, OnnxNode};

/// The dims of a reshaped value with the batch among them, where a file of fixed batch has its size in its place.
///
/// The batch keeps its place in row-major order: as many elements of a record as there are before it in `axes` are before
/// it in the result. Several axes may be that place where sizes are 1; any of them gives the same value for each record,
/// and one of the batch's own size is taken first.
pub(super) fn freed(cx: &Import<'_>, node: &OnnxNode, axes: &Axes, dims: Vec<Dim>) -> Vec<Dim> {
    let (Some(batch), Some(from)) = (cx.fixed_batch(), axes.batch_axis()) else { return dims };
    let size = |dim: &Dim| if let Dim::Known(size) = dim { *size } else { 0 };
    let sizes: Vec<usize> = dims.iter().map(size).collect();
    let factors = axes.flatten();
    let before = factors.factors().iter().map_while(|f| if let Factor::Size(n) = f { Some(*n) } else { None });
    let before = product(&before.collect::<Vec<_>>());
    let holds = |at: usize| {
        let outer = product(&sizes[..at]);
        let fits = outer > 0 && before.is_multiple_of(outer) && sizes[at] > 0 && sizes[at].is_multiple_of(batch);
        fits && (sizes[at] / batch).is_multiple_of(before / outer)
    };
    let outermost = |at: usize| holds(at) && product(&sizes[..at]) == before;
    let own = |at: usize| sizes[at] == batch && outermost(at);
    let stays = kept_axis(cx, node, from, sizes.len()).filter(|&at| at < sizes.len() && own(at));
    let inner = 0..sizes.len().saturating_sub(1);
    // The last axis holds features more often than records.
    let place = stays
        .or_else(|| (0..sizes.len()).find(|&at| own(at)))
        .or_else(|| inner.clone().find(|&at| outermost(at)))
        .or_else(|| inner.clone().find(|&at| holds(at)))
        .or_else(|| (0..sizes.len()).find(|&at| holds(at)));
    let mut dims = dims;
    if let Some(at) = place {
        dims[at] = Dim::Batch(sizes[at] / batch);
    }
    dims
}

/// Where axis `from` of the operand of a Squeeze or an Unsqueeze is in its result of rank `rank`.
fn kept_axis(cx: &Import<'_>, node: &OnnxNode, from: usize, rank: usize) -> Option<usize> {
    let listed = node.ints("axes").ok().flatten().or_else(|| cx.ints(node, 1).ok().flatten())?;
    let operand = cx.input_dims(node, 0)?.len();
    let at = |axis: i64, rank: usize| usize::try_from(if axis < 0 { axis + rank as i64 } else { axis }).ok();
    match node.op_type.as_str() {
        "Unsqueeze" => {
            let new: Vec<usize> = listed.iter().filter_map(|&axis| at(axis, rank)).collect();
            (0..rank).filter(|axis| !new.contains(axis)).nth(from)
        }
        "Squeeze" => {
            let gone: Vec<usize> = listed.iter().filter_map(|&axis| at(axis, operand)).collect();
            (!gone.contains(&from)).then(|| (0..from).filter(|axis| !gone.contains(axis)).count())
        }
        _ => None,
    }
}

fn product(sizes: &[usize]) -> usize {
    sizes.iter().fold(1, |product: usize, &size| product.saturating_mul(size))
}
