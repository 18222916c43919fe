//! Normal deviates from uniform bits by Box–Muller in double precision, many at a time.
//!
//! The logarithm, sine and cosine are those of `libm`, which are FreeBSD's msun, operation by operation: without its branches
//! for arguments that do not occur here, so that the loop is vectorised. A result has the same bits as `libm`'s, whatever the
//! processor; a test holds them to that.

use std::f64::consts::FRAC_PI_4;

/// Pairs of deviates that are made together.
pub const PAIRS: usize = 64;

const TWO_POW_32: f64 = 4_294_967_296.0;
const TWO_POW_52: f64 = 4_503_599_627_370_496.0;
const TWO_POW_61: f64 = 2_305_843_009_213_693_952.0;
const TWO_POW_64: f64 = 18_446_744_073_709_551_616.0;

/// Two independent standard normal deviates from each 128 uniform bits, the low half first: a radius `√(−2 ln u)`, `u` a multiple
/// of 2⁻⁶⁴ in (0, 1], from the low half; of the high half an angle in (0, π/4) from 61 bits, and one of its eight reflections
/// from 3.
pub fn pairs(bits: &[[u64; 2]; PAIRS], out: &mut [[f64; 2]; PAIRS]) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx512f") {
        // SAFETY: the processor has just said that it has AVX-512F.
        return unsafe { with_avx512(bits, out) };
    }
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has just said that it has AVX2.
        return unsafe { with_avx2(bits, out) };
    }
    portably(bits, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn with_avx512(bits: &[[u64; 2]; PAIRS], out: &mut [[f64; 2]; PAIRS]) {
    portably(bits, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn with_avx2(bits: &[[u64; 2]; PAIRS], out: &mut [[f64; 2]; PAIRS]) {
    portably(bits, out);
}

#[inline(always)]
fn portably(bits: &[[u64; 2]; PAIRS], out: &mut [[f64; 2]; PAIRS]) {
    for (&[low, high], out) in bits.iter().zip(out) {
        let uniform = (float(low) + 1.0) / TWO_POW_64;
        let radius = (-2.0 * log(uniform)).sqrt();
        let angle = (float(high >> 3) + 0.5) * (FRAC_PI_4 / TWO_POW_61);
        let (sine, cosine) = (sin(angle), cos(angle));
        let (first, second) = if high & 1 == 0 { (cosine, sine) } else { (sine, cosine) };
        let signed = |sign: u64| f64::from_bits(radius.to_bits() ^ sign << 63);
        *out = [signed(high >> 1 & 1) * first, signed(high >> 2 & 1) * second];
    }
}

/// An integer below 2⁵², by the bits of 2⁵² with it as the fraction.
#[inline(always)]
fn small(x: u64) -> f64 {
    f64::from_bits(TWO_POW_52.to_bits() | x) - TWO_POW_52
}

/// `x as f64`: the sum of two parts that are exact is rounded once.
#[inline(always)]
fn float(x: u64) -> f64 {
    small(x >> 32) * TWO_POW_32 + small(x & 0xffff_ffff)
}

/// The natural logarithm of a positive normal number.
#[inline(always)]
fn log(x: f64) -> f64 {
    const LN2_HI: f64 = f64::from_bits(0x3fe6_2e42_fee0_0000);
    const LN2_LO: f64 = f64::from_bits(0x3dea_39ef_3579_3c76);
    const LG: [f64; 7] = [
        f64::from_bits(0x3fe5_5555_5555_5593),
        f64::from_bits(0x3fd9_9999_9997_fa04),
        f64::from_bits(0x3fd2_4924_9422_9359),
        f64::from_bits(0x3fcc_71c5_1d8e_78af),
        f64::from_bits(0x3fc7_4664_96cb_03de),
        f64::from_bits(0x3fc3_9a09_d078_c69f),
        f64::from_bits(0x3fc2_f112_df3e_5244),
    ];
    /// The bits of √½, cut to its high word.
    const HALF_ROOT: u64 = 0x3fe6_a09e << 32;
    const ONE: u64 = 1.0f64.to_bits();
    let shifted = x.to_bits().wrapping_add(ONE - HALF_ROOT);
    let k = small(shifted >> 52) - 1023.0;
    let f = f64::from_bits((shifted & 0x000f_ffff_ffff_ffff) + HALF_ROOT) - 1.0;
    let hfsq = 0.5 * f * f;
    let s = f / (2.0 + f);
    let z = s * s;
    let w = z * z;
    let t1 = w * (LG[1] + w * (LG[3] + w * LG[5]));
    let t2 = z * (LG[0] + w * (LG[2] + w * (LG[4] + w * LG[6])));
    s * (hfsq + (t2 + t1)) + k * LN2_LO - hfsq + f + k * LN2_HI
}

/// The sine of an angle in [0, π/4].
#[inline(always)]
fn sin(x: f64) -> f64 {
    const S: [f64; 6] = [
        f64::from_bits(0xbfc5_5555_5555_5549),
        f64::from_bits(0x3f81_1111_1110_f8a6),
        f64::from_bits(0xbf2a_01a0_19c1_61d5),
        f64::from_bits(0x3ec7_1de3_57b1_fe7d),
        f64::from_bits(0xbe5a_e5e6_8a2b_9ceb),
        f64::from_bits(0x3de5_d93a_5acf_d57c),
    ];
    let z = x * x;
    let w = z * z;
    let r = S[1] + z * (S[2] + z * S[3]) + z * w * (S[4] + z * S[5]);
    x + z * x * (S[0] + z * r)
}

/// The cosine of an angle in [0, π/4].
#[inline(always)]
fn cos(x: f64) -> f64 {
    const C: [f64; 6] = [
        f64::from_bits(0x3fa5_5555_5555_554c),
        f64::from_bits(0xbf56_c16c_16c1_5177),
        f64::from_bits(0x3efa_01a0_19cb_1590),
        f64::from_bits(0xbe92_7e4f_809c_52ad),
        f64::from_bits(0x3e21_ee9e_bdb4_b1c4),
        f64::from_bits(0xbda8_fae9_be88_38d4),
    ];
    let z = x * x;
    let w = z * z;
    let r = z * (C[0] + z * (C[1] + z * C[2])) + w * w * (C[3] + z * (C[4] + z * C[5]));
    let hz = 0.5 * z;
    let w = 1.0 - hz;
    w + (((1.0 - w) - hz) + z * r)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, by `libm`.
    fn pair([low, high]: [u64; 2]) -> [f64; 2] {
        let uniform = (low as f64 + 1.0) / TWO_POW_64;
        let radius = libm::sqrt(-2.0 * libm::log(uniform));
        let angle = ((high >> 3) as f64 + 0.5) * (FRAC_PI_4 / TWO_POW_61);
        let (sine, cosine) = libm::sincos(angle);
        let (first, second) = if high & 1 == 0 { (cosine, sine) } else { (sine, cosine) };
        let sign = |bit: u64| if high & bit == 0 { radius } else { -radius };
        [sign(2) * first, sign(4) * second]
    }

    fn check(bits: &[[u64; 2]; PAIRS]) {
        let mut made = [[[0.0; 2]; PAIRS]; 2];
        pairs(bits, &mut made[0]);
        portably(bits, &mut made[1]);
        for (i, bits) in bits.iter().enumerate() {
            let expected = pair(*bits).map(f64::to_bits);
            assert!(made.iter().all(|made| made[i].map(f64::to_bits) == expected), "{bits:x?}");
        }
    }

    #[test]
    fn deviates_have_the_bits_of_libm() {
        let mut state = 1u64;
        let mut draw = || {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            state ^ state >> 29
        };
        for _ in 0..20_000 {
            check(&std::array::from_fn(|_| [draw(), draw()]));
        }
        // Both ends of every range, and numbers of all sizes.
        let edges: Vec<u64> = (0..64).flat_map(|k| [1 << k, (1 << k) - 1, !(1 << k), u64::MAX << k]).collect();
        for high in &edges {
            for lows in edges.chunks_exact(PAIRS) {
                check(&std::array::from_fn(|i| [lows[i], *high]));
                check(&std::array::from_fn(|i| [*high, lows[i]]));
            }
        }
    }

    #[test]
    fn extreme_bits_give_extreme_finite_deviates() {
        let of = |bits: u128| {
            let mut out = [[0.0; 2]; PAIRS];
            pairs(&[[bits as u64, (bits >> 64) as u64]; PAIRS], &mut out);
            out[PAIRS - 1]
        };
        let radius = |bits: u128| {
            let [a, b] = of(bits);
            a.hypot(b)
        };
        assert!(radius(0) > 9.4 && radius(0) < 9.5);
        assert_eq!(radius(u128::from(u64::MAX)), 0.0);
        assert!(radius(u128::MAX << 64) > 9.4);
        for reflection in 0..8_u128 {
            let [a, b] = of(reflection << 64);
            assert_eq!(a.abs() > b.abs(), reflection & 1 == 0);
            assert_eq!(a < 0.0, reflection & 2 != 0);
            assert_eq!(b < 0.0, reflection & 4 != 0);
        }
    }
}
