//! Draws from the discrete Gaussian in integers, each decided by bits as far as they are needed.
//!
//! **Method.** Let `K = 2^k` be the largest power of two with `s/K ≥ 32`, or 1 where s < 32, and `σ₀ = s/K`, below 64. A candidate
//! is `z = Kx + y` with x ≥ 0 of probability proportional to `exp(-x²/2σ₀²)` and y uniform in `[0, K)`; it is kept with probability `exp(-r)`,
//! `r = y(2Kx + y)/2s²`, and then has a random sign, where -0 is dropped. As `z²/2s² = x²/2σ₀² + r`,
//! every z comes out with a probability proportional to `exp(-z²/2s²)` (the decomposition of Micciancio and Walter 2017,
//! <https://eprint.iacr.org/2017/259>, and Zhao, Steinfeld and Sakzad 2020, <https://eprint.iacr.org/2018/1234>; there approximately, here exactly).
//!
//! **Exactness.** y and the sign are bits. The two other decisions compare a uniform real number U, whose binary digits are drawn one
//! group after the other, with a real number c: x is the least i with `U < P[x ≤ i]`, and the candidate is kept if `U < e^(-r)`.
//! Where n digits of U make the integer u, `u < ⌊c 2^n⌋` implies `U < c`, and `u > ⌊c 2^n⌋` implies `U > c`; only where they are
//! equal are more digits drawn. So U is never rounded, and c never either, as [`exact`] has its floor for every n.
//! The distribution is `N_Z(0, s²)` itself, its tail without an end, provided that the bits are uniform.
//!
//! **Speed.** One 64-bit word is enough for a candidate nearly always. From the top, 23 bits begin the U of x, 17 that of the
//! decision to keep it, one is the sign and 23 are y (where k is larger, the upper bits of y are drawn apart). [`DiscreteGaussian::propose`]
//! decides many words at once by a guide table and by `1 - r ≤ e^(-r)`, and leaves open what it is not sure of, some 2 % of them. These go through
//! [`DiscreteGaussian::resolve`], which finds the same as `propose` where that is sure, and
//! needs big integers for one in 10⁵.
//!
//! The time that a draw takes depends on its words, and so on the value drawn; it depends on nothing else.

use num_bigint::BigUint;

use super::exact;
use super::scale::Scale;
use super::words::Extras;

/// Words that are decided together.
pub(super) const BATCH: usize = 256;
/// Words that are taken together where all of them are decided.
pub(super) const GROUP: usize = 8;
/// Stands for a candidate that is not decided. No value: those are odd functions of a sign.
pub(super) const OPEN: i64 = i64::MIN;

/// How many bits of a word are what, from the top; the sign follows them.
const X_BITS: u32 = 23;
const KEEP_BITS: u32 = 17;
const SIGN_SHIFT: u32 = 64 - X_BITS - KEEP_BITS - 1;
/// The bits of y in a word.
const Y_BITS: u32 = SIGN_SHIFT;

/// The base-2 logarithm of the least σ₀ where there is a y.
const BASE_BITS: u32 = 5;
/// The base-2 logarithm of the cells of the guide.
const GUIDE_BITS: u32 = 12;
/// The bits of an entry of the guide below its x: a threshold within the cell, or `NO_THRESHOLD`.
const OFFSET_BITS: u32 = X_BITS - GUIDE_BITS;
const ENTRY_BITS: u32 = OFFSET_BITS + 1;
const NO_THRESHOLD: u32 = (1 << ENTRY_BITS) - 1;
/// The entry of a cell with several thresholds.
const SEVERAL: u32 = u32::MAX;

/// The fraction bits of y/K, of `1/2σ₀²`, and of r, their product.
const RATIO_BITS: u32 = 20;
const WEIGHT_BITS: u32 = 32;
const UNIT: u64 = 1 << (RATIO_BITS + WEIGHT_BITS);
/// What x is below wherever r is bounded in 64 bits.
const MOST_X: u64 = 1 << 11;

/// How the bits of U are drawn. Other numbers than the usual ones serve tests, which need rare cases often.
#[derive(Clone, Copy)]
pub(super) struct Widths {
    /// Bits at first, for x and for keeping it.
    pub x: u32,
    pub keep: u32,
    /// Bits at a time thereafter.
    pub more: u32,
    /// Bits of the thresholds that are tabulated.
    pub table: u32,
}

