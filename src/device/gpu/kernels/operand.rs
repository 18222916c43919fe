//! Views as the words of their uniform block.

use super::{Specialise, words};
use crate::lower::kernels::{ConvGeometry, View};

/// Sets the constants of a template with `shaders/shared/view.wgsl` that stand for its views.
pub fn specialise_views<'v>(template: &mut Specialise, views: impl IntoIterator<Item = (&'static str, &'v View)>) {
    let mut shifts = true;
    for (name, view) in views {
        template.constant(name, view.constant());
        shifts &= view.conv().is_none_or(|conv| conv.window.stride.iter().all(|stride| stride.is_power_of_two()));
    }
    template.constant("SHIFTS", shifts);
}

impl View {
    fn conv(&self) -> Option<&ConvGeometry> {
        match self {
            View::Strided { .. } => None,
            View::Patches { conv, .. }
            | View::PatchesTransposed { conv, .. }
            | View::CotangentPatches { conv, .. }
            | View::WeightTransposed { conv } => Some(conv),
        }
    }

    /// The constant of `shaders/shared/view.wgsl` that stands for the variant.
    pub fn constant(&self) -> &'static str {
        match self {
            View::Patches { conv, .. } if conv.window.is_deep() => "DEEP_PATCHES",
            View::PatchesTransposed { conv, .. } if conv.window.is_deep() => "DEEP_PATCHES_TRANSPOSED",
            View::CotangentPatches { conv, .. } if conv.window.is_deep() => "DEEP_COTANGENT_PATCHES",
            View::Strided { .. } => "STRIDED",
            View::Patches { .. } => "PATCHES",
            View::PatchesTransposed { .. } => "PATCHES_TRANSPOSED",
            View::CotangentPatches { .. } => "COTANGENT_PATCHES",
            View::WeightTransposed { .. } => "WEIGHT_TRANSPOSED",
        }
    }

    /// The words of the `View` struct of `shaders/shared/view.wgsl`.
    pub fn words(&self) -> Vec<u32> {
        let (strides, conv) = match *self {
            View::Strided { record, group, row, col } => ([record, group, row, col], None),
            View::Patches { conv, record } | View::PatchesTransposed { conv, record } => {
                ([record, conv.group_channels() * conv.window.elements(), 0, 0], Some(conv))
            }
            View::CotangentPatches { conv, record } => {
                ([record, conv.group_filters() * conv.positions(), 0, 0], Some(conv))
            }
            View::WeightTransposed { conv } => ([0, conv.group_filters() * conv.patch(), 0, 0], Some(conv)),
        };
        let sizes = conv.map_or([0; 21], |c| {
            let w = c.window;
            let triples = [w.input, w.output, w.kernel, w.stride, w.dilation, w.pad];
            let mut sizes = [0; 21];
            sizes[..3].copy_from_slice(&[c.group_channels(), c.group_filters(), w.taps()]);
            sizes[3..].copy_from_slice(triples.as_flattened());
            sizes
        });
        let shifts = conv.map_or([0; 3], |c| c.window.stride.map(shift));
        words(&[&strides[..], &sizes, &shifts].concat())
    }
}

/// The base-2 logarithm of a stride, or 0 for those that have none.
fn shift(stride: usize) -> usize {
    if stride.is_power_of_two() { stride.ilog2() as usize } else { 0 }
}
