// OuterNorm: y[n] = Σ_g (Σ_it a[n, g](i, t)²) (Σ_jt b[n, g](j, t)²), groups `begin` to `end` a launch, with UNDERFLOW more
// for each term of the inner sums. A workgroup makes a record's.

const UNDERFLOW: f32 = 0.0;

const LANES: u32 = 64u;
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
    let size_a = ROWS * STEPS;
    let size_b = COLS * STEPS;
    var sum = 0.0;
    for (var g = params.begin; g < params.end; g += 1u) {
        let base_a = n * A.record + g * A.group;
        let base_b = n * B.record + g * B.group;
        var squares_a = 0.0;
        for (var k = lane; k < size_a; k += LANES) {
            let t = k / ROWS;
            let i = k - t * ROWS;
            let x = at_a(base_a, row_place(A_VIEW, A, i), col_place(A_VIEW, A, t));
            squares_a += x * x;
        }
        var squares_b = 0.0;
        for (var k = lane; k < size_b; k += LANES) {
            let t = k / COLS;
            let j = k - t * COLS;
            let x = at_b(base_b, row_place(B_VIEW, B, j), col_place(B_VIEW, B, t));
            squares_b += x * x;
        }
        let norm_a = total(lane, squares_a) + f32(size_a) * UNDERFLOW;
        let norm_b = total(lane, squares_b) + f32(size_b) * UNDERFLOW;
        sum += norm_a * norm_b;
    }
    if (lane == 0u) {
        if (params.begin > 0u) {
            sum += y[n];
        }
        y[n] = sum;
    }
}
