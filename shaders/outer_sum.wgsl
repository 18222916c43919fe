// OuterSum: y[c, g, i, j] = Σ_n w[n] Σ_t a[n, g](i, t) · b[n, g](j, t) over the records n of chunk c; a record of weight 0
// is skipped. A launch adds the records `record_begin` to `record_end` of every chunk and the steps `begin` to `end`.

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
    records: u32,
    chunk: u32,
    record_begin: u32,
    record_end: u32,
    begin: u32,
    end: u32,
    adds: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read> w: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

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
    return vec4<f32>(at_b(base, places.p0, k), at_b(base, places.p1, k), at_b(base, places.p2, k), at_b(base, places.p3, k));
}

fn store(matrix: u32, row: u32, col: u32, sum: f32) {
    if (row >= params.rows || col >= params.cols) {
        return;
    }
    let at = (matrix * params.rows + row) * params.cols + col;
    var value = sum;
    if (params.adds == 1u) {
        value += y[at];
    }
    y[at] = value;
}

@compute @workgroup_size(8, 8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let matrix = params.first_matrix + group.z;
    let c = matrix / params.groups;
    let g = matrix - c * params.groups;
    let rows = params.first_row + tile_rows(group.y, local.y);
    let cols = tile_cols(group.x, local.x);
    if (rows.x >= params.rows || cols.x >= params.cols) {
        return;
    }
    let places_a = row_places(A_VIEW, params.a, rows, params.rows);
    let places_b = row_places(B_VIEW, params.b, cols, params.cols);
    let last = min(c * params.chunk + params.record_end, params.records);
    var sum = mat4x4<f32>();
    for (var n = c * params.chunk + params.record_begin; n < last; n += 1u) {
        let weight = w[n];
        if (weight == 0.0) {
            continue;
        }
        let base_a = n * params.a.record + g * params.a.group;
        let base_b = n * params.b.record + g * params.b.group;
        var t_a = col_place(A_VIEW, params.a, params.begin);
        var t_b = col_place(B_VIEW, params.b, params.begin);
        for (var t = params.begin; t < params.end; t += 1u) {
            sum += outer(weight * load_a(base_a, places_a, t_a), load_b(base_b, places_b, t_b));
            t_a = col_next(A_VIEW, params.a, t_a);
            t_b = col_next(B_VIEW, params.b, t_b);
        }
    }
    store(matrix, rows.x, cols.x, sum[0].x);
    store(matrix, rows.x, cols.y, sum[0].y);
    store(matrix, rows.x, cols.z, sum[0].z);
    store(matrix, rows.x, cols.w, sum[0].w);
    store(matrix, rows.y, cols.x, sum[1].x);
    store(matrix, rows.y, cols.y, sum[1].y);
    store(matrix, rows.y, cols.z, sum[1].z);
    store(matrix, rows.y, cols.w, sum[1].w);
    store(matrix, rows.z, cols.x, sum[2].x);
    store(matrix, rows.z, cols.y, sum[2].y);
    store(matrix, rows.z, cols.z, sum[2].z);
    store(matrix, rows.z, cols.w, sum[2].w);
    store(matrix, rows.w, cols.x, sum[3].x);
    store(matrix, rows.w, cols.y, sum[3].y);
    store(matrix, rows.w, cols.z, sum[3].z);
    store(matrix, rows.w, cols.w, sum[3].w);
}
