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

impl Launch {
    /// A launch; the words are padded to the 16 bytes that a uniform block is a multiple of.
    pub fn new(mut words: Vec<u32>, grid: [u32; 3]) -> Launch {
        words.resize(words.len().next_multiple_of(4), 0);
        Launch { words, grid }
    }

    /// One thread for each of `count` items, 64 a workgroup; `count` is the first word and `rest` follows it.
    pub fn linear(count: usize, rest: &[u32]) -> Vec<Launch> {
        vec![Launch::new([&words(&[count]), rest].concat(), linear_grid(count, 64))]
    }
}

/// Sizes as uniform words.
pub fn words(sizes: &[usize]) -> Vec<u32> {
    sizes.iter().map(|&n| n as u32).collect()
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

/// A part of two nested loops that one launch makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// First and last iteration, exclusive, of the outer loop.
    pub outer: [usize; 2],
    /// First and last iteration, exclusive, of the inner loop.
    pub inner: [usize; 2],
}

impl Window {
    /// Cuts a loop of `outer` iterations around one of `inner`, whose body makes `cost − 1` more, into parts of at most
    /// [`MAX_ITERATIONS`] iterations in all. Leaving a loop counts as one. There is at least one part.
    pub fn split(outer: usize, inner: usize, cost: usize) -> Vec<Window> {
        let limit = MAX_ITERATIONS - 1_000;
        let inner_size = inner.clamp(1, (limit / cost.max(1)).max(1));
        let outer_size = outer.clamp(1, (limit / (inner_size * cost + 2)).max(1));
        let parts = |n: usize, size: usize| {
            (0..n.div_ceil(size).max(1)).map(move |i| [(i * size).min(n), ((i + 1) * size).min(n)])
        };
        parts(outer, outer_size)
            .flat_map(|outer| parts(inner, inner_size).map(move |inner| Window { outer, inner }))
            .collect()
    }

    /// Whether nothing precedes this part.
    pub fn is_first(&self) -> bool {
        self.outer[0] == 0 && self.inner[0] == 0
    }
}

/// What an invocation of a matrix product computes, see `shaders/shared/tile.wgsl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    tall: bool,
    wide: bool,
}

impl Tile {
    /// The tile for results of `rows` by `cols`.
    pub fn of(rows: usize, cols: usize) -> Tile {
        Tile { tall: rows > 4, wide: cols > 32 }
    }

    /// Sets the constants of the template.
    pub fn specialise(self, template: &mut Specialise) {
        template.constant("TALL", self.tall);
        template.constant("WIDE", self.wide);
    }

    /// Grids for `matrices` products of `rows` by `cols`, each with its first matrix and row.
    pub fn grids(self, matrices: usize, rows: usize, cols: usize) -> Vec<([usize; 2], [u32; 3])> {
        let most = MAX_WORKGROUPS as usize;
        let (height, width) = (if self.tall { 32 } else { 16 }, if self.wide { 64 } else { 32 });
        let tiles = rows.div_ceil(height);
        let mut grids = Vec::new();
        for matrix in (0..matrices).step_by(most) {
            for tile in (0..tiles).step_by(most) {
                let grid = [cols.div_ceil(width), (tiles - tile).min(most), (matrices - matrix).min(most)];
                grids.push(([matrix, height * tile], grid.map(|n| n as u32)));
            }
        }
        grids
    }
}

/// How many invocations share a loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lanes(pub usize);

impl Lanes {
    /// For a loop over `items`: one invocation for a short loop, else as many as pay, 64 at most.
    pub fn of(items: usize) -> Lanes {
        Lanes(if items < 128 { 1 } else { 64 })
    }

    /// For a loop over `items` by all invocations of a workgroup: a power of two from 8 to `most`.
    pub fn workgroup(items: usize, most: usize) -> Lanes {
        Lanes(items.next_power_of_two().clamp(8, most))
    }

    /// Sets the constants of the template, and replaces what invocations share where each works alone.
    pub fn specialise(self, template: &mut Specialise) {
        template.constant("LANES", format!("{}u", self.0));
        if self.0 == 1 {
            let index = "    let index = (group.y * groups.x + group.x) * SIZE + invocation;\n    let lane = 0u;";
            template.block("index", index);
            template.snippet("total", "serial");
        }
    }

    /// The grid for `count` loops.
    pub fn grid(self, count: usize) -> [u32; 3] {
        linear_grid(count, if self.0 == 1 { 64 } else { 1 })
    }

    /// Iterations of a loop over `items`.
    pub fn steps(self, items: usize) -> usize {
        items.div_ceil(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_cover_both_loops_and_keep_the_limit() {
        for (outer, inner, cost) in
            [(1, 1, 1), (7, 65_536, 1), (100_000, 3, 2), (5, 200_000, 3), (4_096, 1_000, 1), (0, 4, 1)]
        {
            let windows = Window::split(outer, inner, cost);
            let size = |r: [usize; 2]| r[1] - r[0];
            let done: usize = windows.iter().map(|w| size(w.outer) * size(w.inner)).sum();
            assert_eq!(done, outer * inner);
            assert!(windows.iter().all(|w| size(w.outer) * (size(w.inner) * cost + 2) < MAX_ITERATIONS));
            assert_eq!(windows.iter().filter(|w| w.is_first()).count(), 1);
        }
    }

    #[test]
    fn grids_keep_the_limit() {
        assert_eq!(linear_grid(0, 64), [1, 1, 1]);
        assert_eq!(linear_grid(65, 64), [2, 1, 1]);
        let [x, y, _] = linear_grid(10_000_000, 64);
        assert!(x <= MAX_WORKGROUPS && x as usize * y as usize * 64 >= 10_000_000);
        assert_eq!(Tile::of(33, 1).grids(70_000, 33, 1).len(), 2);
    }
}
