//! The table of recurrent cells: what a step of each makes of its pre-activations and of the states before it.
//!
//! One row is all there is to a cell. Both devices run what the row says, and its backward step is made from the row by the
//! derivatives of the scalar functions.

mod activation;
mod routine;
mod table;
#[cfg(test)]
mod tests;

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::scalar::Func::{self, *};
pub use activation::Activation;
use activation::clipped;
pub use routine::Routine;
pub use table::Kind;
use table::{Of, Row};

/// A recurrent cell.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// The row of the table.
    pub kind: Kind,
    /// The activations, as many as the row has.
    pub activations: [Activation; 3],
    /// What the arguments of activations but the last state's are bounded by.
    pub clip: Option<f32>,
}

impl From<Kind> for Cell {
    fn from(kind: Kind) -> Cell {
        let defaults = kind.row().activations;
        let activations = [0, 1, 2].map(|k| defaults.get(k).copied().unwrap_or(Activation::Tanh));
        Cell { kind, activations, clip: None }
    }
}

/// The order in which a recurrence walks through time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From the first step to the last.
    #[default]
    Forward,
    /// From the last step to the first.
    Reverse,
}

impl Direction {
    /// Which of `steps` is made after `made` others.
    pub fn step(self, made: usize, steps: usize) -> usize {
        match self {
            Direction::Forward => made,
            Direction::Reverse => steps - 1 - made,
        }
    }
}

/// A part of a [`Form`], of operands: the columns, then the states before the step, then the planes.
#[derive(Clone, Debug)]
enum Part {
    Operand(usize),
    Number(f32),
    Call(Func, Vec<Part>),
}

/// A row with its activations: all that a step keeps on the tape, from which the step back goes without the pre-activations.
struct Form {
    /// The planes of the tape: the stage at which each is made, and what it is.
    planes: Vec<(usize, Part)>,
    /// The plane of each value of the row.
    places: Vec<usize>,
}

