// How a kernel reads an operand: element (row, col) of matrix g of record n of a buffer is at
// n·record + g·group + offset(row, col), or is 0 where there is no offset.
// A row and a column each have a place, which can step to its successor without divisions.
// Conditions are joined by `&`: `&&` is a branch, and some drivers take minutes over those of all elements of a tile.

const STRIDED: u32 = 0u;
const PATCHES: u32 = 1u;
const PATCHES_TRANSPOSED: u32 = 2u;
const COTANGENT_PATCHES: u32 = 3u;
const WEIGHT_TRANSPOSED: u32 = 4u;
// The same over three spatial axes.
const DEEP_PATCHES: u32 = 5u;
const DEEP_PATCHES_TRANSPOSED: u32 = 6u;
const DEEP_COTANGENT_PATCHES: u32 = 7u;
// WEIGHT_TRANSPOSED of some elements of the kernel: those `pad`, `pad` + `stride`, … of a kernel of `in` elements.
const WEIGHT_PHASE: u32 = 8u;
// Patches that never leave the input.
const WHOLE_PATCHES: u32 = 9u;
const WHOLE_PATCHES_TRANSPOSED: u32 = 10u;

const NOWHERE: u32 = 0xffffffffu;

// Whether all strides are powers of two: divisions by a shift are fast.
const SHIFTS: bool = true;

// Channels and filters are those of a group, `taps` the elements of a kernel; depth, height, width. A shift is the base-2
// logarithm of a stride.

struct View {
    record: u32,
    group: u32,
    row: u32,
    col: u32,
    channels: u32,
    filters: u32,
    taps: u32,
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
    shift_d: u32,
    shift_h: u32,
    shift_w: u32,
}

// An offset, and coordinates modulo 2³² that those of the other place are added to.
struct Place {
    base: u32,
    d: u32,
    h: u32,
    w: u32,
}

// Element (c, kd, kh, kw) of a patch.
fn patch_place(v: View, i: u32) -> Place {
    let line = i / v.kernel_w;
    let plane = line / v.kernel_h;
    let c = plane / v.kernel_d;
    let kd = plane - c * v.kernel_d;
    let kh = line - plane * v.kernel_h;
    let kw = i - line * v.kernel_w;
    return Place(c * v.in_d * v.in_h * v.in_w, kd * v.dilation_d, kh * v.dilation_h, kw * v.dilation_w);
}

fn patch_next(v: View, p: Place) -> Place {
    let w = p.w + v.dilation_w;
    if (w != v.kernel_w * v.dilation_w) {
        return Place(p.base, p.d, p.h, w);
    }
    let h = p.h + v.dilation_h;
    if (h != v.kernel_h * v.dilation_h) {
        return Place(p.base, p.d, h, 0u);
    }
    let d = p.d + v.dilation_d;
    if (d != v.kernel_d * v.dilation_d) {
        return Place(p.base, d, 0u, 0u);
    }
    return Place(p.base + v.in_d * v.in_h * v.in_w, 0u, 0u, 0u);
}

// Output position (od, oh, ow).
fn position_place(v: View, i: u32) -> Place {
    let line = i / v.out_w;
    let od = line / v.out_h;
    let oh = line - od * v.out_h;
    let ow = i - line * v.out_w;
    return Place(0u, od * v.stride_d - v.pad_d, oh * v.stride_h - v.pad_h, ow * v.stride_w - v.pad_w);
}

fn position_next(v: View, p: Place) -> Place {
    let w = p.w + v.stride_w;
    if (w != v.out_w * v.stride_w - v.pad_w) {
        return Place(0u, p.d, p.h, w);
    }
    let h = p.h + v.stride_h;
    if (h != v.out_h * v.stride_h - v.pad_h) {
        return Place(0u, p.d, h, 0u - v.pad_w);
    }
    return Place(0u, p.d + v.stride_d, 0u - v.pad_h, 0u - v.pad_w);
}

// Element (o, kd, kh, kw) of what an input position reads of the cotangent.
fn cotangent_place(v: View, i: u32) -> Place {
    let line = i / v.kernel_w;
    let plane = line / v.kernel_h;
    let o = plane / v.kernel_d;
    let kd = plane - o * v.kernel_d;
    let kh = line - plane * v.kernel_h;
    let kw = i - line * v.kernel_w;
    let base = o * v.out_d * v.out_h * v.out_w;
    return Place(base, 0u - kd * v.dilation_d, 0u - kh * v.dilation_h, 0u - kw * v.dilation_w);
}

