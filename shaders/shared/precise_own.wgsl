
// Adds a record's own product to a tile of 4 × 4 results, as it is to the last bit or so.
fn add_own(tile: ptr<function, Tile>, own: Lines, base: vec2<u32>, begin: u32, end: u32, scale: f32, lane: u32) {
    var k_a = start_a(begin);
    var k_b = start_b(begin);
    var sums = PairTile();
    for (var k = begin; k < end; k += 1u) {
        sums = plus_outer(sums, scale * load_a(base.x, own.a, k_a).low, load_b(base.y, own.b, k_b).low);
        k_a = step_a(k_a);
        k_b = step_b(k_b);
    }
    (*tile).low_low += sums.high;
}
