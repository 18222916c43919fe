// Flip: y[o, k, i] = x[o, len − 1 − k, i].

struct Params {
    count: u32,
    len: u32,
    inner: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (group.y * groups.x + group.x) * 64u + lane;
    if (at >= params.count) {
        return;
    }
    let i = at % params.inner;
    let k = at / params.inner % params.len;
    let o = at / params.inner / params.len;
    y[at] = x[(o * params.len + params.len - 1u - k) * params.inner + i];
}
