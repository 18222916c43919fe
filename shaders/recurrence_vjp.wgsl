// RecurrenceVjp: cotangents of the pre-activations, from the step that was made last to the first, and of its stages from the
// last to the first, `step_begin` to `step_end` of all stages a launch. A workgroup makes a record's. What a step hands to the
// states before it, but for the recurrent product, travels in dpre of the step before, where that step's own cotangents, of
// the stage back that is made last, replace it; before the first step it is left in a row behind the others, if there is one.

const LANES: u32 = 64u;
const COLUMNS: u32 = 1u;
const STAGES: u32 = 1u;
const PLANES: u32 = 2u;
const REVERSE: bool = false;
// Rows of dpre behind those of the steps.
const BEHIND: u32 = 0u;
// The gates whose products are with h.
const FIRST: u32 = 1u;

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
@group(0) @binding(3) var<storage, read> outer0: array<f32>;
@group(0) @binding(4) var<storage, read_write> dpre: array<f32>;
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

// Where the columns of a row of dpre begin.
fn row(n: u32, t: u32) -> u32 {
    return (n * (params.steps + BEHIND) + t) * COLUMNS * params.hidden;
}

fn unit(n: u32, made: u32, stage: u32, u: u32) {
    let size = params.hidden;
    let t = time(made);
    let at = (n * params.steps + t) * size + u;
    let here = row(n, t);
    let out = here + u;
    var earlier = row(n, params.steps) + u;
    if (made != 0u) {
        earlier = row(n, time(made - 1u)) + u;
    }
    // begin cotangents
    var d0 = outer0[at];
    // end cotangents
    if (made + 1u < params.steps) {
        // begin carried
        // end carried
        let next = row(n, time(made + 1u));
        for (var r = 0u; r < FIRST * size; r += 1u) {
            // begin product
            d0 += recurrent[r * size + u] * dpre[next + r];
            // end product
        }
    }
    // begin multiplied
    // end multiplied
    // begin step
    dpre[out] = d0;
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
            let left = params.steps * STAGES - 1u - s;
            unit(n, left / STAGES, left % STAGES, u);
        }
        storageBarrier();
    }
}
