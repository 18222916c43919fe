// PoolVjp: dx[n, c, id, ih, iw] = the sum of what each window that holds (id, ih, iw) sends back of dy: all of it to its
// first largest element or its first NaN, or an equal share to each element.

const KIND: u32 = MAX;

// begin math
// end math

// begin window
// end window

@group(0) @binding(0) var<uniform> params: Params;
// begin operands
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;
// end operands

// The share of the window at a position that goes to the element at `at` of the channel that starts at `base`.
fn share(o: Coordinates, base: u32, at: u32) -> f32 {
    // begin share
    var best = 0.0;
    var first = 0xffffffffu;
    for (var k = Coordinates(0u, 0u, 0u); k.d < params.kernel_d; k = after(k)) {
        let e = element(o, k);
        if (e.inside) {
            let value = x[base + e.at];
            if (first == 0xffffffffu || beats(value, best)) {
                best = value;
                first = e.at;
            }
        }
    }
    return select(0.0, 1.0, first == at);
    // end share
}

// The first output position whose window of `reach` elements can hold coordinate h.
fn first_window(h: u32, reach: u32, stride: u32) -> u32 {
    return select(0u, (h - reach + stride - 1u) / stride, h > reach);
}

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
    let line = i / params.in_w;
    let map = line / params.in_h;
    let plane = map / params.in_d;
    let size = params.in_d * params.in_h * params.in_w;
    let d = map - plane * params.in_d + params.pad_d;
    let h = line - map * params.in_h + params.pad_h;
    let w = i - line * params.in_w + params.pad_w;
    let first_d = first_window(d, (params.kernel_d - 1u) * params.dilation_d, params.stride_d);
    let first_h = first_window(h, (params.kernel_h - 1u) * params.dilation_h, params.stride_h);
    let first_w = first_window(w, (params.kernel_w - 1u) * params.dilation_w, params.stride_w);
    let last_d = min(d / params.stride_d + 1u, params.out_d);
    let last_h = min(h / params.stride_h + 1u, params.out_h);
    let last_w = min(w / params.stride_w + 1u, params.out_w);
    var sum = 0.0;
    for (var od = first_d; od < last_d; od += 1u) {
        if ((d - od * params.stride_d) % params.dilation_d != 0u) {
            continue;
        }
        for (var oh = first_h; oh < last_h; oh += 1u) {
            if ((h - oh * params.stride_h) % params.dilation_h != 0u) {
                continue;
            }
            for (var ow = first_w; ow < last_w; ow += 1u) {
                if ((w - ow * params.stride_w) % params.dilation_w != 0u) {
                    continue;
                }
                let part = share(Coordinates(od, oh, ow), plane * size, i - plane * size);
                if (part != 0.0) {
                    sum += part * dy[((plane * params.out_d + od) * params.out_h + oh) * params.out_w + ow];
                }
            }
        }
    }
    dx[i] = sum;
}
