// SoftmaxVjp: dx = y (dy − Σ y dy), or dx = dy − exp(y) Σ dy for the logarithm. A workgroup makes a row.

const SIZE: u32 = 64u;
const LANES: u32 = 64u;
const LOG: bool = false;

// begin math
// end math

// begin total
// end total

struct Params {
    count: u32,
    len: u32,
    inner: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> y: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(SIZE)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    // begin index
    let index = group.y * groups.x + group.x;
    let lane = invocation;
    // end index
    if (index >= params.count) {
        return;
    }
    let outer = index / params.inner;
    let base = outer * params.len * params.inner + (index - outer * params.inner);
    var share = 0.0;
    for (var k = lane; k < params.len; k += LANES) {
        let at = base + k * params.inner;
        if (LOG) {
            share += dy[at];
        } else {
            share += y[at] * dy[at];
        }
    }
    let sum = total(lane, share);
    for (var k = lane; k < params.len; k += LANES) {
        let at = base + k * params.inner;
        if (LOG) {
            dx[at] = dy[at] - exp_(y[at]) * sum;
        } else {
            dx[at] = y[at] * (dy[at] - sum);
        }
    }
}
