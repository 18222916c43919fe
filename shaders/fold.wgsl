// Fold: unit[i] += factor · sum[i] unless factor is 0, then sum[i] = 0. On the grid, what is added is rounded to an integer.

struct Params {
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> factor: array<f32>;
// begin unit
@group(0) @binding(2) var<storage, read_write> unit: array<f32>;
// end unit
@group(0) @binding(3) var<storage, read_write> sum: array<f32>;

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
    if (factor[0] != 0.0) {
        // begin add
        unit[i] += factor[0] * sum[i];
        // end add
    }
    sum[i] = 0.0;
}
