// Release: y[i] = (sum[i] + noise[i]) · unit[clip_group] · hyper[INVERSE_BATCH], then sum[i] = 0; integers of 64 bits in two
// words, the low one first.

struct Params {
    count: u32,
    clip_group: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> noise: array<i32>;
@group(0) @binding(2) var<storage, read> hyper: array<f32>;
@group(0) @binding(3) var<storage, read> unit: array<f32>;
@group(0) @binding(4) var<storage, read_write> sum: array<i32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

const INVERSE_BATCH: u32 = 0u;

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
    let added = bitcast<u32>(noise[2u * i]);
    var low = bitcast<u32>(sum[2u * i]) + added;
    var high = bitcast<u32>(sum[2u * i + 1u]) + bitcast<u32>(noise[2u * i + 1u]) + select(0u, 1u, low < added);
    sum[2u * i] = 0;
    sum[2u * i + 1u] = 0;
    let negative = (high >> 31u) == 1u;
    if (negative) {
        low = ~low + 1u;
        high = ~high + select(0u, 1u, low == 0u);
    }
    let magnitude = f32(high) * 4294967296.0 + f32(low);
    y[i] = select(magnitude, -magnitude, negative) * unit[params.clip_group] * hyper[INVERSE_BATCH];
}
