//! Views as shaders know them: a kind, a constant, and the words of a uniform block.

use super::{Specialise, words};
use crate::lower::kernels::{ConvGeometry, View, Window};

/// A view as `shaders/shared/view.wgsl` reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewWords {
    /// The constant that stands for the variant.
    pub kind: &'static str,
    /// The words of the `View` struct.
    pub words: Vec<u32>,
    /// Whether strides are divided by, and all of them are powers of two.
    shifts: bool,
}

/// Sets the constants of a template with `shaders/shared/view.wgsl` that stand for its views.
pub fn specialise_views<V: Into<ViewWords>>(
    template: &mut Specialise,
    views: impl IntoIterator<Item = (&'static str, V)>,
) {
    let mut shifts = true;
    for (name, view) in views {
        let view: ViewWords = view.into();
        template.constant(name, view.kind);
        shifts &= view.shifts;
    }
    template.constant("SHIFTS", shifts);
}

impl From<&ViewWords> for ViewWords {
    fn from(view: &ViewWords) -> ViewWords {
        view.clone()
    }
}

impl From<&View> for ViewWords {
    fn from(view: &View) -> ViewWords {
        let (strides, conv) = match *view {
            View::Strided { record, group, row, col } => ([record, group, row, col], None),
            View::Patches { conv, record } | View::PatchesTransposed { conv, record } => {
                ([record, conv.group_channels() * conv.window.elements(), 0, 0], Some(conv))
            }
            View::CotangentPatches { conv, record } => {
                ([record, conv.group_filters() * conv.positions(), 0, 0], Some(conv))
            }
            View::WeightTransposed { conv } => ([0, conv.group_filters() * conv.patch(), 0, 0], Some(conv)),
        };
        match conv {
            Some(conv) => ViewWords::of(view.constant(), strides, &conv),
            None => ViewWords { kind: view.constant(), words: words(&[&strides[..], &[0; 24]].concat()), shifts: true },
        }
    }
}

impl ViewWords {
    /// The view as a constant.
    pub fn literal(&self) -> String {
        let words: Vec<String> = self.words.iter().map(|word| format!("{word}u")).collect();
        format!("View({})", words.join(", "))
    }

    /// Of a convolution, whose groups' sizes may be other than those that its strides are of.
    pub fn of(kind: &'static str, strides: [usize; 4], conv: &ConvGeometry) -> ViewWords {
        let w = conv.window;
        let sizes = [conv.group_channels(), conv.group_filters(), w.taps()];
        let triples = [w.input, w.output, w.kernel, w.stride, w.dilation, w.pad, w.stride.map(shift)];
        let words = words(&[&strides[..], &sizes, triples.as_flattened()].concat());
        ViewWords { kind, words, shifts: w.stride.iter().all(|stride| stride.is_power_of_two()) }
    }
}

impl View {
    /// The constant of `shaders/shared/view.wgsl` that stands for the variant.
    pub fn constant(&self) -> &'static str {
        match self {
            View::Patches { conv, .. } if conv.window.is_deep() => "DEEP_PATCHES",
            View::PatchesTransposed { conv, .. } if conv.window.is_deep() => "DEEP_PATCHES_TRANSPOSED",
            View::CotangentPatches { conv, .. } if conv.window.is_deep() => "DEEP_COTANGENT_PATCHES",
            View::Patches { conv, .. } if is_whole(&conv.window) => "WHOLE_PATCHES",
            View::PatchesTransposed { conv, .. } if is_whole(&conv.window) => "WHOLE_PATCHES_TRANSPOSED",
            View::Strided { .. } => "STRIDED",
            View::Patches { .. } => "PATCHES",
            View::PatchesTransposed { .. } => "PATCHES_TRANSPOSED",
            View::CotangentPatches { .. } => "COTANGENT_PATCHES",
            View::WeightTransposed { .. } => "WEIGHT_TRANSPOSED",
        }
    }

    /// The words of the `View` struct of `shaders/shared/view.wgsl`.
    pub fn words(&self) -> Vec<u32> {
        ViewWords::from(self).words
    }
}

/// Whether no position of a window reaches beyond the input.
fn is_whole(w: &Window) -> bool {
    let last = |i: usize| (w.output[i] - 1) * w.stride[i] + (w.kernel[i] - 1) * w.dilation[i];
    (0..3).all(|i| w.pad[i] == 0 && last(i) < w.input[i])
}

/// The base-2 logarithm of a stride, or 0 for those that have none.
fn shift(stride: usize) -> usize {
    if stride.is_power_of_two() { stride.ilog2() as usize } else { 0 }
}
