//! Participations: what the steps of a stream of correlated noise are to an accountant.
//!
//! By theorem 3 of the module, a stream costs what so many steps of DP-SGD do as the parts of its cycle had turns: for
//! each part, the turns of that part, and the part with the most counts for all.
//!
//! A run that was interrupted goes on from its last checkpoint, with fresh noise z for the steps after it, but with the
//! noise of the steps before it that the recurrence refers to. Where it had gone beyond that checkpoint, it releases
//! rows again: steps that are repeated are drawn anew and are participations of their own, and what a unit added at a
//! step before is in the rows of both sessions. A participation that is in so many rows moves them by the square of
//! what it moves each by, added up: less than one that has all its rows where it was cut short, and more where rows
//! were released twice. It is charged at `σ/√w`, for the share w of that sum in the square of a column, rounded up to a
//! multiple of 1/[`WHOLE`].
//!
//! Which session wrote the checkpoint that another went on from is not asked: it counts as having gone on from any
//! before it. Participations that no session has cut short count in full, whether their last rows have been released
//! yet or not.

use std::collections::BTreeMap;
use std::ops::Range;

use super::strategy::Strategy;
use crate::privacy::accountant::Mechanism;
use crate::privacy::sampling::Sampling;

/// What a participation weighs that is in each of its rows once.
pub const WHOLE: u64 = 32;

/// Participations of a unit that cost the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Participations {
    /// The square of what each moves the rows by that it is in, over that of a column, in units of 1/[`WHOLE`].
    pub weight: u64,
    /// How many there are.
    pub count: u64,
}

impl Participations {
    /// Those of a unit in `steps` steps without interruption, in cycles of `parts` steps.
    pub fn of_run(steps: u64, parts: u64) -> Participations {
        Participations { weight: WHOLE, count: steps.div_ceil(parts.max(1)) }
    }

    /// What they are to an accountant under `sampling`, for σ of a participation that is in each of its rows once.
    pub fn mechanism(&self, noise_multiplier: f64, sampling: Sampling) -> Mechanism {
        let noise_multiplier = match self.weight {
            WHOLE => noise_multiplier,
            weight => (noise_multiplier / (weight as f64 / WHOLE as f64).sqrt().next_up()).next_down().max(0.0),
        };
        Mechanism { noise_multiplier, sampling: sampling.participation(), steps: self.count }
    }
}

/// The participations that bound those of every unit, for `sessions` that each took a range of steps, in the order of
/// their beginning, by the cyclic sampling `sampling`: of any unit the k-th costliest is bounded by the k-th here.
/// Without chance, at rate 1, only their sum counts, since Gaussian mechanisms are one of the sum of their squares.
pub fn participations(sessions: &[Range<u64>], (rate, parts): (f64, u64), strategy: &Strategy) -> Vec<Participations> {
    let parts = parts.max(1);
    // Of each part, its turns. All parts have one in a whole cycle, so that only the odd steps of the ranges tell parts apart.
    let whole: u64 = sessions.iter().map(|steps| length(steps) / parts).sum();
    let mut turns: BTreeMap<u64, u64> = BTreeMap::new();
    for steps in sessions {
        let rest = length(steps) % parts;
        (steps.start..steps.start + rest).for_each(|step| *turns.entry(step % parts).or_insert(whole) += 1);
    }
    // Of each part, the weights that are not whole.
    let mut others: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for (number, session) in sessions.iter().enumerate() {
        let later = &sessions[number + 1..];
        for step in touched(session, later, parts, strategy) {
            let weight = weight(step, session, later, parts, strategy);
            if weight != WHOLE {
                others.entry(step % parts).or_default().push(weight);
                turns.entry(step % parts).or_insert(whole);
            }
        }
    }
    let mut of_parts: Vec<(u64, Vec<u64>)> =
        turns.into_iter().map(|(part, turns)| (turns, others.remove(&part).unwrap_or_default())).collect();
    if (of_parts.len() as u64) < parts {
        of_parts.push((whole, Vec::new()));
    }
    if rate == 1.0 {
        let sum = |(turns, others): &(u64, Vec<u64>)| {
            (turns - others.len() as u64).saturating_mul(WHOLE).saturating_add(others.iter().sum())
        };
        let most = of_parts.iter().map(sum).max().unwrap_or(0);
        let all = [(WHOLE, most / WHOLE), (most % WHOLE, 1)].map(|(weight, count)| Participations { weight, count });
        return all.into_iter().filter(|found| found.weight > 0 && found.count > 0).collect();
    }
    // How many of any part weigh at least so much.
    let at_least = |weight: u64| {
        let of_part = |(turns, others): &(u64, Vec<u64>)| {
            let plain = if weight <= WHOLE { turns - others.len() as u64 } else { 0 };
            plain + others.iter().filter(|other| **other >= weight).count() as u64
        };
        of_parts.iter().map(of_part).max().unwrap_or(0)
    };
    let mut weights: Vec<u64> = of_parts.iter().flat_map(|(_, others)| others).copied().chain([WHOLE]).collect();
    weights.sort_unstable_by(|a, b| b.cmp(a));
    weights.dedup();
    let mut before = 0;
    let mut found = Vec::new();
    for weight in weights.into_iter().filter(|weight| *weight > 0) {
        let count = at_least(weight) - before;
        before += count;
        if count > 0 {
            found.push(Participations { weight, count });
        }
    }
    found
}