fn cotangent_next(v: View, p: Place) -> Place {
    let w = p.w - v.dilation_w;
    if (w != 0u - v.kernel_w * v.dilation_w) {
        return Place(p.base, p.d, p.h, w);
    }
    let h = p.h - v.dilation_h;
    if (h != 0u - v.kernel_h * v.dilation_h) {
        return Place(p.base, p.d, h, 0u);
    }
    let d = p.d - v.dilation_d;
    if (d != 0u - v.kernel_d * v.dilation_d) {
        return Place(p.base, d, 0u, 0u);
    }
    return Place(p.base + v.out_d * v.out_h * v.out_w, 0u, 0u, 0u);
}

// Input position (id, ih, iw).
fn input_place(v: View, i: u32) -> Place {
    let line = i / v.in_w;
    let id = line / v.in_h;
    let ih = line - id * v.in_h;
    let iw = i - line * v.in_w;
    return Place(0u, id + v.pad_d, ih + v.pad_h, iw + v.pad_w);
}

fn input_next(v: View, p: Place) -> Place {
    if (p.w + 1u != v.in_w + v.pad_w) {
        return Place(0u, p.d, p.h, p.w + 1u);
    }
    if (p.h + 1u != v.in_h + v.pad_h) {
        return Place(0u, p.d, p.h + 1u, v.pad_w);
    }
    return Place(0u, p.d + 1u, v.pad_h, v.pad_w);
}

// Element (o, k) of a weight, the channel aside; h counts the kernel's elements and is added to nothing.
fn filter_place(v: View, i: u32) -> Place {
    let o = i / v.taps;
    let k = i - o * v.taps;
    return Place(o * v.channels * v.taps + k, 0u, k, 0u);
}

fn filter_next(v: View, p: Place) -> Place {
    if (p.h + 1u != v.taps) {
        return Place(p.base + 1u, 0u, p.h + 1u, 0u);
    }
    return Place(p.base + 1u + (v.channels - 1u) * v.taps, 0u, 0u, 0u);
}

// Element (o, kd, kh, kw) of a phase of a weight, the channel aside; the coordinates are added to nothing.
fn phase_place(v: View, i: u32) -> Place {
    let line = i / v.kernel_w;
    let plane = line / v.kernel_h;
    let o = plane / v.kernel_d;
    let kd = plane - o * v.kernel_d;
    let kh = line - plane * v.kernel_h;
    let kw = i - line * v.kernel_w;
    let d = (kd * v.stride_d + v.pad_d) * v.in_h;
    let h = (d + kh * v.stride_h + v.pad_h) * v.in_w;
    return Place(o * v.channels * v.taps + h + kw * v.stride_w + v.pad_w, kd, kh, kw);
}

fn phase_next(v: View, p: Place) -> Place {
    if (p.w + 1u != v.kernel_w) {
        return Place(p.base + v.stride_w, p.d, p.h, p.w + 1u);
    }
    let line = p.base - p.w * v.stride_w;
    let row = v.stride_h * v.in_w;
    if (p.h + 1u != v.kernel_h) {
        return Place(line + row, p.d, p.h + 1u, 0u);
    }
    let plane = line - p.h * row;
    let map = v.stride_d * v.in_h * v.in_w;
    if (p.d + 1u != v.kernel_d) {
        return Place(plane + map, p.d + 1u, 0u, 0u);
    }
    return Place(plane - p.d * map + v.channels * v.taps, 0u, 0u, 0u);
}

fn row_place(kind: u32, v: View, i: u32) -> Place {
    switch (kind) {
        case PATCHES, WHOLE_PATCHES, DEEP_PATCHES: { return patch_place(v, i); }
        case PATCHES_TRANSPOSED, WHOLE_PATCHES_TRANSPOSED, DEEP_PATCHES_TRANSPOSED: { return position_place(v, i); }
        case COTANGENT_PATCHES, DEEP_COTANGENT_PATCHES: { return cotangent_place(v, i); }
        case WEIGHT_TRANSPOSED, WEIGHT_PHASE: { return Place(i * v.taps, 0u, 0u, 0u); }
        default: { return Place(i * v.row, 0u, 0u, 0u); }
    }
}

