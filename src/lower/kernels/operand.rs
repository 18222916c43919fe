//! Views: how the matrix-product kernels read their operands without copying them.

use serde::{Deserialize, Serialize};

use super::Window;

/// A convolution's sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ConvGeometry {
    /// Input channels of all groups.
    pub channels: usize,
    /// Output channels of all groups.
    pub filters: usize,
    /// Number of groups.
    pub groups: usize,
    /// The window, and what it slides over.
    pub window: Window,
}

impl ConvGeometry {
    /// Input channels of a group.
    pub fn group_channels(&self) -> usize {
        self.channels / self.groups
    }

    /// Output channels of a group.
    pub fn group_filters(&self) -> usize {
        self.filters / self.groups
    }

    /// Elements of a patch: input channels of a group times kernel elements.
    pub fn patch(&self) -> usize {
        self.group_channels() * self.window.taps()
    }

    /// Output positions.
    pub fn positions(&self) -> usize {
        self.window.positions()
    }
}

/// How element (`row`, `col`) of matrix `g` of record `n` is found in a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum View {
    /// `buffer[n·record + g·group + row·row_stride + col·col_stride]`; `record` is 0 for a shared value.
    Strided {
        /// Elements between records.
        record: usize,
        /// Elements between groups.
        group: usize,
        /// Elements between rows.
        row: usize,
        /// Elements between columns.
        col: usize,
    },
    /// Patches of a convolution's input `x[n, C, …]`: row `(c, k…)` within group `g`, column `(o…)` is
    /// `x[n, g·C/G + c, o·stride + k·dilation − pad, …]` along every axis, or 0 outside.
    Patches {
        /// The convolution.
        conv: ConvGeometry,
        /// Elements between records, 0 for a shared input.
        record: usize,
    },
    /// [`View::Patches`] with rows and columns exchanged.
    PatchesTransposed {
        /// The convolution.
        conv: ConvGeometry,
        /// Elements between records, 0 for a shared input.
        record: usize,
    },
    /// What a convolution's input gradient reads of the cotangent `dy[n, O, …]`: row `(o, k…)` within group `g`, column
    /// `(i…)` is `dy[n, g·O/G + o, p…]` where `p·stride + k·dilation − pad = i` along every axis, or 0 where no such output
    /// position exists.
    CotangentPatches {
        /// The convolution.
        conv: ConvGeometry,
        /// Elements between records, 0 for a shared cotangent.
        record: usize,
    },
    /// A convolution's weight `w[O, C/G, K…]` for the input gradient: row `c`, column `(o, k…)` of group `g` is
    /// `w[g·O/G + o, c, k…]`.
    WeightTransposed {
        /// The convolution.
        conv: ConvGeometry,
    },
}

/// The base-2 logarithm of a stride, or 32 for those that have none.
fn shift(stride: usize) -> usize {
    if stride.is_power_of_two() { stride.ilog2() as usize } else { 32 }
}

impl View {
    /// The view with rows and columns exchanged, where there is one.
    pub fn transposed(self) -> Option<View> {
        match self {
            View::Strided { record, group, row, col } => Some(View::Strided { record, group, row: col, col: row }),
            View::Patches { conv, record } => Some(View::PatchesTransposed { conv, record }),
            View::PatchesTransposed { conv, record } => Some(View::Patches { conv, record }),
            View::CotangentPatches { .. } | View::WeightTransposed { .. } => None,
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
        super::words(&[&strides[..], &sizes, &shifts].concat())
    }
}