const WIDTHS: Widths = Widths { x: X_BITS, keep: KEEP_BITS, more: 64, table: 128 };

/// Draws from `N_Z(0, s²)` for one s.
pub struct DiscreteGaussian {
    scale: Scale,
    /// k.
    pub(super) shift: u32,
    widths: Widths,
    /// `⌊P[x ≤ i] · 2^table⌋`.
    pub(super) thresholds: Vec<u128>,
    /// For each cell of U's first bits, the x that it gives by entries of `x · 2^ENTRY_BITS + threshold`.
    guide: Box<[u32; 1 << GUIDE_BITS]>,
    /// `1/2σ₀²`, rounded up, or 0 where y is always 0.
    weight: u64,
}

impl DiscreteGaussian {
    /// The sampler of `N_Z(0, s²)`. Takes some half a millisecond.
    pub fn new(scale: Scale) -> DiscreteGaussian {
        DiscreteGaussian::with(scale, WIDTHS)
    }

    pub(super) fn with(scale: Scale, widths: Widths) -> DiscreteGaussian {
        let shift = scale.steps().ilog2().saturating_sub(Scale::FRACTION_BITS + BASE_BITS);
        let (numerator, denominator) = exponent(scale, shift);
        let floors = exact::cumulative(&numerator, &denominator, u64::from(widths.table));
        let thresholds: Vec<u128> = floors.iter().map(|floor| u128::try_from(floor).expect("128 bits")).collect();
        let weight = exact::quotient_up(numerator << WEIGHT_BITS, &denominator);
        let weight = if shift == 0 { 0 } else { u64::try_from(weight).expect("σ₀ is 32 or more") };
        let guide = guide(&thresholds, widths.table);
        DiscreteGaussian { scale, shift, widths, thresholds, guide, weight }
    }

    /// The parameter s.
    pub fn scale(&self) -> Scale {
        self.scale
    }

