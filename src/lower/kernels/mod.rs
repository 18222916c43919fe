//! The kernel table: what a program can dispatch, one kernel a file.
//!
//! A kernel is data: its sizes and strides. Its doc gives the contract that every device keeps, with its buffers by name in
//! binding order, read ones before written ones; how a device runs it is the device's own. `n` is the row of the physical
//! batch, `P` its size, and all strides and offsets are in elements.

use serde::{Deserialize, Serialize};

mod contract;
pub mod operand;
pub mod sums;
pub mod window;

pub use contract::{Access, Binding};
pub use operand::{ConvGeometry, View, is_long};
pub use sums::Sums;
pub use window::Window;

/// What every kernel knows about itself.
pub trait KernelRules {
    /// The kernel's name in printed programs.
    fn name(&self) -> &'static str;

    /// The buffers in binding order, read ones before written ones, as long as the kernel reaches.
    fn buffers(&self) -> Vec<Binding>;

    /// What is wrong with the sizes, if they are none that the contract can be kept for.
    fn problem(&self) -> Option<String> {
        None
    }

    /// The most rows of a physical batch that the contract can be kept for, if not as many as any.
    fn most_rows(&self) -> Option<usize> {
        None
    }

    /// Whether it clips records or sums over them, so that it tells one from another: views of a record are not such.
    fn is_of_records(&self) -> bool {
        false
    }

    /// Floating-point operations at a physical batch of `rows`.
    fn flops(&self, rows: usize) -> u64;

    /// The kernel's sizes for the printed program.
    fn text(&self) -> String;
}

/// Calls a macro with all kernels: module, then the kernels in it. Every table that has a line for each kernel is made so.
macro_rules! for_each_kernel {
    ($table:ident) => {
        $table! {
            elementwise { Elementwise }
            reduce { Reduce }
            accumulate { Accumulate }
            carry { Carry }
            copy { Copy }
            rearrange { Rearrange }
            fill { Fill }
            gemm { Gemm }
            outer_sum { OuterSum }
            outer_norm { OuterNorm }
            tile_norm { TileNorm }
            ghost_norm { GhostNorm }
            pool { Pool, PoolVjp }
            softmax { Softmax, SoftmaxVjp }
            cross_entropy { CrossEntropy, CrossEntropyVjp }
            weighted_cross_entropy { WeightedCrossEntropy, WeightedCrossEntropyVjp }
            gather { Gather }
            scatter { Scatter }
            sort_ids { SortIds }
            segment_norm { SegmentNorm }
            segment_cross { SegmentCross }
            recurrence { Recurrence, RecurrenceVjp }
            dropout { Dropout }
            narrow { Narrow, Widen }
            custom { Custom }
            uniform { Uniform }
            clip_factor { ClipFactor }
            fold { Fold }
            add_noise { AddNoise }
            release { Release }
            sgd { Sgd }
            adam { Adam }
            nonfinite { Nonfinite }
        }
    };
}
#[cfg(any(feature = "cpu", feature = "gpu"))]
pub(crate) use for_each_kernel;

/// Declares the kernels.
macro_rules! kernel_table {
    ($($module:ident { $($kernel:ident),* })*) => {
        $(mod $module; pub use $module::*;)*

        /// A kernel and its parameters.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        #[allow(clippy::large_enum_variant)]
        pub enum Kernel { $($(#[doc = concat!("See [`", stringify!($kernel), "`].")] $kernel($kernel),)*)* }

        impl Kernel {
            /// What the kernel knows about itself.
            pub fn rules(&self) -> &dyn KernelRules {
                match self { $($(Kernel::$kernel(k) => k,)*)* }
            }

            /// How many of the last buffers are written.
            pub fn writes(&self) -> usize {
                self.rules().buffers().iter().filter(|buffer| buffer.access == Access::Write).count()
            }
        }

        $($(impl From<$kernel> for Kernel { fn from(k: $kernel) -> Kernel { Kernel::$kernel(k) } })*)*
    };
}

for_each_kernel!(kernel_table);
