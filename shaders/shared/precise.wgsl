// Sums of products in more bits than f32 has, four side by side, as pairs of a number and what is missing of it; see `pairs.wgsl`.

struct Pairs {
    high: vec4<f32>,
    low: vec4<f32>,
}

// Of 4 × 4 results.
struct PairTile {
    high: mat4x4<f32>,
    low: mat4x4<f32>,
}

fn kept(x: vec4<f32>) -> vec4<f32> {
    return bitcast<vec4<f32>>(bitcast<vec4<u32>>(x) ^ vec4<u32>(params.zero));
}

fn are_finite(x: vec4<f32>) -> vec4<bool> {
    let exponent = vec4<u32>(0x7f800000u);
    return (bitcast<vec4<u32>>(x) & exponent) != exponent;
}

// The upper 12 bits of the significand; products of such are exact, and so is what they leave of x.
fn upper(x: vec4<f32>) -> vec4<f32> {
    return bitcast<vec4<f32>>(bitcast<vec4<u32>>(x) & vec4<u32>(0xfffff000u));
}

// sums + x · y
fn plus_product(high: vec4<f32>, low: vec4<f32>, x: vec4<f32>, y: vec4<f32>) -> Pairs {
    let x_upper = upper(x);
    let y_upper = upper(y);
    let x_lower = x - x_upper;
    let y_lower = y - y_upper;
    let product = x_upper * y_upper;
    let rest = x_upper * y_lower + x_lower * y_upper + x_lower * y_lower;
    let sum = kept(high + product);
    let part = kept(sum - high);
    let lost = kept(high - kept(sum - part)) + kept(product - part);
    // Of what is not finite nothing is missing.
    let missing = select(vec4<f32>(0.0), low + (lost + rest), are_finite(sum));
    let result = kept(sum + missing);
    return Pairs(result, select(vec4<f32>(0.0), missing - kept(result - sum), are_finite(result)));
}

// tile + a ⊗ b
fn plus_outer(tile: PairTile, a: vec4<f32>, b: vec4<f32>) -> PairTile {
    let x = plus_product(tile.high[0], tile.low[0], vec4<f32>(a.x), b);
    let y = plus_product(tile.high[1], tile.low[1], vec4<f32>(a.y), b);
    let z = plus_product(tile.high[2], tile.low[2], vec4<f32>(a.z), b);
    let w = plus_product(tile.high[3], tile.low[3], vec4<f32>(a.w), b);
    return PairTile(mat4x4<f32>(x.high, y.high, z.high, w.high), mat4x4<f32>(x.low, y.low, z.low, w.low));
}
