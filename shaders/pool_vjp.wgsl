// PoolVjp: dx[n, c, ih, iw] = the sum of what each window that holds (ih, iw) sends back of dy: all of it to its first
// largest element, or an equal share to each element.

const KIND: u32 = MAX;

// begin window
// end window

@group(0) @binding(0) var<uniform> params: Params;
// begin operands
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;
// end operands

// The share of the window at (oh, ow) that goes to the element at `at` of the plane that starts at `base`.
fn share(oh: u32, ow: u32, base: u32, at: u32) -> f32 {
    // begin share
    var best = 0.0;
    var first = 0xffffffffu;
    for (var k = 0u; k < params.kernel_h * params.kernel_w; k += 1u) {
        let e = element(oh, ow, k);
        if (e.inside) {
            let value = x[base + e.at];
            if (first == 0xffffffffu || value > best) {
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
    let plane = line / params.in_h;
    let ih = line - plane * params.in_h;
    let iw = i - line * params.in_w;
    let h = ih + params.pad_h;
    let w = iw + params.pad_w;
    let first_h = first_window(h, (params.kernel_h - 1u) * params.dilation_h, params.stride_h);
    let first_w = first_window(w, (params.kernel_w - 1u) * params.dilation_w, params.stride_w);
    let last_h = min(h / params.stride_h + 1u, params.out_h);
    let last_w = min(w / params.stride_w + 1u, params.out_w);
    var sum = 0.0;
    for (var oh = first_h; oh < last_h; oh += 1u) {
        if ((h - oh * params.stride_h) % params.dilation_h != 0u) {
            continue;
        }
        for (var ow = first_w; ow < last_w; ow += 1u) {
            if ((w - ow * params.stride_w) % params.dilation_w != 0u) {
                continue;
            }
            let part = share(oh, ow, plane * params.in_h * params.in_w, ih * params.in_w + iw);
            sum += part * dy[(plane * params.out_h + oh) * params.out_w + ow];
        }
    }
    dx[i] = sum;
}
