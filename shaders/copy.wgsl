// Copy: y[n·to_record + to_offset + Σ iₖ·toₖ] = x[n·from_record + from_offset + Σ iₖ·fromₖ], as words.
// An axis is (size, from, to).

const RANK: u32 = 1u;

struct Params {
    count: u32,
    len: u32,
    from_record: u32,
    to_record: u32,
    from_offset: u32,
    to_offset: u32,
    axes: array<vec4<u32>, RANK>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;

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
    var rest = i - n * params.len;
    var source = n * params.from_record + params.from_offset;
    var target_ = n * params.to_record + params.to_offset;
    for (var k = RANK; k > 0u; k -= 1u) {
        let axis = params.axes[k - 1u];
        let outer = rest / axis.x;
        let at = rest - outer * axis.x;
        source += at * axis.y;
        target_ += at * axis.z;
        rest = outer;
    }
    y[target_] = x[source];
}
