// A pooling window; depth, height, width. Coordinates count from the first padded element.

const MAX: u32 = 0u;
const AVERAGE_INSIDE: u32 = 1u;
const AVERAGE_PADDED: u32 = 2u;

struct Params {
    count: u32,
    in_d: u32,
    in_h: u32,
    in_w: u32,
    out_d: u32,
    out_h: u32,
    out_w: u32,
    kernel_d: u32,
    kernel_h: u32,
    kernel_w: u32,
    stride_d: u32,
    stride_h: u32,
    stride_w: u32,
    dilation_d: u32,
    dilation_h: u32,
    dilation_w: u32,
    pad_d: u32,
    pad_h: u32,
    pad_w: u32,
    padded_d: u32,
    padded_h: u32,
    padded_w: u32,
}

// A position, or an element of a window.
struct Coordinates {
    d: u32,
    h: u32,
    w: u32,
}

// Where an element of the window at a position is in its channel of the input: inside, padding, or beyond.
struct Element {
    at: u32,
    inside: bool,
    padded: bool,
}

// The element after k in row-major order; after the last one, one beyond the depth.
fn after(k: Coordinates) -> Coordinates {
    if (k.w + 1u != params.kernel_w) {
        return Coordinates(k.d, k.h, k.w + 1u);
    }
    if (k.h + 1u != params.kernel_h) {
        return Coordinates(k.d, k.h + 1u, 0u);
    }
    return Coordinates(k.d + 1u, 0u, 0u);
}

fn element(o: Coordinates, k: Coordinates) -> Element {
    let d = o.d * params.stride_d + k.d * params.dilation_d;
    let h = o.h * params.stride_h + k.h * params.dilation_h;
    let w = o.w * params.stride_w + k.w * params.dilation_w;
    let id = d - params.pad_d;
    let ih = h - params.pad_h;
    let iw = w - params.pad_w;
    let inside = id < params.in_d && ih < params.in_h && iw < params.in_w;
    let padded = d < params.padded_d && h < params.padded_h && w < params.padded_w;
    return Element((id * params.in_h + ih) * params.in_w + iw, inside, padded);
}

// Whether a value takes the place of the largest so far: a larger one, or the first NaN.
fn beats(value: f32, best: f32) -> bool {
    return (value > best) | (is_nan(value) & !is_nan(best));
}

// How many elements of the window at a position an average divides by.
fn divisor(o: Coordinates) -> f32 {
    var size = 0.0;
    for (var k = Coordinates(0u, 0u, 0u); k.d < params.kernel_d; k = after(k)) {
        let e = element(o, k);
        size += select(0.0, 1.0, select(e.inside, e.padded, KIND == AVERAGE_PADDED));
    }
    return max(size, 1.0);
}
