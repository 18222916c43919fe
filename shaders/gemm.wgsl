// Gemm: c[n, g, i, j] = act(Σ_k a[n, g](i, k) · b[n, g](k, j) + bias), terms `begin` to `end` of the sums a launch.
// A workgroup makes a tile of 32 × 32 results; no memory is shared and no invocation waits for another.

const A_VIEW: u32 = STRIDED;
const B_VIEW: u32 = STRIDED;

// begin view
// end view

// begin tile
// end tile

struct Params {
    a: View,
    b: View,
    first_matrix: u32,
    first_row: u32,
    groups: u32,
    rows: u32,
    cols: u32,
    inner: u32,
    begin: u32,
    end: u32,
    out_record: u32,
    out_group: u32,
    out_row: u32,
    out_col: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
// begin results
@group(0) @binding(3) var<storage, read_write> c: array<f32>;
// end results

// begin prelude
// end prelude

fn at_a(base: u32, row: Place, col: Place) -> f32 {
    let at = offset(A_VIEW, params.a, row, col);
    if (has_holes(A_VIEW) && at == NOWHERE) {
        return 0.0;
    }
    return a[base + at];
}

fn load_a(base: u32, places: Places, k: Place) -> vec4<f32> {
    return vec4<f32>(at_a(base, places.p0, k), at_a(base, places.p1, k), at_a(base, places.p2, k), at_a(base, places.p3, k));
}

fn at_b(base: u32, row: Place, col: Place) -> f32 {
    let at = offset(B_VIEW, params.b, row, col);
    if (has_holes(B_VIEW) && at == NOWHERE) {
        return 0.0;
    }
    return b[base + at];
}

fn load_b(base: u32, places: Places, k: Place) -> vec4<f32> {
    return vec4<f32>(at_b(base, k, places.p0), at_b(base, k, places.p1), at_b(base, k, places.p2), at_b(base, k, places.p3));
}

// The value of a finished sum.
fn finish(sum: f32, g: u32, row: u32, col: u32) -> f32 {
    // begin finish
    return sum;
    // end finish
}

fn store(n: u32, g: u32, row: u32, col: u32, sum: f32) {
    if (row >= params.rows || col >= params.cols) {
        return;
    }
    let at = n * params.out_record + g * params.out_group + row * params.out_row + col * params.out_col;
    var value = sum;
    if (params.begin > 0u) {
        value += c[at];
    }
    if (params.end == params.inner) {
        value = finish(value, g, row, col);
    }
    c[at] = value;
}

@compute @workgroup_size(8, 8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let matrix = params.first_matrix + group.z;
    let n = matrix / params.groups;
    let g = matrix - n * params.groups;
    let rows = params.first_row + tile_rows(group.y, local.y);
    let cols = tile_cols(group.x, local.x);
    if (rows.x >= params.rows || cols.x >= params.cols) {
        return;
    }
    let base_a = n * params.a.record + g * params.a.group;
    let base_b = n * params.b.record + g * params.b.group;
    let places_a = row_places(A_VIEW, params.a, rows, params.rows);
    let places_b = col_places(B_VIEW, params.b, cols, params.cols);
    var k_a = col_place(A_VIEW, params.a, params.begin);
    var k_b = row_place(B_VIEW, params.b, params.begin);
    var sum = mat4x4<f32>();
    for (var k = params.begin; k < params.end; k += 1u) {
        sum += outer(load_a(base_a, places_a, k_a), load_b(base_b, places_b, k_b));
        k_a = col_next(A_VIEW, params.a, k_a);
        k_b = row_next(B_VIEW, params.b, k_b);
    }
    store(n, g, rows.x, cols.x, sum[0].x);
    store(n, g, rows.x, cols.y, sum[0].y);
    store(n, g, rows.x, cols.z, sum[0].z);
    store(n, g, rows.x, cols.w, sum[0].w);
    store(n, g, rows.y, cols.x, sum[1].x);
    store(n, g, rows.y, cols.y, sum[1].y);
    store(n, g, rows.y, cols.z, sum[1].z);
    store(n, g, rows.y, cols.w, sum[1].w);
    store(n, g, rows.z, cols.x, sum[2].x);
    store(n, g, rows.z, cols.y, sum[2].y);
    store(n, g, rows.z, cols.z, sum[2].z);
    store(n, g, rows.z, cols.w, sum[2].w);
    store(n, g, rows.w, cols.x, sum[3].x);
    store(n, g, rows.w, cols.y, sum[3].y);
    store(n, g, rows.w, cols.z, sum[3].z);
    store(n, g, rows.w, cols.w, sum[3].w);
}
