use super::*;
use crate::files::FileError;
use crate::privacy::accountant::Mechanism;
use crate::privacy::adjacency::{Adjacency, Unit};
use crate::privacy::correlation::Correlation;
use crate::privacy::grid::Grid;
use crate::privacy::plan::{self, PlanSpec};
use std::fs;
use tempfile::TempDir;

fn plan(noise_multiplier: f64) -> PrivacyPlan {
    PrivacyPlan::new(PlanSpec { noise_multiplier, ..plan::example() }).unwrap()
}

fn ledger_of(steps: u64) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.jsonl");
    let mut ledger = Ledger::open(&path, "first", &plan(1.5)).unwrap();
    for step in 0..steps {
        assert_eq!(ledger.record(step).unwrap(), Receipt { seq: step, step });
    }
    (dir, path)
}

fn taken(noise_multiplier: f64, steps: u64) -> Mechanism {
    Mechanism { steps, ..plan(noise_multiplier).mechanism(0) }
}

#[test]
fn a_recorded_step_is_on_disk_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.jsonl");
    let mut ledger = Ledger::open(&path, "first", &plan(1.5)).unwrap();
    for step in 0..5 {
        let _ = ledger.record(step).unwrap();
        let read = Contents::read(&path).unwrap();
        assert_eq!(read, *ledger.contents());
        assert_eq!(read.history(&plan(1.5)), [taken(1.5, step + 1)]);
    }
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.lines().all(|line| { serde_json::from_str::<serde_json::Value>(line).unwrap()["run"] == "first" }));
}

#[test]
fn goes_on_after_a_restart_and_counts_repeated_steps() {
    let (_dir, path) = ledger_of(4);
    let mut ledger = Ledger::open(&path, "second", &plan(1.5)).unwrap();
    assert_eq!(ledger.record(2).unwrap(), Receipt { seq: 4, step: 2 });
    assert_eq!(ledger.contents().history(&plan(1.5)), [taken(1.5, 5)]);
}

#[test]
fn groups_steps_of_equal_parameters() {
    let (_dir, path) = ledger_of(3);
    let mut ledger = Ledger::open(&path, "second", &plan(2.0)).unwrap();
    let _ = ledger.record(3).unwrap();
    drop(ledger);
    let mut ledger = Ledger::open(&path, "third", &plan(1.5)).unwrap();
    let _ = ledger.record(4).unwrap();
    let history = ledger.contents().history(&plan(1.5));
    assert_eq!(history, [taken(1.5, 4), taken(2.0, 1)]);
}

#[test]
fn shuffled_steps_are_charged_by_run_and_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.jsonl");
    let sampling = Sampling::Shuffle { units: 10, batch: 3 };
    let plan = PrivacyPlan::new(PlanSpec {
        sampling,
        public_units: Some(10),
        expected_batch: 3.0,
        adjacency: Adjacency::ReplaceOne,
        noise_schedule: "table:0=1,4=2".parse().unwrap(),
        ..plan::example()
    })
    .unwrap();
    for (run, steps) in [("first", 0..5), ("second", 4..8)] {
        let mut ledger = Ledger::open(&path, run, &plan).unwrap();
        for step in steps {
            let _ = ledger.record(step).unwrap();
        }
    }
    let of = |noise_multiplier, steps| Mechanism { noise_multiplier, sampling, steps };
    let history = Contents::read(&path).unwrap().history(&plan);
    assert_eq!(history, [of(1.5, 2), of(3.0, 2)]);
}

fn correlated() -> PrivacyPlan {
    let sampling = Sampling::Cyclic { rate: 0.9, parts: 4 };
    let correlation = Some(Correlation::Banded { bands: 3 }.strategy(4, 12));
    let grid = Some(Grid::default());
    PrivacyPlan::new(PlanSpec { sampling, correlation, grid, public_units: None, planned_steps: 12, ..plan::example() })
        .unwrap()
}

