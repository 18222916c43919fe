//! How a GPU runs each kernel, one a file: its WGSL template, and the launches that its work is cut into.

mod grid;
mod launch;
mod operand;
mod phases;
mod tile;

use std::ops::Deref;

use grid::specialise_grid;
use launch::{Lanes, Span, linear_grid, literal, words};
pub use launch::{Launch, MAX_ITERATIONS};
use operand::specialise_views;
use tile::{TILE_ROUNDINGS, Tile};

use super::class::Class;
use super::emit::Specialise;
use crate::lower::kernels::{Kernel, KernelRules, Reduce, for_each_kernel};
use crate::lower::target::Rounding;

/// The template of a kernel.
pub trait Template {
    /// Its text, a file of `shaders/`.
    const WGSL: &'static str;
}

/// A kernel on a class of devices.
#[derive(Clone, Copy)]
pub struct On<'k, K> {
    kernel: &'k K,
    class: Class,
}

impl<K> Deref for On<'_, K> {
    type Target = K;

    fn deref(&self) -> &K {
        self.kernel
    }
}

/// How a kernel's work is cut into launches on a class of devices.
pub trait Schedule {
    /// Specialises the template, by what the kernel's launches do not say; by default it is used as it stands.
    fn specialise(&self, _template: &mut Specialise) {}

    /// The launches at a physical batch of `rows`, in order. More than one where a grid or a loop would pass a limit.
    fn launches(&self, rows: usize) -> Vec<Launch>;

    /// The most iterations of one invocation that no launch can split, one more for every loop that is left; a kernel with
    /// more than [`MAX_ITERATIONS`] is refused.
    fn iterations(&self) -> usize {
        0
    }

    /// How often a sum of the kernel rounds at most.
    fn rounding(&self) -> Rounding {
        Rounding::UNBOUNDED
    }

    /// Where the launches leave partial results in scratch memory, in place of the last buffer: the kernel that makes it of
    /// them.
    fn sum_of_parts(&self, _rows: usize) -> Option<Reduce> {
        None
    }
}

/// Floats of scratch memory for the partial results of a kernel.
pub fn scratch(kernel: &Kernel, class: Class, rows: usize) -> usize {
    let parts = schedule(kernel, class).1.sum_of_parts(rows);
    parts.and_then(|parts| parts.buffers().first().map(|partial| partial.len.at(rows))).unwrap_or(0)
}

/// Declares the schedules.
macro_rules! schedule_table {
    ($($module:ident { $($kernel:ident),* })*) => {
        $(mod $module;)*

        /// The template of a kernel and how its work is cut.
        pub fn schedule(kernel: &Kernel, class: Class) -> (&'static str, Box<dyn Schedule + '_>) {
            match kernel {
                $($(Kernel::$kernel(kernel) => {
                    (<crate::lower::kernels::$kernel as Template>::WGSL, Box::new(On { kernel, class }))
                })*)*
            }
        }

        /// All templates with the names of their kernels.
        #[cfg(test)]
        pub const TEMPLATES: &[(&str, &str)] = &[
            $($((stringify!($kernel), <crate::lower::kernels::$kernel as Template>::WGSL),)*)*
        ];
    };
}

for_each_kernel!(schedule_table);
