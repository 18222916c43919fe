// SegmentNorm: y[n] = Σ_v ‖Σ_t [row_of_id(ids[n, t]) = v] x[n, t, :]‖²: positions in `order`, each run of one row summed and squared.
// A workgroup makes a record's; a launch adds the columns of blocks `begin` to `end` of LANES.

const LANES: u32 = 64u;

// begin row
// end row

// begin pairs
// end pairs

// begin total
// end total

struct Params {
    count: u32,
    len: u32,
    width: u32,
    table_rows: u32,
    begin: u32,
    end: u32,
    zero: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> ids: array<i32>;
@group(0) @binding(2) var<storage, read> order: array<i32>;
@group(0) @binding(3) var<storage, read> x: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let n = group.y * groups.x + group.x;
    if (n >= params.count) {
        return;
    }
    var squares = Pair(0.0, 0.0);
    let last = min(params.end * LANES, params.width);
    for (var j = params.begin * LANES + lane; j < last; j += LANES) {
        var run = Pair(0.0, 0.0);
        var current = 0u;
        for (var r = 0u; r < params.len; r += 1u) {
            let t = n * params.len + u32(order[n * params.len + r]);
            let row = row_of_id(ids[t], params.table_rows);
            if (row != current) {
                squares = plus(squares, run.high * run.high);
                run = Pair(0.0, 0.0);
                current = row;
            }
            run = plus(run, x[t * params.width + j]);
        }
        squares = plus(squares, run.high * run.high);
    }
    let sum = total(lane, squares.high);
    if (lane == 0u) {
        y[n] = select(0.0, y[n], params.begin > 0u) + sum;
    }
}
