//! Scalar functions of floats, integers and booleans, and typed expressions of them that element-wise kernels compute.
//!
//! One line of [the table](table) is all there is to a function: its signature, its WGSL, its Rust, and its derivative.
//! Everything else about it is read off that line: the element-wise kernel on both devices, the backward pass, and tests.

mod derivative;
mod expr;
mod table;
#[cfg(test)]
mod tests;
mod value;
mod wgsl;

pub use derivative::Term;
pub use expr::{Expr, IllTyped, Step};
pub use table::Func;
pub use value::{Scalar, Value};
pub use wgsl::{WGSL_PRELUDE, prelude};
#[cfg(test)]
pub(crate) use {table::double, tests::Double, tests::math as exact};

impl Func {
    /// Applies the function element by element to slices of one length, of 32-bit words: integers and booleans are kept
    /// by their bits. The result is the same on every processor: wider registers change the speed alone.
    pub fn apply(self, args: &[&[f32]], out: &mut [f32]) {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx512f")
            && std::arch::is_x86_feature_detected!("avx512vl")
            && std::arch::is_x86_feature_detected!("avx512dq")
        {
            // SAFETY: the processor has just said that it has these.
            return unsafe { self.apply_with_avx512(args, out) };
        }
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has just said that it has AVX2.
            return unsafe { self.apply_with_avx2(args, out) };
        }
        self.apply_portably(args, out);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512vl,avx512dq")]
    fn apply_with_avx512(self, args: &[&[f32]], out: &mut [f32]) {
        self.apply_portably(args, out);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn apply_with_avx2(self, args: &[&[f32]], out: &mut [f32]) {
        self.apply_portably(args, out);
    }
}
