//! The native device: the twin of every kernel, one a file, on the cores of this machine.
//!
//! Work is cut into pieces that depend on the kernel and on the batch alone, and pieces are added in order, so results do
//! not depend on the number of threads.

mod adding;
mod clock;
mod convolve;
mod double;
mod image;
mod lanes;
mod maps;
mod matmul;
mod memory;
mod microkernel;
mod operand;
mod panels;
mod parallel;
mod patches;
mod routine;
mod session;
mod stages;

use std::sync::Arc;

use gemm_common::cache::CACHE_INFO;

use self::maps::Map;
use self::memory::{Buffers, Read, Written};
use self::session::CpuSession;
use super::{Device, DeviceError, Session};
use crate::lower::check;
use crate::lower::kernels::{Kernel, for_each_kernel};
use crate::lower::program::{Dispatch, Program, Role};
use crate::lower::target::{Refusal, Rounding, Target};

/// A kernel's native twin.
trait Native: Send + Sync {
    /// Floats of scratch memory that the kernel works in at a physical batch of `rows`.
    fn scratch(&self, _rows: usize) -> usize {
        0
    }

    /// How often a sum of the kernel rounds at most.
    fn rounding(&self) -> Rounding {
        Rounding::UNBOUNDED
    }

    /// The fewest records that pay, where the kernel can run on some records and then on others.
    fn block(&self) -> Option<usize> {
        Some(1)
    }

    /// The kernel as a map over elements, if it is one that has nothing to do with records.
    fn map(&self) -> Option<Map<'_>> {
        None
    }

    /// Runs the kernel for `rows` rows of the physical batch.
    fn run(&self, rows: usize, buffers: Buffers);
}

/// Declares the twins.
macro_rules! native_table {
    ($($module:ident { $($kernel:ident),* })*) => {
        $(mod $module;)*

        fn native(kernel: &Kernel) -> Box<dyn Native> {
            match kernel { $($(Kernel::$kernel(k) => Box::new(k.clone()),)*)* }
        }
    };
}

for_each_kernel!(native_table);

/// The cores of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu;

/// Bytes that the caches hold that belong to single cores, those of all cores together.
pub fn cache_bytes() -> usize {
    rayon::current_num_threads() * CACHE_INFO[1].cache_bytes
}

impl Device for Cpu {
    fn name(&self) -> String {
        let cores = rayon::current_num_threads();
        format!("cpu: {cores} {} of {}", if cores == 1 { "thread" } else { "threads" }, std::env::consts::ARCH)
    }

    fn fits(&self, program: &Program, rows: usize) -> bool {
        let bytes = Target::bytes(self, program, rows) as u64;
        crate::memory::available().is_none_or(|available| bytes <= available / 10 * 8)
    }

    fn load(&self, program: Arc<Program>, rows: usize) -> Result<Box<dyn Session>, DeviceError> {
        check::check(&program, &[rows])?;
        program.allows_for(self)?;
        let mut session = CpuSession::new(&self.name(), program.clone(), rows)?;
        for id in program.ids() {
            match &program.buffer(id).role {
                Role::ConstantF32(data) => session.write_f32(id, data)?,
                Role::ConstantI32(data) => session.write_i32(id, data)?,
                _ => {}
            }
        }
        Ok(Box::new(session))
    }
}

impl Target for Cpu {
    fn id(&self) -> &'static str {
        "cpu 2"
    }

    fn earlier(&self) -> &'static [&'static str] {
        &["cpu 1"]
    }

    fn refusal(&self, _dispatch: &Dispatch) -> Option<Refusal> {
        None
    }

    fn bytes(&self, program: &Program, rows: usize) -> usize {
        stages::plan(program, rows).bytes(rows, rayon::current_num_threads())
    }

    fn rounding(&self, kernel: &Kernel) -> Rounding {
        native(kernel).rounding()
    }
}

#[cfg(test)]
mod tests;
