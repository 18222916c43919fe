//! Launches: how a kernel is cut so that every grid and every loop keeps the limits of drivers.

use crate::device::gpu::emit::Specialise;

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

/// Sizes as uniform words. Loading has made sure that they fit.
pub fn words(sizes: &[usize]) -> Vec<u32> {
    sizes.iter().map(|&n| u32::try_from(n).unwrap_or(u32::MAX)).collect()
}

/// A word as a WGSL literal.
pub fn literal(word: u32) -> String {
    format!("{word:#x}u")
}

/// The most workgroups that WebGPU allows in a dimension.
pub const MAX_WORKGROUPS: u32 = 65_535;

/// The most iterations that a loop of a shader may make: Mesa before 25 stops a loop there without an error, and counts
/// nested loops together.
pub const MAX_ITERATIONS: usize = 65_535;

/// A grid for `items` threads in workgroups of `size`, wrapped into a second dimension where one would overflow. The
/// template recovers the linear workgroup index as `id.y * grid.x + id.x`.
pub fn linear_grid(items: usize, size: usize) -> [u32; 3] {
    let groups = items.div_ceil(size).max(1);
    let x = groups.min(MAX_WORKGROUPS as usize);
    [x as u32, groups.div_ceil(x) as u32, 1]
}

/// A part of two nested loops that one launch makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First and last iteration, exclusive, of the outer loop.
    pub outer: [usize; 2],
    /// First and last iteration, exclusive, of the inner loop.
    pub inner: [usize; 2],
}

impl Span {
    /// Cuts a loop of `outer` iterations around one of `inner`, whose body makes `cost − 1` more, into parts of at most
    /// half of [`MAX_ITERATIONS`] in all: drivers count the leaving of a loop as an iteration, and some count more. There
    /// is at least one part.
    pub fn split(outer: usize, inner: usize, cost: usize) -> Vec<Span> {
        let limit = MAX_ITERATIONS / 2;
        let inner_size = inner.clamp(1, ((limit - 2) / cost.max(1)).max(1));
        let outer_size = outer.clamp(1, (limit / (inner_size * cost + 2)).max(1));
        let parts = |n: usize, size: usize| {
            (0..n.div_ceil(size).max(1)).map(move |i| [(i * size).min(n), ((i + 1) * size).min(n)])
        };
        parts(outer, outer_size)
            .flat_map(|outer| parts(inner, inner_size).map(move |inner| Span { outer, inner }))
            .collect()
    }

    /// Whether nothing precedes this part.
    pub fn is_first(&self) -> bool {
        self.outer[0] == 0 && self.inner[0] == 0
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

    /// Roundings of the sum over the invocations.
    pub const fn halvings(self) -> usize {
        self.0.ilog2() as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_cover_both_loops_and_keep_the_limit() {
        for (outer, inner, cost) in
            [(1, 1, 1), (7, 65_536, 1), (100_000, 3, 2), (5, 200_000, 3), (4_096, 1_000, 1), (0, 4, 1)]
        {
            let spans = Span::split(outer, inner, cost);
            let size = |r: [usize; 2]| r[1] - r[0];
            let done: usize = spans.iter().map(|w| size(w.outer) * size(w.inner)).sum();
            assert_eq!(done, outer * inner);
            assert!(spans.iter().all(|w| size(w.outer) * (size(w.inner) * cost + 2) <= MAX_ITERATIONS / 2));
            assert_eq!(spans.iter().filter(|w| w.is_first()).count(), 1);
        }
    }

    #[test]
    fn grids_keep_the_limit() {
        assert_eq!(linear_grid(0, 64), [1, 1, 1]);
        assert_eq!(linear_grid(65, 64), [2, 1, 1]);
        let [x, y, _] = linear_grid(10_000_000, 64);
        assert!(x <= MAX_WORKGROUPS && x as usize * y as usize * 64 >= 10_000_000);
    }
}
