//! Functions in double precision, and tests that read the table: a new line is tested without further code.

use super::*;
use crate::graph::DType;

/// A scalar whose floats are in double precision.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Double {
    F64(f64),
    I32(i32),
    Bool(bool),
}

/// What the lines of the table call, in double precision.
pub(crate) mod math {
    pub(crate) use std::f64::consts::LN_2;

    pub(crate) fn exp(x: f64) -> f64 {
        x.exp()
    }

    pub(crate) fn tanh(x: f64) -> f64 {
        x.tanh()
    }

    pub(crate) fn sigmoid(x: f64) -> f64 {
        1.0 / (1.0 + (-x).exp())
    }

    /// The error function by its series, which converges everywhere and loses nothing below 6 but digits that `f64` has to
    /// spare: [DLMF 7.6.2](https://dlmf.nist.gov/7.6#E2), all of whose terms have one sign.
    pub(crate) fn erf(x: f64) -> f64 {
        if x.abs() > 6.0 || x.is_nan() {
            return if x.is_nan() { x } else { x.signum() };
        }
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            term *= 2.0 * x * x / f64::from(2 * n + 1);
            sum += term;
        }
        std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum
    }
}

macro_rules! conversions {
    ($($variant:ident $ty:ty)*) => { $(
        impl From<$ty> for Double {
            fn from(x: $ty) -> Double {
                Double::$variant(x)
            }
        }

        impl TryFrom<Double> for $ty {
            type Error = String;

            fn try_from(x: Double) -> Result<$ty, String> {
                if let Double::$variant(x) = x { Ok(x) } else { Err(format!("{x:?} is no {}", stringify!($ty))) }
            }
        }
    )* };
}

conversions! { F64 f64 I32 i32 Bool bool }

impl From<Value> for Double {
    fn from(value: Value) -> Double {
        match value {
            Value::F32(x) => Double::F64(x.into()),
            Value::I32(x) => Double::I32(x),
            Value::Bool(x) => Double::Bool(x),
        }
    }
}

impl Double {
    /// The scalar, which is of the type that is asked for.
    pub(crate) fn of<T: TryFrom<Double, Error = String>>(&self) -> T {
        T::try_from(*self).unwrap_or_else(|e| panic!("{e}"))
    }

    pub(crate) fn dtype(self) -> DType {
        match self {
            Double::F64(_) => DType::F32,
            Double::I32(_) => DType::I32,
            Double::Bool(_) => DType::Bool,
        }
    }

    /// The scalar of a type whose element in a buffer is `x`.
    pub(crate) fn read(dtype: DType, x: f64) -> Double {
        match dtype {
            DType::F32 => Double::F64(x),
            DType::I32 => Double::I32(x as i32),
            DType::Bool => Double::Bool(x != 0.0),
        }
    }

    /// The element of a buffer; a float beyond the range of single precision is infinite.
    pub(crate) fn in_single_range(self) -> f64 {
        match self {
            Double::F64(x) if x.abs() > f32::MAX.into() => f64::INFINITY.copysign(x),
            Double::F64(x) => x,
            Double::I32(x) => x.into(),
            Double::Bool(x) => f64::from(u8::from(x)),
        }
    }
}

#[test]
fn substitution_composes() {
    let outer = Expr::call(Func::Sub);
    let inner = Expr::call(Func::Mul);
    let both = outer.substitute(1, &[0, 9], &inner, &[0, 1]).unwrap();
    assert_eq!(both.to_string(), "sub x0, mul(x0, x1)");
    assert_eq!(both.operands(), 2);
    let choice = Expr::call(Func::Select).substitute(0, &[9, 0, 1], &Expr::call(Func::Less), &[0, 1]).unwrap();
    assert_eq!(choice.to_string(), "select less(x0, x1), x0, x1");
    assert!(Expr::call(Func::Select).substitute(1, &[0, 9, 1], &Expr::call(Func::Less), &[2, 3]).is_err());
}

#[test]
fn parts_of_expressions_keep_what_they_need() {
    let steps = [
        Step::Operand(3, DType::F32),
        Step::Operand(1, DType::F32),
        Step::Call(Func::Exp, [1, 0, 0]),
        Step::Call(Func::Add, [0, 2, 0]),
    ];
    let expr = Expr::new(steps.to_vec()).unwrap();
    let (part, kept) = expr.part(2).compact();
    assert_eq!((part.to_string(), kept), ("exp x0".to_string(), vec![1]));
    let (whole, kept) = expr.compact();
    assert_eq!((whole.to_string(), kept), ("add x0, exp(x1)".to_string(), vec![3, 1]));
}

#[test]
fn ill_typed_steps_are_refused() {
    let (float, int) = (Step::Operand(0, DType::F32), Step::Operand(0, DType::I32));
    let refused = |steps: &[Step]| Expr::new(steps.to_vec()).unwrap_err();
    assert_eq!(refused(&[]), IllTyped::Empty);
    let (found, expected) = (DType::F32, DType::Bool);
    let argument = IllTyped::Argument { step: 1, func: Func::Not, found, expected };
    assert_eq!(refused(&[float, Step::Call(Func::Not, [0; 3])]), argument);
    assert_eq!(argument.to_string(), "step 1 gives not a f32 where it takes a bool");
    assert_eq!(refused(&[float, Step::Call(Func::Add, [0, 1, 0])]), IllTyped::Order { step: 1, argument: 1 });
    assert!(matches!(refused(&[float, int]), IllTyped::Operand { step: 1, operand: 0, .. }));
    assert!(matches!(
        refused(&[float, Step::Const(Value::I32(1)), Step::Call(Func::Mul, [0, 1, 0])]),
        IllTyped::Argument { found: DType::I32, .. }
    ));
}

