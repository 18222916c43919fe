// Gather: y[n, t, :] = tableₙ[row_of_id(idsₙ[t]), :], rows clamped to the table, as words.

// begin row
// end row

struct Params {
    count: u32,
    ids: u32,
    width: u32,
    table_rows: u32,
    table_record: u32,
    ids_record: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> table: array<u32>;
@group(0) @binding(2) var<storage, read> ids: array<i32>;
@group(0) @binding(3) var<storage, read_write> y: array<u32>;

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
    let n = at / params.ids;
    let id = ids[n * params.ids_record + (at - n * params.ids)];
    let row = min(row_of_id(id, params.table_rows), params.table_rows - 1u);
    y[i] = table[n * params.table_record + row * params.width + (i - at * params.width)];
}
