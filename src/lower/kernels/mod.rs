//! The kernel table: what a program can dispatch, one kernel a file.
//!
//! A kernel is data: its sizes and strides. Its doc gives the contract that the WGSL template `shaders/NAME.wgsl` and
//! its CPU twin `src/device/cpu/NAME.rs` both keep. Buffers are named in binding order, read ones before written ones.
//! `n` is the row of the physical batch, `P` its size, and all strides and offsets are in elements.

use serde::{Deserialize, Serialize};

use crate::lower::emit::Specialise;

/// What every kernel knows about itself.
pub trait KernelRules {
    /// The template's name: `shaders/NAME.wgsl`.
    fn template(&self) -> &'static str;

    /// Specialises the template, by what the kernel's launches do not say; by default it is used as it stands.
    fn specialise(&self, _template: &mut Specialise) {}

    /// How many of the last buffers are written; the others are read.
    fn writes(&self) -> usize {
        1
    }

    /// The launches at a physical batch of `rows`, in order. More than one where a grid or a loop would pass a limit.
    fn launches(&self, rows: usize) -> Vec<Launch>;

    /// The most iterations of one invocation that no launch can split, one more for every loop that is left; the emitter
    /// refuses more than [`MAX_ITERATIONS`].
    fn iterations(&self) -> usize {
        0
    }

    /// Floating-point operations at a physical batch of `rows`.
    fn flops(&self, rows: usize) -> u64;

    /// The kernel's sizes for the printed program.
    fn text(&self) -> String;
}

/// Declares the kernels: module, then the kernels in it.
macro_rules! kernel_table {
    ($($module:ident { $($(#[$meta:meta])* $kernel:ident),* })*) => {
        $(mod $module; pub use $module::*;)*

        /// A kernel and its parameters.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        #[allow(clippy::large_enum_variant)]
        pub enum Kernel {
            $($($(#[$meta])* #[doc = concat!("See [`", stringify!($kernel), "`].")] $kernel($kernel),)*)*
        }

        impl Kernel {
            /// What the kernel knows about itself.
            pub fn rules(&self) -> &dyn KernelRules {
                match self { $($(Kernel::$kernel(k) => k,)*)* }
            }

            /// How many of the last buffers are written.
            pub fn writes(&self) -> usize { self.rules().writes() }
        }

        $($(impl From<$kernel> for Kernel { fn from(k: $kernel) -> Kernel { Kernel::$kernel(k) } })*)*
    };
}

pub mod launch;
pub mod operand;
pub mod window;
pub use launch::{Lanes, Launch, MAX_ITERATIONS, MAX_WORKGROUPS, Span, Tile, linear_grid, words};
pub use operand::{ConvGeometry, View};
pub use window::Window;

kernel_table! {
    elementwise { Elementwise }
    reduce { Reduce }
    accumulate { Accumulate }
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
    clip_factor { ClipFactor }
    fold { Fold }
    add_noise { #[serde(alias = "privatize")] AddNoise }
    sgd { Sgd }
    adam { Adam }
    nonfinite { Nonfinite }
}
