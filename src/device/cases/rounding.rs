//! What the norm and sum kernels may lose to rounding: data made to lose much, against what each device states.

use super::data::Data;
use super::{Case, Device};
use crate::lower::kernels::*;
use crate::lower::program::{Extent, Phase};
use crate::lower::target::Target;

/// The unit roundoff.
const ROUNDOFF: f64 = 1.0 / (1 << 24) as f64;
/// A little less than half a unit in the last place of 1: added to 1 it is lost.
const LOST: f32 = 0.9999 / (1 << 24) as f32;
/// The part of what is stated that some data must lose, so that a bound which is much too small is found.
const SHARPNESS: f64 = 1.0 / 6.0;

/// What the trials of a kernel can show.
#[derive(Clone, Copy, PartialEq)]
enum Shows {
    /// A good part of what is stated.
    Much,
    /// That too, where products of matrices are added up in an order that is known.
    MuchOfProducts,
    /// Only that no more is lost than is stated.
    Limit,
}

/// A kernel with what it is to yield, and how much its result may be off for each rounding.
struct Trial {
    case: Case,
    exact: f64,
    /// The sum of what is added up, signs aside.
    length: f64,
}

/// How ones and numbers that are lost beside them follow each other: `len` terms of a sum.
fn patterns(len: usize) -> Vec<Vec<f32>> {
    let mut all = Vec::new();
    // One after the other, by lanes, by blocks of lanes, and by blocks.
    for (lanes, block) in
        [(1, usize::MAX), (8, usize::MAX), (16, 4096), (16, usize::MAX), (64, usize::MAX), (64, 64 * 256)]
    {
        let one = |i: usize| i < lanes || i % block < lanes.min(block);
        all.push((0..len).map(|i| if one(i) { 1.0 } else { LOST }).collect());
    }
    // One in sixteen.
    all.push((0..len).map(|i| [if i == 0 { 1.0 } else { LOST }, 0.0][usize::from(i % 16 != 0)]).collect());
    // Large terms that cancel, and small ones in between.
    all.push((0..len).map(|i| [1.0, LOST, -1.0, LOST][i % 4]).collect());
    all.push(
        (0..len)
            .map(|i| {
                if i == 0 {
                    1.0
                } else if i + 1 == len {
                    -1.0
                } else {
                    LOST
                }
            })
            .collect(),
    );
    all
}

/// Those of positive terms alone.
fn positive(len: usize) -> Vec<Vec<f32>> {
    patterns(len).into_iter().filter(|terms| terms.iter().all(|term| *term >= 0.0)).collect()
}

fn roots(terms: &[f32]) -> Vec<f32> {
    terms.iter().map(|term| term.sqrt()).collect()
}

/// Factors whose products are the terms.
fn factors(terms: &[f32]) -> [Vec<f32>; 2] {
    let one = roots(&terms.iter().map(|term| term.abs()).collect::<Vec<_>>());
    let other = one.iter().zip(terms).map(|(root, term)| root.copysign(*term)).collect();
    [one, other]
}

fn squares(x: &[f32]) -> f64 {
    x.iter().map(|x| f64::from(*x).powi(2)).sum()
}

fn inner(x: &[f32], y: &[f32]) -> [f64; 2] {
    let products = || x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y));
    [products().sum(), products().map(f64::abs).sum()]
}

fn trial(rows: usize, kernel: impl Into<Kernel>, read: Vec<Data>, result: usize, [exact, length]: [f64; 2]) -> Trial {
    let mut written = Vec::new();
    written.resize(result, 0.0);
    Trial { case: Case::new("trial", rows, kernel, read, vec![Data::F32(written)]), exact, length }
}

/// Items one after the other, positions `items` apart.
fn items(count: usize, steps: usize) -> View {
    View::Strided { record: count * steps, group: count, row: 1, col: count }
}

