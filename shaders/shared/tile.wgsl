// A tile of 4 × 4 results an invocation: rows 4·y + 0…3 and columns x, x + 8, x + 16, x + 24 of a tile of 32 × 32, so
// that neighbouring invocations have neighbouring columns. Places beyond the last are the last's.

struct Places {
    p0: Place,
    p1: Place,
    p2: Place,
    p3: Place,
}

// The rows (or columns) of a tile that an invocation has.
fn tile_rows(tile: u32, y: u32) -> vec4<u32> {
    return vec4<u32>(0u, 1u, 2u, 3u) + (tile * 32u + y * 4u);
}

fn tile_cols(tile: u32, x: u32) -> vec4<u32> {
    return vec4<u32>(0u, 8u, 16u, 24u) + (tile * 32u + x);
}

fn row_places(kind: u32, v: View, at: vec4<u32>, count: u32) -> Places {
    let i = min(at, vec4<u32>(count - 1u));
    return Places(row_place(kind, v, i.x), row_place(kind, v, i.y), row_place(kind, v, i.z), row_place(kind, v, i.w));
}

fn col_places(kind: u32, v: View, at: vec4<u32>, count: u32) -> Places {
    let i = min(at, vec4<u32>(count - 1u));
    return Places(col_place(kind, v, i.x), col_place(kind, v, i.y), col_place(kind, v, i.z), col_place(kind, v, i.w));
}

fn outer(a: vec4<f32>, b: vec4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(a.x * b, a.y * b, a.z * b, a.w * b);
}