/// Steps of correlated noise are charged by cycle, whoever goes on with them; what is repeated by what it reaches.
#[test]
fn correlated_steps_are_charged_by_stream() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.jsonl");
    let plan = correlated();
    let participations =
        |noise_multiplier, steps| Mechanism { noise_multiplier, sampling: Sampling::Poisson { rate: 0.9 }, steps };
    let take = |run: &str, stream: Option<&str>, steps: std::ops::Range<u64>| {
        let mut ledger = Ledger::open(&path, run, &plan).unwrap();
        if let Some(stream) = stream {
            ledger = ledger.in_stream(stream);
        }
        for step in steps {
            let _ = ledger.record(step).unwrap();
        }
        ledger.contents().clone()
    };
    assert_eq!(take("first", None, 0..6).history(&plan), [participations(1.5, 2)]);
    let whole = take("second", Some("first"), 6..7);
    assert_eq!(whole.history(&plan), [participations(1.5, 2)]);
    // The steps to come in the same stream, and in another.
    assert_eq!(whole.history_then(&plan, 7..12, Some("first")), [participations(1.5, 3)]);
    let cost = |history: Vec<Mechanism>| history.iter().map(|entry| entry.steps).sum::<u64>();
    assert_eq!(cost(whole.history_then(&plan, 0..12, None)), 2 + 3);
    // Step 6 again, which holds what steps 4 and 5 added before, and was cut short.
    let repeated = take("third", Some("first"), 6..12);
    let found = repeated.history(&plan);
    assert_eq!(found.iter().map(|entry| entry.steps).collect::<Vec<_>>(), [1, 2, 1]);
    assert_eq!(found[1], participations(1.5, 2));
    assert!(found[0].noise_multiplier < 1.5 && found[0].noise_multiplier > 1.5 / f64::sqrt(1.5));
    assert!(found[2].noise_multiplier > 1.5);
    assert_eq!(Contents::read(&path).unwrap(), repeated);
    // Another run on the same data.
    assert_eq!(cost(take("fourth", None, 0..1).history(&plan)), 4 + 1);
    // A line that is torn is a turn more.
    fs::write(&path, [fs::read(&path).unwrap(), b"{\"seq".to_vec()].concat()).unwrap();
    assert_eq!(cost(Contents::read(&path).unwrap().history(&plan)), 4 + 1 + 1);
    let repaired = take("fifth", None, 0..0);
    assert_eq!(cost(repaired.history(&plan)), 4 + 1 + 1);
}

/// Cut at every byte: the whole lines count, a part of a line counts as one more. Opened again, at
/// some of the cuts, it counts the same and goes on.
#[test]
fn a_torn_write_is_never_under_counted() {
    let (_dir, path) = ledger_of(3);
    let bytes = fs::read(&path).unwrap();
    let ends: Vec<usize> = (0..bytes.len()).filter(|&i| bytes[i] == b'\n').collect();
    for cut in 0..=bytes.len() {
        fs::write(&path, &bytes[..cut]).unwrap();
        // A line without its end is whole all the same.
        let whole = ends.iter().filter(|&&end| end <= cut).count();
        let torn = cut > 0 && bytes[cut - 1] != b'\n' && !ends.contains(&cut);
        let expected = whole as u64 + u64::from(torn);

        let read = Contents::read(&path).unwrap();
        assert_eq!(read.torn, torn);
        assert_eq!(count(&read.history(&plan(1.5))), expected, "{cut}");

        if !cut.is_multiple_of(20) && !ends.iter().any(|&end| end.abs_diff(cut) < 2) {
            continue;
        }
        let mut ledger = Ledger::open(&path, "second", &plan(1.5)).unwrap();
        assert_eq!(count(&ledger.contents().history(&plan(1.5))), expected);
        let _ = ledger.record(9).unwrap();
        let again = Contents::read(&path).unwrap();
        assert!(!again.torn);
        assert_eq!(count(&again.history(&plan(1.5))), expected + 1);
    }
}

fn count(history: &[Mechanism]) -> u64 {
    history.iter().map(|entry| entry.steps).sum()
}

