//! The table of scalar functions.

use serde::{Deserialize, Serialize};

use super::Term;
use super::derivative::term;
use super::value::Scalar;
use crate::graph::DType;
use crate::lower::math;

/// Declares the scalar functions: variant, name, signature, WGSL (with `{a}`, `{b}`, `{c}` for the operands), Rust, and
/// for each operand what reaches it of the result's cotangent `d`, where `y` is the result.
macro_rules! scalar_table {
    ($($func:ident $name:literal ($($arg:ident: $ty:ident),*) -> $out:ident
        $wgsl:literal => $body:expr, [$($derivative:tt),*];)*) => {
        /// A function of up to three scalars.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Func { $(#[doc = concat!("`", $wgsl, "`")] $func,)* }

        impl Func {
            /// All functions.
            pub const ALL: &[Func] = &[$(Func::$func),*];

            /// The name in the textual form.
            pub fn name(self) -> &'static str {
                match self { $(Func::$func => $name,)* }
            }

            /// The types of the operands.
            pub fn operands(self) -> &'static [DType] {
                match self { $(Func::$func => const { &[$(<$ty as Scalar>::DTYPE),*] },)* }
            }

            /// Number of operands.
            pub fn arity(self) -> usize {
                self.operands().len()
            }

            /// The type of the result.
            pub fn result(self) -> DType {
                match self { $(Func::$func => <$out as Scalar>::DTYPE,)* }
            }

            /// What reaches each operand of the cotangent of the result.
            #[allow(clippy::approx_constant, reason = "a derivative is of literals")]
            pub fn derivatives(self) -> &'static [Term] {
                match self { $(Func::$func => const { &[$(term!($derivative)),*] },)* }
            }

            /// The WGSL expression of the operands.
            pub fn wgsl(self, operands: &[String]) -> String {
                let mut text = match self { $(Func::$func => $wgsl.to_string(),)* };
                for (place, operand) in ["{a}", "{b}", "{c}"].iter().zip(operands) {
                    text = text.replace(place, operand);
                }
                text
            }

            #[inline(always)]
            pub(super) fn apply_portably(self, args: &[&[f32]], out: &mut [f32]) {
                match self { $(Func::$func => {
                    #[inline(always)]
                    fn function($($arg: $ty),*) -> $out { $body }
                    let out: &mut [<$out as Scalar>::Word] = bytemuck::cast_slice_mut(out);
                    scalar_table!(@loop args out function ($($arg: $ty),*));
                })* }
            }
        }

        /// The same functions of floats in double precision: what the tests hold the others to.
        #[cfg(test)]
        #[allow(non_camel_case_types)]
        pub(crate) mod double {
            use super::Func;
            use super::super::tests::{Double, math};

            type f32 = f64;

            /// The value of a function.
            pub(crate) fn apply(func: Func, args: &[Double]) -> Double {
                match func { $(Func::$func => {
                    fn function($($arg: $ty),*) -> $out { $body }
                    let mut args = args.iter();
                    $(let $arg: $ty = args.next().expect("as many operands as the function has").of();)*
                    Double::from(function($($arg),*))
                })* }
            }
        }
    };
    (@loop $args:ident $out:ident $f:ident ($a:ident: $ta:ident)) => {
        let $a = words::<$ta>($args[0]);
        for (y, &$a) in $out.iter_mut().zip($a) { *y = $f(<$ta>::of($a)).word(); }
    };
    (@loop $args:ident $out:ident $f:ident ($a:ident: $ta:ident, $b:ident: $tb:ident)) => {
        let ($a, $b) = (words::<$ta>($args[0]), words::<$tb>($args[1]));
        for ((y, &$a), &$b) in $out.iter_mut().zip($a).zip($b) { *y = $f(<$ta>::of($a), <$tb>::of($b)).word(); }
    };
    (@loop $args:ident $out:ident $f:ident ($a:ident: $ta:ident, $b:ident: $tb:ident, $c:ident: $tc:ident)) => {
        let ($a, $b, $c) = (words::<$ta>($args[0]), words::<$tb>($args[1]), words::<$tc>($args[2]));
        for (((y, &$a), &$b), &$c) in $out.iter_mut().zip($a).zip($b).zip($c) {
            *y = $f(<$ta>::of($a), <$tb>::of($b), <$tc>::of($c)).word();
        }
    };
}

fn words<T: Scalar>(words: &[f32]) -> &[T::Word] {
    bytemuck::cast_slice(words)
}

