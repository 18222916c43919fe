// Carry: y[i] += x[i], of 64 bits in two words, the low one first.

struct Params {
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<i32>;
@group(0) @binding(2) var<storage, read_write> y: array<i32>;

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
    let added = bitcast<u32>(x[i]);
    let low = bitcast<u32>(y[2u * i]) + added;
    let carry = select(0u, 1u, low < added);
    // The sign of what is added fills its high word.
    let high = bitcast<u32>(y[2u * i + 1u]) + bitcast<u32>(x[i] >> 31u) + carry;
    y[2u * i] = bitcast<i32>(low);
    y[2u * i + 1u] = bitcast<i32>(high);
}
