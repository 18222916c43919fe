// How a kernel reads an operand: element (row, col) of matrix g of record n of a buffer is at
// n·record + g·group + offset(row, col), or is 0 where there is no offset.
// A row and a column each have a place, which can step to its successor without divisions.

const STRIDED: u32 = 0u;
const PATCHES: u32 = 1u;
const PATCHES_TRANSPOSED: u32 = 2u;
const COTANGENT_PATCHES: u32 = 3u;
const WEIGHT_TRANSPOSED: u32 = 4u;

const NOWHERE: u32 = 0xffffffffu;

// Channels and filters are those of a group; height, then width. A shift is the base-2 logarithm of a stride, or
// NO_SHIFT: divisions by a shift are fast.
const NO_SHIFT: u32 = 32u;

struct View {
    record: u32,
    group: u32,
    row: u32,
    col: u32,
    channels: u32,
    filters: u32,
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
    shift_h: u32,
    shift_w: u32,
}

// An offset, and coordinates modulo 2³² that those of the other place are added to.
struct Place {
    base: u32,
    h: u32,
    w: u32,
}

// Element (c, kh, kw) of a patch.
fn patch_place(v: View, i: u32) -> Place {
    let line = i / v.kernel_w;
    let c = line / v.kernel_h;
    let kh = line - c * v.kernel_h;
    let kw = i - line * v.kernel_w;
    return Place(c * v.in_h * v.in_w, kh * v.dilation_h, kw * v.dilation_w);
}

fn patch_next(v: View, p: Place) -> Place {
    let w = p.w + v.dilation_w;
    if (w != v.kernel_w * v.dilation_w) {
        return Place(p.base, p.h, w);
    }
    let h = p.h + v.dilation_h;
    if (h != v.kernel_h * v.dilation_h) {
        return Place(p.base, h, 0u);
    }
    return Place(p.base + v.in_h * v.in_w, 0u, 0u);
}

// Output position (oh, ow).
fn position_place(v: View, i: u32) -> Place {
    let oh = i / v.out_w;
    let ow = i - oh * v.out_w;
    return Place(0u, oh * v.stride_h - v.pad_h, ow * v.stride_w - v.pad_w);
}

fn position_next(v: View, p: Place) -> Place {
    let w = p.w + v.stride_w;
    if (w != v.out_w * v.stride_w - v.pad_w) {
        return Place(0u, p.h, w);
    }
    return Place(0u, p.h + v.stride_h, 0u - v.pad_w);
}

// Element (o, kh, kw) of what an input position reads of the cotangent.
fn cotangent_place(v: View, i: u32) -> Place {
    let line = i / v.kernel_w;
    let o = line / v.kernel_h;
    let kh = line - o * v.kernel_h;
    let kw = i - line * v.kernel_w;
    return Place(o * v.out_h * v.out_w, 0u - kh * v.dilation_h, 0u - kw * v.dilation_w);
}

fn cotangent_next(v: View, p: Place) -> Place {
    let w = p.w - v.dilation_w;
    if (w != 0u - v.kernel_w * v.dilation_w) {
        return Place(p.base, p.h, w);
    }
    let h = p.h - v.dilation_h;
    if (h != 0u - v.kernel_h * v.dilation_h) {
        return Place(p.base, h, 0u);
    }
    return Place(p.base + v.out_h * v.out_w, 0u, 0u);
}

// Input position (ih, iw).
fn input_place(v: View, i: u32) -> Place {
    let ih = i / v.in_w;
    let iw = i - ih * v.in_w;
    return Place(0u, ih + v.pad_h, iw + v.pad_w);
}

fn input_next(v: View, p: Place) -> Place {
    if (p.w + 1u != v.in_w + v.pad_w) {
        return Place(0u, p.h, p.w + 1u);
    }
    return Place(0u, p.h + 1u, v.pad_w);
}

// Element (o, kh, kw) of a weight, the channel aside; h counts the kernel's elements and is added to nothing.
fn filter_place(v: View, i: u32) -> Place {
    let kernel = v.kernel_h * v.kernel_w;
    let o = i / kernel;
    let k = i - o * kernel;
    return Place(o * v.channels * kernel + k, k, 0u);
}

fn filter_next(v: View, p: Place) -> Place {
    let kernel = v.kernel_h * v.kernel_w;
    if (p.h + 1u != kernel) {
        return Place(p.base + 1u, p.h + 1u, 0u);
    }
    return Place(p.base + 1u + (v.channels - 1u) * kernel, 0u, 0u);
}

fn row_place(kind: u32, v: View, i: u32) -> Place {
    switch (kind) {
        case PATCHES: { return patch_place(v, i); }
        case PATCHES_TRANSPOSED: { return position_place(v, i); }
        case COTANGENT_PATCHES: { return cotangent_place(v, i); }
        case WEIGHT_TRANSPOSED: { return Place(i * v.kernel_h * v.kernel_w, 0u, 0u); }
        default: { return Place(i * v.row, 0u, 0u); }
    }
}

fn row_next(kind: u32, v: View, p: Place) -> Place {
    switch (kind) {
        case PATCHES: { return patch_next(v, p); }
        case PATCHES_TRANSPOSED: { return position_next(v, p); }
        case COTANGENT_PATCHES: { return cotangent_next(v, p); }
        case WEIGHT_TRANSPOSED: { return Place(p.base + v.kernel_h * v.kernel_w, 0u, 0u); }
        default: { return Place(p.base + v.row, 0u, 0u); }
    }
}

fn col_place(kind: u32, v: View, i: u32) -> Place {
    switch (kind) {
        case PATCHES: { return position_place(v, i); }
        case PATCHES_TRANSPOSED: { return patch_place(v, i); }
        case COTANGENT_PATCHES: { return input_place(v, i); }
        case WEIGHT_TRANSPOSED: { return filter_place(v, i); }
        default: { return Place(i * v.col, 0u, 0u); }
    }
}

fn col_next(kind: u32, v: View, p: Place) -> Place {
    switch (kind) {
        case PATCHES: { return position_next(v, p); }
        case PATCHES_TRANSPOSED: { return patch_next(v, p); }
        case COTANGENT_PATCHES: { return input_next(v, p); }
        case WEIGHT_TRANSPOSED: { return filter_next(v, p); }
        default: { return Place(p.base + v.col, 0u, 0u); }
    }
}

fn divide(x: u32, by: u32, shift: u32) -> u32 {
    if (shift != NO_SHIFT) {
        return x >> shift;
    }
    return x / by;
}

fn offset(kind: u32, v: View, row: Place, col: Place) -> u32 {
    let base = row.base + col.base;
    let h = row.h + col.h;
    let w = row.w + col.w;
    switch (kind) {
        case PATCHES, PATCHES_TRANSPOSED: {
            return select(NOWHERE, base + h * v.in_w + w, h < v.in_h && w < v.in_w);
        }
        case COTANGENT_PATCHES: {
            let oh = divide(h, v.stride_h, v.shift_h);
            let ow = divide(w, v.stride_w, v.shift_w);
            let whole = oh * v.stride_h == h && ow * v.stride_w == w;
            return select(NOWHERE, base + oh * v.out_w + ow, whole && oh < v.out_h && ow < v.out_w);
        }
        default: {
            return base;
        }
    }
}

// Whether a view has elements that are nowhere in the buffer.
fn has_holes(kind: u32) -> bool {
    return kind == PATCHES || kind == PATCHES_TRANSPOSED || kind == COTANGENT_PATCHES;
}
