//! Tiles: what the invocations of a matrix product compute, see `shaders/shared/tile.wgsl`.

use super::launch::{Lanes, MAX_WORKGROUPS, Span};
use crate::device::gpu::class::Class;
use crate::device::gpu::emit::Specialise;
use crate::lower::kernels::View;

/// What the invocations of a workgroup compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    tall: bool,
    wide: bool,
    /// Invocations side by side along the columns.
    across: usize,
    /// Invocations of a workgroup.
    lanes: usize,
    /// Whether they share what they load, see `shaders/shared/blocked.wgsl`.
    blocked: bool,
}

/// Four by four results an invocation, 16 by 32 a workgroup.
const DIRECT: Tile = Tile { tall: false, wide: false, across: 8, lanes: 32, blocked: false };

/// Four by four results an invocation, 32 by 32 a workgroup, which shares what it loads.
const BLOCK: Tile = Tile { lanes: 64, blocked: true, ..DIRECT };

/// Rows that a product of all rows of a batch is taken to have.
const BATCH: usize = 64;

/// Invocations that a processor makes at once, as one vector.
const VECTOR: usize = 8;

/// Terms of a product that `shaders/shared/parts.wgsl` adds up at a time.
pub const PART: usize = 64;

/// Has a record's own product added up in parts, if it has more terms than one, or precisely.
pub fn specialise_own(template: &mut Specialise, precise: bool, terms: usize) {
    if precise {
        template.snippets("own", &["precise", "precise_own"]);
    } else if terms > PART {
        template.snippet("own", "parts");
    }
}

/// Roundings of a product of so many terms: of the multiplications and of a part's additions, then of the parts'.
pub fn own_roundings(terms: usize) -> usize {
    terms.min(PART) + terms.div_ceil(PART) - usize::from(terms <= PART)
}

/// Roundings of a sum in pairs, in unit roundoffs u of `f32`. An addition rounds what is missing, up to twice u of the sum, twice;
/// as much again is for what depends on the result.
pub fn pair_sum_roundings(terms: usize) -> f64 {
    terms as f64 / f64::from(1 << 21)
}

/// The same of products: what one is besides the product of the upper halves is at most 2⁻¹⁰ of it, and is rounded four times.
pub fn pair_roundings(terms: usize) -> f64 {
    1.0 / 256.0 + pair_sum_roundings(terms)
}

impl Tile {
    /// The tile of sums in pairs: 32 by 32 results a workgroup, four by four an invocation, which reads on its own.
    pub const PRECISE: Tile = Tile { lanes: 64, ..DIRECT };

    /// The tile for results of `rows` by `cols`, each a sum of `inner` terms; `None` for the rows of a batch.
    pub fn of(class: Class, rows: Option<usize>, cols: usize, inner: usize) -> Tile {
        let rows = rows.unwrap_or(BATCH);
        match class {
            Class::Cpu => Tile::of_vectors(rows, cols),
            // What is shared pays where much of a block is there.
            Class::Integrated | Class::Discrete if rows <= 8 || cols <= 8 || inner < 8 => {
                Tile { tall: rows > 4, wide: cols > 32, ..DIRECT }
            }
            Class::Discrete if rows >= 48 && cols >= 48 => Tile { tall: true, wide: true, ..BLOCK },
            Class::Integrated | Class::Discrete => BLOCK,
        }
    }

    /// The tile for sums over records of which each has a sum of its own, of `inner` terms: half of an invocation's results.
    pub fn of_sums(class: Class, rows: usize, cols: usize, inner: usize) -> Tile {
        let tile = Tile::of(class, Some(rows), cols, inner);
        if tile.blocked { BLOCK } else { tile }
    }

    /// The tile whose results a processor has in the fewest vectors.
    fn of_vectors(rows: usize, cols: usize) -> Tile {
        let all = [8, 4, 2, 1].into_iter().flat_map(|across| {
            let sides = [(true, true), (true, false), (false, true), (false, false)];
            sides.map(|(tall, wide)| Tile { tall, wide, across, ..DIRECT })
        });
        let widest = Tile { tall: true, wide: true, ..DIRECT };
        all.min_by_key(|tile| tile.vectors(rows, cols) * tile.cost()).unwrap_or(widest)
    }

    /// A tile of 32 by 32 results that one workgroup makes.
    pub fn square(class: Class) -> Tile {
        match class {
            Class::Cpu => Tile { tall: true, wide: true, across: 4, lanes: 16, ..DIRECT },
            Class::Integrated | Class::Discrete => BLOCK,
        }
    }

