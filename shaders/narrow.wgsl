// Narrow: word y[n, j] holds the halves of x[n, 2j] and x[n, 2j + 1], each rounded to the nearest, ties to even. In integers,
// as pack2x16float leaves open how it rounds, and what it makes of large numbers.

const F16: bool = true;

struct Params {
    count: u32,
    words: u32,
    len: u32,
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<i32>;

fn f16_of(bits: u32) -> u32 {
    let size = bits & 0x7fffffffu;
    if (size > 0x7f800000u) {
        return 0x7e00u;
    }
    let sign = (bits >> 16u) & 0x8000u;
    if (size >= 0x477ff000u) {
        return sign | 0x7c00u;
    }
    if (size >= 0x38800000u) {
        return sign | ((size - 0x38000000u + 0xfffu + ((size >> 13u) & 1u)) >> 13u);
    }
    // Below 2^-14, in units of 2^-24.
    let shift = min(126u - (size >> 23u), 25u);
    let digits = (size & 0x7fffffu) | 0x800000u;
    return sign | ((digits + (1u << (shift - 1u)) - 1u + ((digits >> shift) & 1u)) >> shift);
}

fn bf16_of(bits: u32) -> u32 {
    if ((bits & 0x7fffffffu) > 0x7f800000u) {
        return 0x7fc0u;
    }
    return (bits + 0x7fffu + ((bits >> 16u) & 1u)) >> 16u;
}

fn half_of(number: f32) -> u32 {
    let bits = bitcast<u32>(number * params.scale);
    if (F16) {
        return f16_of(bits);
    }
    return bf16_of(bits);
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if (i >= params.count) {
        return;
    }
    let n = i / params.words;
    let j = 2u * (i - n * params.words);
    let at = n * params.len + j;
    var word = half_of(x[at]);
    if (j + 1u < params.len) {
        word |= half_of(x[at + 1u]) << 16u;
    }
    y[i] = bitcast<i32>(word);
}
