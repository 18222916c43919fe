// Terms that are added up before they join others.
const PART: u32 = 64u;

fn join(tile: ptr<function, Tile>, part: Tile) {
    (*tile).low_low += part.low_low;
    if (WIDE) {
        (*tile).low_high += part.low_high;
    }
    if (TALL) {
        (*tile).high_low += part.high_low;
    }
    if (TALL && WIDE) {
        (*tile).high_high += part.high_high;
    }
}

// Adds a record's own product, in parts, so that small terms are not lost beside what went before.
fn add_own(tile: ptr<function, Tile>, own: Lines, base: vec2<u32>, begin: u32, end: u32, scale: f32, lane: u32) {
    for (var first = begin; first < end; first += PART) {
        var part = Tile();
        add_product(&part, own, base, first, min(first + PART, end), scale, lane);
        join(tile, part);
    }
}
