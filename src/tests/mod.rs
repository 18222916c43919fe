//! Tests of the compiler as a whole on small graphs made for them, in double precision.
//!
//! [`evaluate`] runs a graph by lowering it and taking each kernel's formula from the devices' reference, so that what is
//! compared is the mathematics of ops and passes, with no rounding in the way. [`derivatives`] holds every op of the table to
//! finite differences, [`passes`] every pass to what it promises, [`random`] makes models of all operators, and [`devices`] runs graphs on both devices.

mod derivatives;
mod devices;
mod evaluate;
mod ops;
mod passes;
mod precise;
mod random;
mod sketch;
