//! What kernels cost on a device, for the choices that a compiler has.

use std::fmt;
use std::sync::Arc;

use super::kernels::{Access, Kernel};

/// Says how long kernels run.
pub trait Costs: Send + Sync {
    /// Seconds that a kernel takes for a physical batch of `rows`; infinite where it does not run.
    fn seconds(&self, kernel: &Kernel, rows: usize) -> f64;
}

/// The costs that a compilation goes by.
#[derive(Clone)]
pub struct CostModel {
    /// Who knows them.
    pub costs: Arc<dyn Costs>,
    /// The physical batch that they are for.
    pub rows: usize,
    /// Bytes that a record's stored gradients may take together.
    pub memory: usize,
}

impl CostModel {
    /// Seconds that kernels take one after the other.
    pub fn seconds(&self, kernels: &[Kernel]) -> f64 {
        kernels.iter().map(|kernel| self.costs.seconds(kernel, self.rows)).sum()
    }
}

impl Default for CostModel {
    fn default() -> CostModel {
        CostModel { costs: Arc::new(Typical), rows: 64, memory: usize::MAX }
    }
}

impl fmt::Debug for CostModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CostModel for {} rows", self.rows)
    }
}

/// A device of which nothing is known: only the ratios of its rates matter.
#[derive(Clone, Copy, Debug)]
pub struct Typical;

/// Floating-point operations a second.
const FLOPS: f64 = 1e11;
/// The share of them that kernels reach which work on small tiles.
const OF_TILES: f64 = 0.5;
/// Bytes a second to and from memory.
const BYTES: f64 = 2e10;

impl Costs for Typical {
    fn seconds(&self, kernel: &Kernel, rows: usize) -> f64 {
        let share = match kernel {
            Kernel::TileNorm(_) | Kernel::GhostNorm(_) => OF_TILES,
            _ => 1.0,
        };
        let work = kernel.rules().flops(rows) as f64 / (FLOPS * share);
        work.max(bytes(kernel, rows) as f64 / BYTES)
    }
}

/// Bytes that a kernel reads and writes at a physical batch of `rows`. Of what all records share it may read less.
pub fn bytes(kernel: &Kernel, rows: usize) -> u64 {
    let buffers = kernel.rules().buffers();
    let batched = buffers.iter().any(|buffer| buffer.len.per_row > 0);
    let moved = buffers.iter().filter(|b| !batched || b.len.per_row > 0 || b.access == Access::Write);
    moved.fold(0, |sum: u64, buffer| sum.saturating_add(4 * buffer.len.at(rows) as u64))
}
