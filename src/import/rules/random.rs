//! Random numbers of each record, by its key alone: [RandomNormalLike](https://onnx.ai/onnx/operators/onnx__RandomNormalLike.html)
//! and RandomUniformLike, as variational autoencoders draw noise. Where the model is evaluated they are their median.
//!
//! The newer exporter also writes a dropout with them where PyTorch draws a mask of its own (in place, of whole channels, of
//! whole branches): `Cast(RandomUniformLike(x) < p) / p`. The mask is that of [`Dropout`], so that there is none where the
//! model is evaluated.

use super::dropout::keys;
use super::elementwise::scalar;
use crate::graph::Type;
use crate::import::formula::{Term, formula};
use crate::import::{Import, Refusal, Rule, Value};
use crate::lower::scalar::Func;
use crate::onnx::OnnxNode;
use crate::ops::dropout::Dropout;
use crate::ops::leaf::Fill;
use crate::ops::random::Uniform;

pub(super) const RULES: &[(&str, Rule)] = &[("RandomUniformLike", uniform), ("RandomNormalLike", normal)];

fn uniform(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let [low, high] = numbers(cx, node, [("low", 0.0), ("high", 1.0)])?;
    if (low, high) == (0.0, 1.0) && cx.is_only_compared(node) {
        let x = own(cx, node)?;
        let layer = cx.next_dropout();
        cx.mark_random(node, layer);
        // What is compared with a number is not read: the comparison draws the mask.
        let zero = cx.emit(node, Fill { ty: Type::shared(x.axes.per_record()), value: 0.0 }, &[])?;
        return Ok(vec![Value { node: zero, axes: x.axes }]);
    }
    let drawn = draw(cx, node)?;
    Ok(vec![formula(cx, node, |f| f.of(drawn) * (high - low) + low)?])
}

fn normal(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let [mean, scale] = numbers(cx, node, [("mean", 0.0), ("scale", 1.0)])?;
    let drawn = draw(cx, node)?;
    Ok(vec![formula(cx, node, |f| quantile(f.of(drawn)) * scale + mean)?])
}

fn numbers(cx: &Import<'_>, node: &OnnxNode, named: [(&str, f32); 2]) -> Result<[f32; 2], Refusal> {
    let [a, b] = named.map(|(name, default)| node.float(name, default).map_err(|e| cx.attribute(node, e)));
    Ok([a?, b?])
}

/// The operand, whose dims the numbers have; of each record its own.
fn own(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Value, Refusal> {
    let x = cx.value(node, 0)?;
    match x.axes.batch_axis() {
        Some(_) => Ok(x),
        None => Err(cx.unsupported(node, "random numbers that all records share")),
    }
}

/// Numbers between 0 and 1.
fn draw(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Value, Refusal> {
    let axes = own(cx, node)?.axes;
    let op = Uniform { dims: axes.per_record(), layer: cx.next_dropout() };
    let keys = keys(cx, node)?;
    Ok(Value { node: cx.emit(node, op, &[keys])?, axes })
}

/// The standard normal number below which a share `u` of them lie: √2 erf⁻¹(2u − 1), by the polynomials of
/// [Giles 2011](https://people.maths.ox.ac.uk/gilesm/files/gems_erfinv.pdf), within a few units of the last place.
fn quantile(u: Term<'_>) -> Term<'_> {
    const CENTRAL: [f32; 9] = [
        2.810_226_4e-8,
        3.432_739_4e-7,
        -3.523_387_7e-6,
        -4.391_506_5e-6,
        2.185_808_7e-4,
        -1.253_725e-3,
        -4.177_681_6e-3,
        0.246_640_73,
        1.501_409_4,
    ];
    const TAIL: [f32; 9] = [
        -2.002_142_6e-4,
        1.009_505_6e-4,
        1.349_343_2e-3,
        -3.673_428_5e-3,
        5.739_507_7e-3,
        -7.622_461_3e-3,
        9.438_870_5e-3,
        1.001_674,
        2.832_976_8,
    ];
    let x = u * 2.0 - 1.0;
    // 1 − x² as a product, which keeps the tails.
    let w = -(u * (1.0 - u) * 4.0).call(Func::Log);
    let central = horner(CENTRAL, w - 2.5);
    let tail = horner(TAIL, w.at_least(5.0).sqrt() - 3.0);
    w.call_with(Func::Less, 5.0).choose(central, tail) * x * std::f32::consts::SQRT_2
}

/// A polynomial, its highest coefficient first.
fn horner(coefficients: [f32; 9], at: Term<'_>) -> Term<'_> {
    let [highest, next, rest @ ..] = coefficients;
    rest.iter().fold(at * highest + next, |sum, &coefficient| sum * at + coefficient)
}

/// `u < p` of random numbers: 1 where the mask keeps an element, and `p` where nothing is dropped, so that the quotient by
/// `p` is a dropout in either case.
pub(super) fn kept(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Option<Value>, Refusal> {
    let Some((layer, axes)) = cx.random(node, 0) else { return Ok(None) };
    let share = cx.value(node, 1)?;
    let Some(share) = scalar(cx, &share).filter(|share| *share > 0.0 && *share <= 1.0) else {
        return Err(cx.unsupported(node, "a mask that keeps a share of elements outside of (0, 1]"));
    };
    let whole = cx.emit(node, Fill { ty: Type::shared(axes.per_record()), value: share }, &[])?;
    let keys = keys(cx, node)?;
    let mask = cx.emit(node, Dropout { ratio: 1.0 - share, layer }, &[whole, keys])?;
    cx.mark_mask(node);
    Ok(Some(Value { node: mask, axes }))
}
