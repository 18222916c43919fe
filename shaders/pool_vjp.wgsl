// PoolVjp: dx[n, c, id, ih, iw] = the sum of what each window that holds (id, ih, iw) sends back of dy: all of it to its
// first largest element or its first NaN, or an equal share to each element.
// An invocation makes an element, or on a processor a whole channel.

const KIND: u32 = MAX;
// The most windows that hold an element, along each axis.
const WINDOWS: vec3<u32> = vec3<u32>(1u, 1u, 1u);

// begin math
// end math

// begin window
// end window

@group(0) @binding(0) var<uniform> params: Params;
// begin operands
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;
// end operands

// begin elements
// end elements
