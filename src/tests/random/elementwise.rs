//! Functions of elements.

use super::net::{Attr, Kind, Net, Val};

/// What a function takes.
#[derive(Clone, Copy)]
enum Domain {
    Any,
    Within(f64),
    Positive,
    AboveOne,
}
use Domain::{AboveOne, Any, Positive, Within};

/// A function of one float: the first operator set that has it, what it takes, what it yields at most, and the attributes that
/// it may have, with ranges.
type Unary = (&'static str, i64, Domain, fn(f64) -> f64, &'static [(&'static str, f64, f64)]);

const UNARY: &[Unary] = &[
    ("Abs", 13, Any, |x| x, &[]),
    ("Acos", 13, Within(0.9), |_| 3.2, &[]),
    ("Acosh", 13, AboveOne, |x| 1.0 + x.ln(), &[]),
    ("Asin", 13, Within(0.9), |_| 1.6, &[]),
    ("Asinh", 13, Any, |x| 1.0 + (1.0 + x).ln(), &[]),
    ("Atan", 13, Any, |_| 1.6, &[]),
    ("Atanh", 13, Within(0.9), |_| 1.5, &[]),
    ("Ceil", 13, Any, |x| x + 1.0, &[]),
    ("Celu", 13, Any, |x| x + 2.0, &[("alpha", 0.5, 2.0)]),
    ("Cos", 13, Within(20.0), |_| 1.0, &[]),
    ("Cosh", 13, Within(2.0), |_| 3.8, &[]),
    ("Elu", 13, Any, |x| x + 2.0, &[("alpha", 0.5, 2.0)]),
    ("Erf", 13, Any, |_| 1.0, &[]),
    ("Exp", 13, Within(2.0), |x| x.exp(), &[]),
    ("Floor", 13, Any, |x| x + 1.0, &[]),
    ("HardSigmoid", 13, Any, |_| 1.0, &[("alpha", 0.1, 0.4), ("beta", 0.2, 0.6)]),
    ("HardSwish", 14, Any, |x| x, &[]),
    ("Identity", 13, Any, |x| x, &[]),
    ("LeakyRelu", 13, Any, |x| x, &[("alpha", 0.05, 0.5)]),
    ("Log", 13, Positive, |x| 1.0 + (1.0 + x).ln(), &[]),
    ("Mish", 18, Any, |x| x, &[]),
    ("Neg", 13, Any, |x| x, &[]),
    ("Reciprocal", 13, Positive, |_| 2.5, &[]),
    ("Relu", 13, Any, |x| x, &[]),
    ("Round", 13, Any, |x| x + 1.0, &[]),
    ("Selu", 13, Any, |x| x + 2.0, &[]),
    ("Shrink", 13, Any, |x| x, &[("lambd", 0.1, 0.6), ("bias", 0.0, 0.3)]),
    ("Sigmoid", 13, Any, |_| 1.0, &[]),
    ("Sign", 13, Any, |_| 1.0, &[]),
    ("Sin", 13, Within(20.0), |_| 1.0, &[]),
    ("Sinh", 13, Within(2.0), |_| 3.8, &[]),
    ("Softplus", 13, Any, |x| x + 0.7, &[]),
    ("Softsign", 13, Any, |_| 1.0, &[]),
    ("Sqrt", 13, Positive, |x| x.sqrt() + 1.0, &[]),
    ("Swish", 24, Any, |x| x, &[("alpha", 0.5, 1.5)]),
    ("Tan", 13, Within(1.0), |_| 1.6, &[]),
    ("Tanh", 13, Any, |_| 1.0, &[]),
    ("ThresholdedRelu", 13, Any, |x| x, &[("alpha", 0.1, 1.0)]),
];

pub fn unary(net: &mut Net) -> Option<Val> {
    let &(op, since, domain, most, attributes) = net.one_of(UNARY);
    if net.opset < since {
        return None;
    }
    let x = net.float()?;
    let x = match domain {
        Any => x,
        Within(most) => net.within(&x, most),
        Positive => net.positive(&x),
        AboveOne => {
            let positive = net.positive(&x);
            let one = net.number(1.0);
            net.hidden("Add", &[&positive, &one], vec![], positive.clone().of(Kind::F, positive.most + 1.0))
        }
    };
    let mut given = vec![];
    for &(name, low, high) in attributes {
        if !net.one_in(3) {
            given.push((name, Attr::Float(net.real(low, high) as f32)));
        }
    }
    let like = x.clone().of(Kind::F, most(x.most));
    Some(net.emit(op, &[&x], given, like))
}

pub fn gelu(net: &mut Net) -> Option<Val> {
    let x = net.float()?;
    if net.opset < 20 {
        return None;
    }
    let how = *net.one_of(&["none", "tanh"]);
    Some(net.emit("Gelu", &[&x], vec![("approximate", Attr::Text(how))], x.clone()))
}

/// What two values broadcast to, if they do.
pub fn broadcast(a: &Val, b: &Val) -> Option<Val> {
    let rank = a.rank().max(b.rank());
    let at = |value: &Val, k: usize| -> Option<(usize, bool)> {
        let k = (k + value.rank()).checked_sub(rank)?;
        Some((value.dims[k], value.batch == Some(k)))
    };
    let (mut dims, mut batch) = (vec![], None);
    for k in 0..rank {
        let (x, y) = (at(a, k).unwrap_or((1, false)), at(b, k).unwrap_or((1, false)));
        dims.push(match (x, y) {
            ((1, true), (1, _)) | ((1, _), (1, true)) => {
                batch = Some(k);
                1
            }
            ((_, true), _) | (_, (_, true)) => return None,
            ((x, _), (y, _)) if x == y || y == 1 => x,
            ((1, _), (y, _)) => y,
            _ => return None,
        });
    }
    let both = a.batch.is_some() && b.batch.is_some();
    let aligned = |value: &Val| value.batch.map(|k| k + rank - value.rank()) == batch;
    if (both && !(aligned(a) && aligned(b))) || !Net::fits(&dims) {
        return None;
    }
    Some(Val { dims, batch, ..a.clone() })
}

/// Something that broadcasts with a value.
pub fn partner(net: &mut Net, x: &Val) -> Val {
    let kind = x.kind;
    let other = net.pick(|y| y.kind == kind && broadcast(x, y).is_some());
    match net.below(5) {
        0 | 1 if other.is_some() => other.unwrap_or_else(|| x.clone()),
        2 if kind == Kind::F => net.parameter(&[]),
        _ if kind != Kind::F => other.unwrap_or_else(|| x.clone()),
        _ => {
            // A parameter of the last axes, of size 1 here and there, or larger where the value's own size is 1.
            let from = net.below(x.rank() + 1);
            let mut dims = vec![];
            for k in from..x.rank() {
                let own = x.dims[k];
                dims.push(match own {
                    _ if x.batch == Some(k) => 1,
                    1 if net.one_in(3) => net.small(),
                    own if net.one_in(3) => own.min(1),
                    own => own,
                });
            }
            let parameter = net.weight(&dims);
            if broadcast(x, &parameter).is_some() { parameter } else { x.clone() }
        }
    }
}

pub fn binary(net: &mut Net) -> Option<Val> {
    let x = net.float()?;
    let y = partner(net, &x);
    let op = *net.one_of(&["Add", "Sub", "Mul", "Mul", "Div", "Pow", "Mod", "PRelu", "Min", "Max"]);
    let (mut a, mut b) = (x, y);
    if net.one_in(2) && op != "PRelu" {
        std::mem::swap(&mut a, &mut b);
    }
    let mut attributes = vec![];
    match op {
        "Mul" => (a, b) = (net.within(&a, 12.0), net.within(&b, 12.0)),
        "Div" => b = net.positive(&b),
        "Mod" => {
            b = net.positive(&b);
            attributes.push(("fmod", Attr::Int(1)));
        }
        "Pow" => {
            a = net.within(&a, 3.0);
            a = net.positive(&a);
            b = if net.one_in(2) { net.number(2.0) } else { net.within(&b, 2.0) };
        }
        "PRelu" => {
            // The slope broadcasts to the operand, and does not widen it.
            let fits = b.batch.is_none() && broadcast(&a, &b).is_some_and(|both| both.dims == a.dims);
            if !fits || a.batch.is_none() {
                return None;
            }
        }
        _ => {}
    }
    let most = match op {
        "Mul" => a.most * b.most,
        "Div" => a.most * 2.5,
        "Pow" => a.most.max(2.5).powf(b.most),
        _ => a.most + b.most,
    };
    let like = broadcast(&a, &b)?.of(Kind::F, most);
    Some(net.emit(op, &[&a, &b], attributes, like))
}

pub fn variadic(net: &mut Net) -> Option<Val> {
    let op = *net.one_of(&["Sum", "Mean", "Max", "Min"]);
    let x = net.float()?;
    let (mut operands, mut like) = (vec![x.clone()], x);
    for _ in 0..net.below(3) {
        let y = partner(net, &like);
        let both = broadcast(&like, &y)?;
        like = both.of(Kind::F, like.most + y.most);
        operands.push(y);
    }
    Some(net.emit(op, &operands.iter().collect::<Vec<_>>(), vec![], like))
}

pub fn clip(net: &mut Net) -> Option<Val> {
    let x = net.float()?;
    let (low, high) = (net.number(-0.7), net.number(0.8));
    let none = Val::none();
    let (low, high) = match net.below(3) {
        0 => (&low, &none),
        1 => (&none, &high),
        _ => (&low, &high),
    };
    Some(net.emit("Clip", &[&x, low, high], vec![], x.clone()))
}

pub fn compare(net: &mut Net) -> Option<Val> {
    let x = if net.one_in(2) { net.float()? } else { net.pick(|value| value.kind == Kind::I)? };
    let y = partner(net, &x);
    // Whether computed floats are equal is a matter of rounding.
    let ops: &[&str] = match x.kind {
        Kind::I => &["Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Equal"],
        _ => &["Less", "LessOrEqual", "Greater", "GreaterOrEqual"],
    };
    let op = *net.one_of(ops);
    let like = broadcast(&x, &y)?.of(Kind::B, 1.0);
    if x.kind == Kind::F && (x.name == y.name || like.len() > 200) {
        return None;
    }
    Some(net.emit(op, &[&x, &y], vec![], like))
}

pub fn logic(net: &mut Net) -> Option<Val> {
    let x = net.pick(|value| value.kind == Kind::B)?;
    if net.one_in(3) {
        return Some(net.emit("Not", &[&x], vec![], x.clone()));
    }
    let y = partner(net, &x);
    let op = *net.one_of(&["And", "Or", "Xor", "Equal"]);
    let like = broadcast(&x, &y)?;
    Some(net.emit(op, &[&x, &y], vec![], like))
}

pub fn guard(net: &mut Net) -> Option<Val> {
    let x = net.float()?;
    let op = *net.one_of(&["IsNaN", "IsInf"]);
    let attributes = match op {
        "IsInf" if net.one_in(2) => vec![("detect_negative", Attr::Int(0))],
        _ => vec![],
    };
    Some(net.emit(op, &[&x], attributes, x.clone().of(Kind::B, 1.0)))
}

pub fn choose(net: &mut Net) -> Option<Val> {
    let condition = net.pick(|value| value.kind == Kind::B)?;
    let x = net.pick(|value| value.kind == Kind::F && broadcast(&condition, value).is_some())?;
    let like = broadcast(&condition, &x)?.of(Kind::F, x.most);
    let y = partner(net, &like);
    let like = broadcast(&like, &y)?.of(Kind::F, x.most.max(y.most));
    let operands = if net.one_in(2) { [&condition, &x, &y] } else { [&condition, &y, &x] };
    Some(net.emit("Where", &operands, vec![], like))
}

pub fn cast(net: &mut Net) -> Option<Val> {
    let x = if net.one_in(4) { net.float()? } else { net.pick(|value| value.kind != Kind::F)? };
    let (to, like) = match (x.kind, net.below(2)) {
        (Kind::F, 0) => (1, x.clone()),
        (Kind::F, _) => {
            // Integers are of 0 and more.
            let squashed = net.hidden("Sigmoid", &[&x], vec![], x.clone().of(Kind::F, 1.0));
            let scale = net.number(4.3);
            let scaled = net.hidden("Mul", &[&squashed, &scale], vec![], x.clone().of(Kind::F, 4.3));
            return Some(net.emit("Cast", &[&scaled], vec![("to", Attr::Int(7))], x.of(Kind::I, 4.0)));
        }
        (Kind::I, 0) => (9, x.clone().of(Kind::B, 1.0)),
        (Kind::B, 0) => (7, x.clone().of(Kind::I, 1.0)),
        _ => (1, x.clone().of(Kind::F, x.most)),
    };
    if net.opset >= 15 && net.one_in(3) {
        let target = net.pick(|value| value.kind == like.kind)?;
        return Some(net.emit("CastLike", &[&x, &target], vec![], like));
    }
    Some(net.emit("Cast", &[&x], vec![("to", Attr::Int(to))], like))
}

/// Arithmetic of integers, which stay 0 or more.
pub fn integers(net: &mut Net) -> Option<Val> {
    let x = net.pick(|value| value.kind == Kind::I)?;
    let y = partner(net, &x);
    let like = broadcast(&x, &y)?;
    let three = net.int_tensor(&[], &[3]);
    Some(match net.below(6) {
        0 if x.most + y.most < 1e4 => net.emit("Add", &[&x, &y], vec![], like.of(Kind::I, x.most + y.most)),
        1 if x.most * y.most < 1e4 => net.emit("Mul", &[&x, &y], vec![], like.of(Kind::I, x.most * y.most)),
        2 => {
            let less = net.hidden("Sub", &[&x, &y], vec![], like.clone());
            net.emit("Abs", &[&less], vec![], like.of(Kind::I, x.most.max(y.most)))
        }
        3 => {
            let negative = net.hidden("Neg", &[&x], vec![], x.clone());
            net.emit("Mod", &[&negative, &three], vec![], x.clone().of(Kind::I, 2.0))
        }
        4 => net.emit("Div", &[&x, &three], vec![], x.clone()),
        _ => net.emit("Sign", &[&x], vec![], x.clone().of(Kind::I, 1.0)),
    })
}
