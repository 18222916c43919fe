//! What the WGSL of scalar functions rests on.

use super::Value;
use crate::graph::DType;

/// WGSL that every shader with scalar functions starts with: `tanh` of large arguments overflows on some drivers, and a
/// constant expression must be finite.
pub const WGSL_PRELUDE: &str = "\
fn tanh_(x: f32) -> f32 {
    return tanh(clamp(x, -15.0, 15.0));
}

fn float_of(bits: u32) -> f32 {
    return bitcast<f32>(bits);
}
";

/// Functions that a shader holds where it calls them.
const HELPERS: &[(&str, &str)] = &[
    (
        "div_i32",
        "\
// Rounds towards zero; x / 0 is x, and the one quotient that overflows wraps around.
fn div_i32(x: i32, y: i32) -> i32 {
    return x / select(y, 1, y == 0 || (y == -1 && x < -2147483647));
}
",
    ),
    (
        "rem_i32",
        "\
// The remainder of div_i32, with the sign of x; 0 where y is.
fn rem_i32(x: i32, y: i32) -> i32 {
    return x % select(y, 1, y == 0 || y == -1);
}
",
    ),
    (
        "mod_i32",
        "\
// The remainder with the sign of y; 0 where y is.
fn mod_i32(x: i32, y: i32) -> i32 {
    let r = x % select(y, 1, y == 0 || y == -1);
    return select(r, r + y, r != 0 && (r < 0) != (y < 0));
}
",
    ),
    (
        "i32_of",
        "\
// Rounds towards zero; NaN gives 0, and what is out of range the nearest integer.
fn i32_of(x: f32) -> i32 {
    let number = select(x, 0.0, (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u);
    return select(i32(clamp(number, -2147483600.0, 2147483500.0)), select(2147483647, i32(-2147483648), number < 0.0), abs(number) >= 2147483648.0);
}
",
    ),
];

/// What the statements `body` call: [`WGSL_PRELUDE`], and those other functions that they use.
pub fn prelude(body: &str) -> String {
    let used = HELPERS.iter().filter(|(name, _)| body.contains(&format!("{name}(")));
    used.fold(WGSL_PRELUDE.to_string(), |text, (_, helper)| text + "\n" + helper)
}

impl Value {
    /// A WGSL expression that reads back as the same value.
    pub fn wgsl(self) -> String {
        match self {
            Value::F32(x) if x.is_finite() => format!("{x:?}f"),
            Value::F32(x) => format!("float_of({}u)", x.to_bits()),
            Value::I32(x) if x == i32::MIN => format!("i32({x})"),
            Value::I32(x) => format!("{x}i"),
            Value::Bool(x) => x.to_string(),
        }
    }
}

impl DType {
    /// The WGSL type of a buffer's elements.
    pub fn wgsl_word(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::I32 | DType::Bool => "i32",
        }
    }

    /// The WGSL value of a buffer's element.
    pub(super) fn wgsl_load(self, word: String) -> String {
        if self == DType::Bool { format!("({word} != 0)") } else { word }
    }

    /// The WGSL element of a value.
    pub(super) fn wgsl_store(self, value: String) -> String {
        if self == DType::Bool { format!("select(0, 1, {value})") } else { value }
    }
}
