// OuterSum: y[c, g, i, j] = Σ_n w[n] Σ_t a[n, g](i, t) · b[n, g](j, t) over the records n of chunk c; a record of weight 0
// is skipped. A launch adds the records `record_begin` to `record_end` of every chunk and the steps `begin` to `end`.
// Of SEVERAL steps a record's are summed first, so that no other record has a part in how its own are rounded.

const LANES: u32 = 32u;
const ACROSS: u32 = 8u;
const TALL: bool = true;
const WIDE: bool = true;
const SEVERAL: bool = true;
const A_QUADS: bool = false;
const B_QUADS: bool = false;
const A_VIEW: u32 = STRIDED;
const B_VIEW: u32 = STRIDED;

// begin view
// end view

// begin tile
// end tile

// begin packed
// end packed

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
    zero: u32,
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
@group(0) @binding(3) var<storage, read> w: array<f32>;
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
    let at = offset(B_VIEW, params.b, line, k);
    if (has_holes(B_VIEW) & (at == NOWHERE)) {
        return 0.0;
    }
    return read_b(base + at);
}

fn line_b(i: u32) -> Place {
    return row_place(B_VIEW, params.b, min(i, params.cols - 1u));
}

fn start_b(k: u32) -> Place {
    return col_place(B_VIEW, params.b, k);
}

fn step_b(k: Place) -> Place {
    return col_next(B_VIEW, params.b, k);
}

// begin direct
// end direct

// begin own
// end own

// begin grid
// end grid

// begin sums
alias Element = f32;
alias Row = vec4<f32>;
alias Sums = Tile;

@group(0) @binding(4) var<storage, read_write> y: array<f32>;

fn add(tile: ptr<function, Tile>, own: Tile) {
    (*tile).low_low += own.low_low;
    if (WIDE) {
        (*tile).low_high += own.low_high;
    }
    if (TALL) {
        (*tile).high_low += own.high_low;
    }
    if (TALL && WIDE) {
        (*tile).high_high += own.high_high;
    }
}

fn put(at: u32, value: f32) {
    if (params.adds == 1u) {
        y[at] += value;
    } else {
        y[at] = value;
    }
}
// end sums

fn store(matrix: u32, row: u32, col: u32, sum: Element) {
    if (row < params.rows && col < params.cols) {
        put((matrix * params.rows + row) * params.cols + col, sum);
    }
}

fn store_row(matrix: u32, row: u32, cols: Indices, low: Row, high: Row) {
    store(matrix, row, cols.low.x, low.x);
    store(matrix, row, cols.low.y, low.y);
    store(matrix, row, cols.low.z, low.z);
    store(matrix, row, cols.low.w, low.w);
    if (WIDE) {
        store(matrix, row, cols.high.x, high.x);
        store(matrix, row, cols.high.y, high.y);
        store(matrix, row, cols.high.z, high.z);
        store(matrix, row, cols.high.w, high.w);
    }
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let matrix = params.first_matrix + group.z;
    let c = matrix / params.groups;
    let g = matrix - c * params.groups;
    let first = vec2<u32>(params.first_row + group.y * HEIGHT, group.x * WIDTH);
    let rows = tile_rows(first.x, lane);
    let cols = tile_cols(first.y, lane);
    // begin outside
    if (rows.low.x >= params.rows || cols.low.x >= params.cols) {
        return;
    }
    // end outside
    let own = lines(first, lane);
    let last = min(c * params.chunk + params.record_end, params.records);
    var tile = Sums();
    for (var n = c * params.chunk + params.record_begin; n < last; n += 1u) {
        let weight = w[n];
        if (weight == 0.0) {
            continue;
        }
        let base = vec2<u32>(
            n * params.a.record + g * params.a.group,
            n * params.b.record + g * params.b.group,
        );
        // begin record
        if (SEVERAL) {
            var sums = Tile();
            add_own(&sums, own, base, params.begin, params.end, weight, lane);
            add(&tile, sums);
        } else {
            add_own(&tile, own, base, params.begin, params.end, weight, lane);
        }
        // end record
    }
    // begin place
    let at = matrix;
    // end place
    store_row(at, rows.low.x, cols, tile.low_low[0], tile.low_high[0]);
    store_row(at, rows.low.y, cols, tile.low_low[1], tile.low_high[1]);
    store_row(at, rows.low.z, cols, tile.low_low[2], tile.low_high[2]);
    store_row(at, rows.low.w, cols, tile.low_low[3], tile.low_high[3]);
    if (TALL) {
        store_row(at, rows.high.x, cols, tile.high_low[0], tile.high_high[0]);
        store_row(at, rows.high.y, cols, tile.high_low[1], tile.high_high[1]);
        store_row(at, rows.high.z, cols, tile.high_low[2], tile.high_high[2]);
        store_row(at, rows.high.w, cols, tile.high_low[3], tile.high_high[3]);
    }
}
