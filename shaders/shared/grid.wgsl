// The integer next to a float below 2²² in magnitude, ties to even.

fn on_grid(value: f32) -> i32 {
    return i32(round(value));
}
