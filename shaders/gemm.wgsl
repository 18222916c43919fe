// Gemm: c[n, g, i, j] = act(Σ_k a[n, g](i, k) · b[n, g](k, j) + bias), if SPLIT terms `begin` to `end` a launch.
// Of several slices of the terms each makes a result of its own, `part` elements after that of the one before.
// PHASES: the columns are every few positions of an image only,
// of as many as b's view has in its input.

const LANES: u32 = 32u;
const ACROSS: u32 = 8u;
const TALL: bool = true;
const WIDE: bool = true;
const SPLIT: bool = false;
const PHASES: bool = false;
const A_QUADS: bool = false;
const B_QUADS: bool = false;
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
    matrices: u32,
    slice: u32,
    part: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
// begin a
@group(0) @binding(1) var<storage, read> a: array<f32>;

fn read_a(at: u32) -> f32 {
    return a[at];
}

fn quad_a(base: u32, line: Place, k: Place) -> vec4<f32> {
    return vec4<f32>(0.0);
}
// end a
// begin b
@group(0) @binding(2) var<storage, read> b: array<f32>;

fn read_b(at: u32) -> f32 {
    return b[at];
}

fn quad_b(base: u32, line: Place, k: Place) -> vec4<f32> {
    return vec4<f32>(0.0);
}
// end b
// begin results
@group(0) @binding(3) var<storage, read_write> c: array<f32>;
// end results

// begin prelude
// end prelude

fn element_a(base: u32, line: Place, k: Place) -> f32 {
    let at = offset(A_VIEW, params.a, line, k);
    if (has_holes(A_VIEW) & (at == NOWHERE)) {
        return 0.0;
    }
    return read_a(base + at);
}

fn line_a(i: u32) -> Place {
    return row_place(A_VIEW, params.a, min(i, params.rows - 1u));
}

fn start_a(k: u32) -> Place {
    return col_place(A_VIEW, params.a, k);
}

fn step_a(k: Place) -> Place {
    return col_next(A_VIEW, params.a, k);
}

fn element_b(base: u32, line: Place, k: Place) -> f32 {
    let at = offset(B_VIEW, params.b, k, line);
    if (has_holes(B_VIEW) & (at == NOWHERE)) {
        return 0.0;
    }
    return read_b(base + at);
}

fn line_b(i: u32) -> Place {
    return col_place(B_VIEW, params.b, min(i, params.cols - 1u));
}

fn start_b(k: u32) -> Place {
    return row_place(B_VIEW, params.b, k);
}

fn step_b(k: Place) -> Place {
    return row_next(B_VIEW, params.b, k);
}

// begin direct
// end direct

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

fn result_row(slice: u32, n: u32, g: u32, row: u32) -> Row {
    return Row(g, row, slice * params.part + n * params.out_record + g * params.out_group + row * params.out_row);
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
    let at = params.first_matrix + group.z;
    let slice = at / params.matrices;
    let matrix = at - slice * params.matrices;
    let n = matrix / params.groups;
    let g = matrix - n * params.groups;
    let first = vec2<u32>(params.first_row + group.y * HEIGHT, group.x * WIDTH);
    let rows = tile_rows(first.x, lane);
    let cols = tile_cols(first.y, lane);
    // begin outside
    if (rows.low.x >= params.rows || cols.low.x >= params.cols) {
        return;
    }
    // end outside
    let base = vec2<u32>(
        n * params.a.record + g * params.a.group,
        n * params.b.record + g * params.b.group,
    );
    let begin = params.begin + slice * params.slice;
    var tile = Tile();
    add_product(&tile, lines(first, lane), base, begin, min(begin + params.slice, params.end), 1.0, lane);
    let offsets = Indices(column_offsets(cols.low), column_offsets(cols.high));
    store_row(result_row(slice, n, g, rows.low.x), cols, offsets, tile.low_low[0], tile.low_high[0]);
    store_row(result_row(slice, n, g, rows.low.y), cols, offsets, tile.low_low[1], tile.low_high[1]);
    store_row(result_row(slice, n, g, rows.low.z), cols, offsets, tile.low_low[2], tile.low_high[2]);
    store_row(result_row(slice, n, g, rows.low.w), cols, offsets, tile.low_low[3], tile.low_high[3]);
    if (TALL) {
        store_row(result_row(slice, n, g, rows.high.x), cols, offsets, tile.high_low[0], tile.high_high[0]);
        store_row(result_row(slice, n, g, rows.high.y), cols, offsets, tile.high_low[1], tile.high_high[1]);
        store_row(result_row(slice, n, g, rows.high.z), cols, offsets, tile.high_low[2], tile.high_high[2]);
        store_row(result_row(slice, n, g, rows.high.w), cols, offsets, tile.high_low[3], tile.high_high[3]);
    }
}
