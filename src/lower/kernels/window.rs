//! Windows that slide over the spatial axes of an image: what convolutions and pools have in common.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// A window over one to three spatial axes: depth, height, width. Fewer axes are the last of them, and what comes before has
/// size 1, so that kernels know three.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Window {
    /// Number of axes, 1 to 3.
    pub rank: usize,
    /// Elements of the input.
    pub input: [usize; 3],
    /// Positions of the window.
    pub output: [usize; 3],
    /// Elements of the window.
    pub kernel: [usize; 3],
    /// Elements between neighbouring positions.
    pub stride: [usize; 3],
    /// Elements between neighbouring elements of the window.
    pub dilation: [usize; 3],
    /// Padding before the first element.
    pub pad: [usize; 3],
    /// Padding after the last element, as the model declares it.
    pub pad_end: [usize; 3],
}

impl Window {
    /// A window of one element over an image of one, of `rank` axes.
    pub const fn point(rank: usize) -> Window {
        let (ones, none) = ([1; 3], [0; 3]);
        Window { rank, input: ones, output: ones, kernel: ones, stride: ones, dilation: ones, pad: none, pad_end: none }
    }

    /// The axes that there are.
    pub fn axes(&self) -> Range<usize> {
        3usize.saturating_sub(self.rank)..3
    }

    /// Dims of an image of so many channels and these sizes, without axes that are not there.
    pub fn dims(&self, channels: usize, sizes: [usize; 3]) -> Vec<usize> {
        [channels].into_iter().chain(sizes[self.axes()].iter().copied()).collect()
    }

    /// Elements of a channel of the input.
    pub fn elements(&self) -> usize {
        self.input.iter().product()
    }

    /// Positions of the window.
    pub fn positions(&self) -> usize {
        self.output.iter().product()
    }

    /// Elements of the window.
    pub fn taps(&self) -> usize {
        self.kernel.iter().product()
    }

    /// Whether each position is the element of the same number, and no other.
    pub fn is_pointwise(&self) -> bool {
        self.kernel == [1; 3] && self.stride == [1; 3] && self.pad == [0; 3] && self.input == self.output
    }

    /// Whether there is a depth to walk along.
    pub fn is_deep(&self) -> bool {
        self.rank > 2
    }

    /// Sizes along the axes that there are: `3×3`.
    pub fn text(&self, sizes: [usize; 3]) -> String {
        sizes[self.axes()].iter().map(usize::to_string).collect::<Vec<_>>().join("×")
    }
}
