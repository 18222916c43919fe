//! Phases of a convolution's input gradient: with a stride, an input position meets only the elements of the kernel that
//! have its remainder, and each remainder is a dense product of its own.

use super::operand::ViewWords;
use crate::lower::kernels::{ConvGeometry, View, Window};

/// A part of the product `weight · cotangent`: the input positions of one remainder along each axis.
pub struct Phase {
    /// The elements of the kernel that they meet.
    pub weight: ViewWords,
    /// What they read of the cotangent.
    pub cotangent: ViewWords,
    /// How many they are.
    pub cols: usize,
    /// Terms of each sum.
    pub inner: usize,
    /// Where the first of them is in the image, and the steps to the next along depth, height and width.
    pub places: [usize; 4],
}

/// The phases of a product of these views, all of which together are the product; `None` where it has only one.
pub fn phases(a: &View, b: &View) -> Option<Vec<Phase>> {
    let (&View::WeightTransposed { .. }, &View::CotangentPatches { conv, record }) = (a, b) else { return None };
    let w = conv.window;
    // A dilated kernel meets a stride in other places.
    let dense = (0..3).all(|axis| w.stride[axis] == 1 || w.dilation[axis] == 1);
    let strides = w.stride.iter().product::<usize>();
    if strides == 1 || strides > MOST || !dense {
        return None;
    }
    let [d, h, width] = w.stride;
    let remainders = (0..d).flat_map(|d| (0..h).flat_map(move |h| (0..width).map(move |w| [d, h, w])));
    Some(remainders.filter_map(|remainder| phase(&conv, record, remainder)).collect())
}

/// The most phases: as many launches.
const MOST: usize = 64;

/// The phase of the input positions `i` for which `i + pad` has these remainders by the stride; `None` if there are none.
fn phase(conv: &ConvGeometry, record: usize, remainder: [usize; 3]) -> Option<Phase> {
    let w = conv.window;
    let first = [0, 1, 2].map(|i| (remainder[i] + w.pad[i] * (w.stride[i] - 1)) % w.stride[i]);
    let input = [0, 1, 2].map(|i| w.input[i].saturating_sub(first[i]).div_ceil(w.stride[i]));
    if input.contains(&0) {
        return None;
    }
    let kernel = [0, 1, 2].map(|i| w.kernel[i].saturating_sub(remainder[i]).div_ceil(w.stride[i]));
    // The position that a phase's first input position shares with the kernel's first element of the phase.
    let pad = [0, 1, 2].map(|i| (first[i] + w.pad[i] - remainder[i]) / w.stride[i]);
    let cotangent = Window { input, kernel, pad, stride: [1; 3], ..w };
    let weight = Window { input: w.kernel, kernel, pad: remainder, ..w };
    let deep = if w.is_deep() { "DEEP_COTANGENT_PATCHES" } else { "COTANGENT_PATCHES" };
    let strides = [record, conv.group_filters() * conv.positions(), 0, 0];
    let mut weight = ViewWords::of(
        "WEIGHT_PHASE",
        [0, conv.group_filters() * conv.patch(), 0, 0],
        &ConvGeometry { window: weight, ..*conv },
    );
    // A channel has all elements of the kernel, not those of the phase.
    weight.words[TAPS] = w.taps() as u32;
    let [_, height, width] = w.input;
    let steps = [w.stride[0] * height * width, w.stride[1] * width, w.stride[2]];
    Some(Phase {
        weight,
        cotangent: ViewWords::of(deep, strides, &ConvGeometry { window: cotangent, ..*conv }),
        cols: input.iter().product(),
        inner: conv.group_filters() * kernel.iter().product::<usize>(),
        places: [(first[0] * height + first[1]) * width + first[2], steps[0], steps[1], steps[2]],
    })
}

/// The word of a view that holds the elements of a kernel.
const TAPS: usize = 6;
