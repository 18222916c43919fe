//! What the ranks of a run have in common and must keep so: its randomness and its ledger.
//!
//! Rank 0 draws and rank 0 writes. The others hear of it, so that every rank has the same key, the same name of the run, and the
//! same lines of the ledger; none of it is drawn or kept twice. No rank's [`Receipt`](super::ledger::Receipt) exists before the
//! line that it is for is where rank 0 keeps the ledger.

use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use super::keys::{Entropy, EntropyError};
use super::ledger::{LedgerError, LedgerStore};
use crate::files::FileError;
use crate::ranks::{Ranks, RanksError};

/// Randomness that rank 0 draws and all ranks have. It is told in memory and never in a file.
#[derive(Clone, Copy, Debug)]
pub struct SharedEntropy<'a> {
    ranks: &'a dyn Ranks,
    own: &'a dyn Entropy,
}

impl<'a> SharedEntropy<'a> {
    /// What rank 0 draws from its `own`.
    pub fn new(ranks: &'a dyn Ranks, own: &'a dyn Entropy) -> SharedEntropy<'a> {
        SharedEntropy { ranks, own }
    }
}

impl Entropy for SharedEntropy<'_> {
    fn fill(&self, out: &mut [u8]) -> Result<(), EntropyError> {
        let mut bytes = Vec::new();
        if self.ranks.is_first() {
            self.own.fill(out)?;
            bytes = out.to_vec();
        }
        self.ranks.broadcast(&mut bytes).map_err(|error| EntropyError(error.into()))?;
        out.copy_from_slice(&bytes);
        Ok(())
    }
}

/// A ledger that rank 0 keeps.
#[derive(Debug)]
pub struct SharedStore {
    ranks: Arc<dyn Ranks>,
    /// Of rank 0 alone.
    own: Option<Box<dyn LedgerStore>>,
    place: PathBuf,
}

impl SharedStore {
    /// What rank 0 keeps in its `own`, called `place` by the others.
    pub fn new(ranks: Arc<dyn Ranks>, own: Option<Box<dyn LedgerStore>>, place: &Path) -> SharedStore {
        let own = own.filter(|_| ranks.is_first());
        let place = own.as_ref().map_or(place, |own| own.place()).to_owned();
        SharedStore { ranks, own, place }
    }
}

impl LedgerStore for SharedStore {
    fn place(&self) -> &Path {
        &self.place
    }

    fn read(&mut self) -> Result<Option<Vec<u8>>, LedgerError> {
        // The first byte says whether there is anything.
        let mut told = match &mut self.own {
            Some(own) => own.read()?.map_or(vec![0], |text| [&[1][..], &text].concat()),
            None => Vec::new(),
        };
        self.ranks.broadcast(&mut told)?;
        Ok(told.split_first().filter(|(first, _)| **first == 1).map(|(_, text)| text.to_vec()))
    }

    fn replace(&mut self, text: &[u8]) -> Result<(), FileError> {
        self.own.as_mut().map_or(Ok(()), |own| own.replace(text))
    }

    fn begin(&mut self) -> Result<(), FileError> {
        self.own.as_mut().map_or(Ok(()), |own| own.begin())
    }

    fn append(&mut self, line: &[u8]) -> Result<(), LedgerError> {
        self.append_while(line, &mut || true)
    }

    fn append_while(&mut self, line: &[u8], work: &mut dyn FnMut() -> bool) -> Result<(), LedgerError> {
        let went_well = match &mut self.own {
            Some(own) if self.ranks.size() == 1 => return own.append_while(line, work),
            Some(own) => {
                let (written, went_well) = aside(|| own.append(line), work);
                written?;
                went_well
            }
            None => work(),
        };
        // Who cannot go on leaves, and the others hear of that in place of the line.
        if !went_well {
            return Ok(());
        }
        // Rank 0 tells what it has written; the others would have written the same.
        let mut written = line.to_vec();
        self.ranks.broadcast(&mut written)?;
        if written == line {
            return Ok(());
        }
        let [first, other] =
            [&written[..], line].map(|line| format!("the line {}", String::from_utf8_lossy(line).trim_end()));
        Err(RanksError::OutOfStep { rank: self.ranks.rank(), first, other }.into())
    }
}

