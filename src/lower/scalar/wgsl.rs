//! What the WGSL of scalar functions rests on.

use super::Value;
use crate::graph::DType;

/// WGSL that every shader with scalar functions starts with.
pub const WGSL_PRELUDE: &str = include_str!("../../../shaders/shared/math.wgsl");

/// The sine, and of a quarter the cosine: WGSL promises no more than three digits. With the polynomials of Cephes' `sinf`,
/// after a reduction to an eighth of a turn that is exact for some thousand turns.
const SINE: &str = "\
fn sine(x: f32, quarter: i32) -> f32 {
    let k = round(x * 0.63661977);
    let r = ((x - k * 1.5703125) - k * 4.837513e-4) - k * 7.54979e-8;
    let z = r * r;
    let s = ((-1.9515296e-4 * z + 8.332161e-3) * z - 0.16666655) * z * r + r;
    let c = ((2.4433157e-5 * z - 1.3887316e-3) * z + 4.1666646e-2) * z * z - 0.5 * z + 1.0;
    let n = i32(clamp(k, -2e9, 2e9)) + quarter;
    let y = select(s, c, (n & 1) != 0);
    return select(y, -y, (n & 2) != 0);
}
";

/// Functions that a shader holds where it calls them.
const HELPERS: &[(&str, &str)] = &[
    (
        "sign_",
        "\
fn sign_(x: f32) -> f32 {
    return select(sign(x), x, is_nan(x));
}
",
    ),
    (
        "zero_of",
        "\
// x - x and 0 x, which drivers take for 0 whatever x is.
fn zero_of(x: f32) -> f32 {
    return select(float_of(0x7fc00000u), 0.0, (bitcast<u32>(x) & 0x7fffffffu) < 0x7f800000u);
}
",
    ),
    (
        "huber_",
        "\
fn huber_(size: f32, limit: f32) -> f32 {
    let low = select(size, limit, size > limit);
    return low * (size - 0.5 * low);
}
",
    ),
    (
        "pow_",
        "\
// Powers at zero, at infinity and of negative numbers too, which `pow` need not have: those of an integer exponent are
// real.
fn pow_(x: f32, y: f32) -> f32 {
    let bits = bitcast<u32>(x) & 0x7fffffffu;
    let exponent = bitcast<u32>(y) & 0x7fffffffu;
    if (y == 0.0 || x == 1.0) {
        return 1.0;
    }
    if (bits > 0x7f800000u || exponent > 0x7f800000u) {
        return float_of(2143289344u);
    }
    var size = pow(abs(x), y);
    if (bits == 0u || bits == 0x7f800000u || exponent == 0x7f800000u) {
        let grows = (bits > 0x3f800000u) == (y > 0.0);
        size = select(select(0.0, float_of(2139095040u), grows), 1.0, bits == 0x3f800000u);
    }
    let whole = floor(y) == y;
    let odd = whole && abs(y) < 16777216.0 && floor(y * 0.5) * 2.0 != y;
    let negative = (bitcast<u32>(x) >> 31u) == 1u;
    let real = whole || !negative || bits == 0u || bits == 0x7f800000u || exponent == 0x7f800000u;
    return select(float_of(2143289344u), select(size, -size, negative && odd), real);
}
",
    ),
    (
        "erf_",
        "\
// A rational function of x, within 7 units in the last place; see `math::erf`.
fn erf_(number: f32) -> f32 {
    let x = clamp(number, -4.0, 4.0);
    let z = x * x;
    var p = -2.7261423e-10;
    p = p * z + 2.7706815e-8;
    p = p * z - 2.101024e-6;
    p = p * z - 5.6925063e-5;
    p = p * z - 7.3499065e-4;
    p = p * z - 2.9545997e-3;
    p = p * z - 1.6096033e-2;
    var q = -1.4566072e-5;
    q = q * z - 2.1337405e-4;
    q = q * z - 1.682827e-3;
    q = q * z - 7.373329e-3;
    q = q * z - 1.426474e-2;
    return select(x * p / q, number, is_nan(number));
}
",
    ),
    (
        "sin_",
        "\
fn sin_(x: f32) -> f32 {
    return sine(x, 0);
}
",
    ),
    (
        "cos_",
        "\
fn cos_(x: f32) -> f32 {
    return sine(x, 1);
}
",
    ),
    (
        "tan_",
        "\
fn tan_(x: f32) -> f32 {
    return sine(x, 0) / sine(x, 1);
}
",
    ),
    (
        "asin_",
        "\
// The polynomial of Cephes' asinf; drivers keep to four digits.
fn asin_(x: f32) -> f32 {
    let a = abs(x);
    let z = select(x * x, 0.5 * (1.0 - a), a > 0.5);
    let s = select(a, sqrt(z), a > 0.5);
    let p = (((4.2163199e-2 * z + 2.4181311e-2) * z + 4.5470025e-2) * z + 7.4953002e-2) * z + 0.16666752;
    let near = s + s * z * p;
    return select(1.0, -1.0, x < 0.0) * select(near, 1.5707963 - 2.0 * near, a > 0.5);
}
",
    ),
    (
        "acos_",
        "\
fn acos_(x: f32) -> f32 {
    return select(1.5707963 - asin_(x), 2.0 * asin_(sqrt(0.5 * (1.0 - x))), x > 0.5);
}
",
    ),
    (
        "atan_",
        "\
fn atan_(x: f32) -> f32 {
    return select(atan(x), x, is_nan(x));
}
",
    ),
    (
        "sinh_",
        "\
fn sinh_(x: f32) -> f32 {
    let half = exp(abs(x) * 0.5);
    return select(sinh(x), select(0.5, -0.5, x < 0.0) * half * half, abs(x) > 10.0);
}
",
    ),
    (
        "cosh_",
        "\
fn cosh_(x: f32) -> f32 {
    let half = exp(abs(x) * 0.5);
    return select(select(cosh(x), 0.5 * half * half, abs(x) > 10.0), x, is_nan(x));
}
",
    ),
    (
        "asinh_",
        "\
// By the logarithm of a positive number; the drivers' own loses digits below 0.
fn asinh_(x: f32) -> f32 {
    let a = abs(x);
    let size = select(log_(a + sqrt(a * a + 1.0)), log_(a) + 0.6931472, a > 1e9);
    return select(size, -size, x < 0.0);
}
",
    ),
    (
        "acosh_",
        "\
fn acosh_(x: f32) -> f32 {
    return select(log_(x + sqrt(x - 1.0) * sqrt(x + 1.0)), log_(x) + 0.6931472, x > 1e9);
}
",
    ),
    (
        "atanh_",
        "\
fn atanh_(x: f32) -> f32 {
    return 0.5 * log_((1.0 + x) / (1.0 - x));
}
",
    ),
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
    let number = select(x, 0.0, is_nan(x));
    return select(i32(clamp(number, -2147483600.0, 2147483500.0)), select(2147483647, i32(-2147483648), number < 0.0), abs(number) >= 2147483648.0);
}
",
    ),
];

/// What the statements `body` call: [`WGSL_PRELUDE`], and those other functions that they use.
pub fn prelude(body: &str) -> String {
    let calls = |text: &str, name: &str| text.contains(&format!("{name}("));
    let used = HELPERS.iter().filter(|(name, _)| calls(body, name) || (*name == "asin_" && calls(body, "acos_")));
    let text = used.fold(WGSL_PRELUDE.to_string(), |text, (_, helper)| text + "\n" + helper);
    if text.contains("sine(") { text + "\n" + SINE } else { text }
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
