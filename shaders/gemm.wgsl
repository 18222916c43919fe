// Gemm: c[n, g, i, j] = act(Σ_k a[n, g](i, k) · b[n, g](k, j) + bias), if SPLIT terms `begin` to `end` a launch.
// No memory is shared and no invocation waits for another. PHASES: the columns are every few positions of an image only,
// of as many as b's view has in its input.

const LANES: u32 = 32u;
const ACROSS: u32 = 8u;
const TALL: bool = true;
const WIDE: bool = true;
const SPLIT: bool = false;
const PHASES: bool = false;
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
    out_first: u32,
    out_d: u32,
    out_h: u32,
    out_w: u32,
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

// Where columns of a row of the result are.
fn column_offsets(cols: vec4<u32>) -> vec4<u32> {
    if (!PHASES) {
        return cols * params.out_col;
    }
    let line = cols / params.b.in_w;
    let d = line / params.b.in_h;
    let h = line - d * params.b.in_h;
    let w = cols - line * params.b.in_w;
    return params.out_first + d * params.out_d + h * params.out_h + w * params.out_w;
}

// A row of the result.
struct Row {
    g: u32,
    row: u32,
    base: u32,
}

fn result_row(n: u32, g: u32, row: u32) -> Row {
    return Row(g, row, n * params.out_record + g * params.out_group + row * params.out_row);
}

fn store(r: Row, col: u32, offset: u32, sum: f32) {
    if (r.row >= params.rows || col >= params.cols) {
        return;
    }
    let at = r.base + offset;
    var value = sum;
    if (SPLIT && params.begin > 0u) {
        value += c[at];
    }
    if (!SPLIT || params.end == params.inner) {
        value = finish(value, r.g, r.row, col);
    }
    c[at] = value;
}

fn store_row(r: Row, cols: Indices, offsets: Indices, low: vec4<f32>, high: vec4<f32>) {
    store(r, cols.low.x, offsets.low.x, low.x);
    store(r, cols.low.y, offsets.low.y, low.y);
    store(r, cols.low.z, offsets.low.z, low.z);
    store(r, cols.low.w, offsets.low.w, low.w);
    if (WIDE) {
        store(r, cols.high.x, offsets.high.x, high.x);
        store(r, cols.high.y, offsets.high.y, high.y);
        store(r, cols.high.z, offsets.high.z, high.z);
        store(r, cols.high.w, offsets.high.w, high.w);
    }
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let matrix = params.first_matrix + group.z;
    let n = matrix / params.groups;
    let g = matrix - n * params.groups;
    let rows = tile_rows(params.first_row + group.y * HEIGHT, lane);
    let cols = tile_cols(group.x * WIDTH, lane);
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
    let offsets = Indices(column_offsets(cols.low), column_offsets(cols.high));
    store_row(result_row(n, g, rows.low.x), cols, offsets, tile.low_low[0], tile.low_high[0]);
    store_row(result_row(n, g, rows.low.y), cols, offsets, tile.low_low[1], tile.low_high[1]);
    store_row(result_row(n, g, rows.low.z), cols, offsets, tile.low_low[2], tile.low_high[2]);
    store_row(result_row(n, g, rows.low.w), cols, offsets, tile.low_low[3], tile.low_high[3]);
    if (TALL) {
        store_row(result_row(n, g, rows.high.x), cols, offsets, tile.high_low[0], tile.high_high[0]);
        store_row(result_row(n, g, rows.high.y), cols, offsets, tile.high_low[1], tile.high_high[1]);
        store_row(result_row(n, g, rows.high.z), cols, offsets, tile.high_low[2], tile.high_high[2]);
        store_row(result_row(n, g, rows.high.w), cols, offsets, tile.high_low[3], tile.high_high[3]);
    }
}
