// TileNorm: y[n, q] = Σ (Σ_t a[n, g](i, t) · b[n, g](j, t))² over the pairs (i, j) of tile q of 32 × 32 items.
// A workgroup makes a tile.

const LANES: u32 = 32u;
const ACROSS: u32 = 8u;
const TALL: bool = true;
const WIDE: bool = false;
const A_VIEW: u32 = STRIDED;
const B_VIEW: u32 = STRIDED;

// begin view
// end view

// begin tile
// end tile

// begin total
// end total

struct Params {
    a: View,
    b: View,
    count: u32,
    tiles: u32,
    tiles_i: u32,
    tiles_j: u32,
    rows: u32,
    cols: u32,
    steps: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

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

// The sum of squares of each row.
fn squares(part: mat4x4<f32>, cols: vec4<u32>) -> vec4<f32> {
    return vec4<f32>(
        sum_below(part[0] * part[0], cols, params.cols),
        sum_below(part[1] * part[1], cols, params.cols),
        sum_below(part[2] * part[2], cols, params.cols),
        sum_below(part[3] * part[3], cols, params.cols),
    );
}

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = group.y * groups.x + group.x;
    if (at >= params.count) {
        return;
    }
    let n = at / params.tiles;
    let q = at - n * params.tiles;
    let g = q / (params.tiles_i * params.tiles_j);
    let tile_i = q / params.tiles_j - g * params.tiles_i;
    let tile_j = q % params.tiles_j;
    let rows = tile_rows(tile_i * HEIGHT, lane);
    let cols = tile_cols(tile_j * WIDTH, lane);
    let base_a = n * params.a.record + g * params.a.group;
    let base_b = n * params.b.record + g * params.b.group;
    let places_a = row_places(A_VIEW, params.a, rows, params.rows);
    let places_b = row_places(B_VIEW, params.b, cols, params.cols);
    var t_a = col_place(A_VIEW, params.a, 0u);
    var t_b = col_place(B_VIEW, params.b, 0u);
    var tile = Tile();
    for (var t = 0u; t < params.steps; t += 1u) {
        accumulate(&tile, load_a(base_a, places_a, t_a), load_b(base_b, places_b, t_b));
        t_a = col_next(A_VIEW, params.a, t_a);
        t_b = col_next(B_VIEW, params.b, t_b);
    }
    var low = squares(tile.low_low, cols.low);
    var high = squares(tile.high_low, cols.low);
    if (WIDE) {
        low += squares(tile.low_high, cols.high);
        high += squares(tile.high_high, cols.high);
    }
    let share = sum_below(low, rows.low, params.rows) + sum_below(high, rows.high, params.rows);
    let result = total(lane, share);
    if (lane == 0u) {
        y[at] = result;
    }
}
