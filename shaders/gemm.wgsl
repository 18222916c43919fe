// Gemm: c[n, g, i, j] = act(Σ_k a[n, g](i, k) · b[n, g](k, j) + bias), if SPLIT terms `begin` to `end` a launch.
// No memory is shared and no invocation waits for another.

const TALL: bool = true;
const WIDE: bool = true;
const SPLIT: bool = false;
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
    if (has_holes(A_VIEW) & (at == NOWHERE)) {
        return 0.0;
    }
    return a[base + at];
}

fn load_a(base: u32, places: Places, k: Place) -> Values {
    let low = vec4<f32>(
        at_a(base, places.p0, k),
        at_a(base, places.p1, k),
        at_a(base, places.p2, k),
        at_a(base, places.p3, k),
    );
    if (!TALL) {
        return Values(low, low);
    }
    let high = vec4<f32>(
        at_a(base, places.p4, k),
        at_a(base, places.p5, k),
        at_a(base, places.p6, k),
        at_a(base, places.p7, k),
    );
    return Values(low, high);
}

fn at_b(base: u32, row: Place, col: Place) -> f32 {
    let at = offset(B_VIEW, params.b, row, col);
    if (has_holes(B_VIEW) & (at == NOWHERE)) {
        return 0.0;
    }
    return b[base + at];
}

fn load_b(base: u32, places: Places, k: Place) -> Values {
    let low = vec4<f32>(
        at_b(base, k, places.p0),
        at_b(base, k, places.p1),
        at_b(base, k, places.p2),
        at_b(base, k, places.p3),
    );
    if (!WIDE) {
        return Values(low, low);
    }
    let high = vec4<f32>(
        at_b(base, k, places.p4),
        at_b(base, k, places.p5),
        at_b(base, k, places.p6),
        at_b(base, k, places.p7),
    );
    return Values(low, high);
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
    if (SPLIT && params.begin > 0u) {
        value += c[at];
    }
    if (!SPLIT || params.end == params.inner) {
        value = finish(value, g, row, col);
    }
    c[at] = value;
}

fn store_row(n: u32, g: u32, row: u32, cols: Indices, low: vec4<f32>, high: vec4<f32>) {
    store(n, g, row, cols.low.x, low.x);
    store(n, g, row, cols.low.y, low.y);
    store(n, g, row, cols.low.z, low.z);
    store(n, g, row, cols.low.w, low.w);
    if (WIDE) {
        store(n, g, row, cols.high.x, high.x);
        store(n, g, row, cols.high.y, high.y);
        store(n, g, row, cols.high.z, high.z);
        store(n, g, row, cols.high.w, high.w);
    }
}

@compute @workgroup_size(8, 4)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let matrix = params.first_matrix + group.z;
    let n = matrix / params.groups;
    let g = matrix - n * params.groups;
    let rows = tile_rows(params.first_row + group.y * HEIGHT, local.y);
    let cols = tile_cols(group.x * WIDTH, local.x);
    if (rows.low.x >= params.rows || cols.low.x >= params.cols) {
        return;
    }
    let base_a = n * params.a.record + g * params.a.group;
    let base_b = n * params.b.record + g * params.b.group;
    let places_a = row_places(A_VIEW, params.a, rows, params.rows);
    let places_b = col_places(B_VIEW, params.b, cols, params.cols);
    var k_a = col_place(A_VIEW, params.a, params.begin);
    var k_b = row_place(B_VIEW, params.b, params.begin);
    var tile = Tile();
    for (var k = params.begin; k < params.end; k += 1u) {
        accumulate(&tile, load_a(base_a, places_a, k_a), load_b(base_b, places_b, k_b));
        k_a = col_next(A_VIEW, params.a, k_a);
        k_b = row_next(B_VIEW, params.b, k_b);
    }
    store_row(n, g, rows.low.x, cols, tile.low_low[0], tile.low_high[0]);
    store_row(n, g, rows.low.y, cols, tile.low_low[1], tile.low_high[1]);
    store_row(n, g, rows.low.z, cols, tile.low_low[2], tile.low_high[2]);
    store_row(n, g, rows.low.w, cols, tile.low_low[3], tile.low_high[3]);
    if (TALL) {
        store_row(n, g, rows.high.x, cols, tile.high_low[0], tile.high_high[0]);
        store_row(n, g, rows.high.y, cols, tile.high_low[1], tile.high_high[1]);
        store_row(n, g, rows.high.z, cols, tile.high_low[2], tile.high_high[2]);
        store_row(n, g, rows.high.w, cols, tile.high_low[3], tile.high_high[3]);
    }
}
