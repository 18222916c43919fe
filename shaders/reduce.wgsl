// Reduce: y[n, e] = Σ_r f(x[n·record + kept(e) + reduced(r)]), or the sum over records too, with or without weights.
// An axis is (size, stride). LANES invocations share a sum; a launch adds some of the records and terms.

const SIZE: u32 = 64u;
const LANES: u32 = 64u;
const KEPT: u32 = 1u;
const REDUCED: u32 = 1u;
const SQUARE: bool = false;
// Whether a record has one term.
const SINGLE: bool = false;
const EACH: bool = true;
const BLOCK: u32 = 1u;

struct Params {
    count: u32,
    len: u32,
    record: u32,
    record_begin: u32,
    record_end: u32,
    begin: u32,
    end: u32,
    adds: u32,
    kept: array<vec4<u32>, KEPT>,
    reduced: array<vec4<u32>, REDUCED>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
// begin results
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
// end results

// begin total
// end total

fn kept(e: u32) -> u32 {
    var rest = e;
    var at = 0u;
    for (var k = KEPT; k > 1u; k -= 1u) {
        let axis = params.kept[k - 1u];
        let outer = rest / axis.x;
        at += (rest - outer * axis.x) * axis.y;
        rest = outer;
    }
    return at + rest * params.kept[0].y;
}

fn reduced(r: u32) -> u32 {
    var rest = r;
    var at = 0u;
    for (var k = REDUCED; k > 1u; k -= 1u) {
        let axis = params.reduced[k - 1u];
        let outer = rest / axis.x;
        at += (rest - outer * axis.x) * axis.y;
        rest = outer;
    }
    return at + rest * params.reduced[0].y;
}

// The share of the terms from `base` on that invocation `lane` sums.
fn record_sum(base: u32, lane: u32) -> f32 {
    if (SINGLE) {
        let term = x[base];
        return select(term, term * term, SQUARE);
    }
    var sum = 0.0;
    // Of BLOCK terms at a time, so that small terms are not lost beside what went before.
    for (var first = params.begin + lane; first < params.end; first += BLOCK * LANES) {
        let last = min(first + BLOCK * LANES, params.end);
        var part = 0.0;
        for (var r = first; r < last; r += LANES) {
            let term = x[base + reduced(r)];
            part += select(term, term * term, SQUARE);
        }
        sum += part;
    }
    return sum;
}

// begin grid
// end grid

fn weight_of(n: u32) -> f32 {
    // begin weight
    return 1.0;
    // end weight
}

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
    let i = index;
    // begin summed
    var sum = 0.0;
    if (EACH) {
        let n = i / params.len;
        sum = record_sum(n * params.record + kept(i - n * params.len), lane);
    } else {
        let first = kept(i);
        for (var n = params.record_begin; n < params.record_end; n += 1u) {
            let weight = weight_of(n);
            if (weight != 0.0) {
                sum += weight * record_sum(n * params.record + first, lane);
            }
        }
    }
    sum = total(lane, sum);
    if (lane == 0u) {
        if (params.adds == 1u) {
            sum += y[i];
        }
        y[i] = sum;
    }
    // end summed
}
