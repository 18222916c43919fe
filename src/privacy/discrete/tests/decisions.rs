//! Decisions with many digits, and with few.

use super::super::sampler::{BATCH, GROUP, OPEN, Widths};
use super::super::words::{Extras, Place, Words};
use super::*;
use crate::privacy::discrete::noise::fill_block;

const KEY: [u8; 32] = [11; 32];

fn places(block: u64) -> (Place<'static>, Place<'static>) {
    Place::room(&KEY, 0, block << 12)
}

/// Probabilities of x > i by sums from the far end, which keep their relative precision.
fn tails(sampler: &DiscreteGaussian) -> Vec<f64> {
    let s = sampler.scale().to_f64() / f64::from(1 << sampler.shift);
    let weights: Vec<f64> = (0..(40.0 * s) as i64 + 2).map(|i| weight(s, i)).collect();
    let mut sums = vec![0.0; weights.len()];
    for i in (1..weights.len()).rev() {
        sums[i - 1] = sums[i] + weights[i];
    }
    let all = sums[0] + weights[0];
    sums.iter().map(|sum| sum / all).collect()
}

/// All thresholds, as far as 1 - 2⁻¹²⁸.
#[test]
fn the_table_holds_the_distribution_to_its_end() {
    for s in [1.0 / 1024.0, 0.1, 0.7, 3.0, 31.9, 32.0, 63.9, 1000.0, 1048576.0, 1e9] {
        let sampler = DiscreteGaussian::new(scale(s));
        let unit = 2_f64.powi(128);
        for (i, (threshold, tail)) in sampler.thresholds.iter().zip(tails(&sampler)).enumerate() {
            let left = (u128::MAX - threshold) as f64;
            assert!((left - tail * unit).abs() <= 1.0 + 1e-11 * left, "{s} {i}: {left}, not {}", tail * unit);
        }
        let beyond = tails(&sampler).get(sampler.thresholds.len() - 1).copied().unwrap_or(0.0);
        assert!(beyond < 1.0 / unit);
    }
}

/// x where U is above 1 - 2^-depth, by χ² against the tail's own distribution. Words are made such that U begins with `depth` ones.
#[test]
fn the_tail_has_its_distribution_at_every_depth() {
    for (s, depth, draws) in [
        (40.0, 23, 100_000),
        (63.0, 30, 100_000),
        (3.0, 50, 100_000),
        (40.0, 80, 100_000),
        (3.0, 87, 2000),
        (3.0, 120, 2000),
        (2.0, 140, 2000),
        (5.0, 151, 1000),
    ] {
        let sampler = DiscreteGaussian::new(scale(s));
        let tails = tails(&sampler);
        let within: Vec<f64> = tails.iter().map(|tail| (tail * 2_f64.powi(depth)).min(1.0)).collect();
        let mut last = 1.0;
        let probabilities: Vec<f64> = within.iter().map(|tail| std::mem::replace(&mut last, *tail) - tail).collect();
        let mut counts = vec![0.0; probabilities.len()];
        let mut random = Extras::new(places(1).0);
        for block in 0..draws {
            let mut first = [random.bits(64), random.bits(64)];
            let ones = u128::MAX.checked_shl(128 - (depth as u32 - 23)).unwrap_or(0);
            first[0] |= (ones >> 64) as u64;
            first[1] |= ones as u64;
            let mut extras = Extras::beginning_with(&first, places(block + 2).1);
            counts[sampler.least((1 << 23) - 1, &mut extras) as usize] += 1.0;
        }
        // Cells with an expectation of 10 or more, and all others together.
        let (mut kept, mut p, mut rest) = (Vec::new(), Vec::new(), (0.0, 0.0));
        for (count, probability) in counts.iter().zip(&probabilities) {
            if probability * draws as f64 >= 10.0 {
                kept.push(*count);
                p.push(*probability);
            } else {
                rest = (rest.0 + count, rest.1 + probability);
            }
        }
        if rest.1 > 0.0 {
            kept.push(rest.0);
            p.push(rest.1);
        }
        assert!(kept.len() > 1, "{s} {depth}");
        let found = rarity(&kept, &p);
        assert!(found > RARE, "{s} {depth}: {found} {kept:?} {p:?}");
    }
}

/// With few bits at a time nearly all decisions take big integers.
#[test]
fn the_slow_path_has_the_distribution() {
    let tiny = Widths { x: 4, keep: 3, more: 4, table: 8 };
    let small = Widths { x: 8, keep: 4, more: 8, table: 24 };
    for (s, widths, draws) in [
        (0.7, tiny, 100_000),
        (3.0, tiny, 40_000),
        (3.0, small, 200_000),
        (100.0, small, 200_000),
        (1e4, small, 200_000),
    ] {
        let sampler = DiscreteGaussian::with(scale(s), widths);
        let mut values = vec![0; draws];
        for (block, values) in (0..).zip(values.chunks_mut(4096)) {
            let (heads, extras) = places(block);
            fill_block(&sampler, Words::new(heads), Extras::new(extras), values);
        }
        let s = sampler.scale().to_f64();
        let found = Cells::new(s, ((1 << sampler.shift) / 8).max(1), draws).rarity(&values);
        assert!(found > RARE, "{s}: {found}");
    }
}

/// What is decided for many words together is what is decided for one.
#[test]
fn fast_decisions_are_the_slow_ones() {
    for s in [0.001, 0.7, 3.0, 31.0, 33.0, 64.0, 1000.0, 1e6, 1048576.0, 4.2e6, 64.0 * 2097152.0, 5e8] {
        let sampler = DiscreteGaussian::new(scale(s));
        let mut random = Words::new(places(7).0);
        let (mut words, mut values) = ([0; BATCH], [0; BATCH]);
        let mut open = 0;
        for round in 0..400 {
            random.fill(&mut words);
            if round % 4 == 0 {
                // Beside a threshold of x, and with y, the sign and the decision to keep at their ends.
                for (i, word) in words.iter_mut().enumerate() {
                    let edge = (sampler.thresholds[i % sampler.thresholds.len()] >> 105) as u64 + (*word & 1);
                    let rest = [*word, 0, u64::MAX, *word | 0x7f_ffff, *word & !0x7f_ffff][i % 5];
                    *word = (edge.min((1 << 23) - 1) << 41) | rest & ((1 << 41) - 1);
                }
            }
            sampler.propose(&words, &mut values, &mut [false; BATCH / GROUP]);
            for (&word, &value) in words.iter().zip(&values) {
                if value == OPEN {
                    open += u32::from(round % 4 != 0);
                    continue;
                }
                let mut extras = Extras::new(places(8).1);
                assert_eq!(sampler.resolve(word, &mut extras), Some(value), "{s} {word:x}");
            }
        }
        assert!(s < 30.0 || open < 300 * BATCH as u32 / 25, "{s}: {open}");
    }
}
