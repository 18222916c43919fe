// Σ_k a(i, k) · b(j, k) for the tile of an invocation, from memory: no memory is shared and no invocation waits for another.
// A line is an index i or j of an operand; `line`, `start`, `step` and `element` of each are the template's.

struct Lines {
    a: Places,
    b: Places,
}

// The lines of an invocation of the workgroup whose tile starts at `first`.
fn lines(first: vec2<u32>, lane: u32) -> Lines {
    let i = tile_rows(first.x, lane);
    let j = tile_cols(first.y, lane);
    return Lines(
        Places(
            line_a(i.low.x),
            line_a(i.low.y),
            line_a(i.low.z),
            line_a(i.low.w),
            line_a(i.high.x),
            line_a(i.high.y),
            line_a(i.high.z),
            line_a(i.high.w),
        ),
        Places(
            line_b(j.low.x),
            line_b(j.low.y),
            line_b(j.low.z),
            line_b(j.low.w),
            line_b(j.high.x),
            line_b(j.high.y),
            line_b(j.high.z),
            line_b(j.high.w),
        ),
    );
}

fn load_a(base: u32, places: Places, k: Place) -> Values {
    let low = vec4<f32>(
        element_a(base, places.p0, k),
        element_a(base, places.p1, k),
        element_a(base, places.p2, k),
        element_a(base, places.p3, k),
    );
    if (!TALL) {
        return Values(low, low);
    }
    let high = vec4<f32>(
        element_a(base, places.p4, k),
        element_a(base, places.p5, k),
        element_a(base, places.p6, k),
        element_a(base, places.p7, k),
    );
    return Values(low, high);
}

fn load_b(base: u32, places: Places, k: Place) -> Values {
    let low = vec4<f32>(
        element_b(base, places.p0, k),
        element_b(base, places.p1, k),
        element_b(base, places.p2, k),
        element_b(base, places.p3, k),
    );
    if (!WIDE) {
        return Values(low, low);
    }
    let high = vec4<f32>(
        element_b(base, places.p4, k),
        element_b(base, places.p5, k),
        element_b(base, places.p6, k),
        element_b(base, places.p7, k),
    );
    return Values(low, high);
}

// Adds the terms `begin` to `end`, a's elements times `scale`.
fn add_product(tile: ptr<function, Tile>, own: Lines, base: vec2<u32>, begin: u32, end: u32, scale: f32, lane: u32) {
    var k_a = start_a(begin);
    var k_b = start_b(begin);
    for (var k = begin; k < end; k += 1u) {
        let a_k = load_a(base.x, own.a, k_a);
        accumulate(tile, Values(scale * a_k.low, scale * a_k.high), load_b(base.y, own.b, k_b));
        k_a = step_a(k_a);
        k_b = step_b(k_b);
    }
}
