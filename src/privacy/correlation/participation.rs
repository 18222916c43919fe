//! Participations: what the steps of a stream of correlated noise are to an accountant.
//!
//! By the theorem of the module, a stream costs what so many steps of DP-SGD do as the parts of its cycle had turns:
//! for each part, the turns of that part, and the part with the most counts for all.
//!
//! A run that was interrupted goes on from its last checkpoint, with fresh noise z for the steps after it, but with the
//! noise of the steps before it that the recurrence refers to. Where it had gone beyond that checkpoint, what a unit
//! added at a step before is in the releases of two sessions: one participation that moves several releases of the same
//! rows, each by no more than once the norm of a column. If no row that a participation reaches was released more than
//! m times, then the squares add up to at most m times that of a column, and it is charged at the noise multiplier
//! `σ/√m`. Steps that were repeated are drawn anew and are participations of their own.
//!
//! Which session wrote the checkpoint that another went on from is not asked: it counts as having gone on from any
//! before it.

use std::collections::BTreeMap;
use std::ops::Range;

use super::strategy::Correlation;
use crate::privacy::accountant::Mechanism;
use crate::privacy::sampling::Sampling;

/// Participations of a unit that cost the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Participations {
    /// How often the rows that they reach were released at most: m.
    pub times: u64,
    /// How many there are.
    pub count: u64,
}

impl Participations {
    /// What they are to an accountant under `sampling`, for σ of a participation that reaches rows released once.
    pub fn mechanism(&self, noise_multiplier: f64, sampling: Sampling) -> Mechanism {
        let noise_multiplier = match self.times {
            1 => noise_multiplier,
            times => (noise_multiplier / (times as f64).sqrt()).next_down().max(0.0),
        };
        Mechanism { noise_multiplier, sampling: sampling.participation(), steps: self.count }
    }
}

/// The participations that bound those of every unit, for `sessions` that each took a range of steps, in the order of
/// their beginning, in cycles of `parts` steps.
pub fn participations(sessions: &[Range<u64>], parts: u64, correlation: Correlation) -> Vec<Participations> {
    let parts = parts.max(1);
    // Of each part, its turns. All parts have one in a whole cycle, so that only the odd steps of the ranges tell parts apart.
    let whole: u64 = sessions.iter().map(|steps| length(steps) / parts).sum();
    let mut odd: BTreeMap<u64, u64> = BTreeMap::new();
    for steps in sessions {
        let rest = length(steps) % parts;
        (steps.start..steps.start + rest).for_each(|step| *odd.entry(step % parts).or_default() += 1);
    }
    let mut most = vec![whole + odd.values().max().unwrap_or(&0)];

    // Of each part, the participations that reach rows which were released several times.
    let mut several: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for (number, session) in sessions.iter().enumerate() {
        let later = &sessions[number + 1..];
        for step in reaching(session, later, parts, correlation) {
            let times = released(step, session, later, parts, correlation);
            if times > 1 {
                several.entry(step % parts).or_default().push(times);
            }
        }
    }
    let highest = several.values().flatten().max().copied().unwrap_or(1);
    for times in 2..=highest {
        let of_part = |all: &Vec<u64>| all.iter().filter(|found| **found >= times).count() as u64;
        most.push(several.values().map(of_part).max().unwrap_or(0));
    }
    // The k-th costliest of any part is bounded by the k-th here.
    let counts = most.iter().zip(most.iter().skip(1).chain([&0])).map(|(at_least, more)| at_least - more);
    let all = (1..).zip(counts).map(|(times, count)| Participations { times, count });
    all.filter(|found| found.count > 0).collect()
}

fn length(steps: &Range<u64>) -> u64 {
    steps.end.saturating_sub(steps.start)
}

/// The steps of `session` that reach beyond the beginning of a later one.
fn reaching(
    session: &Range<u64>,
    later: &[Range<u64>],
    parts: u64,
    correlation: Correlation,
) -> impl Iterator<Item = u64> + use<> {
    // A later session that begins where all before it had ended repeats nothing.
    let starts: Vec<u64> = later
        .iter()
        .enumerate()
        .filter(|(at, next)| later[..*at].iter().chain([session]).any(|before| before.end > next.start))
        .map(|(_, next)| next.start)
        .collect();
    let least = match correlation {
        Correlation::Banded { bands } => starts.iter().map(|start| start.saturating_sub(bands)).min(),
        Correlation::Tree => starts.iter().map(|start| start / parts * parts).min(),
    };
    let first = least.unwrap_or(session.end).clamp(session.start, session.end.max(session.start));
    (first..session.end).filter(move |step| {
        let end = correlation.reach(*step, parts);
        starts.iter().any(|start| step < start && *start < end)
    })
}

