//! Which values come where.

use super::super::noise::NoRoom;
use super::*;
use crate::privacy::keys::sha256_hex;

fn part(noise: &DiscreteNoise, step: u64, parameter: u32, sampler: &DiscreteGaussian, count: usize) -> Vec<i64> {
    let mut values = vec![i64::MIN; count];
    noise.fill(step, parameter, sampler, &mut values).unwrap();
    values
}

fn correlation(a: &[i64], b: &[i64], s: f64) -> f64 {
    a.iter().zip(b).map(|(a, b)| (*a as f64 / s) * (*b as f64 / s)).sum::<f64>() / a.len() as f64
}

#[test]
fn steps_parameters_runs_and_neighbours_are_independent() {
    let n = 200_000;
    let bound = 5.0 / (n as f64).sqrt();
    for s in [2.0, 1000.0, 4.6e6] {
        let sampler = DiscreteGaussian::new(scale(s));
        let base = part(&noise(4), 7, 2, &sampler, n);
        let others = [(4, 8, 2), (4, 7, 3), (4, 7, 0), (5, 7, 2)];
        for other in others.map(|(seed, step, parameter)| part(&noise(seed), step, parameter, &sampler, n)) {
            assert!(correlation(&base, &other, s).abs() < bound);
        }
        for lag in [1, 2, 4, 8, 256, 4096] {
            assert!(correlation(&base[..n - lag], &base[lag..], s).abs() < bound, "{lag}");
        }
        // Magnitudes too, which share a word with the sign.
        let squares: Vec<i64> = base.iter().map(|z| ((*z as f64 / s).powi(2) * 1e6) as i64 - 1_000_000).collect();
        assert!(correlation(&squares[1..], &squares[..n - 1], 1e6).abs() < 3.0 * bound);
        assert!(correlation(&squares, &base, 1e3 * s.sqrt() * s.sqrt() * 1e3).abs() < 3.0 * bound);
    }
}

#[test]
fn fewer_values_are_a_prefix_and_parts_can_be_made_alone() {
    for s in [0.7, 1000.0, 2_f64.powi(33)] {
        let sampler = DiscreteGaussian::new(scale(s));
        let long = part(&noise(6), 3, 1, &sampler, 10_000);
        for count in [0, 1, 2, 255, 256, 257, 4095, 4096, 4097, 9_999] {
            assert_eq!(part(&noise(6), 3, 1, &sampler, count), long[..count]);
        }
        let mut second = vec![0; 10_000 - DiscreteNoise::BLOCK];
        noise(6).fill_from(3, 1, 1, &sampler, &mut second).unwrap();
        assert_eq!(second, long[DiscreteNoise::BLOCK..]);
    }
}

/// The first values of a known key, and the hash of 100,000: the same on every processor.
#[test]
fn a_known_key_gives_known_values() {
    let known: [(f64, [i64; 6], &str); 5] = [
        (0.7, [0, -1, 1, 1, 0, 1], "2ace68d5fe7b238d97a67a090876d4ff0858fd8a6078ee39fd19ae7523db1af1"),
        (3.0, [-1, 0, -3, 6, 6, -2], "63526d60b725831abc9fa41317a5e086ff384d27129c4f672628b93f6b9e72bf"),
        (
            1000.0,
            [-576, 10, -1188, 1995, 2073, -136],
            "1b3afe5afcf4b3a9ead2d196752db1e82ca5b9b6193d0d0b57cf7e38e70e0706",
        ),
        (
            4604723.25,
            [-2749568, 30410, -5520660, 9675257, -563272, -3436167],
            "8d8bce0bf78618c5bd66d66a99bb69fc03338c20877910c3e48384d2426971c7",
        ),
        (
            34359738368.0,
            [-19934213248, 448427722, -41141812500, 71002464761, -5356165192, -25289059975],
            "c9270cbab40d488df6b05fca5698d9a60a08552a2ddac4a4296b5af7b4b8384c",
        ),
    ];
    for (s, first, hash) in known {
        let values = part(&noise(1), 2, 3, &DiscreteGaussian::new(scale(s)), 100_000);
        assert_eq!(values[..6], first, "{s}");
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        assert_eq!(sha256_hex(&bytes), hash, "{s}");
    }
}

#[test]
fn there_is_no_room_beyond_the_stream() {
    let sampler = DiscreteGaussian::new(scale(3.0));
    let last = DiscreteNoise::MAX_PARAMETERS;
    let mut out = [0; 1];
    assert!(noise(1).fill(0, last - 1, &sampler, &mut out).is_ok());
    assert_eq!(noise(1).fill(0, last, &sampler, &mut out), Err(NoRoom::Parameter { parameter: last }));
    let block = DiscreteNoise::MAX_BLOCKS;
    assert!(noise(1).fill_from(0, 0, block - 1, &sampler, &mut out).is_ok());
    for block in [block, u64::MAX] {
        assert_eq!(noise(1).fill_from(0, 0, block, &sampler, &mut out), Err(NoRoom::Element));
    }
}

#[test]
fn scales_have_bounds() {
    assert!(Scale::from_steps(0).is_err());
    assert!(Scale::from_steps(1 << 60).is_err());
    for steps in [1, 2, (1 << 25) - 1, 1 << 25, (1 << 60) - 1] {
        let sampler = DiscreteGaussian::new(Scale::from_steps(steps).unwrap());
        let s = sampler.scale().to_f64();
        let values = draw(1, &sampler, 10_000);
        assert!(values.iter().all(|z| (*z as f64).abs() <= 6.0 * s + 1.0));
    }
}
