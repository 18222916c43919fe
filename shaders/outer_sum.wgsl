// OuterSum: y[c, g, i, j] = Σ_n w[n] Σ_t a[n, g](i, t) · b[n, g](j, t) over the records n of chunk c; a record of weight 0
// is skipped. A launch adds the records `record_begin` to `record_end` of every chunk and the steps `begin` to `end`.
// Of SEVERAL steps a record's are summed first, so that no other record has a part in how its own are rounded.

const LANES: u32 = 32u;
const ACROSS: u32 = 8u;
const TALL: bool = true;
const WIDE: bool = true;
const SEVERAL: bool = true;
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
        at_b(base, places.p0, k),
        at_b(base, places.p1, k),
        at_b(base, places.p2, k),
        at_b(base, places.p3, k),
    );
    if (!WIDE) {
        return Values(low, low);
    }
    let high = vec4<f32>(
        at_b(base, places.p4, k),
        at_b(base, places.p5, k),
        at_b(base, places.p6, k),
        at_b(base, places.p7, k),
    );
    return Values(low, high);
}

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

fn store_row(matrix: u32, row: u32, cols: Indices, low: vec4<f32>, high: vec4<f32>) {
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
    let rows = tile_rows(params.first_row + group.y * HEIGHT, lane);
    let cols = tile_cols(group.x * WIDTH, lane);
    if (rows.low.x >= params.rows || cols.low.x >= params.cols) {
        return;
    }
    let places_a = row_places(A_VIEW, params.a, rows, params.rows);
    let places_b = row_places(B_VIEW, params.b, cols, params.cols);
    let last = min(c * params.chunk + params.record_end, params.records);
    var tile = Tile();
    for (var n = c * params.chunk + params.record_begin; n < last; n += 1u) {
        let weight = w[n];
        if (weight == 0.0) {
            continue;
        }
        let base_a = n * params.a.record + g * params.a.group;
        let base_b = n * params.b.record + g * params.b.group;
        var t_a = col_place(A_VIEW, params.a, params.begin);
        var t_b = col_place(B_VIEW, params.b, params.begin);
        var own = Tile();
        for (var t = params.begin; t < params.end; t += 1u) {
            let part = load_a(base_a, places_a, t_a);
            let weighted = Values(weight * part.low, weight * part.high);
            if (SEVERAL) {
                accumulate(&own, weighted, load_b(base_b, places_b, t_b));
            } else {
                accumulate(&tile, weighted, load_b(base_b, places_b, t_b));
            }
            t_a = col_next(A_VIEW, params.a, t_a);
            t_b = col_next(B_VIEW, params.b, t_b);
        }
        if (SEVERAL) {
            add(&tile, own);
        }
    }
    store_row(matrix, rows.low.x, cols, tile.low_low[0], tile.low_high[0]);
    store_row(matrix, rows.low.y, cols, tile.low_low[1], tile.low_high[1]);
    store_row(matrix, rows.low.z, cols, tile.low_low[2], tile.low_high[2]);
    store_row(matrix, rows.low.w, cols, tile.low_low[3], tile.low_high[3]);
    if (TALL) {
        store_row(matrix, rows.high.x, cols, tile.high_low[0], tile.high_high[0]);
        store_row(matrix, rows.high.y, cols, tile.high_low[1], tile.high_high[1]);
        store_row(matrix, rows.high.z, cols, tile.high_low[2], tile.high_high[2]);
        store_row(matrix, rows.high.w, cols, tile.high_low[3], tile.high_high[3]);
    }
}
