// Pool: y[n, c, od, oh, ow] = the window of x[n, c] at (od, oh, ow), reduced to its largest element, which NaN is, or its mean.

const KIND: u32 = MAX;

// begin math
// end math

// begin window
// end window

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

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
    let line = i / OUT.z;
    let map = line / OUT.y;
    let plane = map / OUT.x;
    let o = vec3<u32>(map - plane * OUT.x, line - map * OUT.y, i - line * OUT.z);
    let base = plane * (IN.x * IN.y * IN.z);
    let first = o * STRIDE - PAD;
    var best = 0.0;
    var sum = 0.0;
    var found = false;
    for (var d = 0u; d < KERNEL.x; d += 1u) {
        for (var h = 0u; h < KERNEL.y; h += 1u) {
            for (var w = 0u; w < KERNEL.z; w += 1u) {
                let e = first + vec3<u32>(d, h, w) * DILATION;
                let is = inside(e);
                let value = x[base + select(0u, place(e), is)];
                if (KIND == MAX) {
                    best = select(best, value, is & (!found | beats(value, best)));
                    found = found | is;
                } else {
                    sum += select(0.0, value, is);
                }
            }
        }
    }
    if (KIND == MAX) {
        y[i] = best;
    } else {
        y[i] = sum / divisor(o);
    }
}