/// The kernels, each with the trials that are to show what it loses.
fn trials() -> Vec<(Shows, String, Vec<Trial>)> {
    use Shows::{Limit, Much, MuchOfProducts};
    let mut all: Vec<(Shows, String, Vec<Trial>)> = Vec::new();
    let one = || Data::F32(vec![1.0]);
    for len in [3, 100, 127, 1_000, 5_000, 150_528] {
        let walk = vec![Walk { size: len, stride: 1 }];
        let reduce = |square| Reduce {
            records: Records::Each(Extent::rows(1)),
            record: len,
            kept: vec![],
            reduced: walk.clone(),
            square,
        };
        let of = |x: Vec<f32>| trial(1, reduce(true), vec![Data::F32(x.clone())], 1, [squares(&x); 2]);
        all.push((Much, format!("squares of {len}"), positive(len).iter().map(|terms| of(roots(terms))).collect()));
        let ones = vec![1.0; len];
        let of = |x: Vec<f32>| trial(1, reduce(false), vec![Data::F32(x.clone())], 1, inner(&x, &ones));
        all.push((Much, format!("sum of {len}"), patterns(len).into_iter().map(of).collect()));
        let (a, b) = (items(1, 1), items(len, 1));
        let kernel = || OuterNorm { groups: 1, rows: 1, cols: len, steps: 1, a, b };
        let of = |x: Vec<f32>| trial(1, kernel(), vec![one(), Data::F32(x.clone())], 1, [squares(&x); 2]);
        all.push((
            Much,
            format!("outer norm of {len} items"),
            positive(len).iter().map(|terms| of(roots(terms))).collect(),
        ));
        let (a, b) = (items(1, len), items(1, len));
        let kernel = || OuterNorm { groups: 1, rows: 1, cols: 1, steps: len, a, b };
        let of = |x: Vec<f32>| {
            trial(1, kernel(), vec![Data::F32(x.clone()), Data::F32(x.clone())], 1, [squares(&x).powi(2); 2])
        };
        all.push((
            Much,
            format!("outer norm of {len} positions"),
            positive(len).iter().map(|t| of(roots(t))).collect(),
        ));
    }
    // A depthwise layer of one position: each group adds a product.
    for groups in [3, 1_024, 5_000] {
        let view = View::Strided { record: groups, group: 1, row: 0, col: 0 };
        let kernel = || OuterNorm { groups, rows: 1, cols: 1, steps: 1, a: view, b: view };
        let ones = || Data::F32(vec![1.0; groups]);
        let of = |x: Vec<f32>| trial(1, kernel(), vec![Data::F32(x.clone()), ones()], 1, [squares(&x); 2]);
        all.push((
            Much,
            format!("outer norm of {groups} groups"),
            positive(groups).iter().map(|t| of(roots(t))).collect(),
        ));
    }
    // The pairs of a tile, then the elements of a gradient of many positions.
    for (rows, cols) in [(1, 32), (32, 1), (32, 32), (7, 5)] {
        let kernel = || TileNorm { groups: 1, rows, cols, steps: 1, a: items(rows, 1), b: items(cols, 1) };
        let of = |a: Vec<f32>, b: Vec<f32>| {
            let sum = squares(&a) * squares(&b);
            trial(1, kernel(), vec![Data::F32(a), Data::F32(b)], 1, [sum; 2])
        };
        let sides = |i: usize| (positive(rows).swap_remove(i), positive(cols).swap_remove(i));
        let some =
            (0..positive(rows).len().min(positive(cols).len())).map(|i| of(roots(&sides(i).0), roots(&sides(i).1)));
        all.push((Much, format!("tile norm of {rows} × {cols}"), some.collect()));
    }
    // A gradient that is larger than its sides, whose elements are the same.
    for (side, steps) in [(200, 97), (300, 150)] {
        let kernel =
            || TileNorm { groups: 1, rows: side, cols: side, steps, a: items(side, steps), b: items(side, steps) };
        let each = |terms: &[f32]| -> Vec<f32> { terms.iter().flat_map(|x| vec![*x; side]).collect() };
        let of = |terms: Vec<f32>| {
            let [x, y] = factors(&terms);
            let lengths = inner(&x, &y).map(|sum| sum.abs() * TileNorm::TILE as f64);
            trial(1, kernel(), vec![Data::F32(each(&x)), Data::F32(each(&y))], kernel().tiles(), lengths)
        };
        all.push((
            Limit,
            format!("tile norm of {side} × {side} over {steps} positions, rooted"),
            patterns(steps).into_iter().map(of).collect(),
        ));
    }
    for steps in [2, 100, 1_000, 5_000] {
        let kernel = || TileNorm { groups: 1, rows: 1, cols: 1, steps, a: items(1, steps), b: items(1, steps) };
        let of = |terms: Vec<f32>| {
            let ([x, y], rooted) = (factors(&terms), |[sum, length]: [f64; 2]| [sum.abs(), length]);
            let lengths = rooted(inner(&x, &y));
            trial(1, kernel(), vec![Data::F32(x), Data::F32(y)], 1, lengths)
        };
        all.push((
            MuchOfProducts,
            format!("tile norm of {steps} positions, rooted"),
            patterns(steps).into_iter().map(of).collect(),
        ));
        // Inner products of two positions, multiplied by one.
        let views = [items(steps, 1), items(1, 1), items(steps, 1), items(1, 1)];
        let kernel =
            || GhostNorm { groups: 1, rows: steps, cols: 1, steps: [1, 1], views, symmetric: false, scale: 1.0 };
        let of = |terms: Vec<f32>| {
            let [x, y] = factors(&terms);
            let lengths = inner(&x, &y);
            trial(1, kernel(), vec![Data::F32(x), one(), Data::F32(y), one()], 1, lengths)
        };
        all.push((
            MuchOfProducts,
            format!("ghost norm of {steps} items"),
            patterns(steps).into_iter().map(of).collect(),
        ));
    }
    for steps in [5, 32] {
        let views = [items(1, steps); 4];
        let kernel =
            || GhostNorm { groups: 1, rows: 1, cols: 1, steps: [steps; 2], views, symmetric: false, scale: 1.0 };
        let of = |terms: Vec<f32>| {
            let ones = Data::F32(vec![1.0; steps]);
            let sum: f64 = terms.iter().map(|x| f64::from(*x)).sum();
            let length: f64 = terms.iter().map(|x| f64::from(x.abs())).sum();
            let read = vec![Data::F32(terms.clone()), ones.clone(), Data::F32(terms), ones];
            trial(1, kernel(), read, 1, [sum * sum, length * length])
        };
        all.push((Limit, format!("ghost norm of {steps} positions"), patterns(steps).into_iter().map(of).collect()));
    }
    // Ids that are all different: a run each; and all the same: one run.
    for (count, width) in [(5, 3), (2_000, 1), (300, 40), (1, 5_000)] {
        let ids: Vec<i32> = (1..=count as i32).collect();
        let order: Vec<i32> = (0..count as i32).collect();
        let of = |x: Vec<f32>| {
            let read = vec![Data::I32(ids.clone()), Data::I32(order.clone()), Data::F32(x.clone())];
            trial(1, SegmentNorm { count, width, table_rows: 5_000 }, read, 1, [squares(&x); 2])
        };
        let some = positive(count * width);
        all.push((
            if width > 1 && count > 1 { Limit } else { Much },
            format!("segment norm of {count} ids × {width}"),
            some.iter().map(|t| of(roots(t))).collect(),
        ));
        let of = |terms: Vec<f32>| {
            let ones = vec![1.0; count];
            let [sum, length] = inner(&terms, &ones);
            let read = vec![Data::I32(vec![7; count]), Data::I32(order.clone()), Data::F32(terms)];
            trial(1, SegmentNorm { count, width: 1, table_rows: 5_000 }, read, 1, [sum.abs(), length])
        };
        if width == 1 {
            all.push((
                Much,
                format!("segment norm of a run of {count}, rooted"),
                patterns(count).into_iter().map(of).collect(),
            ));
        }
    }
    for (count, steps, width) in [(1, 1, 2_000), (3_000, 1, 1), (1, 3_000, 1), (40, 50, 1)] {
        let kernel = || SegmentCross { count, width, table_rows: 1, steps, b: items(1, steps), a: items(width, steps) };
        let of = |terms: Vec<f32>| {
            let [x, a] = factors(&terms);
            let lengths = if width > 1 { inner(&x, &a) } else { inner(&terms, &vec![1.0; terms.len()]) };
            // What belongs to ids and what to positions, of which one is one.
            let (x, a, b) = match (count, steps) {
                (1, 1) => (x, a, vec![1.0]),
                (_, 1) => (terms, vec![1.0], vec![1.0]),
                _ => (vec![1.0], vec![1.0; steps], terms),
            };
            let read = vec![Data::I32(vec![0; count]), Data::F32(x), Data::F32(b), Data::F32(a)];
            trial(1, kernel(), read, 1, lengths.map(|sum| 2.0 * sum))
        };
        if count > 1 && steps > 1 {
            let len = count * steps;
            let of = |terms: Vec<f32>| {
                let ones = vec![1.0; steps];
                let [sum, length] = inner(&terms[..steps], &ones);
                let read = vec![
                    Data::I32(vec![0; count]),
                    Data::F32(vec![1.0; count]),
                    Data::F32(terms[..steps].to_vec()),
                    Data::F32(ones),
                ];
                trial(1, kernel(), read, 1, [sum, length].map(|sum| 2.0 * sum * count as f64))
            };
            all.push((
                Limit,
                format!("segment cross of {count} × {steps}"),
                patterns(len).into_iter().map(of).collect(),
            ));
            continue;
        }
        let len = count.max(steps).max(width);
        all.push((
            if width > 1 { MuchOfProducts } else { Much },
            format!("segment cross of {count} × {steps} × {width}"),
            patterns(len).into_iter().map(of).collect(),
        ));
    }
    // One record of many positions, then many records of one.
    for (rows, steps) in [(1, 2), (1, 1_000), (1, 5_000), (7, 1), (64, 1), (1_000, 1), (5_000, 1), (20, 3)] {
        let kernel = || OuterSum {
            groups: 1,
            rows: 1,
            cols: 1,
            steps,
            a: items(1, steps),
            b: items(1, steps),
            sums: Sums::Floats,
            packed: [None; 2],
            clipped: false,
        };
        let of = |terms: Vec<f32>| {
            let ones = vec![1.0; rows * steps];
            let lengths = inner(&terms, &ones);
            let read = vec![Data::F32(terms), Data::F32(ones), Data::F32(vec![1.0; rows])];
            trial(rows, kernel(), read, 1, lengths)
        };
        let some = patterns(rows * steps).into_iter().map(of).collect();
        all.push((
            if rows > 1 { Limit } else { MuchOfProducts },
            format!("outer sum of {rows} records of {steps} positions"),
            some,
        ));
    }
    for (rows, count, ordered) in [(1, 2_000, true), (1, 2_000, false), (2_000, 1, true), (20, 30, false)] {
        let kernel = || Scatter {
            records: Records::Weighted(Sums::Floats),
            ids_record: count,
            record: count,
            count,
            width: 1,
            table_rows: 1,
            ordered,
        };
        let of = |terms: Vec<f32>| {
            let ones = vec![1.0; rows * count];
            let lengths = inner(&terms, &ones);
            let order = (0..rows).flat_map(|_| 0..count as i32).collect();
            let mut read = vec![Data::I32(vec![0; rows * count]), Data::F32(terms), Data::F32(vec![1.0; rows])];
            read.extend(ordered.then_some(Data::I32(order)));
            trial(rows, kernel(), read, 1, lengths)
        };
        let some = patterns(rows * count).into_iter().map(of).collect();
        all.push((Much, format!("scatter of {rows} records of {count} ids, ordered {ordered}"), some));
    }
    all
}