fn length(steps: &Range<u64>) -> u64 {
    steps.end.saturating_sub(steps.start)
}

/// The steps of `session` of whose rows a later session may have released some again, or cut some off.
fn touched(session: &Range<u64>, later: &[Range<u64>], parts: u64, strategy: &Strategy) -> Range<u64> {
    // A later session that begins where all before it had ended repeats nothing.
    let repeating = later
        .iter()
        .enumerate()
        .filter(|(at, next)| later[..*at].iter().chain([session]).any(|before| before.end > next.start));
    let first = repeating.map(|(_, next)| strategy.first_reaching(next.start, parts)).min();
    first.unwrap_or(session.end).clamp(session.start, session.end)..session.end
}

/// What the participation at `step` of `session` weighs.
fn weight(step: u64, session: &Range<u64>, later: &[Range<u64>], parts: u64, strategy: &Strategy) -> u64 {
    let holding: Vec<&Range<u64>> = later.iter().filter(|next| next.start > step).chain([session]).collect();
    let square: u128 = (step..strategy.reach(step, parts))
        .map(|row| {
            let times = holding.iter().filter(|steps| steps.contains(&row)).count();
            times as u128 * u128::from(strategy.square(row, step))
        })
        .sum();
    let column = u128::from(strategy.column_square().max(1));
    let weight = u64::try_from((square * u128::from(WHOLE)).div_ceil(column)).unwrap_or(u64::MAX);
    let cut_short = later.iter().any(|next| next.start <= step);
    if cut_short { weight } else { weight.max(WHOLE) }
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use super::*;
    use crate::privacy::correlation::Correlation;
    use proptest::{prop_assert_eq, proptest};

    fn banded(coefficients: &[u32]) -> Strategy {
        Strategy::Banded { coefficients: coefficients.to_vec() }
    }

    fn of(sessions: &[Range<u64>], parts: u64, strategy: &Strategy) -> Vec<(u64, u64)> {
        participations(sessions, (0.5, parts), strategy).iter().map(|found| (found.weight, found.count)).collect()
    }

    #[test]
    fn a_run_has_a_participation_a_cycle() {
        let strategy = banded(&[4, 3, 2, 1]);
        for steps in [400, 401, 1] {
            let found = participations(from_ref(&(0..steps)), (0.5, 100), &strategy);
            assert_eq!(found, [Participations::of_run(steps, 100)]);
        }
        assert_eq!(of(from_ref(&(0..0)), 100, &strategy), []);
        assert_eq!(of(&[], 7, &strategy), []);
    }

    #[test]
    fn an_interruption_costs_nothing_where_nothing_was_repeated() {
        assert_eq!(of(&[0..150, 150..151, 151..400], 100, &banded(&[4, 3, 2, 1])), [(WHOLE, 4)]);
        assert_eq!(of(&[0..50, 50..400], 100, &Strategy::Tree { leaves: 100 }), [(WHOLE, 4)]);
    }

    #[test]
    fn what_was_repeated_costs_by_its_rows() {
        // The square of a column is 32, as a whole is. Step 47 is in rows 48 and 49 of both sessions, by 3² and 2² + 2²
        // more; steps 48 and 49 were cut short after two rows and one.
        let strategy = banded(&[4, 3, 2, 1, 1, 1]);
        assert_eq!(strategy.column_square(), 32);
        assert_eq!(of(&[0..50, 48..400], 100, &strategy), [(32 + 9 + 4, 1), (32, 3), (16 + 9, 1)]);
        // Part 48 has four whole ones and that of two rows, in sum the most.
        let sum = participations(&[0..50, 48..400], (1.0, 100), &strategy);
        assert_eq!(sum, [Participations { weight: 32, count: 4 }, Participations { weight: 16 + 9, count: 1 }]);
        // Nothing of the repeated rows is in earlier cycles of a tree.
        let tree = Strategy::Tree { leaves: 100 };
        assert_eq!(of(&[0..101, 100..400], 100, &tree), [(WHOLE, 4), (WHOLE.div_ceil(7), 1)]);
    }

    /// The same by a table of all parts, steps and rows.
    fn by_hand(sessions: &[Range<u64>], parts: u64, strategy: &Strategy) -> (Vec<Participations>, u64) {
        let mut all: Vec<Vec<u64>> = vec![Vec::new(); parts as usize];
        for (number, session) in sessions.iter().enumerate() {
            let later = &sessions[number + 1..];
            for step in session.clone() {
                let mut square = 0;
                for row in 0..100 {
                    for (at, steps) in [session].into_iter().chain(later).enumerate() {
                        if row >= step && steps.contains(&row) && (at == 0 || steps.start > step) {
                            square += strategy.square(row, step);
                        }
                    }
                }
                let weight = (square * WHOLE).div_ceil(strategy.column_square());
                let cut = later.iter().any(|later| later.start <= step);
                all[(step % parts) as usize].push(if cut { weight } else { weight.max(WHOLE) });
            }
        }
        all.iter_mut().for_each(|weights| weights.sort_by(|a, b| b.cmp(a)));
        let longest = all.iter().map(Vec::len).max().unwrap_or(0);
        let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
        for k in 0..longest {
            let worst = all.iter().filter_map(|weights| weights.get(k)).max().copied().unwrap_or(0);
            *counts.entry(worst).or_default() += 1;
        }
        let worst = counts.into_iter().rev().map(|(weight, count)| Participations { weight, count }).collect();
        (worst, all.iter().map(|weights| weights.iter().sum()).max().unwrap_or(0))
    }

    proptest! {
        #[test]
        fn no_session_is_left_out(
            cuts in proptest::collection::vec((0_u64..6, 1_u64..14), 1..6),
            parts in 3_u64..9,
            bands in 0_u64..4,
        ) {
            let mut sessions: Vec<Range<u64>> = Vec::new();
            for (back, steps) in cuts {
                let start = sessions.last().map_or(0, |last| last.end.saturating_sub(back));
                sessions.push(start..start + steps);
            }
            let correlation = if bands == 0 { Correlation::Tree } else { Correlation::Banded { bands } };
            let strategy = correlation.strategy(parts, 80);
            let (worst, most) = by_hand(&sessions, parts, &strategy);
            prop_assert_eq!(participations(&sessions, (0.5, parts), &strategy), worst);
            let sum = participations(&sessions, (1.0, parts), &strategy);
            prop_assert_eq!(sum.iter().map(|found| found.weight * found.count).sum::<u64>(), most);
        }
    }
}
