// Adam: m = β₁ m + (1−β₁) g, v = β₂ v + (1−β₂) g², param −= lr / c₁ · m / (√(v / c₂) + eps);
// decay is added to g, or taken from param first if DECOUPLED (AdamW).

struct Params {
    count: u32,
    beta_1: f32,
    beta_2: f32,
    rest_1: f32,
    rest_2: f32,
    eps: f32,
    weight_decay: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> grad: array<f32>;
@group(0) @binding(2) var<storage, read> hyper: array<f32>;
@group(0) @binding(3) var<storage, read_write> param: array<f32>;
@group(0) @binding(4) var<storage, read_write> m: array<f32>;
@group(0) @binding(5) var<storage, read_write> v: array<f32>;

const LEARNING_RATE: u32 = 1u;
const BIAS_CORRECTION_1: u32 = 2u;
const BIAS_CORRECTION_2: u32 = 3u;
const DECOUPLED: bool = false;

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
    let lr = hyper[LEARNING_RATE];
    var g = grad[i];
    var w = param[i];
    if (DECOUPLED) {
        w -= lr * params.weight_decay * w;
    } else {
        g += params.weight_decay * w;
    }
    let mean = params.beta_1 * m[i] + params.rest_1 * g;
    let square = params.beta_2 * v[i] + params.rest_2 * g * g;
    m[i] = mean;
    v[i] = square;
    param[i] = w - lr / hyper[BIAS_CORRECTION_1] * mean / (sqrt(square / hyper[BIAS_CORRECTION_2]) + params.eps);
}
