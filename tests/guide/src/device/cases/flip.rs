//! Cases of [`Flip`].

use super::data::{Values, output};
use super::{Case, Data};
use crate::lower::kernels::Flip;

/// All of them.
pub fn flip() -> Vec<Case> {
    let mut all = Vec::new();
    let mut v = Values::new(4100);
    for (batched, rows) in [(true, 3), (false, 2)] {
        for (outer, len, inner) in [(1, 1, 1), (5, 67, 1), (2, 3, 7), (3, 2, 65)] {
            let shape = Flip { batched, outer, len, inner };
            let n = shape.extent().at(rows);
            let x: Data = v.floats(n);
            all.push(Case::new(format!("{rows}x{outer}x{len}x{inner}"), rows, shape, vec![x], vec![output(n)]));
        }
    }
    all
}
