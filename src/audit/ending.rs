//! Where a step's sum gets its noise and becomes a gradient: one dispatch for each parameter.

use crate::lower::kernels::Kernel;
use crate::lower::program::{BufferId, Dispatch, Program, Role};

/// The places of the buffers of such a dispatch.
#[derive(Clone, Copy, Debug)]
pub struct Ending {
    /// The sum of clipped gradients.
    pub sum: usize,
    /// The noise.
    pub noise: usize,
    /// The host's numbers, of which one divides.
    pub divisor: usize,
    /// What is released.
    pub gradient: usize,
    /// The units of integers, where the sum is of such.
    pub unit: Option<usize>,
    /// How many elements there are.
    pub len: usize,
}

impl Ending {
    /// That of `kernel`, if it is one.
    pub fn of(kernel: &Kernel) -> Option<Ending> {
        match kernel {
            Kernel::AddNoise(kernel) => {
                Some(Ending { sum: 0, noise: 1, divisor: 2, gradient: 3, unit: None, len: kernel.len })
            }
            Kernel::Release(kernel) => {
                Some(Ending { noise: 0, divisor: 1, unit: Some(2), sum: 3, gradient: 4, len: kernel.len })
            }
            _ => None,
        }
    }

    /// The words of an element of the sum and of the noise.
    pub fn words(&self) -> usize {
        if self.unit.is_some() { 2 } else { 1 }
    }
}

/// The parameter whose sum `dispatch` releases, what it is, and what it releases, if it does.
pub fn released_by(program: &Program, dispatch: &Dispatch) -> Option<(String, Ending, BufferId)> {
    let ending = Ending::of(&dispatch.kernel)?;
    let [sum, gradient] = [ending.sum, ending.gradient].map(|at| dispatch.buffers.get(at).copied());
    match &program.buffer(sum?).role {
        Role::GradientSum(parameter) | Role::GridSum(parameter) => Some((parameter.clone(), ending, gradient?)),
        _ => None,
    }
}
