// Sums of integers of a tile: each record's own are weighted and rounded, and added to what other workgroups add.

alias Element = i32;
alias Row = vec4<i32>;

struct Sums {
    low_low: array<Row, 4>,
    low_high: array<Row, 4>,
    high_low: array<Row, 4>,
    high_high: array<Row, 4>,
}

@group(0) @binding(4) var<storage, read_write> y: array<atomic<i32>>;

fn row_on_grid(row: vec4<f32>) -> Row {
    return Row(on_grid(row.x), on_grid(row.y), on_grid(row.z), on_grid(row.w));
}

fn add(sums: ptr<function, Sums>, own: Tile, weight: f32) {
    for (var r = 0u; r < 4u; r += 1u) {
        (*sums).low_low[r] += row_on_grid(weight * own.low_low[r]);
        if (WIDE) {
            (*sums).low_high[r] += row_on_grid(weight * own.low_high[r]);
        }
        if (TALL) {
            (*sums).high_low[r] += row_on_grid(weight * own.high_low[r]);
        }
        if (TALL && WIDE) {
            (*sums).high_high[r] += row_on_grid(weight * own.high_high[r]);
        }
    }
}

// The first launch clears the sums.
fn put(at: u32, value: i32) {
    if (params.adds == 0u) {
        atomicStore(&y[at], 0);
    } else {
        atomicAdd(&y[at], value);
    }
}
