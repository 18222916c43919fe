// TileNorm: y[n, q] = Σ (Σ_t a[n, g](i, t) · b[n, g](j, t))² over the pairs (i, j) of tile q of 32 × 32 items.
// A workgroup makes a tile.

const LANES: u32 = 32u;
const ACROSS: u32 = 8u;
const TALL: bool = true;
const WIDE: bool = false;
const A_QUADS: bool = false;
const B_QUADS: bool = false;
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
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

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
    let first = vec2<u32>(tile_i * HEIGHT, tile_j * WIDTH);
    let rows = tile_rows(first.x, lane);
    let cols = tile_cols(first.y, lane);
    let base = vec2<u32>(
        n * params.a.record + g * params.a.group,
        n * params.b.record + g * params.b.group,
    );
    var tile = Tile();
    add_own(&tile, lines(first, lane), base, 0u, params.steps, 1.0, lane);
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
