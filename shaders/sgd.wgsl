// Sgd: g = grad + weight_decay · param; velocity = momentum · velocity + g where there is momentum;
// param −= lr · step, step being g, velocity, or g + momentum · velocity (Nesterov).

struct Params {
    count: u32,
    momentum: f32,
    weight_decay: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> grad: array<f32>;
@group(0) @binding(2) var<storage, read> hyper: array<f32>;
@group(0) @binding(3) var<storage, read_write> param: array<f32>;
// begin state
// end state

const LEARNING_RATE: u32 = 1u;

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
    let g = grad[i] + params.weight_decay * param[i];
    var step = g;
    // begin momentum
    // end momentum
    param[i] -= hyper[LEARNING_RATE] * step;
}
