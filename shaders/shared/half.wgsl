// The number of a float of 16 bits. In integers, as unpack2x16float need not keep infinities and NaN.

fn bits_of_f16(half: u32) -> u32 {
    let size = half & 0x7fffu;
    let sign = (half & 0x8000u) << 16u;
    if (size >= 0x400u) {
        return sign | ((size << 13u) + select(0x38000000u, 0x70000000u, size >= 0x7c00u));
    }
    return sign | bitcast<u32>(f32(size) * 5.9604645e-8);
}

fn number_of(half: u32, f16: bool) -> f32 {
    var bits = half << 16u;
    if (f16) {
        bits = bits_of_f16(half);
    }
    return bitcast<f32>(bits);
}
