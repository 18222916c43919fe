// The integer next to a float, ties to even, modulo 2³². Floats of 2³¹ and more are integers whose lowest bits are shifted in.

fn on_grid(value: f32) -> i32 {
    if (abs(value) < 2147483648.0) {
        return i32(round(value));
    }
    let bits = bitcast<u32>(value);
    let shift = ((bits >> 23u) & 255u) - 150u;
    let magnitude = bitcast<i32>(select(0u, ((bits & 0x7fffffu) | 0x800000u) << (shift & 31u), shift < 32u));
    return select(magnitude, -magnitude, bits >> 31u == 1u);
}
