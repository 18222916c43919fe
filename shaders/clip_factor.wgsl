// ClipFactor: norm = √sq; factor = weight · min(1, C / norm), or weight · C / (norm + γ) if AUTOMATIC, and 0 where weight
// is 0 or sq is negative or not finite. Such squares are told by their bits, since a shader compiler may assume that
// there are none.

const AUTOMATIC: bool = false;

struct Params {
    count: u32,
    clip_group: u32,
    clip_groups: u32,
    gamma: f32,
    nan: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> sq: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read> bounds: array<f32>;
@group(0) @binding(4) var<storage, read_write> factor: array<f32>;
@group(0) @binding(5) var<storage, read_write> norm: array<f32>;

const INFINITE: u32 = 0x7f800000u;
const MINUS_ZERO: u32 = 0x80000000u;

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
    let bits = bitcast<u32>(sq[i]);
    let positive = bits < INFINITE || bits == MINUS_ZERO;
    let root = sqrt(select(0.0, bitcast<f32>(bits), bits < INFINITE));
    let bound = bounds[params.clip_group];
    var clip = 1.0;
    if (AUTOMATIC) {
        clip = bound / (root + params.gamma);
    } else if (root > bound) {
        clip = bound / root;
    }
    factor[i] = select(0.0, clip * weight[i], positive && weight[i] != 0.0);
    let shown = select(select(params.nan, bits, bits == INFINITE), bitcast<u32>(root), positive);
    norm[i * params.clip_groups + params.clip_group] = bitcast<f32>(shown);
}
