// WeightedCrossEntropyVjp: dlogits[n, t, k] = dloss[n] (softmax(logits[n, t])[k] Σ q − q[k]) / count[n] with
// q[k] = weights[k] (hit [k = label] + even), 0 for tokens that do not count. A workgroup makes a token's.

const SIZE: u32 = 64u;
const LANES: u32 = 64u;
const LOG_PROBABILITIES: bool = false;
const SMOOTHED: bool = true;

struct Params {
    count: u32,
    tokens: u32,
    classes: u32,
    ignore: i32,
    hit: f32,
    even: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> label: array<i32>;
@group(0) @binding(3) var<storage, read> weights: array<f32>;
@group(0) @binding(4) var<storage, read> dloss: array<f32>;
@group(0) @binding(5) var<storage, read_write> dlogits: array<f32>;

// begin math
// end math

// begin total
// end total

// begin tokens
// end tokens

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
    let token = index;
    let n = token / params.tokens;
    let base = token * params.classes;
    let parts = softmax_parts(base, lane);
    let scale = dloss[n] / max(counted(n, lane), 1.0);
    let class_ = label[token];
    var spread = 0.0;
    if (SMOOTHED) {
        for (var k = lane; k < params.classes; k += LANES) {
            spread += weights[k];
        }
        spread = params.even * total(lane, spread);
    }
    var weight = 0.0;
    if (counts(class_)) {
        weight = params.hit * weights[u32(class_)] + spread;
    }
    for (var k = lane; k < params.classes; k += LANES) {
        let p = select(exp_(logits[base + k] - parts.x) / parts.y, 0.0, LOG_PROBABILITIES);
        let q = weights[k] * (select(0.0, params.hit, i32(k) == class_) + params.even);
        dlogits[base + k] = select(0.0, scale * (p * weight - q), counts(class_));
    }
}
