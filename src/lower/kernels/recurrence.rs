//! Recurrences of the cells of the table, and their VJP.

use serde::{Deserialize, Serialize};

use super::contract::{work, zero};
use super::{Binding, KernelRules};
use crate::graph::product;
use crate::lower::cells::{Cell, Direction};
use crate::lower::program::Extent;

/// A recurrence, from pre-activations in columns: at each step, in the order of the direction, the stages of the cell. Each
/// adds to the columns of its gates their rows of `R v`, where `v` is `h` before the step at the first, and a plane that was
/// made before at the others (`R` is `[G·H, H]`), and makes planes of the columns and the states before the step.
///
/// The tape holds planes of `[T, H]`, of which the last is `h`.
///
/// Buffers: `pre`, `f32[P, T, C·H]`; `R`; the initial states from the last to the first, `f32[P or 1, H]`, if `initial`; then
/// `tape`, `f32[P, planes, T, H]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recurrence {
    /// The cell.
    pub cell: Cell,
    /// The order of the steps.
    pub direction: Direction,
    /// Time steps.
    pub steps: usize,
    /// Hidden units.
    pub hidden: usize,
    /// Whether there are initial states; without them they are zero.
    pub initial: bool,
    /// Elements between records of the initial states: `hidden`, or 0 if shared.
    pub initial_record: usize,
}

/// Cotangents of the pre-activations, by one sweep against the direction. If `before`, a row behind the others has in its
/// first columns those of the states that the cell carries, before the first step; its other columns are 0.
///
/// Buffers: `tape`; `R`; the initial values, if `initial`, of the states whose value before a step the backward step reads,
/// from the last to the first; the cotangents of the states at all steps, `f32[P, T, H]`, from the last to the first, of `h`
/// alone if not `inner`; then `dpre`, `f32[P, T, C·H]`, or `f32[P, T + 1, C·H]` if `before`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecurrenceVjp {
    /// The recurrence.
    pub of: Recurrence,
    /// Whether there are cotangents of the states besides `h`.
    pub inner: bool,
    /// Whether the carried states' cotangents before the first step are wanted.
    pub before: bool,
}

impl Recurrence {
    /// The length of a number for each unit and time step.
    fn plane(&self) -> Extent {
        Extent::rows(self.steps.saturating_mul(self.hidden))
    }

    fn state(&self) -> Binding {
        Binding::floats("initial", Extent::rows(1).strided(self.initial_record, self.hidden))
    }

    fn recurrent_weight(&self) -> Binding {
        Binding::floats("R", Extent::fixed(product(&[self.cell.gates(), self.hidden, self.hidden])))
    }
}

impl RecurrenceVjp {
    /// Rows of a record's result.
    pub fn rows(&self) -> usize {
        self.of.steps.saturating_add(usize::from(self.before))
    }
}

impl KernelRules for Recurrence {
    fn name(&self) -> &'static str {
        "recurrence"
    }

    fn buffers(&self) -> Vec<Binding> {
        let mut buffers =
            vec![Binding::floats("pre", self.plane().times(self.cell.columns())), self.recurrent_weight()];
        buffers.extend((0..self.cell.states()).filter(|_| self.initial).map(|_| self.state()));
        buffers.push(Binding::floats("tape", self.plane().times(self.cell.planes())).written());
        buffers
    }

    fn problem(&self) -> Option<String> {
        zero(&[("time steps", self.steps), ("hidden units", self.hidden)])
    }

    fn flops(&self, rows: usize) -> u64 {
        work(&[2, self.cell.gates(), rows, self.steps, self.hidden, self.hidden])
    }

    fn text(&self) -> String {
        format!("{self:?}")
    }
}

impl KernelRules for RecurrenceVjp {
    fn name(&self) -> &'static str {
        "recurrence_vjp"
    }

    fn buffers(&self) -> Vec<Binding> {
        let (cell, plane) = (self.of.cell, self.of.plane());
        let mut buffers = vec![Binding::floats("tape", plane.times(cell.planes())), self.of.recurrent_weight()];
        buffers.extend(cell.reread().iter().filter(|_| self.of.initial).map(|_| self.of.state()));
        let outer = if self.inner { cell.states() } else { 1 };
        buffers.extend((0..outer).map(|_| Binding::floats("outer", plane)));
        let row = Extent::rows(self.of.hidden.saturating_mul(self.rows()));
        buffers.push(Binding::floats("dpre", row.times(cell.columns())).written());
        buffers
    }

    fn problem(&self) -> Option<String> {
        self.of.problem()
    }

    fn flops(&self, rows: usize) -> u64 {
        self.of.flops(rows)
    }

    fn text(&self) -> String {
        format!("{:?}{}", self.of, if self.before { ", before" } else { "" })
    }
}
