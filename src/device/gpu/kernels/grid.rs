//! How kernels that sum integers come to them from floats.

use super::Specialise;
use crate::lower::kernels::Sums;

/// Gives a template with a block `grid` the function `on_grid` that its sums need, if any.
pub fn specialise_grid(template: &mut Specialise, sums: Sums) {
    match sums {
        Sums::Floats => template.block("grid", ""),
        // The template's own.
        Sums::Grid => {}
        Sums::WideGrid => template.snippet("grid", "grid_wide"),
    }
}
