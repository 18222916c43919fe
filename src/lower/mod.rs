//! Lowering: from a graph to a [`Program`](program::Program), the kernels that it is made of, and what it asks of devices.

pub mod cells;
pub mod check;
pub mod cost;
pub mod distance;
pub mod kernels;
mod lowering;
pub mod math;
pub mod memory;
mod print;
pub mod program;
pub mod rates;
pub mod reuse;
pub mod scalar;
pub mod schedule;
pub mod target;
pub mod widen;

pub use lowering::{Lower, LowerError, Lowering, lower_graph};

/// Inputs of a program that the host fills and no model declares.
pub mod host_inputs {
    /// `f32[N]`: 1 for a row that holds a record, 0 for a masked one.
    pub const WEIGHT: &str = "dpc.weight";
    /// `i32[N, 2]`: the key of each row's dropout masks.
    pub const DROPOUT_KEYS: &str = "dpc.dropout_keys";
    /// `f32[HYPER_LEN]`: numbers that change from step to step, see [`super::hyper`].
    pub const HYPER: &str = "dpc.hyper";
    /// `f32[K]`: the bound of each clip group on the norms of gradients.
    pub const CLIP_BOUNDS: &str = "dpc.clip_bounds";
    /// `f32[K]`: the size of each clip group's grid unit, for the release of integer sums.
    pub const GRID_UNITS: &str = "dpc.grid_units";
}

/// Outputs of a program that no model declares.
pub mod host_outputs {
    /// `f32[N]`: the loss of each record; after any phase but the update.
    pub const LOSS: &str = "dpc.loss";
    /// `f32[N, K]`: the norm of each record's gradient in each clip group, before clipping; after the private phase.
    pub const NORM: &str = "dpc.norm";
    /// The names.
    pub const ALL: [&str; 4] = [LOSS, NORM, UNIT_NORM, NONFINITE];
    /// `f32[K]`: the norm of the last unit's gradient in each clip group, before clipping; after the fold phase.
    pub const UNIT_NORM: &str = "dpc.unit_norm";
    /// `i32`, one a trained parameter: which of the parameter and its optimizer states have not been finite after some
    /// update; after the update phase.
    pub const NONFINITE: &str = "dpc.nonfinite";
}

/// Positions in the `dpc.hyper` input.
pub mod hyper {
    /// 1 over the expected batch size.
    pub const INVERSE_BATCH: usize = 0;
    /// The learning rate.
    pub const LEARNING_RATE: usize = 1;
    /// Adam's `1 − β₁ᵗ`.
    pub const BIAS_CORRECTION_1: usize = 2;
    /// Adam's `1 − β₂ᵗ`.
    pub const BIAS_CORRECTION_2: usize = 3;
    /// Number of positions.
    pub const LEN: usize = 4;
}
