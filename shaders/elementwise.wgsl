// Elementwise: y[n, i] = expr(x0[n, i], x1[n, i], …), every operand read through its own broadcast strides.
// The strides of operand k are component k % 4 of vector k / 4. FLAT: all operands are read in the order of the result.

const RANK: u32 = 1u;
const FLAT: bool = false;

struct Axis {
    size: vec4<u32>,
    strides: array<vec4<u32>, 2>,
}

struct Params {
    count: u32,
    len: u32,
    records: array<vec4<u32>, 2>,
    axes: array<Axis, RANK>,
}

@group(0) @binding(0) var<uniform> params: Params;
// begin operands
@group(0) @binding(1) var<storage, read> x0: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
// end operands

// begin prelude
// end prelude

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
    var low = vec4<u32>(i);
    var high = vec4<u32>(i);
    if (!FLAT) {
        let n = i / params.len;
        var rest = i - n * params.len;
        low = n * params.records[0];
        high = n * params.records[1];
        for (var k = RANK; k > 0u; k -= 1u) {
            let size = params.axes[k - 1u].size.x;
            let outer = rest / size;
            let at = rest - outer * size;
            low += at * params.axes[k - 1u].strides[0];
            high += at * params.axes[k - 1u].strides[1];
            rest = outer;
        }
    }
    // begin expr
    let t0 = x0[low.x];
    y[i] = t0;
    // end expr
}
