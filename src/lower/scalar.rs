//! Scalar functions, and expressions of them that fused element-wise kernels compute.
//!
//! One line of the table is all there is to a function: its name, its WGSL and its Rust.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::math;

/// Declares the scalar functions: variant, name, parameters, WGSL (with `{a}`, `{b}`, `{c}` for the arguments), Rust.
macro_rules! scalar_table {
    ($($func:ident $name:literal ($($arg:ident),*) $wgsl:literal => $body:expr;)*) => {
        /// A function of up to three floats.
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

            /// Number of arguments.
            pub fn arity(self) -> usize {
                match self { $(Func::$func => [$(stringify!($arg)),*].len(),)* }
            }

            /// The WGSL expression of the arguments.
            pub fn wgsl(self, args: &[String]) -> String {
                let mut text = match self { $(Func::$func => $wgsl.to_string(),)* };
                for (place, arg) in ["{a}", "{b}", "{c}"].iter().zip(args) {
                    text = text.replace(place, arg);
                }
                text
            }

            #[inline(always)]
            fn apply_portably(self, args: &[&[f32]], out: &mut [f32]) {
                match self { $(Func::$func => scalar_table!(@loop args out ($($arg),*) $body),)* }
            }
        }
    };
    (@loop $args:ident $out:ident ($a:ident) $body:expr) => {
        for (y, &$a) in $out.iter_mut().zip($args[0]) { *y = $body; }
    };
    (@loop $args:ident $out:ident ($a:ident, $b:ident) $body:expr) => {
        for ((y, &$a), &$b) in $out.iter_mut().zip($args[0]).zip($args[1]) { *y = $body; }
    };
    (@loop $args:ident $out:ident ($a:ident, $b:ident, $c:ident) $body:expr) => {
        for (((y, &$a), &$b), &$c) in $out.iter_mut().zip($args[0]).zip($args[1]).zip($args[2]) { *y = $body; }
    };
}

scalar_table! {
    Add "add" (a, b) "({a} + {b})" => a + b;
    Sub "sub" (a, b) "({a} - {b})" => a - b;
    Mul "mul" (a, b) "({a} * {b})" => a * b;
    Div "div" (a, b) "({a} / {b})" => a / b;
    Neg "neg" (a) "(-{a})" => -a;
    Exp "exp" (a) "exp({a})" => math::exp(a);
    Log "log" (a) "log({a})" => a.ln();
    Sqrt "sqrt" (a) "sqrt({a})" => a.sqrt();
    Abs "abs" (a) "abs({a})" => a.abs();
    Relu "relu" (a) "max({a}, 0.0)" => a.max(0.0);
    Tanh "tanh" (a) "tanh_(({a}))" => math::tanh(a);
    Sigmoid "sigmoid" (a) "(1.0 / (1.0 + exp(-{a})))" => math::sigmoid(a);
    AbsVjp "abs_vjp" (a, b) "({b} * sign({a}))" => if a == 0.0 { 0.0 } else { b * a.signum() };
    ReluVjp "relu_vjp" (a, b) "select(0.0, {b}, {a} > 0.0)" => if a > 0.0 { b } else { 0.0 };
    TanhVjp "tanh_vjp" (a, b) "({b} * (1.0 - {a} * {a}))" => b * (1.0 - a * a);
    SigmoidVjp "sigmoid_vjp" (a, b) "({b} * {a} * (1.0 - {a}))" => b * a * (1.0 - a);
    Guard "guard" (a, b) "select(0.0, {a}, (bitcast<u32>({b}) & 0x7fffffffu) < 0x7f800000u)"
        => if b.is_finite() { a } else { 0.0 };
    BceWithLogits "bce_with_logits" (a, b) "(max({a}, 0.0) - {a} * {b} + log(1.0 + exp(-abs({a}))))"
        => a.max(0.0) - a * b + math::exp(-a.abs()).ln_1p();
    BceWithLogitsVjp "bce_with_logits_vjp" (a, b, c) "({c} * (1.0 / (1.0 + exp(-{a})) - {b}))"
        => c * (math::sigmoid(a) - b);
    Huber "huber" (a, b) "(min(abs({a}), {b}) * (abs({a}) - 0.5 * min(abs({a}), {b})))"
        => a.abs().min(b) * (a.abs() - 0.5 * a.abs().min(b));
    HuberVjp "huber_vjp" (a, b, c) "({c} * select({a}, {b} * sign({a}), abs({a}) > {b}))"
        => c * if a.abs() <= b { a } else { b * a.signum() };
}

