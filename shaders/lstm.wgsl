// Lstm: z_t = pre[n, t] + R h_{t−1}; i, o, f = σ(z), g = tanh(z); c_t = f c_{t−1} + i g; h_t = o tanh(c_t), on a tape of the
// planes i, o, f, g, c, h. A workgroup makes a record's; a launch makes steps `step_begin` to `step_end`.

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
@group(0) @binding(1) var<storage, read> pre: array<f32>;
@group(0) @binding(2) var<storage, read> recurrent: array<f32>;
// begin results
@group(0) @binding(3) var<storage, read_write> tape: array<f32>;
// end results

// begin prelude
fn tanh_(x: f32) -> f32 {
    return tanh(x);
}
// end prelude

// The states before the first step.
fn first_h(n: u32, u: u32) -> f32 {
    // begin first_h
    return 0.0;
    // end first_h
}

fn first_c(n: u32, u: u32) -> f32 {
    // begin first_c
    return 0.0;
    // end first_c
}

fn plane(n: u32, p: u32, t: u32, u: u32) -> u32 {
    return ((n * 6u + p) * params.steps + t) * params.hidden + u;
}

fn sigmoid(z: f32) -> f32 {
    return 1.0 / (1.0 + exp(-z));
}

fn unit(n: u32, t: u32, u: u32) {
    let size = params.hidden;
    let at = (n * params.steps + t) * 4u * size + u;
    var z = vec4<f32>(pre[at], pre[at + size], pre[at + 2u * size], pre[at + 3u * size]);
    for (var k = 0u; k < size; k += 1u) {
        var h = 0.0;
        if (t == 0u) {
            h = first_h(n, k);
        } else {
            h = tape[plane(n, 5u, t - 1u, k)];
        }
        let r = u * size + k;
        let all = size * size;
        z += h * vec4<f32>(recurrent[r], recurrent[r + all], recurrent[r + 2u * all], recurrent[r + 3u * all]);
    }
    let i = sigmoid(z.x);
    let o = sigmoid(z.y);
    let f = sigmoid(z.z);
    let g = tanh_(z.w);
    var c = 0.0;
    if (t == 0u) {
        c = first_c(n, u);
    } else {
        c = tape[plane(n, 4u, t - 1u, u)];
    }
    c = f * c + i * g;
    tape[plane(n, 0u, t, u)] = i;
    tape[plane(n, 1u, t, u)] = o;
    tape[plane(n, 2u, t, u)] = f;
    tape[plane(n, 3u, t, u)] = g;
    tape[plane(n, 4u, t, u)] = c;
    tape[plane(n, 5u, t, u)] = o * tanh_(c);
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
    for (var t = params.step_begin; t < params.step_end; t += 1u) {
        for (var u = params.begin * LANES + lane; u < last; u += LANES) {
            unit(n, t, u);
        }
        storageBarrier();
    }
}
