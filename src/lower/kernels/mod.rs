//! The kernel table: what a program can dispatch, one kernel a file.
//!
//! A kernel is data: its sizes and strides. Its doc gives the contract that the WGSL template `shaders/NAME.wgsl` and
//! its CPU twin `src/device/cpu/NAME.rs` both keep. Buffers are named in binding order, read ones before written ones.
//! `n` is the row of the physical batch, `P` its size, and all strides and offsets are in elements.

use serde::{Deserialize, Serialize};

use crate::lower::emit::Specialise;

/// A launch of a kernel: the words of its uniform block and the number of workgroups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Uniform words, in the order of the template's `Params` struct.
    pub words: Vec<u32>,
    /// Workgroups in x, y and z, each at most [`MAX_WORKGROUPS`].
    pub grid: [u32; 3],
}

/// The most workgroups that WebGPU allows in a dimension.
pub const MAX_WORKGROUPS: u32 = 65_535;

/// The most iterations that a loop of a shader may make: Mesa before 25 stops a loop there without an error, and counts
/// nested loops together.
pub const MAX_ITERATIONS: usize = 65_535;

/// What every kernel knows about itself.
pub trait KernelRules {
    /// The template's name: `shaders/NAME.wgsl`.
    fn template(&self) -> &'static str;

    /// Specialises the template; by default it is used as it stands.
    fn specialise(&self, _template: &mut Specialise) {}

    /// How many of the last buffers are written; the others are read.
    fn writes(&self) -> usize {
        1
    }

    /// The launches at a physical batch of `rows`, in order. More than one where a grid or a loop would pass a limit.
    fn launches(&self, _rows: usize) -> Vec<Launch> {
        Vec::new()
    }

    /// Floating-point operations at a physical batch of `rows`.
    fn flops(&self, rows: usize) -> u64;

    /// The kernel's sizes for the printed program.
    fn text(&self) -> String;
}

/// Declares the kernels: module, then the kernels in it.
macro_rules! kernel_table {
    ($($module:ident { $($kernel:ident),* })*) => {
        $(mod $module; pub use $module::*;)*

        /// A kernel and its parameters.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Kernel { $($(#[doc = concat!("See [`", stringify!($kernel), "`].")] $kernel($kernel),)*)* }

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

pub mod operand;
pub use operand::{ConvGeometry, View};

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
    gather { Gather }
    scatter { Scatter }
    sort_ids { SortIds }
    segment_norm { SegmentNorm }
    segment_cross { SegmentCross }
    lstm { Lstm, LstmVjp }
    dropout { Dropout }
    clip_factor { ClipFactor }
    privatize { Privatize }
    sgd { Sgd }
    adam { Adam }
}

/// A grid for `items` threads in workgroups of `size`, wrapped into a second dimension where one would overflow. The
/// template recovers the linear workgroup index as `id.y * grid.x + id.x`.
pub fn linear_grid(items: usize, size: usize) -> [u32; 3] {
    let groups = items.div_ceil(size).max(1);
    let x = groups.min(MAX_WORKGROUPS as usize);
    [x as u32, groups.div_ceil(x) as u32, 1]
}