impl Func {
    /// Applies the function element by element to slices of one length. The result is the same on every processor: wider
    /// registers change the speed alone.
    pub fn apply(self, args: &[&[f32]], out: &mut [f32]) {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has just said that it has AVX2.
            return unsafe { self.apply_with_avx2(args, out) };
        }
        self.apply_portably(args, out);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn apply_with_avx2(self, args: &[&[f32]], out: &mut [f32]) {
        self.apply_portably(args, out);
    }
}

/// WGSL that every shader with scalar functions starts with: `tanh` of large arguments overflows on some drivers, and a
/// constant expression must be finite.
pub const WGSL_PRELUDE: &str = "\
fn tanh_(x: f32) -> f32 {
    return tanh(clamp(x, -15.0, 15.0));
}

fn float_of(bits: u32) -> f32 {
    return bitcast<f32>(bits);
}
";

/// A step of an [`Expr`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Operand `k` of the kernel.
    Operand(usize),
    /// A constant.
    Const(f32),
    /// A function of earlier steps.
    Call(Func, [usize; 3]),
}

/// A straight-line program of scalar steps; its value is that of the last one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Expr {
    /// The steps; arguments of a call precede it.
    pub steps: Vec<Step>,
}

impl Expr {
    /// `func` of operands 0, 1, ….
    pub fn call(func: Func) -> Expr {
        let mut steps: Vec<Step> = (0..func.arity()).map(Step::Operand).collect();
        steps.push(Step::Call(func, [0, 1, 2]));
        Expr { steps }
    }

    /// `scale · x`.
    pub fn scale(scale: f32) -> Expr {
        Expr { steps: vec![Step::Operand(0), Step::Const(scale), Step::Call(Func::Mul, [0, 1, 0])] }
    }

    /// The function that is the whole expression, applied to operands in order; `None` for a longer one.
    pub fn as_call(&self) -> Option<Func> {
        let Some(Step::Call(func, _)) = self.steps.last() else { return None };
        (*self == Expr::call(*func)).then_some(*func)
    }

    /// Number of operands: one more than the largest operand read.
    pub fn operands(&self) -> usize {
        self.steps.iter().map(|s| if let Step::Operand(k) = s { k + 1 } else { 0 }).max().unwrap_or(0)
    }

    /// Why the expression cannot be worked out of `operands` operands, if it cannot.
    pub fn problem(&self, operands: usize) -> Option<String> {
        let step = |(i, step): (usize, &Step)| match step {
            Step::Operand(k) => *k < operands,
            Step::Const(_) => true,
            Step::Call(func, args) => args[..func.arity()].iter().all(|&arg| arg < i),
        };
        let works = !self.steps.is_empty() && self.steps.iter().enumerate().all(step);
        (!works).then(|| format!("has an expression that {operands} operands do not give"))
    }

    /// Number of function calls.
    pub fn calls(&self) -> usize {
        self.steps.iter().filter(|s| matches!(s, Step::Call(..))).count()
    }

