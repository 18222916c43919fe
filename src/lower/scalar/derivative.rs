//! Derivatives, as expressions.

use super::Func;

/// A part of a derivative: what reaches an operand of a function `y = f(a, b, c)` whose result has the cotangent `d`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Term {
    /// Nothing: the function is locally constant in the operand, or the operand is no float.
    Zero,
    /// The cotangent of the result, `d`.
    Cotangent,
    /// The result, `y`.
    Result,
    /// Operand `k`: `a`, `b` or `c`.
    Operand(usize),
    /// A constant.
    Const(f32),
    /// A function of other parts.
    Call(Func, &'static [Term]),
}

/// A [`Term`]: `0`, `d`, `y`, `a`, `b`, `c`, a float, or `(Func part …)`.
macro_rules! term {
    (0) => { $crate::lower::scalar::Term::Zero };
    (d) => { $crate::lower::scalar::Term::Cotangent };
    (y) => { $crate::lower::scalar::Term::Result };
    (a) => { $crate::lower::scalar::Term::Operand(0) };
    (b) => { $crate::lower::scalar::Term::Operand(1) };
    (c) => { $crate::lower::scalar::Term::Operand(2) };
    (($func:ident $($part:tt)*)) => {
        $crate::lower::scalar::Term::Call($crate::lower::scalar::Func::$func, &[$(term!($part)),*])
    };
    ($c:literal) => { $crate::lower::scalar::Term::Const($c) };
}
pub(super) use term;
