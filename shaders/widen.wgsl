// Widen: y[n, 2j] and y[n, 2j + 1] are the numbers of the halves of word x[n, j].

const F16: bool = true;

struct Params {
    count: u32,
    words: u32,
    len: u32,
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<i32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

// begin half
// end half

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if (i >= params.count) {
        return;
    }
    let n = i / params.words;
    let j = 2u * (i - n * params.words);
    let at = n * params.len + j;
    let word = bitcast<u32>(x[i]);
    y[at] = number_of(word & 0xffffu, F16) * params.scale;
    if (j + 1u < params.len) {
        y[at + 1u] = number_of(word >> 16u, F16) * params.scale;
    }
}
