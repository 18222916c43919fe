// ClipFactor: norm = √sq; factor = weight · min(1, C / most), or weight · C / (most + γ) if AUTOMATIC, where most is norm,
// or √(sq + square_error) + √norm_error if ROUNDING, + rows √row_error if ROW_ERRORS, all times `excess`; 0 where
// weight is 0, and -0 where a number is not finite, or sq negative if not ROUNDING. On the GRID it is then multiplied by UNITS / C. Such numbers are told by their bits, since a shader
// compiler may assume that there are none.

const AUTOMATIC: bool = false;
const ROUNDING: bool = false;
const ROW_ERRORS: bool = false;
const GRID: bool = false;
const UNITS: f32 = 1.0;

struct Params {
    count: u32,
    clip_group: u32,
    clip_groups: u32,
    gamma: f32,
    nan: u32,
    rows: f32,
    excess: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> sq: array<f32>;
@group(0) @binding(2) var<storage, read> square_error: array<f32>;
@group(0) @binding(3) var<storage, read> norm_error: array<f32>;
@group(0) @binding(4) var<storage, read> row_error: array<f32>;
@group(0) @binding(5) var<storage, read> weight: array<f32>;
@group(0) @binding(6) var<storage, read> bounds: array<f32>;
@group(0) @binding(7) var<storage, read_write> factor: array<f32>;
@group(0) @binding(8) var<storage, read_write> norm: array<f32>;

const INFINITE: u32 = 0u;
const MINUS_ZERO: u32 = 0x80000000u;
const LARGEST: f32 = 1.0;

fn root(x: f32) -> f32 {
    return sqrt(max(x, 0.0));
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
    let bits = bitcast<u32>(sq[i]);
    let square = select(0.0, bitcast<f32>(bits), bits < INFINITE);
    var counts = bits < INFINITE || bits == MINUS_ZERO;
    let shows = counts || (ROUNDING && (bits & ~MINUS_ZERO) < INFINITE);
    var most = sqrt(square);
    if (ROUNDING) {
        let bits_of_square_error = bitcast<u32>(square_error[i]);
        let bits_of_norm_error = bitcast<u32>(norm_error[i]);
        counts = shows && bits_of_square_error < INFINITE && bits_of_norm_error < INFINITE;
        let signed = select(0.0, bitcast<f32>(bits), shows);
        most = root(signed + square_error[i]) + root(norm_error[i]);
        if (ROW_ERRORS) {
            counts = counts && bitcast<u32>(row_error[i]) < INFINITE;
            most += params.rows * root(row_error[i]);
        }
    }
    most *= params.excess;
    counts = counts && bitcast<u32>(most) < INFINITE;
    let bound = bounds[params.clip_group];
    var clip = 1.0;
    if (AUTOMATIC) {
        clip = min(bound / (most + params.gamma), LARGEST);
    } else if (most > bound) {
        clip = bound / most;
    }
    if (GRID) {
        clip = min(clip * (UNITS / bound), LARGEST);
    }
    let left_out = select(bitcast<f32>(MINUS_ZERO), weight[i], weight[i] == 0.0);
    factor[i] = select(left_out, clip * weight[i], counts && weight[i] != 0.0);
    let shown = select(select(params.nan, bits, bits == INFINITE), bitcast<u32>(sqrt(square)), shows);
    norm[i * params.clip_groups + params.clip_group] = bitcast<f32>(shown);
}
