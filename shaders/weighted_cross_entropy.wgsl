// WeightedCrossEntropy: loss[n] = mean over the tokens that count of Σ_k q[k] (log Σ exp(logits[n, t]) − logits[n, t, k]), 0 if
// there are none, with q[k] = weights[k] (hit [k = label] + even); tokens `begin` to `end` a launch. A workgroup makes a
// record's.

const SIZE: u32 = 64u;
const LANES: u32 = 64u;
const LOG_PROBABILITIES: bool = false;
const SMOOTHED: bool = true;

struct Params {
    count: u32,
    tokens: u32,
    classes: u32,
    ignore: i32,
    begin: u32,
    end: u32,
    hit: f32,
    even: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> label: array<i32>;
@group(0) @binding(3) var<storage, read> weights: array<f32>;
@group(0) @binding(4) var<storage, read_write> loss: array<f32>;

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
    let n = index;
    var sum = 0.0;
    for (var t = params.begin; t < params.end; t += 1u) {
        let token = n * params.tokens + t;
        let base = token * params.classes;
        let parts = softmax_parts(base, lane);
        let log_sum = log_(parts.y) + parts.x;
        let class_ = label[token];
        var spread = 0.0;
        if (SMOOTHED) {
            for (var k = lane; k < params.classes; k += LANES) {
                spread += weights[k] * (log_sum - logits[base + k]);
            }
            spread = params.even * total(lane, spread);
        }
        if (counts(class_)) {
            sum += params.hit * weights[u32(class_)] * (log_sum - logits[base + u32(class_)]) + spread;
        }
    }
    let mean = sum / max(counted(n, lane), 1.0);
    if (lane == 0u) {
        loss[n] = select(0.0, loss[n], params.begin > 0u) + mean;
    }
}
