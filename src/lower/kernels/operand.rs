//! Views: how the matrix-product kernels read their operands without copying them.

use serde::{Deserialize, Serialize};

use super::contract::{reach, zero};
use super::{Binding, Window};
use crate::graph::product;
use crate::lower::program::Extent;

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
        self.group_channels().saturating_mul(self.window.taps())
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

impl View {
    /// The view of a value whose records are `record` elements apart.
    pub fn with_record(self, record: usize) -> View {
        match self {
            View::Strided { group, row, col, .. } => View::Strided { record, group, row, col },
            View::Patches { conv, .. } => View::Patches { conv, record },
            View::PatchesTransposed { conv, .. } => View::PatchesTransposed { conv, record },
            View::CotangentPatches { conv, .. } => View::CotangentPatches { conv, record },
            View::WeightTransposed { conv } => View::WeightTransposed { conv },
        }
    }

    /// The view with rows and columns exchanged, where there is one.
    pub fn transposed(self) -> Option<View> {
        match self {
            View::Strided { record, group, row, col } => Some(View::Strided { record, group, row: col, col: row }),
            View::Patches { conv, record } => Some(View::PatchesTransposed { conv, record }),
            View::PatchesTransposed { conv, record } => Some(View::Patches { conv, record }),
            View::CotangentPatches { .. } | View::WeightTransposed { .. } => None,
        }
    }
}

/// The most elements of an image with its padding.
const MAX_IMAGE: usize = 1 << 28;

impl ConvGeometry {
    /// Why no kernel takes these sizes, if none does.
    pub fn problem(&self) -> Option<String> {
        let ConvGeometry { channels, filters, groups, window } = self;
        if let Some(problem) = zero(&[("groups", *groups)]).or_else(|| window.problem()) {
            return Some(problem);
        }
        if channels % groups != 0 || filters % groups != 0 || channels.min(filters) < groups {
            return Some(format!("shares {channels} channels and {filters} filters among {groups} groups"));
        }
        let side = |i: usize| {
            let last = reach([(window.output[i], window.stride[i]), (window.kernel[i], window.dilation[i])]);
            last.max(window.input[i].saturating_add(window.pad[i])).saturating_add(window.stride[i])
        };
        let all = product(&[side(0), side(1), side(2)]);
        (all > MAX_IMAGE).then(|| format!("reaches over {all} elements of an image"))
    }
}

impl View {
    /// The length of the buffer that it reads `groups` matrices of `rows` by `cols` for each of `records` from.
    pub(super) fn len(&self, records: Extent, groups: usize, rows: Extent, cols: usize) -> Extent {
        let of_record = |record, sizes: &[usize]| records.strided(record, product(sizes));
        match *self {
            View::Strided { record, group, row, col } if rows.per_row == 0 => {
                records.strided(record, reach([(groups, group), (rows.fixed, row), (cols, col)]))
            }
            // The rows of the batch are rows of one matrix.
            View::Strided { group, row, col, .. } => rows.strided(row, reach([(groups, group), (cols, col)])),
            View::Patches { conv, record } | View::PatchesTransposed { conv, record } => {
                of_record(record, &[conv.channels, conv.window.elements()])
            }
            View::CotangentPatches { conv, record } => of_record(record, &[conv.filters, conv.positions()]),
            View::WeightTransposed { conv } => Extent::fixed(product(&[conv.filters, conv.patch()])),
        }
    }

    /// Whether neighbours along the rows, or along the columns, are the same element.
    pub(super) fn stands(&self, [rows, cols]: [bool; 2]) -> bool {
        matches!(*self, View::Strided { row, col, .. } if (!rows || row == 0) && (!cols || col == 0))
    }

    /// Why it cannot be read as `groups` matrices of `rows` by `cols`.
    pub(super) fn problem(&self, groups: usize, [rows, cols]: [usize; 2]) -> Option<String> {
        let (conv, sizes) = match self {
            View::Strided { .. } => return None,
            View::Patches { conv, .. }
            | View::PatchesTransposed { conv, .. }
            | View::CotangentPatches { conv, .. }
            | View::WeightTransposed { conv } => match conv.problem() {
                Some(problem) => return Some(problem),
                None => (conv, self.sizes(conv)),
            },
        };
        (groups != conv.groups || sizes != [rows, cols]).then(|| {
            format!("reads {groups} matrices of {rows} by {cols} as patches that are {} of {sizes:?}", conv.groups)
        })
    }

    /// Rows and columns of the matrices of a convolution.
    fn sizes(&self, conv: &ConvGeometry) -> [usize; 2] {
        let (filters, kernel) = (conv.group_filters(), conv.window.taps());
        match self {
            View::Strided { .. } => [0; 2],
            View::Patches { .. } => [conv.patch(), conv.positions()],
            View::PatchesTransposed { .. } => [conv.positions(), conv.patch()],
            View::CotangentPatches { .. } => [filters.saturating_mul(kernel), conv.window.elements()],
            View::WeightTransposed { .. } => [conv.group_channels(), filters.saturating_mul(kernel)],
        }
    }
}

/// The buffers of a kernel of outer products: `a` and `b`, whose rows are the items and whose columns the positions, then `y`.
pub(super) fn pair(views: [&View; 2], groups: usize, items: [usize; 2], steps: usize, y: Extent) -> Vec<Binding> {
    let read = |k: usize| views[k].len(Extent::rows(1), groups, Extent::fixed(items[k]), steps);
    vec![Binding::floats("a", read(0)), Binding::floats("b", read(1)), Binding::floats("y", y).written()]
}

/// What is wrong with the sizes of such a kernel.
pub(super) fn pair_problem(views: [&View; 2], groups: usize, items: [usize; 2], steps: usize) -> Option<String> {
    let sizes = [("groups", groups), ("rows", items[0]), ("columns", items[1]), ("positions", steps)];
    if steps > 1 && views.iter().all(|view| view.stands([false, true])) {
        return Some("sums the same product again".into());
    }
    zero(&sizes).or_else(|| (0..2).find_map(|k| views[k].problem(groups, [items[k], steps])))
}

/// Whether a product is long: each matrix of `rows` by `cols` that `steps` positions add up to is no larger than what it is made
/// of. To store such a gradient takes no more than its sides do. Where it is not stored, its norm and its share of the sum are
/// worked out in more bits than `f32` has, so that it does not matter how many positions there are and how much of them cancels.
pub fn is_long(rows: usize, cols: usize, steps: usize) -> bool {
    steps > 1 && steps.saturating_mul(rows.saturating_add(cols)) >= rows.saturating_mul(cols)
}