/// What `write` yields, which a thread of its own does while this one does `work`, and what that does; one after the other where the
/// system starts no thread.
fn aside<T: Send, U>(mut write: impl FnMut() -> T + Send, work: &mut dyn FnMut() -> U) -> (T, U) {
    let both = thread::scope(|scope| {
        let writing = thread::Builder::new().name("dpc ledger".to_owned()).spawn_scoped(scope, &mut write).ok()?;
        let worked = work();
        Some((writing.join().unwrap_or_else(|panic| resume_unwind(panic)), worked))
    });
    both.unwrap_or_else(|| {
        let worked = work();
        (write(), worked)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Duration;

    use super::*;
    use crate::privacy::keys::RunKey;
    use crate::privacy::ledger::{Ledger, MemoryStore};
    use crate::privacy::plan::{self, PrivacyPlan};
    use crate::ranks::Threads;

    #[derive(Debug)]
    struct Counting(u8);

    impl Entropy for Counting {
        fn fill(&self, out: &mut [u8]) -> Result<(), EntropyError> {
            out.fill(self.0);
            Ok(())
        }
    }

    fn together<T: Send>(size: usize, work: impl Fn(Arc<dyn Ranks>) -> T + Sync) -> Vec<T> {
        std::thread::scope(|scope| {
            let work = &work;
            let rank = |place: Threads| scope.spawn(move || work(Arc::new(place)));
            let threads: Vec<_> = Threads::places(size).into_iter().map(rank).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    }

    #[test]
    fn the_key_is_that_of_rank_0() {
        let keys = together(3, |ranks| {
            let own = Counting(5 + ranks.rank() as u8);
            let key = RunKey::fresh(&SharedEntropy::new(&*ranks, &own)).unwrap();
            key.derive(crate::privacy::keys::Domain::Noise)
        });
        let expected = RunKey::fresh(&Counting(5)).unwrap().derive(crate::privacy::keys::Domain::Noise);
        assert!(keys.iter().all(|key| *key == expected));
    }

    /// A store that takes so many lines.
    #[derive(Debug)]
    struct Room(MemoryStore, usize);

    impl LedgerStore for Room {
        fn place(&self) -> &Path {
            self.0.place()
        }

        fn read(&mut self) -> Result<Option<Vec<u8>>, LedgerError> {
            self.0.read()
        }

        fn replace(&mut self, text: &[u8]) -> Result<(), FileError> {
            self.0.replace(text)
        }

        fn append(&mut self, line: &[u8]) -> Result<(), LedgerError> {
            let full = || FileError::write(self.0.place(), std::io::ErrorKind::StorageFull.into());
            self.1 = self.1.checked_sub(1).ok_or_else(full)?;
            self.0.append(line)
        }
    }

    #[test]
    fn no_rank_has_a_step_that_rank_0_could_not_write() {
        let (plan, store) = (PrivacyPlan::new(plan::example()).unwrap(), MemoryStore::default());
        let paid = together(3, |ranks| {
            let own = Box::new(Room(store.clone(), 2)) as Box<dyn LedgerStore>;
            let shared = SharedStore::new(ranks.clone(), Some(own), Path::new("elsewhere"));
            let mut ledger = Ledger::on(Box::new(shared), "a run", &plan).unwrap();
            let paid = (0..5).take_while(|&step| match ledger.record(step) {
                Ok(receipt) => receipt.step() == step,
                Err(error) => {
                    ranks.leave(&error.to_string());
                    false
                }
            });
            (paid.count(), ledger.contents().steps())
        });
        // The line that failed counts in memory, as it may be there in part.
        assert_eq!(paid, [(2, 3); 3]);
        assert_eq!(store.text().iter().filter(|&&byte| byte == b'\n').count(), 2);
    }

    /// A store that tells when a line comes, and keeps it once it is told to.
    #[derive(Debug)]
    struct Slow(MemoryStore, Mutex<(Sender<()>, Receiver<()>)>);

    impl LedgerStore for Slow {
        fn place(&self) -> &Path {
            self.0.place()
        }

        fn read(&mut self) -> Result<Option<Vec<u8>>, LedgerError> {
            self.0.read()
        }

        fn replace(&mut self, text: &[u8]) -> Result<(), FileError> {
            self.0.replace(text)
        }

        fn append(&mut self, line: &[u8]) -> Result<(), LedgerError> {
            let channels = self.1.lock().unwrap();
            channels.0.send(()).unwrap();
            channels.1.recv_timeout(Duration::from_secs(60)).unwrap();
            self.0.append(line)
        }
    }

    #[test]
    fn a_line_is_written_while_the_ranks_work_and_no_step_is_had_before_it_is_there() {
        let (plan, store) = (PrivacyPlan::new(plan::example()).unwrap(), MemoryStore::default());
        let ((comes, coming), (keep, kept)) = (channel(), channel());
        let slow = Mutex::new(Some(Slow(store.clone(), Mutex::new((comes, kept)))));
        let channels = Mutex::new((coming, keep));
        let paid = together(3, |ranks| {
            let own =
                slow.lock().unwrap().take_if(|_| ranks.is_first()).map(|slow| Box::new(slow) as Box<dyn LedgerStore>);
            let shared = SharedStore::new(ranks.clone(), own, Path::new("elsewhere"));
            let mut ledger = Ledger::on(Box::new(shared), "a run", &plan).unwrap();
            let receipt = ledger.record_while(0, || {
                // The work of rank 0 ends only once its line has come to the store, and the line is kept after the work.
                if ranks.is_first() {
                    let channels = channels.lock().unwrap();
                    channels.0.recv_timeout(Duration::from_secs(60)).unwrap();
                    assert_eq!(store.text(), b"");
                    channels.1.send(()).unwrap();
                }
                Ok::<(), LedgerError>(())
            });
            (receipt.unwrap().step(), store.text().ends_with(b"\n"))
        });
        assert_eq!(paid, [(0, true); 3]);
    }

    #[test]
    fn a_step_whose_work_fails_on_one_rank_counts_and_none_has_it() {
        let (plan, store) = (PrivacyPlan::new(plan::example()).unwrap(), MemoryStore::default());
        let ended = together(3, |ranks| {
            let own = Box::new(store.clone()) as Box<dyn LedgerStore>;
            let shared = SharedStore::new(ranks.clone(), Some(own), Path::new("elsewhere"));
            let mut ledger = Ledger::on(Box::new(shared), "a run", &plan).unwrap();
            let work = || match ranks.rank() {
                1 => Err(LedgerError::Version { path: PathBuf::new() }),
                _ => Ok(()),
            };
            let failed = ledger.record_while(0, work).map(|receipt| receipt.step());
            let failed = failed.inspect_err(|_| ranks.leave("its work failed"));
            failed.unwrap_err().to_string()
        });
        assert!(ended[0].contains("rank 1 has left: its work failed") && ended[0] == ended[2], "{ended:?}");
        assert_eq!(store.text().iter().filter(|&&byte| byte == b'\n').count(), 1);
    }

    #[test]
    fn a_step_whose_work_fails_counts_and_is_not_had() {
        let (plan, store) = (PrivacyPlan::new(plan::example()).unwrap(), MemoryStore::default());
        let ended = together(2, |ranks| {
            let own = Box::new(store.clone()) as Box<dyn LedgerStore>;
            let shared = SharedStore::new(ranks.clone(), Some(own), Path::new("elsewhere"));
            let mut ledger = Ledger::on(Box::new(shared), "a run", &plan).unwrap();
            let failing = || Err(LedgerError::Version { path: PathBuf::new() });
            let failed = ledger.record_while(0, failing).is_err();
            (failed, ledger.record(1).unwrap().step(), ledger.contents().steps())
        });
        assert_eq!(ended, [(true, 1, 2); 2]);
        assert_eq!(store.text().iter().filter(|&&byte| byte == b'\n').count(), 2);
    }

    #[test]
    fn a_rank_that_would_take_another_step_takes_none() {
        let plan = PrivacyPlan::new(plan::example()).unwrap();
        let paid = together(2, |ranks| {
            let own = Box::new(MemoryStore::default()) as Box<dyn LedgerStore>;
            let shared = SharedStore::new(ranks.clone(), Some(own), Path::new("elsewhere"));
            let mut ledger = Ledger::on(Box::new(shared), "a run", &plan).unwrap();
            ledger.record(ranks.rank() as u64).is_ok()
        });
        assert_eq!(paid, [true, false]);
    }
}