impl Cell {
    fn row(self) -> &'static Row {
        self.kind.row()
    }

    /// The name in the textual form.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// What the cell has else than the others of its name, in the textual form.
    pub fn attributes(self) -> String {
        let mut parts: Vec<String> = Vec::new();
        let count = self.kind.activations();
        if self.activations[..count] != *self.row().activations {
            parts.extend(self.activations[..count].iter().map(|activation| format!("{activation:?}").to_lowercase()));
        }
        parts.extend(self.clip.map(|limit| format!("clip={limit}")));
        parts.join(" ")
    }

    /// Gates with a recurrent product; these are the first columns.
    pub fn gates(self) -> usize {
        self.row().stages.iter().sum()
    }

    /// Columns of the pre-activations.
    pub fn columns(self) -> usize {
        self.gates() + self.row().further
    }

    /// The gates whose recurrent product is made at each stage of a step.
    pub fn stages(self) -> Vec<Range<usize>> {
        let mut end = 0;
        let stages = self.row().stages.iter().map(|count| {
            end += count;
            end - count..end
        });
        stages.collect()
    }

    /// The plane that the recurrent weight multiplies at a stage: that of `h`, before the step, at the first.
    pub fn multiplied(self, stage: usize) -> usize {
        match stage.checked_sub(1) {
            Some(k) => self.form().places[self.row().multiplied[k]],
            None => self.plane(self.states() - 1),
        }
    }

    /// Number of states; the last is `h`.
    pub fn states(self) -> usize {
        self.row().states.len()
    }

    /// The plane of the tape that holds a state.
    pub fn plane(self, state: usize) -> usize {
        self.form().places[self.row().states[state]]
    }

    /// Planes of the tape; the last is `h`.
    pub fn planes(self) -> usize {
        self.form().planes.len()
    }

    /// The planes that are made at a stage.
    pub fn made(self, stage: usize) -> Range<usize> {
        let planes = self.form().planes;
        let first = planes.iter().position(|plane| plane.0 == stage).unwrap_or(planes.len());
        first..planes.iter().rposition(|plane| plane.0 == stage).map_or(first, |last| last + 1)
    }

    /// The states whose value before the step the backward step reads.
    pub fn reread(self) -> Vec<usize> {
        let codes: Vec<Routine> = (0..self.row().stages.len()).map(|stage| self.backward(stage)).collect();
        let first = self.planes();
        (0..self.states()).filter(|k| codes.iter().any(|code| code.read.contains(&(first + k)))).collect()
    }

    /// The states whose cotangent goes to their value before the step without passing through the recurrent product.
    pub fn carried(self) -> Vec<usize> {
        let code = self.backward(0);
        (0..self.states()).filter(|k| code.outputs[self.columns() + k].is_some()).collect()
    }

    fn form(self) -> Form {
        let row = self.row();
        let mut form = Form { planes: vec![], places: vec![] };
        for made in row.values {
            let stage = self.stage(&made.of);
            let mut part = self.part(&made.of, &form);
            if let Some(k) = made.squash {
                let activation = self.activations[k];
                if self.clip.is_some() || activation.plain().is_none() {
                    // A derivative that reads the argument.
                    form.planes.push((stage, part));
                    part = self.operand(form.planes.len() - 1);
                    if let Some(limit) = self.clip {
                        part = clipped(part, limit);
                    }
                }
                part = activation.of(part);
            }
            form.planes.push((stage, part));
            form.places.push(form.planes.len() - 1);
        }
        form
    }

    /// A plane, among the operands of parts.
    fn operand(self, plane: usize) -> Part {
        Part::Operand(self.columns() + self.states() + plane)
    }

    fn part(self, of: &Of, form: &Form) -> Part {
        match of {
            Of::Column(k) => Part::Operand(*k),
            Of::Before(k) => Part::Operand(self.columns() + k),
            Of::Made(k) => self.operand(form.places[*k]),
            Of::Number(number) => Part::Number(*number),
            Of::Call(func, args) => Part::Call(*func, args.iter().map(|arg| self.part(arg, form)).collect()),
            Of::Squash(k, of) => self.activations[*k].of(self.part(of, form)),
        }
    }

    /// The stage at which what a part reads is there.
    fn stage(self, of: &Of) -> usize {
        match of {
            Of::Column(k) => self.stages().iter().position(|gates| gates.contains(k)).unwrap_or(0),
            Of::Made(k) => self.stage(&self.row().values[*k].of),
            Of::Call(_, args) => args.iter().map(|arg| self.stage(arg)).max().unwrap_or(0),
            Of::Squash(_, of) => self.stage(of),
            Of::Before(_) | Of::Number(_) => 0,
        }
    }

    /// A stage of a step: of the columns, with their products, the states before the step and the planes of the stages
    /// before; yields the planes [made](Cell::made) at the stage.
    pub fn forward(self, stage: usize) -> Routine {
        let form = self.form();
        let first = self.columns() + self.states();
        let made = self.made(stage);
        let mut code = Routine::of(first + made.start);
        let mut values: Vec<usize> = (0..first + made.start).collect();
        for (_, part) in &form.planes[made] {
            let value = code.evaluate(part, &values);
            values.push(value);
        }
        let outputs = values[code.operands..].iter().map(|value| Some(*value)).collect();
        code.yielding(outputs)
    }

    /// A stage of the step back: of the planes, the states before the step, the cotangents of the states after it, and those
    /// of what the stages after the first multiply; yields the cotangents of the columns and of the states before the step,
    /// where there are some. Those of the stage's own gates and, at the first stage, of the further columns and states are
    /// meant; what else is yielded is nothing.
    pub fn backward(self, stage: usize) -> Routine {
        let (form, row, columns, states) = (self.form(), self.row(), self.columns(), self.states());
        let planes = form.planes.len();
        let mut code = Routine::of(planes + 2 * states + row.multiplied.len());
        // Columns are not kept; nothing that is pulled reads them.
        let mut values: Vec<usize> = vec![usize::MAX; columns];
        values.extend(planes..planes + states);
        values.extend(0..planes);
        let mut cotangents: Vec<Option<usize>> = vec![None; values.len()];
        for k in 0..states {
            cotangents[columns + states + form.places[row.states[k]]] = Some(planes + states + k);
        }
        for (plane, (made, part)) in form.planes.iter().enumerate().rev().filter(|(_, (made, _))| *made >= stage) {
            let at = columns + states + plane;
            for (k, value) in row.multiplied.iter().enumerate() {
                if form.places[*value] == plane && *made == stage {
                    let product = planes + 2 * states + k;
                    cotangents[at] = Some(match cotangents[at] {
                        Some(sum) => code.call(Add, &[sum, product]),
                        None => product,
                    });
                }
            }
            if let Some(d) = cotangents[at] {
                code.pull(part, Some(plane), d, &values, &mut cotangents);
            }
        }
        let own = &self.stages()[stage];
        let meant = |k: &usize| own.contains(k) || (stage == 0 && *k >= self.gates());
        code.yielding((0..columns + states).map(|k| cotangents[k].filter(|_| meant(&k))).collect())
    }
}
