// A pooling window; height, then width. Coordinates count from the first padded element.

const MAX: u32 = 0u;
const AVERAGE_INSIDE: u32 = 1u;
const AVERAGE_PADDED: u32 = 2u;

struct Params {
    count: u32,
    in_h: u32,
    in_w: u32,
    out_h: u32,
    out_w: u32,
    kernel_h: u32,
    kernel_w: u32,
    stride_h: u32,
    stride_w: u32,
    dilation_h: u32,
    dilation_w: u32,
    pad_h: u32,
    pad_w: u32,
    padded_h: u32,
    padded_w: u32,
}

// Where element k of the window at (oh, ow) is in its plane of the input: inside, padding, or beyond.
struct Element {
    at: u32,
    inside: bool,
    padded: bool,
}

fn element(oh: u32, ow: u32, k: u32) -> Element {
    let kh = k / params.kernel_w;
    let kw = k - kh * params.kernel_w;
    let h = oh * params.stride_h + kh * params.dilation_h;
    let w = ow * params.stride_w + kw * params.dilation_w;
    let ih = h - params.pad_h;
    let iw = w - params.pad_w;
    let inside = ih < params.in_h && iw < params.in_w;
    return Element(ih * params.in_w + iw, inside, h < params.padded_h && w < params.padded_w);
}

// How many elements of the window at (oh, ow) an average divides by.
fn divisor(oh: u32, ow: u32) -> f32 {
    var size = 0.0;
    for (var k = 0u; k < params.kernel_h * params.kernel_w; k += 1u) {
        let e = element(oh, ow, k);
        size += select(0.0, 1.0, select(e.inside, e.padded, KIND == AVERAGE_PADDED));
    }
    return max(size, 1.0);
}
