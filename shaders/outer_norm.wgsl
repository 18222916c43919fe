// OuterNorm: y[n] = Σ_g (Σ_it a[n, g](i, t)²) (Σ_jt b[n, g](j, t)²), groups `begin` to `end` a launch, with UNDERFLOW more
// for each term of the inner sums. A workgroup makes a record's. What an invocation adds up it does in blocks, so that small
// terms are not lost beside what went before.

const UNDERFLOW: f32 = 0.0;

const LANES: u32 = 64u;
const BLOCK: u32 = 64u;
const GROUPS: u32 = 64u;
const A_VIEW: u32 = STRIDED;
const B_VIEW: u32 = STRIDED;

// begin view
// end view

// begin total
// end total

// Constants, as every element's place takes divisions by them.
const A: View = View(0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u);
const B: View = View(0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u);
const ROWS: u32 = 1u;
const COLS: u32 = 1u;
const STEPS: u32 = 1u;

struct Params {
    count: u32,
    begin: u32,
    end: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

fn at_a(base: u32, row: Place, col: Place) -> f32 {
    let at = offset(A_VIEW, A, row, col);
    if (has_holes(A_VIEW) & (at == NOWHERE)) {
        return 0.0;
    }
    return a[base + at];
}

fn at_b(base: u32, row: Place, col: Place) -> f32 {
    let at = offset(B_VIEW, B, row, col);
    if (has_holes(B_VIEW) & (at == NOWHERE)) {
        return 0.0;
    }
    return b[base + at];
}

fn squares_a(base: u32, lane: u32) -> f32 {
    let size = ROWS * STEPS;
    var sum = 0.0;
    for (var first = lane; first < size; first += BLOCK * LANES) {
        let last = min(first + BLOCK * LANES, size);
        var part = 0.0;
        for (var k = first; k < last; k += LANES) {
            let t = k / ROWS;
            let i = k - t * ROWS;
            let x = at_a(base, row_place(A_VIEW, A, i), col_place(A_VIEW, A, t));
            part += x * x;
        }
        sum += part;
    }
    return sum;
}

fn squares_b(base: u32, lane: u32) -> f32 {
    let size = COLS * STEPS;
    var sum = 0.0;
    for (var first = lane; first < size; first += BLOCK * LANES) {
        let last = min(first + BLOCK * LANES, size);
        var part = 0.0;
        for (var k = first; k < last; k += LANES) {
            let t = k / COLS;
            let j = k - t * COLS;
            let x = at_b(base, row_place(B_VIEW, B, j), col_place(B_VIEW, B, t));
            part += x * x;
        }
        sum += part;
    }
    return sum;
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
    var sum = 0.0;
    for (var first = params.begin; first < params.end; first += GROUPS) {
        let last = min(first + GROUPS, params.end);
        var part = 0.0;
        for (var g = first; g < last; g += 1u) {
            let a_norm = total(lane, squares_a(n * A.record + g * A.group, lane)) + f32(ROWS * STEPS) * UNDERFLOW;
            let b_norm = total(lane, squares_b(n * B.record + g * B.group, lane)) + f32(COLS * STEPS) * UNDERFLOW;
            part += a_norm * b_norm;
        }
        sum += part;
    }
    if (lane == 0u) {
        if (params.begin > 0u) {
            sum += y[n];
        }
        y[n] = sum;
    }
}