#[test]
fn expressions_are_typed_wherever_they_come_from() {
    let infinite = Expr::constant(Value::F32(f32::NEG_INFINITY));
    for expr in [Expr::call(Func::SelectI32), Expr::scale(0.5), infinite] {
        let text = serde_json::to_string(&expr).unwrap();
        assert_eq!(serde_json::from_str::<Expr>(&text).unwrap(), expr, "{text}");
    }
    let text = serde_json::to_string(&Expr::call(Func::Not)).unwrap();
    assert!(serde_json::from_str::<Expr>(&text.replace("bool", "f32")).is_err(), "{text}");
    assert!(serde_json::from_str::<Expr>("[]").is_err());
}

#[test]
fn values_read_back() {
    for (value, text) in [
        (Value::F32(0.1), "0.1f"),
        (Value::F32(1e-20), "1e-20f"),
        (Value::F32(2.0), "2.0f"),
        (Value::F32(f32::NEG_INFINITY), "float_of(4286578688u)"),
        (Value::I32(-7), "-7i"),
        (Value::I32(i32::MIN), "i32(-2147483648)"),
        (Value::Bool(true), "true"),
    ] {
        assert_eq!(value.wgsl(), text);
    }
}

#[test]
fn lines_are_complete() {
    for &func in Func::ALL {
        let (name, arity, template) = (func.name(), func.arity(), func.wgsl(&[]));
        for (k, place) in ["{a}", "{b}", "{c}"].iter().enumerate() {
            assert_eq!(template.contains(place), k < arity, "{name}: {template}");
        }
        assert_eq!(func.derivatives().len(), arity, "{name}");
        assert_eq!(Func::ALL.iter().filter(|f| f.name() == name).count(), 1, "{name}");
        for (dtype, derivative) in func.operands().iter().zip(func.derivatives()) {
            let constant = *dtype != DType::F32 || func.result() != DType::F32;
            assert!(!constant || *derivative == Term::Zero, "{name} has a cotangent of what is no float");
        }
    }
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

/// The cotangent of operand `k` at a point where the result has the cotangent `d`.
fn cotangent(term: &Term, args: &[Double], y: Double, d: f64) -> Double {
    match *term {
        Term::Zero => panic!("a part of an expression is left out"),
        Term::Cotangent => Double::F64(d),
        Term::Result => y,
        Term::Operand(k) => args[k],
        Term::Const(c) => Double::F64(c.into()),
        Term::Call(func, parts) => {
            let args: Vec<Double> = parts.iter().map(|part| cotangent(part, args, y, d)).collect();
            double::apply(func, &args)
        }
    }
}

/// Points at which no function has a kink, in every combination of signs and orders.
fn points(func: Func) -> Vec<Vec<Double>> {
    const FLOATS: [f64; 8] = [0.37, -0.71, 1.93, -2.61, 0.05, 3.3, -1.17, 2.27];
    func.operands().iter().enumerate().fold(vec![vec![]], |points, (k, dtype)| {
        let values: Vec<Double> = match dtype {
            // Not the same values for each operand: a comparison of equals is a kink.
            DType::F32 => FLOATS.iter().map(|x| Double::F64(x * (1.0 + 0.1 * k as f64))).collect(),
            DType::I32 => [-3, 0, 5].map(Double::I32).to_vec(),
            DType::Bool => [false, true].map(Double::Bool).to_vec(),
        };
        points.iter().flat_map(|p| values.iter().map(|&v| p.iter().copied().chain([v]).collect())).collect()
    })
}

#[test]
fn derivatives_are_those_of_finite_differences() {
    const STEP: f64 = 1e-6;
    for &func in Func::ALL.iter().filter(|f| f.result() == DType::F32) {
        let mut checked = 0;
        for point in points(func) {
            for (k, term) in func.derivatives().iter().enumerate() {
                let Double::F64(x) = point[k] else { continue };
                let at = |x: f64| {
                    let mut point = point.clone();
                    point[k] = Double::F64(x);
                    double::apply(func, &point).of::<f64>()
                };
                let (slope, d) = ((at(x + STEP) - at(x - STEP)) / (2.0 * STEP), 1.7);
                if !slope.is_finite() {
                    continue;
                }
                let got = match term {
                    Term::Zero => 0.0,
                    term => cotangent(term, &point, double::apply(func, &point), d).of::<f64>(),
                };
                checked += 1;
                let close = (got - d * slope).abs() <= 1e-6 * (1.0 + slope.abs());
                assert!(close, "{} at {point:?}, operand {k}: {got} instead of {}", func.name(), d * slope);
            }
        }
        let floats = func.operands().contains(&DType::F32);
        assert!(checked >= 3 || !floats, "{}: {checked} points", func.name());
    }
}