/// The first result of a trial on a device.
fn found(device: &dyn Device, case: &Case) -> f64 {
    let mut session = device.load(case.program.clone().into(), case.rows).expect("a session");
    for (id, words) in &case.inputs {
        session.write(*id, words).expect("a write");
    }
    session.run(Phase::Forward).expect("a run");
    f32::from_bits(session.read(case.outputs[0]).expect("a read")[0]).into()
}

/// Holds each kernel to what the device states, and what it states to what some data loses.
///
/// `ordered` says whether the order is known in which the device adds up products of matrices.
pub fn check(device: &dyn Device, target: &dyn Target, ordered: bool) {
    let mut problems = Vec::new();
    for (shows, name, trials) in trials() {
        let rooted = name.ends_with("rooted");
        // The sum over a Gram matrix is of both signs.
        let signed = !["tile", "segment norm"].iter().any(|kernel| name.starts_with(kernel));
        let (mut worst, mut stated) = (0.0f64, 0);
        for Trial { case, exact, length } in trials {
            let rounding = target.rounding(case.kernel());
            stated = rounding.element.ceil() as usize + rounding.square + rounding.records.at(case.rows);
            let mut result = found(device, &case);
            if rooted {
                // An element's own error, the square of which is all that a norm shows.
                result = result.sqrt();
            }
            let lost = (result - exact).abs() / ROUNDOFF;
            worst = worst.max(lost / length);
            // What is worked out in more bits keeps what is left where nearly all cancels.
            let relative = (rounding.square + 4) as f64 * exact.abs();
            if !signed && lost > 1.01 * rounding.element * length + relative {
                problems.push(format!("{name}: {result} and not {exact}, of {length}, is more than is stated"));
            }
        }
        // Some is for the multiplications, as the clip factors allow for them.
        if worst > stated as f64 + 4.0 {
            problems.push(format!("{name}: loses {worst} roundings of {stated} stated"));
        }
        println!("{name}: {worst:.1} of {stated}");
        let sharp = shows == Shows::Much || shows == Shows::MuchOfProducts && ordered;
        if sharp && stated > 64 && worst < SHARPNESS * stated as f64 {
            problems.push(format!("{name}: {stated} roundings stated, of which no data shows more than {worst}"));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