    /// Decides each word that can be decided at once: its value, or [`OPEN`]. Says of each [`GROUP`] of words whether some is open.
    pub(super) fn propose(&self, words: &[u64; BATCH], values: &mut [i64; BATCH], open: &mut [bool; BATCH / GROUP]) {
        if self.shift > Y_BITS {
            values.fill(OPEN);
            open.fill(true);
            return;
        }
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx512f") && std::arch::is_x86_feature_detected!("avx512dq") {
            // SAFETY: the processor has just said that it has AVX-512F and AVX-512DQ.
            return unsafe { self.propose_with_avx512(words, values, open) };
        }
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has just said that it has AVX2.
            return unsafe { self.propose_with_avx2(words, values, open) };
        }
        self.propose_portably(words, values, open);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512dq")]
    fn propose_with_avx512(&self, words: &[u64; BATCH], values: &mut [i64; BATCH], open: &mut [bool; BATCH / GROUP]) {
        self.propose_portably(words, values, open);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn propose_with_avx2(&self, words: &[u64; BATCH], values: &mut [i64; BATCH], open: &mut [bool; BATCH / GROUP]) {
        self.propose_portably(words, values, open);
    }

    #[inline(always)]
    fn propose_portably(&self, words: &[u64; BATCH], values: &mut [i64; BATCH], open: &mut [bool; BATCH / GROUP]) {
        let (shift, weight, guide) = (self.shift, self.weight, &*self.guide);
        let widen = Widen::new(shift);
        for (&word, value) in words.iter().zip(&mut *values) {
            let entry = guide[(word >> (64 - GUIDE_BITS)) as usize];
            let offset = (word >> (64 - X_BITS)) as u32 & ((1 << OFFSET_BITS) - 1);
            let threshold = entry & NO_THRESHOLD;
            let x = u64::from((entry >> ENTRY_BITS) + u32::from(offset > threshold));
            let y = word & ((1 << shift) - 1);
            let keep = (word >> (SIGN_SHIFT + 1)) & ((1 << KEEP_BITS) - 1);
            // The factors are below 2³², so that each product is one instruction.
            let ratio = widen.ratio(y);
            let distance = ((low(ratio) * low((x << (RATIO_BITS + 1)) + ratio)) >> RATIO_BITS) + 1;
            let most = low(distance) * low(weight);
            let kept = ((keep + 1) << (RATIO_BITS + WEIGHT_BITS - KEEP_BITS)) + most <= UNIT;
            let negative = word >> SIGN_SHIFT & 1;
            let magnitude = (x << shift) + y;
            let sure = (entry != SEVERAL) & (offset != threshold) & kept & ((negative == 0) | (magnitude != 0));
            let signed = (magnitude ^ negative.wrapping_neg()).wrapping_add(negative) as i64;
            *value = if sure { signed } else { OPEN };
        }
        for (open, values) in open.iter_mut().zip(values.as_chunks::<GROUP>().0) {
            *open = values.iter().fold(false, |open, &value| open | (value == OPEN));
        }
    }

    /// Decides one word, with as many further bits as it takes: its value, or `None` where the candidate is dropped.
    pub(super) fn resolve(&self, word: u64, extras: &mut Extras) -> Option<i64> {
        let Widths { x, keep, .. } = self.widths;
        let x = match self.guided(word) {
            Some(x) => x,
            None => self.least(word >> (64 - x), extras),
        };
        let mut y = word & ((1 << self.shift.min(Y_BITS)) - 1);
        if self.shift > Y_BITS {
            y |= extras.bits(self.shift - Y_BITS) << Y_BITS;
        }
        // An x whose value does not fit takes a table of 2²⁸ thresholds first.
        let magnitude = (x << self.shift) + y;
        let negative = word >> SIGN_SHIFT & 1 == 1;
        if negative && magnitude == 0 {
            return None;
        }
        let first = word >> (SIGN_SHIFT + 1) & ((1 << KEEP_BITS) - 1);
        let kept = self.keeps(x, y, first >> (KEEP_BITS - keep), extras);
        kept.then_some(if negative { -(magnitude as i64) } else { magnitude as i64 })
    }

    /// The x that the first bits of a word give at once, as [`DiscreteGaussian::propose`] has it, if they do.
    fn guided(&self, word: u64) -> Option<u64> {
        let entry = self.guide[(word >> (64 - GUIDE_BITS)) as usize];
        let (offset, threshold) = ((word >> (64 - X_BITS)) as u32 & ((1 << OFFSET_BITS) - 1), entry & NO_THRESHOLD);
        let sure = self.widths.x == X_BITS && entry != SEVERAL && offset != threshold;
        sure.then(|| u64::from((entry >> ENTRY_BITS) + u32::from(offset > threshold)))
    }

    /// The least i with `U < P[x ≤ i]`, for the U that begins with `first`.
    pub(super) fn least(&self, first: u64, extras: &mut Extras) -> u64 {
        let Widths { x, more, table, .. } = self.widths;
        let (mut uniform, mut bits) = (u128::from(first), x);
        loop {
            let floor = |threshold: u128| threshold >> (table - bits);
            let at = self.thresholds.partition_point(|&threshold| floor(threshold) < uniform);
            if floor(self.thresholds[at]) > uniform {
                return at as u64;
            }
            if bits + more > table {
                break;
            }
            uniform = uniform << more | u128::from(extras.bits(more));
            bits += more;
        }
        let (numerator, denominator) = exponent(self.scale, self.shift);
        let (mut uniform, mut bits) = (BigUint::from(uniform), u64::from(bits));
        loop {
            uniform = uniform << more | BigUint::from(extras.bits(more));
            bits += u64::from(more);
            let floors = exact::cumulative(&numerator, &denominator, bits);
            let at = floors.partition_point(|floor| *floor < uniform);
            if floors[at] > uniform {
                return at as u64;
            }
        }
    }

    /// Whether `U < e^(-r)`, for the U that begins with `first`.
    fn keeps(&self, x: u64, y: u64, first: u64, extras: &mut Extras) -> bool {
        if y == 0 {
            return true;
        }
        let Widths { keep, more, .. } = self.widths;
        if x < MOST_X
            && let Some(kept) = self.keeps_by_bounds(x, y, first)
        {
            return kept;
        }
        let (y, twice) = (BigUint::from(y), BigUint::from(x) << (self.shift + 1));
        let (numerator, denominator) = exponent(self.scale, 0);
        let numerator = (twice + &y) * y * numerator;
        let (mut uniform, mut bits) = (BigUint::from(first), u64::from(keep));
        loop {
            uniform = uniform << more | BigUint::from(extras.bits(more));
            bits += u64::from(more);
            let floor = exact::exp_floor(&numerator, &denominator, bits);
            if uniform != floor {
                return uniform < floor;
            }
        }
    }

    /// The decision of [`DiscreteGaussian::keeps`] where bounds on r and `1 - r + r²/2 - r³/6 ≤ e^(-r) ≤ 1 - r + r²/2` are enough for it.
    ///
    /// With `y/K ≤ ratio 2^-20 ≤ y/K + 2^-20` and `r = (y/K)(2x + y/K)/2σ₀²`, `distance 2^-20` is above the first two factors by at
    /// most `(2x + 3) 2^-20`, and so `distance · weight` above `r 2^52` by at most `(2x + 3) weight + distance`.
    pub(super) fn keeps_by_bounds(&self, x: u64, y: u64, first: u64) -> Option<bool> {
        const BITS: u32 = RATIO_BITS + WEIGHT_BITS;
        let ratio = Widen::new(self.shift).ratio(y);
        let distance = ((ratio * ((x << (RATIO_BITS + 1)) + ratio)) >> RATIO_BITS) + 1;
        let most = u128::from(distance * self.weight);
        let least = most.saturating_sub(u128::from((2 * x + 3) * self.weight + distance));
        let (unit, square) = (u128::from(UNIT), most * most);
        // r²/2 and r³/6, the one rounded down and the other up.
        let half = square >> (BITS + 1);
        let sixth = ((((square >> BITS) + 1) * most) >> BITS) / 6 + 1;
        let step = 1 << (BITS - self.widths.keep);
        let from = u128::from(first) * step;
        if from + step + most + sixth <= unit + half {
            return Some(true);
        }
        (from + least > unit + half).then_some(false)
    }
}

