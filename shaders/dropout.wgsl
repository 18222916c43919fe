// Dropout: y[n, i] = x[n, i] · [u(keys[n], layer, i) ≥ ratio] / (1 − ratio), u being word 0 of Threefry-2x32-20
// with key keys[n] and counter (i, layer), its 24 high bits over 2²⁴.

// begin threefry
// end threefry

struct Params {
    count: u32,
    len: u32,
    layer: u32,
    ratio: f32,
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> keys: array<i32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

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
    let n = i / params.len;
    let key = vec2<u32>(bitcast<u32>(keys[2u * n]), bitcast<u32>(keys[2u * n + 1u]));
    let word = threefry(key, vec2<u32>(i - n * params.len, params.layer));
    let u = f32(word >> 8u) / 16777216.0;
    y[i] = select(0.0, x[i] * params.scale, u >= params.ratio);
}