    /// Rows and columns of an invocation.
    fn own(self) -> [usize; 2] {
        [self.tall, self.wide].map(|eight| if eight { 8 } else { 4 })
    }

    /// Vectors of invocations that hold some of the results on a processor.
    fn vectors(self, rows: usize, cols: usize) -> usize {
        let [height, width] = self.own();
        rows.div_ceil(VECTOR / self.across * height) * cols.div_ceil(self.across * width)
    }

    /// What a vector takes for a term on a processor, in about half nanoseconds: a load is one of each lane by itself.
    fn cost(self) -> usize {
        let [height, width] = self.own();
        14 * (height + width) + height * width
    }

    /// Sets the constants of the template.
    pub fn specialise(self, template: &mut Specialise) {
        template.constant("TALL", self.tall);
        template.constant("WIDE", self.wide);
        template.constant("ACROSS", format!("{}u", self.across));
        template.constant("LANES", format!("{}u", self.lanes));
        template.constant("QUADS", self.blocked);
        if self.blocked {
            template.snippet("direct", "blocked");
            // Every invocation meets the others, where it has no results too.
            template.block("outside", "");
        }
    }

    /// Has both operands of a template read by fours where the tile is blocked and their terms lie side by side: `reads`
    /// are their views, each with the axis of its terms.
    pub fn specialise_reads(self, template: &mut Specialise, reads: [(&View, Axis); 2], terms: usize) {
        for (k, (name, (view, axis))) in ["a", "b"].into_iter().zip(reads).enumerate() {
            let quads = self.blocked && Span::split(1, terms, 1).len() == 1 && by_fours(view, axis, terms);
            template.constant(&format!("{}_QUADS", name.to_uppercase()), quads);
            if quads {
                let binding = k + 1;
                let text = format!(
                    "@group(0) @binding({binding}) var<storage, read> {name}: array<vec4<f32>>;\n\n\
                     fn read_{name}(at: u32) -> f32 {{\n    return {name}[at / 4u][at % 4u];\n}}\n\n\
                     fn quad_{name}(base: u32, line: Place, k: Place) -> vec4<f32> {{\n    \
                     return {name}[(base + line.base + k.base) / 4u];\n}}"
                );
                template.block(name, &text);
            }
        }
    }

    /// Results of a workgroup's rows and columns.
    pub fn sides(self) -> [usize; 2] {
        let [height, width] = self.own();
        [self.lanes / self.across * height, self.across * width]
    }

    /// Grids for `matrices` products of `rows` by `cols`, each with its first matrix and row.
    pub fn grids(self, matrices: usize, rows: usize, cols: usize) -> Vec<([usize; 2], [u32; 3])> {
        let most = MAX_WORKGROUPS as usize;
        let [height, width] = self.sides();
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

/// Along which axis of a view the terms of a sum are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Axis {
    /// Its rows.
    Rows,
    /// Its columns.
    Cols,
}

/// Whether the terms of every line of a view are whole vectors of four.
fn by_fours(view: &View, axis: Axis, terms: usize) -> bool {
    let View::Strided { record, group, row, col } = *view else { return false };
    let (step, line) = if axis == Axis::Rows { (row, col) } else { (col, row) };
    step == 1 && [record, group, line, terms].iter().all(|n| n.is_multiple_of(4))
}

/// Roundings of the sum of a [`Tile::square`]: an invocation's 8 by 4 as dot products of dot products and the lanes'. For
/// 8 by 8 it is one more and the lanes' one less, for 4 by 4 one less and the lanes' one more.
pub const TILE_ROUNDINGS: usize = 4 + 4 + 1 + Lanes(32).halvings();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grids_keep_the_limit() {
        assert_eq!(Tile::of(Class::Discrete, Some(33), 1, 9).grids(70_000, 33, 1).len(), 2);
    }

    #[test]
    fn a_processor_gets_tiles_that_fit() {
        let shape = |rows, cols| {
            let tile = Tile::of(Class::Cpu, Some(rows), cols, 9);
            (tile.across, tile.own())
        };
        assert_eq!(shape(512, 512), (8, [8, 8]));
        assert_eq!(shape(32, 25), (4, [8, 8]));
        assert_eq!(shape(16, 196), (4, [8, 8]));
        assert_eq!(shape(64, 10), (2, [8, 8]));
    }
}