/// `1/2σ₀²` for `σ₀ = s/2^shift` as a quotient.
pub(super) fn exponent(scale: Scale, shift: u32) -> (BigUint, BigUint) {
    let steps = BigUint::from(scale.steps());
    (BigUint::from(1_u8) << (2 * (Scale::FRACTION_BITS + shift) - 1), &steps * &steps)
}

/// The lower half of a number whose upper half is 0.
fn low(value: u64) -> u64 {
    value & u64::from(u32::MAX)
}

/// Takes y to `⌈y/K · 2^20⌉`, or 1 more.
#[derive(Clone, Copy)]
struct Widen {
    left: u32,
    right: u32,
    add: u64,
}

impl Widen {
    fn new(shift: u32) -> Widen {
        let right = shift.saturating_sub(RATIO_BITS);
        Widen { left: RATIO_BITS.saturating_sub(shift), right, add: u64::from(right > 0) }
    }

    fn ratio(self, y: u64) -> u64 {
        (y << self.left >> self.right) + self.add
    }
}

/// What each value of U's first bits says of x.
fn guide(thresholds: &[u128], table: u32) -> Box<[u32; 1 << GUIDE_BITS]> {
    let mut guide = Box::new([SEVERAL; 1 << GUIDE_BITS]);
    if table < X_BITS {
        return guide;
    }
    let floors: Vec<u128> = thresholds.iter().map(|threshold| threshold >> (table - X_BITS)).collect();
    for (cell, entry) in guide.iter_mut().enumerate() {
        let cell = cell as u128;
        let first = floors.partition_point(|floor| floor >> OFFSET_BITS < cell);
        let inside = &floors[first..floors.partition_point(|floor| floor >> OFFSET_BITS <= cell)];
        let threshold = match inside {
            [] => NO_THRESHOLD,
            [floor] => (floor & ((1 << OFFSET_BITS) - 1)) as u32,
            _ => continue,
        };
        *entry = (first as u32) << ENTRY_BITS | threshold;
    }
    guide
}
