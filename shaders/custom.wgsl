// An op from outside: an invocation makes an element of a record's result by `element`, which reads the record's operands
// by functions of their names.

struct dpc_Params {
    count: u32,
    len: u32,
}

@group(0) @binding(0) var<uniform> dpc_params: dpc_Params;
// begin buffers
@group(0) @binding(1) var<storage, read_write> dpc_y: array<f32>;
// end buffers

var<private> dpc_record: u32;

fn len() -> u32 {
    return dpc_params.len;
}

// begin operands
// end operands

// begin element
fn element(i: u32) -> f32 {
    return f32(i);
}
// end element

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) dpc_group: vec3<u32>,
    @builtin(num_workgroups) dpc_groups: vec3<u32>,
    @builtin(local_invocation_index) dpc_lane: u32,
) {
    let dpc_at = (dpc_group.y * dpc_groups.x + dpc_group.x) * 64u + dpc_lane;
    if (dpc_at >= dpc_params.count) {
        return;
    }
    dpc_record = dpc_at / dpc_params.len;
    dpc_y[dpc_at] = element(dpc_at - dpc_record * dpc_params.len);
}
