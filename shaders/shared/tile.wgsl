// A tile of 8 × 8 results an invocation: rows 8·y + 0…7 and columns x + 0, 8, …, 56 where 8 invocations are ACROSS, so that
// neighbouring invocations have neighbouring columns, or four side by side if QUADS; 4 rows unless TALL, 4 columns unless WIDE. Places beyond the last are
// the last's. LANES invocations have HEIGHT rows and WIDTH columns.

const QUADS: bool = false;
const HEIGHT: u32 = LANES / ACROSS * select(4u, 8u, TALL);
const WIDTH: u32 = ACROSS * select(4u, 8u, WIDE);

struct Indices {
    low: vec4<u32>,
    high: vec4<u32>,
}

struct Values {
    low: vec4<f32>,
    high: vec4<f32>,
}

struct Places {
    p0: Place,
    p1: Place,
    p2: Place,
    p3: Place,
    p4: Place,
    p5: Place,
    p6: Place,
    p7: Place,
}

// Sums by halves of the rows and of the columns.
struct Tile {
    low_low: mat4x4<f32>,
    low_high: mat4x4<f32>,
    high_low: mat4x4<f32>,
    high_high: mat4x4<f32>,
}

fn tile_rows(first: u32, lane: u32) -> Indices {
    let low = vec4<u32>(0u, 1u, 2u, 3u) + (first + select(4u, 8u, TALL) * (lane / ACROSS));
    return Indices(low, low + 4u);
}

fn tile_cols(first: u32, lane: u32) -> Indices {
    let x = lane % ACROSS;
    let i = vec4<u32>(0u, 1u, 2u, 3u);
    let low = first + select(ACROSS * i + x, i + 4u * x, QUADS);
    return Indices(low, low + 4u * ACROSS);
}

fn row_places(kind: u32, v: View, at: Indices, count: u32) -> Places {
    let i = min(at.low, vec4<u32>(count - 1u));
    let j = min(at.high, vec4<u32>(count - 1u));
    return Places(
        row_place(kind, v, i.x),
        row_place(kind, v, i.y),
        row_place(kind, v, i.z),
        row_place(kind, v, i.w),
        row_place(kind, v, j.x),
        row_place(kind, v, j.y),
        row_place(kind, v, j.z),
        row_place(kind, v, j.w),
    );
}

fn col_places(kind: u32, v: View, at: Indices, count: u32) -> Places {
    let i = min(at.low, vec4<u32>(count - 1u));
    let j = min(at.high, vec4<u32>(count - 1u));
    return Places(
        col_place(kind, v, i.x),
        col_place(kind, v, i.y),
        col_place(kind, v, i.z),
        col_place(kind, v, i.w),
        col_place(kind, v, j.x),
        col_place(kind, v, j.y),
        col_place(kind, v, j.z),
        col_place(kind, v, j.w),
    );
}

fn outer(a: vec4<f32>, b: vec4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(a.x * b, a.y * b, a.z * b, a.w * b);
}

// Adds a ⊗ b.
fn accumulate(tile: ptr<function, Tile>, a: Values, b: Values) {
    (*tile).low_low += outer(a.low, b.low);
    if (WIDE) {
        (*tile).low_high += outer(a.low, b.high);
    }
    if (TALL) {
        (*tile).high_low += outer(a.high, b.low);
    }
    if (TALL && WIDE) {
        (*tile).high_high += outer(a.high, b.high);
    }
}

// The sum of the elements whose indices are below `count`; of the others no infinity counts.
fn sum_below(x: vec4<f32>, i: vec4<u32>, count: u32) -> f32 {
    return dot(select(vec4<f32>(0.0), x, i < vec4<u32>(count)), vec4<f32>(1.0));
}
