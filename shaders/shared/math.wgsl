// Functions that keep NaN and infinities, where drivers lose them: `max`, `clamp` and `tanh` of NaN are numbers on all that
// were tried, `exp` of NaN is infinite on one, `log` finite of 0, of negative numbers and of NaN, and `tanh` of large numbers
// NaN. A shader compiler may assume that there is no NaN, so they are told by their bits.

// A constant expression must be finite.
fn float_of(bits: u32) -> f32 {
    return bitcast<f32>(bits);
}

fn is_nan(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
}

// Whether x ≤ 0, which NaN is not.
fn not_above_0(x: f32) -> bool {
    let bits = bitcast<u32>(x);
    return (bits == 0u) | (bits - 0x80000000u <= 0x7f800000u);
}

fn relu_(x: f32) -> f32 {
    return select(x, 0.0, not_above_0(x));
}

fn exp_(x: f32) -> f32 {
    return select(exp(x), x, is_nan(x));
}

fn log_(x: f32) -> f32 {
    let bits = bitcast<u32>(x);
    let size = bits & 0x7fffffffu;
    let inside = select(log(x), x, size >= 0x7f800000u);
    return select(select(inside, float_of(0x7fc00000u), bits > 0x80000000u), float_of(0xff800000u), size == 0u);
}

fn tanh_(x: f32) -> f32 {
    return select(tanh(clamp(x, -15.0, 15.0)), x, is_nan(x));
}
