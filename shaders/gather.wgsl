// Gather: y[n, t, :] = table[row_of_id(ids[n, t]), :], rows clamped to the table.

// begin row
// end row

struct Params {
    count: u32,
    width: u32,
    table_rows: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> table: array<f32>;
@group(0) @binding(2) var<storage, read> ids: array<i32>;
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
    let at = i / params.width;
    let id = min(row_of_id(ids[at], params.table_rows), params.table_rows - 1u);
    y[i] = table[id * params.width + (i - at * params.width)];
}
