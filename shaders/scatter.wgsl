// Scatter: y[(n,) v, :] = Σ_t [row_of_id(ids[n, t]) = v] x[n, t, :], a table a record (EACH) or one for all records, with or without
// weights. The first launch clears the tables, the others add some of the records and positions, in order.
// An invocation owns column j of the table rows whose remainder by SHARDS is its own. If ORDERED, a record's positions are
// taken in `order`, and those of one id summed first, so that no other record has a part in how they are rounded.

const SHARDS: u32 = 16u;
const EACH: bool = true;
const ORDERED: bool = false;

// begin pairs
// end pairs

// begin row
// end row

struct Params {
    count: u32,
    adds: u32,
    ids_record: u32,
    record: u32,
    width: u32,
    table_rows: u32,
    record_begin: u32,
    record_end: u32,
    begin: u32,
    end: u32,
    zero: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> ids: array<i32>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
// begin results
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
// end results

// begin grid
// end grid

// begin element
fn element(value: f32) -> f32 {
    return value;
}
// end element

fn weight_of(n: u32) -> f32 {
    // begin weight
    return 1.0;
    // end weight
}

fn position(n: u32, r: u32) -> u32 {
    // begin order
    return r;
    // end order
}

// Adds the positions of record n, those of one id as one, to column j of the table.
fn add_runs(n: u32, weight: f32, j: u32, shard: u32) {
    var run = Pair(0.0, 0.0);
    var current = params.table_rows;
    for (var r = params.begin; r < params.end; r += 1u) {
        let t = position(n, r);
        let id = row_of_id(ids[n * params.ids_record + t], params.table_rows);
        if (id % SHARDS == shard && id < params.table_rows) {
            if (id != current) {
                if (current < params.table_rows) {
                    y[current * params.width + j] += element(weight * run.high);
                }
                current = id;
                run = Pair(0.0, 0.0);
            }
            run = plus(run, x[n * params.record + t * params.width + j]);
        }
    }
    if (current < params.table_rows) {
        y[current * params.width + j] += element(weight * run.high);
    }
}

// Adds the positions of record n to column j of the table at `base`.
fn add(n: u32, weight: f32, base: u32, j: u32, shard: u32) {
    for (var t = params.begin; t < params.end; t += 1u) {
        let id = row_of_id(ids[n * params.ids_record + t], params.table_rows);
        if (id % SHARDS == shard && id < params.table_rows) {
            y[base + id * params.width + j] += element(weight * x[n * params.record + t * params.width + j]);
        }
    }
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
    if (params.adds == 0u) {
        y[i] = element(0.0);
        return;
    }
    let column = i / params.width;
    let j = i - column * params.width;
    let shard = column % SHARDS;
    if (EACH) {
        let n = column / SHARDS;
        add(n, 1.0, n * params.table_rows * params.width, j, shard);
    } else {
        for (var n = params.record_begin; n < params.record_end; n += 1u) {
            let weight = weight_of(n);
            if (weight != 0.0) {
                if (ORDERED) {
                    add_runs(n, weight, j, shard);
                } else {
                    add(n, weight, 0u, j, shard);
                }
            }
        }
    }
}
