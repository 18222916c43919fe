// Adds a record's own product, one term after the other.
fn add_own(tile: ptr<function, Tile>, own: Lines, base: vec2<u32>, begin: u32, end: u32, scale: f32, lane: u32) {
    add_product(tile, own, base, begin, end, scale, lane);
}
