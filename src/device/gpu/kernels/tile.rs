//! Tiles: what the invocations of a matrix product compute, see `shaders/shared/tile.wgsl`.

use super::Lanes;
use super::launch::MAX_WORKGROUPS;
use crate::device::gpu::class::Class;
use crate::device::gpu::emit::Specialise;

/// What the invocations of a workgroup compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    tall: bool,
    wide: bool,
    /// Invocations side by side along the columns.
    across: usize,
    /// Invocations of a workgroup.
    lanes: usize,
}

/// Rows that a product of all rows of a batch is taken to have.
const BATCH: usize = 64;

/// Invocations that a processor makes at once, as one vector.
const VECTOR: usize = 8;

impl Tile {
    /// The tile for results of `rows` by `cols`, `None` for the rows of a batch.
    pub fn of(class: Class, rows: Option<usize>, cols: usize) -> Tile {
        let rows = rows.unwrap_or(BATCH);
        if class != Class::Cpu {
            return Tile { tall: rows > 4, wide: cols > 32, across: 8, lanes: 32 };
        }
        let all = [8, 4, 2, 1].into_iter().flat_map(|across| {
            [(true, true), (true, false), (false, true), (false, false)].map(|(tall, wide)| Tile {
                tall,
                wide,
                across,
                lanes: 32,
            })
        });
        let widest = Tile { tall: true, wide: true, across: 8, lanes: 32 };
        all.min_by_key(|tile| tile.vectors(rows, cols) * tile.cost()).unwrap_or(widest)
    }

    /// A tile of 32 by 32 results that one workgroup makes.
    pub fn square(class: Class) -> Tile {
        match class {
            Class::Cpu => Tile { tall: true, wide: true, across: 4, lanes: 16 },
            Class::Integrated | Class::Discrete => Tile { tall: true, wide: false, across: 8, lanes: 32 },
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
    }

    /// Grids for `matrices` products of `rows` by `cols`, each with its first matrix and row.
    pub fn grids(self, matrices: usize, rows: usize, cols: usize) -> Vec<([usize; 2], [u32; 3])> {
        let most = MAX_WORKGROUPS as usize;
        let [height, width] = self.own();
        let (height, width) = (self.lanes / self.across * height, self.across * width);
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

/// Roundings of the sum of a [`Tile::square`]: an invocation's 8 by 4 as dot products of dot products and the lanes', or
/// one more for its 8 by 8 and one less for the lanes.
pub const TILE_ROUNDINGS: usize = 4 + 4 + 1 + Lanes(32).halvings();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grids_keep_the_limit() {
        assert_eq!(Tile::of(Class::Discrete, Some(33), 1).grids(70_000, 33, 1).len(), 2);
    }

    #[test]
    fn a_processor_gets_tiles_that_fit() {
        let shape = |rows, cols| {
            let tile = Tile::of(Class::Cpu, Some(rows), cols);
            (tile.across, tile.own())
        };
        assert_eq!(shape(512, 512), (8, [8, 8]));
        assert_eq!(shape(32, 25), (4, [8, 8]));
        assert_eq!(shape(16, 196), (4, [8, 8]));
        assert_eq!(shape(64, 10), (2, [8, 8]));
    }
}
