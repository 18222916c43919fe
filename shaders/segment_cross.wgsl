// SegmentCross: y[n] = 2 Σ_t Σ_u b[n](row_of_id(ids[n, t]), u) · (Σ_j x[n, t, j] · a[n](j, u)). A workgroup makes a record's; its
// invocations take pairs (t, u), and a launch adds blocks `begin` to `end` of LANES pairs.

const LANES: u32 = 64u;
const A_VIEW: u32 = STRIDED;
const B_VIEW: u32 = STRIDED;

// begin row
// end row

// begin view
// end view

// begin total
// end total

struct Params {
    a: View,
    b: View,
    count: u32,
    len: u32,
    steps: u32,
    width: u32,
    table_rows: u32,
    begin: u32,
    end: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> ids: array<i32>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read> b: array<f32>;
@group(0) @binding(4) var<storage, read> a: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

fn at_a(base: u32, row: Place, col: Place) -> f32 {
    let at = offset(A_VIEW, params.a, row, col);
    if (has_holes(A_VIEW) & (at == NOWHERE)) {
        return 0.0;
    }
    return a[base + at];
}

fn at_b(base: u32, row: Place, col: Place) -> f32 {
    let at = offset(B_VIEW, params.b, row, col);
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
    var sum = 0.0;
    let last = min(params.end * LANES, params.len * params.steps);
    for (var pair = params.begin * LANES + lane; pair < last; pair += LANES) {
        let t = pair / params.steps;
        let u = pair - t * params.steps;
        let id = min(row_of_id(ids[n * params.len + t], params.table_rows), params.table_rows - 1u);
        let from_b = at_b(n * params.b.record, row_place(B_VIEW, params.b, id), col_place(B_VIEW, params.b, u));
        let col = col_place(A_VIEW, params.a, u);
        var row = row_place(A_VIEW, params.a, 0u);
        var product = 0.0;
        for (var j = 0u; j < params.width; j += 1u) {
            product += x[(n * params.len + t) * params.width + j] * at_a(n * params.a.record, row, col);
            row = row_next(A_VIEW, params.a, row);
        }
        sum += from_b * product;
    }
    let result = 2.0 * total(lane, sum);
    if (lane == 0u) {
        y[n] = select(0.0, y[n], params.begin > 0u) + result;
    }
}
