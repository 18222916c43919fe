// Nonfinite: bit k of flags[at] is set if an element of x_k is NaN or infinite, by its bits.

struct Params {
    count: u32,
    at: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
// begin buffers
@group(0) @binding(1) var<storage, read> x0: array<u32>;
@group(0) @binding(2) var<storage, read_write> flags: array<atomic<u32>>;
// end buffers

const INFINITE: u32 = 0u;

fn bit(word: u32, k: u32) -> u32 {
    return select(0u, 1u << k, (word & 0x7fffffffu) >= INFINITE);
}

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
    var bits = 0u;
    // begin bits
    bits |= bit(x0[i], 0u);
    // end bits
    if (bits != 0u) {
        atomicOr(&flags[params.at], bits);
    }
}