/// How often a row that `step` of `session` reaches was released at most.
fn released(step: u64, session: &Range<u64>, later: &[Range<u64>], parts: u64, correlation: Correlation) -> u64 {
    let end = correlation.reach(step, parts);
    let holding: Vec<&Range<u64>> = later.iter().filter(|next| next.start > step).chain([session]).collect();
    // The most are where one of them begins.
    let rows = holding.iter().map(|steps| steps.start.max(step)).filter(|row| *row < end);
    rows.map(|row| holding.iter().filter(|steps| steps.contains(&row)).count() as u64).max().unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BANDED: Correlation = Correlation::Banded { bands: 4 };

    fn of(sessions: &[Range<u64>], parts: u64) -> Vec<(u64, u64)> {
        participations(sessions, parts, BANDED).iter().map(|found| (found.times, found.count)).collect()
    }

    #[test]
    fn a_run_has_a_participation_a_cycle() {
        assert_eq!(of(&[0..400], 100), [(1, 4)]);
        assert_eq!(of(&[0..401], 100), [(1, 5)]);
        assert_eq!(of(&[0..1], 100), [(1, 1)]);
        assert_eq!(of(&[0..0], 100), []);
        assert_eq!(of(&[], 7), []);
    }

    #[test]
    fn an_interruption_costs_nothing_where_nothing_was_repeated() {
        assert_eq!(of(&[0..150, 150..151, 151..400], 100), [(1, 4)]);
    }

    #[test]
    fn what_was_repeated_costs_more() {
        // Parts 48 and 49 took part once more, and what parts 45 to 47 added before is in rows that were released twice.
        assert_eq!(of(&[0..50, 48..400], 100), [(1, 4), (2, 1)]);
        // Rows 48 and 49 by three sessions.
        assert_eq!(of(&[0..50, 48..50, 48..400], 100), [(1, 5), (3, 1)]);
        let tree = participations(&[0..50, 48..400], 100, Correlation::Tree);
        assert_eq!(tree, [Participations { times: 1, count: 4 }, Participations { times: 2, count: 1 }]);
    }

    /// The same by a table of all parts, steps and rows.
    fn by_hand(sessions: &[Range<u64>], parts: u64, correlation: Correlation) -> Vec<Participations> {
        let mut all: Vec<Vec<u64>> = vec![Vec::new(); parts as usize];
        for (number, session) in sessions.iter().enumerate() {
            for step in session.clone() {
                let times = (step..correlation.reach(step, parts)).map(|row| {
                    let later =
                        sessions[number + 1..].iter().filter(|later| later.start > step && later.contains(&row));
                    later.count() + usize::from(session.contains(&row))
                });
                all[(step % parts) as usize].push(times.max().unwrap_or(0) as u64);
            }
        }
        all.iter_mut().for_each(|times| times.sort_by(|a, b| b.cmp(a)));
        let longest = all.iter().map(Vec::len).max().unwrap_or(0);
        let worst = (0..longest).map(|k| all.iter().filter_map(|times| times.get(k)).max().copied().unwrap_or(0));
        let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
        worst.for_each(|times| *counts.entry(times).or_default() += 1);
        counts.into_iter().map(|(times, count)| Participations { times, count }).collect()
    }

    proptest! {
        #[test]
        fn no_session_is_left_out(
            cuts in proptest::collection::vec((0_u64..6, 1_u64..14), 1..6),
            parts in 3_u64..9,
            bands in 1_u64..4,
            tree in any::<bool>(),
        ) {
            let mut sessions: Vec<Range<u64>> = Vec::new();
            for (back, steps) in cuts {
                let start = sessions.last().map_or(0, |last| last.end.saturating_sub(back));
                sessions.push(start..start + steps);
            }
            let correlation = if tree { Correlation::Tree } else { Correlation::Banded { bands } };
            prop_assert_eq!(participations(&sessions, parts, correlation), by_hand(&sessions, parts, correlation));
        }
    }
}
