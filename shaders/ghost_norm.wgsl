// GhostNorm: y[n, q] = s Σ (Σ_i a[n, g](i, t) · c[n, g](i, u)) (Σ_j b[n, g](j, t) · d[n, g](j, u)) over the pairs of
// positions (t, u) of tile q of 32 × 32. SYMMETRIC: tiles below the diagonal are 0, those above it count twice.

const LANES: u32 = 64u;
const ACROSS: u32 = 8u;
const TALL: bool = false;
const WIDE: bool = false;
const A_VIEW: u32 = STRIDED;
const B_VIEW: u32 = STRIDED;
const C_VIEW: u32 = STRIDED;
const D_VIEW: u32 = STRIDED;
const SYMMETRIC: bool = false;

// begin view
// end view

// begin tile
// end tile

// begin precise
// end precise

// begin total
// end total

struct Params {
    a: View,
    b: View,
    c: View,
    d: View,
    count: u32,
    tiles: u32,
    tiles_t: u32,
    tiles_u: u32,
    rows: u32,
    cols: u32,
    steps_t: u32,
    steps_u: u32,
    scale: f32,
    zero: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read> c: array<f32>;
@group(0) @binding(4) var<storage, read> d: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

fn at_a(base: u32, row: Place, col: Place) -> f32 {
    let at = offset(A_VIEW, params.a, row, col);
    if (has_holes(A_VIEW) & (at == NOWHERE)) {
        return 0.0;
    }
    return a[base + at];
}

fn load_a(base: u32, places: Places, k: Place) -> vec4<f32> {
    return vec4<f32>(
        at_a(base, k, places.p0),
        at_a(base, k, places.p1),
        at_a(base, k, places.p2),
        at_a(base, k, places.p3),
    );
}

fn at_b(base: u32, row: Place, col: Place) -> f32 {
    let at = offset(B_VIEW, params.b, row, col);
    if (has_holes(B_VIEW) & (at == NOWHERE)) {
        return 0.0;
    }
    return b[base + at];
}

fn load_b(base: u32, places: Places, k: Place) -> vec4<f32> {
    return vec4<f32>(
        at_b(base, k, places.p0),
        at_b(base, k, places.p1),
        at_b(base, k, places.p2),
        at_b(base, k, places.p3),
    );
}

fn at_c(base: u32, row: Place, col: Place) -> f32 {
    let at = offset(C_VIEW, params.c, row, col);
    if (has_holes(C_VIEW) & (at == NOWHERE)) {
        return 0.0;
    }
    return c[base + at];
}

fn load_c(base: u32, places: Places, k: Place) -> vec4<f32> {
    return vec4<f32>(
        at_c(base, k, places.p0),
        at_c(base, k, places.p1),
        at_c(base, k, places.p2),
        at_c(base, k, places.p3),
    );
}

fn at_d(base: u32, row: Place, col: Place) -> f32 {
    let at = offset(D_VIEW, params.d, row, col);
    if (has_holes(D_VIEW) & (at == NOWHERE)) {
        return 0.0;
    }
    return d[base + at];
}

fn load_d(base: u32, places: Places, k: Place) -> vec4<f32> {
    return vec4<f32>(
        at_d(base, k, places.p0),
        at_d(base, k, places.p1),
        at_d(base, k, places.p2),
        at_d(base, k, places.p3),
    );
}

// Σ_i a(i, t) · c(i, u) for the pairs of an invocation.
fn gram_ac(n: u32, g: u32, t: Indices, u: Indices) -> mat4x4<f32> {
    let base_a = n * params.a.record + g * params.a.group;
    let base_c = n * params.c.record + g * params.c.group;
    let places_a = col_places(A_VIEW, params.a, t, params.steps_t);
    let places_c = col_places(C_VIEW, params.c, u, params.steps_u);
    var i_a = row_place(A_VIEW, params.a, 0u);
    var i_c = row_place(C_VIEW, params.c, 0u);
    var sums = PairTile();
    for (var i = 0u; i < params.rows; i += 1u) {
        sums = plus_outer(sums, load_a(base_a, places_a, i_a), load_c(base_c, places_c, i_c));
        i_a = row_next(A_VIEW, params.a, i_a);
        i_c = row_next(C_VIEW, params.c, i_c);
    }
    return sums.high;
}

// Σ_j b(j, t) · d(j, u) for the pairs of an invocation.
fn gram_bd(n: u32, g: u32, t: Indices, u: Indices) -> mat4x4<f32> {
    let base_b = n * params.b.record + g * params.b.group;
    let base_d = n * params.d.record + g * params.d.group;
    let places_b = col_places(B_VIEW, params.b, t, params.steps_t);
    let places_d = col_places(D_VIEW, params.d, u, params.steps_u);
    var j_b = row_place(B_VIEW, params.b, 0u);
    var j_d = row_place(D_VIEW, params.d, 0u);
    var sums = PairTile();
    for (var j = 0u; j < params.cols; j += 1u) {
        sums = plus_outer(sums, load_b(base_b, places_b, j_b), load_d(base_d, places_d, j_d));
        j_b = row_next(B_VIEW, params.b, j_b);
        j_d = row_next(D_VIEW, params.d, j_d);
    }
    return sums.high;
}

// The inner product of each pair of rows.
fn products(p: mat4x4<f32>, q: mat4x4<f32>, u: vec4<u32>) -> vec4<f32> {
    return vec4<f32>(
        sum_below(p[0] * q[0], u, params.steps_u),
        sum_below(p[1] * q[1], u, params.steps_u),
        sum_below(p[2] * q[2], u, params.steps_u),
        sum_below(p[3] * q[3], u, params.steps_u),
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
    let g = q / (params.tiles_t * params.tiles_u);
    let tile_t = q / params.tiles_u - g * params.tiles_t;
    let tile_u = q % params.tiles_u;
    if (SYMMETRIC && tile_t > tile_u) {
        if (lane == 0u) {
            y[at] = 0.0;
        }
        return;
    }
    let t = tile_rows(tile_t * HEIGHT, lane);
    let u = tile_cols(tile_u * WIDTH, lane);
    let ac = gram_ac(n, g, t, u);
    let bd = gram_bd(n, g, t, u);
    let share = sum_below(products(ac, bd, u.low), t.low, params.steps_t);
    let result = total(lane, share);
    if (lane == 0u) {
        y[at] = params.scale * result * select(1.0, 2.0, SYMMETRIC && tile_t < tile_u);
    }
}
