// Pool: y[n, c, oh, ow] = the window of x[n, c] at (oh, ow), reduced to its largest element or its mean.

const KIND: u32 = MAX;

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
    let plane = line / params.out_h;
    let oh = line - plane * params.out_h;
    let ow = i - line * params.out_w;
    let base = plane * params.in_h * params.in_w;
    var best = 0.0;
    var sum = 0.0;
    var found = false;
    for (var k = 0u; k < params.kernel_h * params.kernel_w; k += 1u) {
        let e = element(oh, ow, k);
        if (e.inside) {
            let value = x[base + e.at];
            sum += value;
            if (!found || value > best) {
                best = value;
                found = true;
            }
        }
    }
    if (KIND == MAX) {
        y[i] = best;
    } else {
        y[i] = sum / divisor(oh, ow);
    }
}
