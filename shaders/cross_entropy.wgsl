// CrossEntropy: loss[n] = mean over the tokens that count of log Σ exp(logits[n, t]) − logits[n, t, label[n, t]], 0 if there
// are none; tokens `begin` to `end` a launch. A workgroup makes a record's.

const SIZE: u32 = 64u;
const LANES: u32 = 64u;
const LOG_PROBABILITIES: bool = false;

struct Params {
    count: u32,
    tokens: u32,
    classes: u32,
    ignore: i32,
    begin: u32,
    end: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> label: array<i32>;
@group(0) @binding(3) var<storage, read_write> loss: array<f32>;

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
        let class_ = label[token];
        if (counts(class_)) {
            sum += log_(parts.y) + parts.x - logits[base + u32(class_)];
        }
    }
    let mean = sum / max(counted(n, lane), 1.0);
    if (lane == 0u) {
        loss[n] = select(0.0, loss[n], params.begin > 0u) + mean;
    }
}
