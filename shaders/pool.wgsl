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
    let line = i / params.out_w;
    let map = line / params.out_h;
    let plane = map / params.out_d;
    let o = Coordinates(map - plane * params.out_d, line - map * params.out_h, i - line * params.out_w);
    let base = plane * params.in_d * params.in_h * params.in_w;
    var best = 0.0;
    var sum = 0.0;
    var found = false;
    for (var k = Coordinates(0u, 0u, 0u); k.d < params.kernel_d; k = after(k)) {
        let e = element(o, k);
        if (e.inside) {
            let value = x[base + e.at];
            sum += value;
            if (!found || beats(value, best)) {
                best = value;
                found = true;
            }
        }
    }
    if (KIND == MAX) {
        y[i] = best;
    } else {
        y[i] = sum / divisor(o);
    }
}