#[test]
fn a_torn_step_costs_the_most_that_is_known() {
    let (_dir, path) = ledger_of(2);
    fs::write(&path, [fs::read(&path).unwrap(), b"{\"seq".to_vec()].concat()).unwrap();
    let read = Contents::read(&path).unwrap();
    assert_eq!(read.history(&plan(4.0)), [taken(1.5, 3)]);
    assert_eq!(read.history(&plan(0.5)), [taken(1.5, 2), taken(0.5, 1)]);
    let ledger = Ledger::open(&path, "second", &plan(0.5)).unwrap();
    let last = ledger.contents().entries().last().unwrap();
    assert!(last.recovered);
    assert_eq!(last.noise_multiplier, 0.5);
}

/// Flip a bit of every byte: a change in the last line counts as a torn line, any other is an error
/// at its line, and nothing passes unnoticed.
#[test]
fn a_flipped_bit_is_found() {
    let (_dir, path) = ledger_of(3);
    let bytes = fs::read(&path).unwrap();
    let last = bytes[..bytes.len() - 1].iter().rposition(|&b| b == b'\n').unwrap();
    for i in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[i] ^= 1;
        fs::write(&path, &flipped).unwrap();
        match Contents::read(&path) {
            Ok(read) => {
                assert!(i > last, "{i}");
                assert!(read.torn);
                assert_eq!(count(&read.history(&plan(1.5))), 3);
            }
            Err(LedgerError::Corrupt { line, .. }) => {
                assert!(i <= last);
                let expected = 1 + bytes[..i].iter().filter(|&&b| b == b'\n').count();
                assert_eq!(line, expected, "{i}");
            }
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn lines_cannot_be_removed_swapped_or_copied() {
    let (_dir, path) = ledger_of(4);
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    for edited in [
        vec![lines[1], lines[2], lines[3]],
        vec![lines[0], lines[2], lines[3]],
        vec![lines[0], lines[2], lines[1], lines[3]],
        vec![lines[0], lines[0], lines[1], lines[2]],
        vec![lines[0], "\n", lines[1]],
    ] {
        fs::write(&path, edited.concat()).unwrap();
        let error = Ledger::open(&path, "x", &plan(1.5)).unwrap_err();
        assert!(matches!(error, LedgerError::Corrupt { .. }), "{error}");
    }
}

#[test]
fn removed_last_lines_are_found_by_a_head() {
    let (_dir, path) = ledger_of(4);
    let whole = Contents::read(&path).unwrap();
    let head = whole.head();
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    whole.check_continues(&path, &head).unwrap();

    fs::write(&path, lines[..3].concat()).unwrap();
    let cut = Contents::read(&path).unwrap();
    whole.check_continues(&path, &cut.head()).unwrap();
    let error = cut.check_continues(&path, &head).unwrap_err();
    assert!(matches!(error, LedgerError::Rewound { expected: 4, found: 3, .. }));

    let mut other = Ledger::open(&path, "other", &plan(1.5)).unwrap();
    let _ = other.record(3).unwrap();
    assert!(other.contents().check_continues(&path, &head).is_err());
}

#[test]
fn two_cannot_have_it_open_at_once() {
    let (_dir, path) = ledger_of(1);
    let first = Ledger::open(&path, "first", &plan(1.5)).unwrap();
    let error = Ledger::open(&path, "second", &plan(1.5)).unwrap_err();
    assert!(matches!(error, LedgerError::Locked { .. }), "{error}");
    drop(first);
    Ledger::open(&path, "second", &plan(1.5)).unwrap();
}

#[test]
fn units_of_two_kinds_have_two_ledgers() {
    let (_dir, path) = ledger_of(2);
    let groups = PrivacyPlan::new(PlanSpec { unit: Unit::Group, ..plan::example() }).unwrap();
    let error = Ledger::open(&path, "second", &groups).unwrap_err();
    assert!(matches!(error, LedgerError::Unit { ledger: Unit::Record, plan: Unit::Group, .. }), "{error}");
    assert_eq!(Contents::read(&path).unwrap().len(), 2);
}

/// The first line of the test of the format before this one.
#[test]
fn an_older_ledger_is_told_from_a_corrupt_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.jsonl");
    let line = concat!(
        r#"{"seq":0,"run":"0123456789abcdef","step":0,"noise_multiplier":1.5,"sampling":"poisson","#,
        r#""sample_rate":0.25,"clip":"flat:2.0","expected_batch":64.0,"recovered":false,"#,
        r#""hash":"58c9c3849366731f79efb737cd40281e5e096c2e0a5b07b267ed299fa85cee55"}"#,
        "\n"
    );
    fs::write(&path, line).unwrap();
    assert!(matches!(Contents::read(&path), Err(LedgerError::Version { .. })));
    assert!(matches!(Ledger::open(&path, "x", &plan(1.5)), Err(LedgerError::Version { .. })));
}

#[cfg(unix)]
#[test]
fn every_name_of_a_ledger_is_the_same_ledger() {
    let (dir, path) = ledger_of(1);
    let (link, dangling) = (dir.path().join("link"), dir.path().join("dangling"));
    std::os::unix::fs::symlink("ledger.jsonl", &link).unwrap();
    let first = Ledger::open(&link, "first", &plan(1.5)).unwrap();
    assert!(matches!(Ledger::open(&path, "second", &plan(1.5)), Err(LedgerError::Locked { .. })));
    drop(first);
    fs::write(&path, [fs::read(&path).unwrap(), b"torn".to_vec()].concat()).unwrap();
    drop(Ledger::open(&link, "third", &plan(1.5)).unwrap());
    assert_eq!(Contents::read(&path).unwrap().len(), 2);

    std::os::unix::fs::symlink("new.jsonl", &dangling).unwrap();
    let _ = Ledger::open(&dangling, "first", &plan(1.5)).unwrap().record(0).unwrap();
    assert_eq!(Contents::read(&dir.path().join("new.jsonl")).unwrap().len(), 1);
}

#[test]
fn a_missing_folder_is_an_error() {
    let path = Path::new("no such folder/ledger.jsonl");
    assert!(matches!(Ledger::open(path, "x", &plan(1.5)), Err(LedgerError::File(FileError::Write { .. }))));
    assert!(matches!(Contents::read(path), Err(LedgerError::File(FileError::Read { .. }))));
}

#[cfg(target_os = "linux")]
#[test]
fn a_ledger_in_memory_goes_on_where_it_was() {
    let store = MemoryStore::default();
    for (run, steps) in [("first", 0..2), ("second", 2..3)] {
        let mut ledger = Ledger::on(Box::new(store.clone()), run, &plan(1.5)).unwrap();
        for step in steps {
            assert_eq!(ledger.record(step).unwrap().step(), step);
        }
    }
    assert_eq!(Contents::parse(&store.text()).unwrap().len(), 3);
    let (_dir, path) = ledger_of(3);
    assert_eq!(fs::read_to_string(path).unwrap().lines().count(), 3);
    let torn = MemoryStore::holding(store.text()[..store.text().len() - 9].to_vec());
    assert_eq!(Ledger::on(Box::new(torn), "third", &plan(1.5)).unwrap().contents().len(), 3);
}

#[test]
fn nothing_is_recorded_after_a_failed_write() {
    let (_dir, path) = ledger_of(1);
    let mut ledger = Ledger::open(&path, "first", &plan(1.5)).unwrap();
    let full = fs::OpenOptions::new().append(true).open("/dev/full").unwrap();
    ledger.store = Box::new(FileStore::writing_to(&path, full));
    assert!(matches!(ledger.record(1), Err(LedgerError::File(FileError::Write { .. }))));
    assert!(matches!(ledger.record(1), Err(LedgerError::Failed { .. })));
    drop(ledger);
    assert_eq!(Contents::read(&path).unwrap().len(), 1);
}
