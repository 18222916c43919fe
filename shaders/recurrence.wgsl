// Recurrence: the cell's step of z = pre[n, t] + R h and the states before it, on a tape of planes, the last of which is h. A
// workgroup makes a record's; a launch makes `step_begin` to `step_end` of the stages of all steps, counted in the order in
// which they are made. The stages after the first multiply R with a plane that was made before, in place of h.

const LANES: u32 = 64u;
const COLUMNS: u32 = 1u;
const STAGES: u32 = 1u;
const PLANES: u32 = 2u;
const REVERSE: bool = false;

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
// end prelude

// The state on plane p before the first step.
fn first(p: u32, n: u32, u: u32) -> f32 {
    // begin first
    return 0.0;
    // end first
}

fn plane(n: u32, p: u32, t: u32, u: u32) -> u32 {
    return ((n * PLANES + p) * params.steps + t) * params.hidden + u;
}

// The step that is made after `made` others.
fn time(made: u32) -> u32 {
    if (REVERSE) {
        return params.steps - 1u - made;
    }
    return made;
}

fn before(n: u32, made: u32, p: u32, u: u32) -> f32 {
    if (made == 0u) {
        return first(p, n, u);
    }
    return tape[plane(n, p, time(made - 1u), u)];
}

// What R is multiplied with.
fn multiplied(n: u32, made: u32, stage: u32, k: u32) -> f32 {
    // begin multiplied
    // end multiplied
    return before(n, made, PLANES - 1u, k);
}

fn unit(n: u32, made: u32, stage: u32, u: u32) {
    let size = params.hidden;
    let all = size * size;
    let t = time(made);
    let at = (n * params.steps + t) * COLUMNS * size + u;
    // begin sums
    var z0 = pre[at];
    // end sums
    for (var k = 0u; k < size; k += 1u) {
        let h = multiplied(n, made, stage, k);
        let r = u * size + k;
        // begin products
        z0 += h * recurrent[r];
        // end products
    }
    // begin step
    tape[plane(n, 0u, t, u)] = z0;
    // end step
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
            unit(n, s / STAGES, s % STAGES, u);
        }
        storageBarrier();
    }
}