    /// The expression with operand `k` computed by `inner`, whose operand `j` becomes operand `inner_operands[j]`, while
    /// operand `j` of `self` becomes `operands[j]`.
    pub fn substitute(&self, k: usize, operands: &[usize], inner: &Expr, inner_operands: &[usize]) -> Expr {
        let mut steps: Vec<Step> = Vec::new();
        let mut push = |step: Step| {
            let known = match step {
                Step::Call(..) => None,
                leaf => steps.iter().position(|s| *s == leaf),
            };
            known.unwrap_or_else(|| {
                steps.push(step);
                steps.len() - 1
            })
        };
        let mut place = |expr: &Expr, map: &dyn Fn(usize) -> Result<usize, usize>| {
            let mut at: Vec<usize> = Vec::new();
            for step in &expr.steps {
                let here = match *step {
                    Step::Operand(j) => match map(j) {
                        Ok(operand) => push(Step::Operand(operand)),
                        Err(position) => position,
                    },
                    Step::Const(c) => push(Step::Const(c)),
                    Step::Call(func, args) => push(Step::Call(func, args.map(|a| at.get(a).copied().unwrap_or(0)))),
                };
                at.push(here);
            }
            at.last().copied().unwrap_or(0)
        };
        let value = place(inner, &|j| Ok(inner_operands[j]));
        place(self, &|j| if j == k { Err(value) } else { Ok(operands[j]) });
        Expr { steps }
    }

    /// WGSL statements that compute the expression, and the name of the result; `operand` gives the text of operand `k`.
    pub fn wgsl(&self, operand: impl Fn(usize) -> String) -> (String, String) {
        let mut body = String::new();
        for (i, step) in self.steps.iter().enumerate() {
            let text = match step {
                Step::Operand(k) => operand(*k),
                Step::Const(c) => literal(*c),
                Step::Call(func, args) => {
                    func.wgsl(&args[..func.arity()].iter().map(|a| format!("t{a}")).collect::<Vec<_>>())
                }
            };
            body.push_str(&format!("    let t{i} = {text};\n"));
        }
        (body, format!("t{}", self.steps.len().saturating_sub(1)))
    }
}

/// A float as a WGSL literal that reads back as the same value.
pub fn literal(x: f32) -> String {
    if x.is_finite() { format!("{x:?}f") } else { format!("float_of({}u)", x.to_bits()) }
}

impl Expr {
    /// The expression of named operands: `mul add(%a, %b), 0.5`.
    pub fn text(&self, operands: &[String]) -> String {
        let mut texts: Vec<String> = Vec::new();
        for (i, step) in self.steps.iter().enumerate() {
            texts.push(match step {
                Step::Operand(k) => operands.get(*k).cloned().unwrap_or_else(|| format!("x{k}")),
                Step::Const(c) => format!("{c:?}"),
                Step::Call(func, args) => {
                    let args: Vec<&str> = args[..func.arity()].iter().map(|&a| texts[a].as_str()).collect();
                    let (name, args) = (func.name(), args.join(", "));
                    if i + 1 == self.steps.len() { format!("{name} {args}") } else { format!("{name}({args})") }
                }
            });
        }
        texts.pop().unwrap_or_default()
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(&[]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn substitution_composes() {
        let outer = Expr::call(Func::Sub);
        let inner = Expr::call(Func::Mul);
        let both = outer.substitute(1, &[0, 9], &inner, &[0, 1]);
        assert_eq!(both.to_string(), "sub x0, mul(x0, x1)");
        assert_eq!(both.operands(), 2);
    }

    #[test]
    fn wider_registers_give_the_same_bits() {
        let mut args = [0.37f32, -1.9, 0.0].map(|x| (0..1001).map(|i| x * i as f32 * 0.13).collect::<Vec<f32>>());
        args[0].extend([f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0]);
        args[1].extend([1.0, f32::NAN, 2.0, 0.0]);
        args[2].extend([0.5; 4]);
        let args = args.each_ref().map(Vec::as_slice);
        for &func in Func::ALL {
            let (mut wide, mut narrow) = (vec![0.0f32; 1005], vec![0.0f32; 1005]);
            func.apply(&args[..func.arity()], &mut wide);
            func.apply_portably(&args[..func.arity()], &mut narrow);
            let same = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
            assert!(wide.iter().zip(&narrow).all(same), "{}", func.name());
        }
    }

    #[test]
    fn literals_read_back() {
        assert_eq!(literal(0.1), "0.1f");
        assert_eq!(literal(1e-20), "1e-20f");
        assert_eq!(literal(2.0), "2.0f");
        assert_eq!(literal(f32::NEG_INFINITY), "float_of(4286578688u)");
    }
}
