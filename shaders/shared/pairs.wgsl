// Sums in more bits than f32 has, as pairs of a number and what is missing of it: an addition loses a few times 2^-48 of the sum.
// The template's `params.zero` is 0, which no compiler knows: what goes through `kept` is a number for it that was rounded,
// and not a formula whose rounding may be done away with, as fast-math compilers do.

struct Pair {
    high: f32,
    low: f32,
}

fn kept(x: f32) -> f32 {
    return bitcast<f32>(bitcast<u32>(x) ^ params.zero);
}

fn is_finite(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u;
}

// sum + x (Knuth's sum of two, then Dekker's).
fn plus(sum: Pair, x: f32) -> Pair {
    let high = kept(sum.high + x);
    let part = kept(high - sum.high);
    let lost = kept(sum.high - kept(high - part)) + kept(x - part);
    // Of what is not finite nothing is missing.
    let low = select(0.0, sum.low + lost, is_finite(high));
    let result = kept(high + low);
    return Pair(result, select(0.0, low - kept(result - high), is_finite(result)));
}