fn row_next(kind: u32, v: View, p: Place) -> Place {
    switch (kind) {
        case PATCHES, WHOLE_PATCHES, DEEP_PATCHES: { return patch_next(v, p); }
        case PATCHES_TRANSPOSED, WHOLE_PATCHES_TRANSPOSED, DEEP_PATCHES_TRANSPOSED: { return position_next(v, p); }
        case COTANGENT_PATCHES, DEEP_COTANGENT_PATCHES: { return cotangent_next(v, p); }
        case WEIGHT_TRANSPOSED, WEIGHT_PHASE: { return Place(p.base + v.taps, 0u, 0u, 0u); }
        default: { return Place(p.base + v.row, 0u, 0u, 0u); }
    }
}

fn col_place(kind: u32, v: View, i: u32) -> Place {
    switch (kind) {
        case PATCHES, WHOLE_PATCHES, DEEP_PATCHES: { return position_place(v, i); }
        case PATCHES_TRANSPOSED, WHOLE_PATCHES_TRANSPOSED, DEEP_PATCHES_TRANSPOSED: { return patch_place(v, i); }
        case COTANGENT_PATCHES, DEEP_COTANGENT_PATCHES: { return input_place(v, i); }
        case WEIGHT_TRANSPOSED: { return filter_place(v, i); }
        case WEIGHT_PHASE: { return phase_place(v, i); }
        default: { return Place(i * v.col, 0u, 0u, 0u); }
    }
}

fn col_next(kind: u32, v: View, p: Place) -> Place {
    switch (kind) {
        case PATCHES, WHOLE_PATCHES, DEEP_PATCHES: { return position_next(v, p); }
        case PATCHES_TRANSPOSED, WHOLE_PATCHES_TRANSPOSED, DEEP_PATCHES_TRANSPOSED: { return patch_next(v, p); }
        case COTANGENT_PATCHES, DEEP_COTANGENT_PATCHES: { return input_next(v, p); }
        case WEIGHT_TRANSPOSED: { return filter_next(v, p); }
        case WEIGHT_PHASE: { return phase_next(v, p); }
        default: { return Place(p.base + v.col, 0u, 0u, 0u); }
    }
}

fn divide(x: u32, by: u32, shift: u32) -> u32 {
    if (SHIFTS) {
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
            return select(NOWHERE, base + h * v.in_w + w, (h < v.in_h) & (w < v.in_w));
        }
        case WHOLE_PATCHES, WHOLE_PATCHES_TRANSPOSED: {
            return base + h * v.in_w + w;
        }
        case COTANGENT_PATCHES: {
            let oh = divide(h, v.stride_h, v.shift_h);
            let ow = divide(w, v.stride_w, v.shift_w);
            let whole = (oh * v.stride_h == h) & (ow * v.stride_w == w);
            return select(NOWHERE, base + oh * v.out_w + ow, whole & (oh < v.out_h) & (ow < v.out_w));
        }
        case DEEP_PATCHES, DEEP_PATCHES_TRANSPOSED: {
            let d = row.d + col.d;
            let inside = (d < v.in_d) & (h < v.in_h) & (w < v.in_w);
            return select(NOWHERE, base + (d * v.in_h + h) * v.in_w + w, inside);
        }
        case DEEP_COTANGENT_PATCHES: {
            let d = row.d + col.d;
            let od = divide(d, v.stride_d, v.shift_d);
            let oh = divide(h, v.stride_h, v.shift_h);
            let ow = divide(w, v.stride_w, v.shift_w);
            let whole = (od * v.stride_d == d) & (oh * v.stride_h == h) & (ow * v.stride_w == w);
            let inside = whole & (od < v.out_d) & (oh < v.out_h) & (ow < v.out_w);
            return select(NOWHERE, base + (od * v.out_h + oh) * v.out_w + ow, inside);
        }
        default: {
            return base;
        }
    }
}

// Whether a view has elements that are nowhere in the buffer.
fn has_holes(kind: u32) -> bool {
    switch (kind) {
        case STRIDED, WEIGHT_TRANSPOSED, WEIGHT_PHASE, WHOLE_PATCHES, WHOLE_PATCHES_TRANSPOSED: { return false; }
        default: { return true; }
    }
}