scalar_table! {
    // Arithmetic of floats.
    Add "add" (a: f32, b: f32) -> f32 "({a} + {b})" => a + b, [d, d];
    Sub "sub" (a: f32, b: f32) -> f32 "({a} - {b})" => a - b, [d, (Neg d)];
    Mul "mul" (a: f32, b: f32) -> f32 "({a} * {b})" => a * b, [(Mul d b), (Mul d a)];
    Div "div" (a: f32, b: f32) -> f32 "({a} / {b})" => a / b, [(Div d b), (Neg (Div (Mul d y) b))];
    Neg "neg" (a: f32) -> f32 "(-{a})" => -a, [(Neg d)];
    Exp "exp" (a: f32) -> f32 "exp_({a})" => math::exp(a), [(Mul d y)];
    Log "log" (a: f32) -> f32 "log_({a})" => a.ln(), [(Div d a)];
    Sqrt "sqrt" (a: f32) -> f32 "sqrt({a})" => a.sqrt(), [(Div (Mul d 0.5) y)];
    Abs "abs" (a: f32) -> f32 "abs({a})" => a.abs(), [(AbsVjp a d)];

    // Activations, and what their cotangents are made of. NaN stays NaN, as in PyTorch.
    Relu "relu" (a: f32) -> f32 "relu_({a})" => if a <= 0.0 { 0.0 } else { a }, [(ReluVjp y d)];
    Tanh "tanh" (a: f32) -> f32 "tanh_({a})" => math::tanh(a), [(TanhVjp y d)];
    Sigmoid "sigmoid" (a: f32) -> f32 "(1.0 / (1.0 + exp_(-{a})))" => math::sigmoid(a), [(SigmoidVjp y d)];
    AbsVjp "abs_vjp" (a: f32, b: f32) -> f32 "select({b} * sign_({a}), 0.0, {a} == 0.0)" => if a == 0.0 { 0.0 } else { b * a.signum() },
        [0, (AbsVjp a d)];
    ReluVjp "relu_vjp" (a: f32, b: f32) -> f32 "select({b}, 0.0, not_above_0({a}))" => if a <= 0.0 { 0.0 } else { b },
        [0, (ReluVjp a d)];
    TanhVjp "tanh_vjp" (a: f32, b: f32) -> f32 "({b} * (1.0 - {a} * {a}))" => b * (1.0 - a * a),
        [(Neg (Mul (Mul d b) (Mul a 2.0))), (TanhVjp a d)];
    SigmoidVjp "sigmoid_vjp" (a: f32, b: f32) -> f32 "({b} * {a} * (1.0 - {a}))" => b * a * (1.0 - a),
        [(Mul (Mul d b) (Sub 1.0 (Mul a 2.0))), (SigmoidVjp a d)];

    // Powers and steps; a step is constant where it has a derivative.
    Pow "pow" (a: f32, b: f32) -> f32 "pow_({a}, {b})" => a.powf(b),
        [(Select (Equal b 0.0) 0.0 (Mul (Mul d b) (Pow a (Sub b 1.0)))), (Select (Equal a 0.0) 0.0 (Mul (Mul d y) (Log a)))];
    Sign "sign" (a: f32) -> f32 "sign_({a})" => if a == 0.0 { a } else { a.signum() }, [0];
    Floor "floor" (a: f32) -> f32 "floor({a})" => a.floor(), [0];
    Ceil "ceil" (a: f32) -> f32 "ceil({a})" => a.ceil(), [0];
    Trunc "trunc" (a: f32) -> f32 "trunc({a})" => a.trunc(), [0];
    Round "round" (a: f32) -> f32 "round({a})" => a.round_ties_even(), [0];

    // Of two equal operands, the cotangent goes to the first. NaN gives NaN.
    Min "min" (a: f32, b: f32) -> f32 "select({b}, {a}, {a} < {b} || is_nan({a}))"
        => if a < b || a.is_nan() { a } else { b }, [(Select (LessOrEqual a b) d 0.0), (Select (Less b a) d 0.0)];
    Max "max" (a: f32, b: f32) -> f32 "select({b}, {a}, {a} > {b} || is_nan({a}))"
        => if a > b || a.is_nan() { a } else { b }, [(Select (LessOrEqual b a) d 0.0), (Select (Less a b) d 0.0)];

    // The error function and what activations are made of.
    Erf "erf" (a: f32) -> f32 "erf_({a})" => math::erf(a), [(Mul (Mul d 1.1283792) (Exp (Neg (Mul a a))))];
    Softplus "softplus" (a: f32) -> f32 "(relu_({a}) + log(1.0 + exp_(-abs({a}))))"
        => (if a <= 0.0 { 0.0 } else { a }) + math::exp(-a.abs()).ln_1p(), [(Mul d (Sigmoid a))];

    // Trigonometry.
    Sin "sin" (a: f32) -> f32 "sin_({a})" => a.sin(), [(Mul d (Cos a))];
    Cos "cos" (a: f32) -> f32 "cos_({a})" => a.cos(), [(Neg (Mul d (Sin a)))];
    Tan "tan" (a: f32) -> f32 "tan_({a})" => a.tan(), [(Mul d (Add (Mul y y) 1.0))];
    Asin "asin" (a: f32) -> f32 "asin_({a})" => a.asin(), [(Div d (Sqrt (Sub 1.0 (Mul a a))))];
    Acos "acos" (a: f32) -> f32 "acos_({a})" => a.acos(), [(Neg (Div d (Sqrt (Sub 1.0 (Mul a a)))))];
    Atan "atan" (a: f32) -> f32 "atan_({a})" => a.atan(), [(Div d (Add (Mul a a) 1.0))];
    Sinh "sinh" (a: f32) -> f32 "sinh_({a})" => a.sinh(), [(Mul d (Cosh a))];
    Cosh "cosh" (a: f32) -> f32 "cosh_({a})" => a.cosh(), [(Mul d (Sinh a))];
    Asinh "asinh" (a: f32) -> f32 "asinh_({a})"
        => if a.abs() > 1e9 { (a.abs().ln() + math::LN_2).copysign(a) } else { a.asinh() }, [(Div d (Sqrt (Add (Mul a a) 1.0)))];
    Acosh "acosh" (a: f32) -> f32 "acosh_({a})"
        => if a > 1e9 { a.ln() + math::LN_2 } else { a.acosh() }, [(Div d (Sqrt (Sub (Mul a a) 1.0)))];
    Atanh "atanh" (a: f32) -> f32 "atanh_({a})" => a.atanh(), [(Div d (Sub 1.0 (Mul a a)))];

    // `a` where `b` is finite, else -0.
    Guard "guard" (a: f32, b: f32) -> f32 "select(-0.0, {a}, (bitcast<u32>({b}) & 0x7fffffffu) < 0x7f800000u)"
        => if b.is_finite() { a } else { -0.0 }, [(Guard d b), 0];

    // Losses.
    BceWithLogits "bce_with_logits" (a: f32, b: f32) -> f32 "(relu_({a}) - {a} * {b} + log(1.0 + exp_(-abs({a}))))"
        => (if a <= 0.0 { 0.0 } else { a }) - a * b + math::exp(-a.abs()).ln_1p(), [(BceWithLogitsVjp a b d), (Neg (Mul d a))];
    BceWithLogitsVjp "bce_with_logits_vjp" (a: f32, b: f32, c: f32) -> f32 "({c} * (1.0 / (1.0 + exp_(-{a})) - {b}))"
        => c * (math::sigmoid(a) - b), [(Mul c (SigmoidVjp (Sigmoid a) d)), (Neg (Mul d c)), (BceWithLogitsVjp a b d)];
    Huber "huber" (a: f32, b: f32) -> f32 "huber_(abs({a}), {b})"
        => { let low = if a.abs() > b { b } else { a.abs() }; low * (a.abs() - 0.5 * low) },
        [(HuberVjp a b d), (Select (Less b (Abs a)) (Mul d (Sub (Abs a) b)) 0.0)];
    HuberVjp "huber_vjp" (a: f32, b: f32, c: f32) -> f32 "({c} * select({a}, {b} * sign_({a}), {a} != 0.0 && abs({a}) > {b}))"
        => c * if a.abs() > b && a != 0.0 { b * a.signum() } else { a },
        [(Select (LessOrEqual (Abs a) b) (Mul d c) 0.0), (Select (Less b (Abs a)) (AbsVjp a (Mul d c)) 0.0), (HuberVjp a b d)];

    // Choices and comparisons; of NaN every comparison is false.
    Select "select" (a: bool, b: f32, c: f32) -> f32 "select({c}, {b}, {a})" => if a { b } else { c },
        [0, (Select a d 0.0), (Select a 0.0 d)];
    SelectI32 "select_i32" (a: bool, b: i32, c: i32) -> i32 "select({c}, {b}, {a})" => if a { b } else { c }, [0, 0, 0];
    SelectBool "select_bool" (a: bool, b: bool, c: bool) -> bool "select({c}, {b}, {a})" => if a { b } else { c },
        [0, 0, 0];
    Less "less" (a: f32, b: f32) -> bool "({a} < {b})" => a < b, [0, 0];
    LessOrEqual "less_or_equal" (a: f32, b: f32) -> bool "({a} <= {b})" => a <= b, [0, 0];
    Equal "equal" (a: f32, b: f32) -> bool "({a} == {b})" => a == b, [0, 0];
    LessI32 "less_i32" (a: i32, b: i32) -> bool "({a} < {b})" => a < b, [0, 0];
    LessOrEqualI32 "less_or_equal_i32" (a: i32, b: i32) -> bool "({a} <= {b})" => a <= b, [0, 0];
    EqualI32 "equal_i32" (a: i32, b: i32) -> bool "({a} == {b})" => a == b, [0, 0];

    IsNan "is_nan" (a: f32) -> bool "is_nan({a})" => a.is_nan(), [0];
    IsInfinite "is_infinite" (a: f32) -> bool "((bitcast<u32>({a}) & 0x7fffffffu) == 0x7f800000u)" => a.is_infinite(), [0];

    // Booleans.
    And "and" (a: bool, b: bool) -> bool "({a} && {b})" => a && b, [0, 0];
    Or "or" (a: bool, b: bool) -> bool "({a} || {b})" => a || b, [0, 0];
    Xor "xor" (a: bool, b: bool) -> bool "({a} != {b})" => a != b, [0, 0];
    Not "not" (a: bool) -> bool "(!{a})" => !a, [0];

    // Arithmetic of integers, which wraps around. A quotient is rounded towards zero, and x / 0 is x; `mod` has the sign
    // of the divisor, `rem` that of the dividend, as ONNX's Mod has without and with `fmod`, and both are 0 for a divisor 0.
    AddI32 "add_i32" (a: i32, b: i32) -> i32 "({a} + {b})" => a.wrapping_add(b), [0, 0];
    SubI32 "sub_i32" (a: i32, b: i32) -> i32 "({a} - {b})" => a.wrapping_sub(b), [0, 0];
    MulI32 "mul_i32" (a: i32, b: i32) -> i32 "({a} * {b})" => a.wrapping_mul(b), [0, 0];
    DivI32 "div_i32" (a: i32, b: i32) -> i32 "div_i32({a}, {b})" => if b == 0 { a } else { a.wrapping_div(b) }, [0, 0];
    ModI32 "mod_i32" (a: i32, b: i32) -> i32 "mod_i32({a}, {b})"
        => if b == 0 { 0 } else { let r = a.wrapping_rem(b); if r != 0 && (r < 0) != (b < 0) { r + b } else { r } }, [0, 0];
    RemI32 "rem_i32" (a: i32, b: i32) -> i32 "rem_i32({a}, {b})" => if b == 0 { 0 } else { a.wrapping_rem(b) }, [0, 0];
    NegI32 "neg_i32" (a: i32) -> i32 "(-{a})" => a.wrapping_neg(), [0];
    AbsI32 "abs_i32" (a: i32) -> i32 "abs({a})" => a.wrapping_abs(), [0];
    MinI32 "min_i32" (a: i32, b: i32) -> i32 "min({a}, {b})" => a.min(b), [0, 0];
    MaxI32 "max_i32" (a: i32, b: i32) -> i32 "max({a}, {b})" => a.max(b), [0, 0];

    // Conversions. To an integer, a float is rounded towards zero, and to the nearest one where it is out of range; NaN is
    // 0. To a boolean, everything but 0 is true.
    F32ToI32 "f32_to_i32" (a: f32) -> i32 "i32_of({a})" => a as i32, [0];
    I32ToF32 "i32_to_f32" (a: i32) -> f32 "f32({a})" => a as f32, [0];
    BoolToF32 "bool_to_f32" (a: bool) -> f32 "select(0.0, 1.0, {a})" => if a { 1.0 } else { 0.0 }, [0];
    BoolToI32 "bool_to_i32" (a: bool) -> i32 "select(0, 1, {a})" => i32::from(a), [0];
    F32ToBool "f32_to_bool" (a: f32) -> bool "((bitcast<u32>({a}) & 0x7fffffffu) != 0u)" => a != 0.0, [0];
    I32ToBool "i32_to_bool" (a: i32) -> bool "({a} != 0)" => a != 0, [0];
}
