//! Views: how the matrix-product kernels read their operands without copying them.

use serde::{Deserialize, Serialize};

use super::Binding;
use super::contract::{reach, zero};
use crate::graph::product;
use crate::lower::program::Extent;

/// A 2-D convolution's sizes; a 1-D one has height 1 and kernel height 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ConvGeometry {
    /// Input channels of all groups.
    pub channels: usize,
    /// Output channels of all groups.
    pub filters: usize,
    /// Number of groups.
    pub groups: usize,
    /// Input height and width.
    pub input: [usize; 2],
    /// Output height and width.
    pub output: [usize; 2],
    /// Kernel height and width.
    pub kernel: [usize; 2],
    /// Strides.
    pub stride: [usize; 2],
    /// Dilations.
    pub dilation: [usize; 2],
    /// Zero padding before the first row and column.
    pub pad: [usize; 2],
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
        product(&[self.group_channels(), self.kernel[0], self.kernel[1]])
    }

    /// Output positions.
    pub fn positions(&self) -> usize {
        product(&self.output)
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
    /// Patches of a convolution's input `x[n, C, H, W]`: row `(c, kh, kw)` within group `g`, column `(oh, ow)` is
    /// `x[n, g·C/G + c, oh·stride + kh·dilation − pad, ow·stride + kw·dilation − pad]`, or 0 outside.
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
    /// What a convolution's input gradient reads of the cotangent `dy[n, O, OH, OW]`: row `(o, kh, kw)` within group
    /// `g`, column `(ih, iw)` is `dy[n, g·O/G + o, oh, ow]` where `oh·stride + kh·dilation − pad = ih` and likewise in
    /// width, or 0 where no such output position exists.
    CotangentPatches {
        /// The convolution.
        conv: ConvGeometry,
        /// Elements between records, 0 for a shared cotangent.
        record: usize,
    },
    /// A convolution's weight `w[O, C/G, KH, KW]` for the input gradient: row `c`, column `(o, kh, kw)` of group `g` is
    /// `w[g·O/G + o, c, kh, kw]`.
    WeightTransposed {
        /// The convolution.
        conv: ConvGeometry,
    },
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
}

/// The most elements of a plane with its padding.
const MAX_PLANE: usize = 1 << 28;

impl ConvGeometry {
    fn problem(&self) -> Option<String> {
        let ConvGeometry { channels, filters, groups, input, output, kernel, stride, dilation, pad } = self;
        let axis = |i: usize| {
            zero(&[
                ("input", input[i]),
                ("output", output[i]),
                ("kernel", kernel[i]),
                ("stride", stride[i]),
                ("dilation", dilation[i]),
            ])
        };
        if let Some(zero) = zero(&[("groups", *groups)]).or_else(|| axis(0)).or_else(|| axis(1)) {
            return Some(zero);
        }
        if channels % groups != 0 || filters % groups != 0 || channels.min(filters) < groups {
            return Some(format!("shares {channels} channels and {filters} filters among {groups} groups"));
        }
        let side = |i: usize| {
            let last = reach([(output[i], stride[i]), (kernel[i], dilation[i])]);
            last.max(input[i].saturating_add(pad[i])).saturating_add(stride[i])
        };
        let area = product(&[side(0), side(1)]);
        (area > MAX_PLANE).then(|| format!("reaches over {area} elements of a plane"))
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
                of_record(record, &[conv.channels, conv.input[0], conv.input[1]])
            }
            View::CotangentPatches { conv, record } => {
                of_record(record, &[conv.filters, conv.output[0], conv.output[1]])
            }
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
        let (filters, kernel) = (conv.group_filters(), product(&conv.kernel));
        match self {
            View::Strided { .. } => [0; 2],
            View::Patches { .. } => [conv.patch(), conv.positions()],
            View::PatchesTransposed { .. } => [conv.positions(), conv.patch()],
            View::CotangentPatches { .. } => [filters.saturating_mul(kernel), product(&conv.input)],
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
