// SortIds: order[n, r] = the position t whose row has rank r among those of ids[n, :], equal rows in order of position.

// begin row
// end row

struct Params {
    count: u32,
    len: u32,
    table_rows: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> ids: array<i32>;
@group(0) @binding(2) var<storage, read_write> order: array<i32>;

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
    let first = i / params.len * params.len;
    let t = i - first;
    let row = row_of_id(ids[i], params.table_rows);
    var rank = 0u;
    for (var u = 0u; u < params.len; u += 1u) {
        let other = row_of_id(ids[first + u], params.table_rows);
        rank += u32(other < row || (other == row && u < t));
    }
    order[first + rank] = i32(t);
}
