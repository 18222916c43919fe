// A pooling window; depth, height, width.

const MAX: u32 = 0u;
const AVERAGE_INSIDE: u32 = 1u;
const AVERAGE_PADDED: u32 = 2u;

const IN: vec3<u32> = vec3<u32>(1u, 1u, 1u);
const OUT: vec3<u32> = vec3<u32>(1u, 1u, 1u);
const KERNEL: vec3<u32> = vec3<u32>(1u, 1u, 1u);
const STRIDE: vec3<u32> = vec3<u32>(1u, 1u, 1u);
const DILATION: vec3<u32> = vec3<u32>(1u, 1u, 1u);
const PAD: vec3<u32> = vec3<u32>(0u, 0u, 0u);
// Elements of the input and of the padding on both sides.
const PADDED: vec3<u32> = vec3<u32>(1u, 1u, 1u);

struct Params {
    count: u32,
}

// The place of an element in its channel of the input.
fn place(i: vec3<u32>) -> u32 {
    return (i.x * IN.y + i.y) * IN.z + i.z;
}

// Conditions are joined by `&`, which is no branch.
fn inside(i: vec3<u32>) -> bool {
    return (i.x < IN.x) & (i.y < IN.y) & (i.z < IN.z);
}

// Whether a value takes the place of the largest so far: a larger one, or the first NaN.
fn beats(value: f32, best: f32) -> bool {
    return (value > best) | (is_nan(value) & !is_nan(best));
}

// How many of `kernel` elements from `first` on, counted from the first padded one, an average counts along an axis.
fn counted(first: u32, kernel: u32, dilation: u32, pad: u32, size: u32, padded: u32) -> u32 {
    var count = 0u;
    for (var k = 0u; k < kernel; k += 1u) {
        let at = first + k * dilation;
        let counts = select(at - pad < size, at < padded, KIND == AVERAGE_PADDED);
        count += select(0u, 1u, counts);
    }
    return count;
}

// How many elements of the window at a position an average divides by.
fn divisor(o: vec3<u32>) -> f32 {
    let first = o * STRIDE;
    let d = counted(first.x, KERNEL.x, DILATION.x, PAD.x, IN.x, PADDED.x);
    let h = counted(first.y, KERNEL.y, DILATION.y, PAD.y, IN.y, PADDED.y);
    let w = counted(first.z, KERNEL.z, DILATION.z, PAD.z, IN.z, PADDED.z);
    return max(f32(d * h * w), 1.0);
}
