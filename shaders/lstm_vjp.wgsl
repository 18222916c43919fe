// LstmVjp: cotangents of the gate pre-activations, step t = T − 1 − s for s from `step_begin` to `step_end` a launch.
// A workgroup makes a record's. The carry f ⊙ dc of step t travels in dpre[n, t − 1, i], where that step's own cotangent
// replaces it.

const LANES: u32 = 64u;

struct Params {
    count: u32,
    steps: u32,
    hidden: u32,
    initial_record: u32,
    step_begin: u32,
    step_end: u32,
    begin: u32,
    end: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> tape: array<f32>;
@group(0) @binding(2) var<storage, read> recurrent: array<f32>;
// begin results
@group(0) @binding(3) var<storage, read> dh: array<f32>;
@group(0) @binding(4) var<storage, read_write> dpre: array<f32>;
// end results

// begin prelude
fn tanh_(x: f32) -> f32 {
    return tanh(x);
}
// end prelude

// The cell state before the first step.
fn first_c(n: u32, u: u32) -> f32 {
    // begin first_c
    return 0.0;
    // end first_c
}

// The cotangent of the cell state that comes from outside.
fn outer_dc(at: u32) -> f32 {
    // begin outer_dc
    return 0.0;
    // end outer_dc
}

fn plane(n: u32, p: u32, t: u32, u: u32) -> u32 {
    return ((n * 6u + p) * params.steps + t) * params.hidden + u;
}

fn unit(n: u32, t: u32, u: u32) {
    let size = params.hidden;
    let at = (n * params.steps + t) * size + u;
    let out = (n * params.steps + t) * 4u * size + u;
    var h = dh[at];
    var dc = outer_dc(at);
    if (t + 1u < params.steps) {
        dc += dpre[out];
        let next = (n * params.steps + t + 1u) * 4u * size;
        for (var r = 0u; r < 4u * size; r += 1u) {
            h += recurrent[r * size + u] * dpre[next + r];
        }
    }
    let i = tape[plane(n, 0u, t, u)];
    let o = tape[plane(n, 1u, t, u)];
    let f = tape[plane(n, 2u, t, u)];
    let g = tape[plane(n, 3u, t, u)];
    let squashed = tanh_(tape[plane(n, 4u, t, u)]);
    dc += h * o * (1.0 - squashed * squashed);
    var before = 0.0;
    if (t == 0u) {
        before = first_c(n, u);
    } else {
        before = tape[plane(n, 4u, t - 1u, u)];
        dpre[out - 4u * size] = dc * f;
    }
    dpre[out] = dc * g * i * (1.0 - i);
    dpre[out + size] = h * squashed * o * (1.0 - o);
    dpre[out + 2u * size] = dc * before * f * (1.0 - f);
    dpre[out + 3u * size] = dc * i * (1.0 - g * g);
}

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let n = group.y * groups.x + group.x;
    if (n >= params.count) {
        return;
    }
    let last = min(params.end * LANES, params.hidden);
    for (var s = params.step_begin; s < params.step_end; s += 1u) {
        for (var u = params.begin * LANES + lane; u < last; u += LANES) {
            unit(n, params.steps - 1u - s, u);
        }
        storageBarrier();
    }
}
