//! Threads as ranks.

use std::sync::Arc;
use std::thread;

use super::*;

/// What each of `size` ranks makes of its place.
fn together<T: Send>(size: usize, work: impl Fn(Threads) -> T + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = Threads::places(size).into_iter().map(|place| scope.spawn(move || work(place))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a rank ends")).collect()
    })
}

#[test]
fn shares_are_a_partition_into_almost_equal_parts() {
    for size in 1..9 {
        for count in [0, 1, 5, 8, 1000, usize::MAX] {
            let shares: Vec<_> = (0..size).map(|rank| share(rank, size, count)).collect();
            assert_eq!((shares[0].start, shares[size - 1].end), (0, count));
            assert!(shares.windows(2).all(|pair| pair[0].end == pair[1].start));
            let lengths = shares.iter().map(|share| share.end - share.start);
            let (least, most) = (lengths.clone().min(), lengths.max());
            assert!(most.zip(least).is_some_and(|(most, least)| most - least <= 1), "{size} {count}");
        }
    }
}

#[test]
fn what_ranks_give_is_what_all_of_them_get() {
    for size in [1, 2, 5] {
        let found = together(size, |place| {
            let rank = place.rank();
            let mut sums = Vec::new();
            for turn in 0..100_i64 {
                let mut integers = [turn, rank as i64, i64::MAX];
                place.sum_i64(&mut integers).unwrap();
                let mut floats = [0.5 * rank as f64, turn as f64];
                place.sum_f64(&mut floats).unwrap();
                let mut told = if place.is_first() { vec![turn as u8, 7] } else { vec![1; rank] };
                place.broadcast(&mut told).unwrap();
                place.wait().unwrap();
                let gathered = place.gather(&vec![rank as u8; rank]).unwrap();
                sums.push((integers, floats.map(f64::to_bits), told, gathered));
            }
            sums
        });
        let (n, all) = (size as i64, size * (size - 1) / 2);
        for (turn, (integers, floats, told, gathered)) in found[0].iter().enumerate() {
            let turn = turn as i64;
            assert_eq!(*integers, [n * turn, all as i64, i64::MAX.wrapping_mul(n)]);
            assert_eq!(*floats, [0.5 * all as f64, (n * turn) as f64].map(f64::to_bits));
            assert_eq!(*told, [turn as u8, 7]);
            assert!(gathered.iter().enumerate().all(|(rank, bytes)| *bytes == vec![rank as u8; rank]));
        }
        assert!(found.iter().all(|rank| *rank == found[0]));
    }
}

#[test]
fn one_that_leaves_is_missed_by_all_and_by_name() {
    let ended = together(3, |place| {
        place.wait().unwrap();
        if place.rank() == 1 {
            place.leave("its disk is full");
            return place.wait();
        }
        place.sum_i64(&mut [1])
    });
    let left = RanksError::Left { rank: 1, why: "its disk is full".to_owned() };
    assert_eq!(ended, [Err(left.clone()), Err(left.clone()), Err(left)]);
}

#[test]
fn one_that_ends_or_breaks_leaves_too() {
    let ended = together(2, |place| if place.rank() == 0 { place.wait() } else { Ok(()) });
    assert!(matches!(&ended[0], Err(RanksError::Left { rank: 1, .. })), "{ended:?}");
    let [first, second] = <[Threads; 2]>::try_from(Threads::places(2)).unwrap();
    let first = Arc::new(first);
    let waiting = thread::spawn(move || first.wait());
    let broken = thread::spawn(move || {
        let _place = second;
        panic!("broken on purpose")
    });
    assert!(broken.join().is_err());
    let RanksError::Left { rank: 1, why } = waiting.join().unwrap().unwrap_err() else { panic!("another error") };
    assert!(why.contains("defect"));
}

#[test]
fn those_that_make_different_calls_are_told() {
    let ended = together(2, |place| match place.rank() {
        0 => place.sum_i64(&mut [1, 2]),
        _ => place.sum_i64(&mut [1]),
    });
    for ended in ended {
        let error = ended.unwrap_err().to_string();
        assert!(error.contains("a sum of 2 integers") && error.contains("a sum of 1 integers"), "{error}");
    }
}

#[test]
fn ranks_that_differ_are_all_told_in_what() {
    let ended = together(3, |place| {
        let rate = if place.rank() == 1 { 0.5 } else { 0.25 };
        let data = if place.rank() == 2 { "b" } else { "a" };
        agree(&place, &[Common::new("learning rate", rate), Common::new("data set", data.repeat(64))])
    });
    let what = vec![
        "rank 1 has the learning rate 0.5, rank 0 0.25".to_owned(),
        "rank 2 has another data set than rank 0".to_owned(),
    ];
    assert!(ended.iter().all(|ended| *ended == Err(RanksError::Differ { what: what.clone() })), "{ended:?}");
    assert_eq!(together(2, |place| agree(&place, &[Common::new("seed", "")])), [Ok(()), Ok(())]);
}
