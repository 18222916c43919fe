// Σ_k a(i, k) · b(j, k) for the tile of an invocation, DEPTH terms at a time by way of memory that the workgroup shares.
// A line is an index i or j of an operand; `line`, `start`, `step`, `element` and `quad` of each are the template's. Every
// invocation brings whole lines, so that it works out their places once: one of a and one of b where the tile is as high
// and as wide as there are invocations, else of one of them. All invocations of a workgroup call `add_product` alike.

const DEPTH: u32 = 16u;

var<workgroup> block_a: array<f32, HEIGHT * DEPTH>;
var<workgroup> block_b: array<f32, WIDTH * DEPTH>;

struct Lines {
    a: Place,
    b: Place,
}

// The line of b that an invocation brings.
fn own_b(lane: u32) -> u32 {
    return lane - (LANES - WIDTH);
}

// The lines that an invocation of the workgroup whose tile starts at `first` brings.
fn lines(first: vec2<u32>, lane: u32) -> Lines {
    return Lines(line_a(first.x + min(lane, HEIGHT - 1u)), line_b(first.y + min(own_b(lane), WIDTH - 1u)));
}

fn bring_a(line: Place, base: u32, first: Place, count: u32, scale: f32, lane: u32) -> Place {
    var k = first;
    if (A_QUADS) {
        for (var i = 0u; i < DEPTH; i += 4u) {
            var quad = vec4<f32>(0.0);
            if (i < count) {
                quad = scale * quad_a(base, line, k);
            }
            block_a[i * HEIGHT + lane] = quad.x;
            block_a[(i + 1u) * HEIGHT + lane] = quad.y;
            block_a[(i + 2u) * HEIGHT + lane] = quad.z;
            block_a[(i + 3u) * HEIGHT + lane] = quad.w;
            k = step_a(step_a(step_a(step_a(k))));
        }
    } else {
        for (var i = 0u; i < DEPTH; i += 1u) {
            var value = 0.0;
            if (i < count) {
                value = scale * element_a(base, line, k);
            }
            block_a[i * HEIGHT + lane] = value;
            k = step_a(k);
        }
    }
    return k;
}

fn bring_b(line: Place, base: u32, first: Place, count: u32, own: u32) -> Place {
    var k = first;
    if (B_QUADS) {
        for (var i = 0u; i < DEPTH; i += 4u) {
            var quad = vec4<f32>(0.0);
            if (i < count) {
                quad = quad_b(base, line, k);
            }
            block_b[i * WIDTH + own] = quad.x;
            block_b[(i + 1u) * WIDTH + own] = quad.y;
            block_b[(i + 2u) * WIDTH + own] = quad.z;
            block_b[(i + 3u) * WIDTH + own] = quad.w;
            k = step_b(step_b(step_b(step_b(k))));
        }
    } else {
        for (var i = 0u; i < DEPTH; i += 1u) {
            var value = 0.0;
            if (i < count) {
                value = element_b(base, line, k);
            }
            block_b[i * WIDTH + own] = value;
            k = step_b(k);
        }
    }
    return k;
}

fn block_rows(k: u32, lane: u32) -> Values {
    let at = k * HEIGHT + select(4u, 8u, TALL) * (lane / ACROSS);
    let low = vec4<f32>(block_a[at], block_a[at + 1u], block_a[at + 2u], block_a[at + 3u]);
    if (!TALL) {
        return Values(low, low);
    }
    return Values(low, vec4<f32>(block_a[at + 4u], block_a[at + 5u], block_a[at + 6u], block_a[at + 7u]));
}

fn block_cols(k: u32, lane: u32) -> Values {
    let at = k * WIDTH + 4u * (lane % ACROSS);
    let low = vec4<f32>(block_b[at], block_b[at + 1u], block_b[at + 2u], block_b[at + 3u]);
    if (!WIDE) {
        return Values(low, low);
    }
    let more = at + 4u * ACROSS;
    return Values(low, vec4<f32>(block_b[more], block_b[more + 1u], block_b[more + 2u], block_b[more + 3u]));
}

// Adds the terms `begin` to `end`, a's elements times `scale`.
fn add_product(tile: ptr<function, Tile>, own: Lines, base: vec2<u32>, begin: u32, end: u32, scale: f32, lane: u32) {
    var k_a = start_a(begin);
    var k_b = start_b(begin);
    for (var first = begin; first < end; first += DEPTH) {
        if (lane < HEIGHT) {
            k_a = bring_a(own.a, base.x, k_a, end - first, scale, lane);
        }
        if (lane >= LANES - WIDTH) {
            k_b = bring_b(own.b, base.y, k_b, end - first, own_b(lane));
        }
        workgroupBarrier();
        for (var k = 0u; k < DEPTH; k += 1u) {
            accumulate(tile, block_rows(k, lane), block_cols(k, lane));
        }
        workgroupBarrier();
    }
}
