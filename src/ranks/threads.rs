//! Threads of one process as ranks: for tests, and for machines with several devices.
//!
//! Each call is one exchange: every rank puts down what it gives, and takes what all gave once the last one has. A rank
//! reads the outcome of an exchange before it can come to the next, so that there is never more than one outcome to keep.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::{Call, Ranks, RanksError, in_step};

/// A thread's place among the ranks. Dropping it before the others are done counts as leaving.
#[derive(Debug)]
pub struct Threads {
    rank: usize,
    meeting: Arc<Meeting>,
}

#[derive(Debug)]
struct Meeting {
    size: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// What each rank that has come to the exchange gives.
    given: Vec<Option<(Call, Vec<u8>)>>,
    /// Exchanges that are over.
    over: u64,
    /// The outcome of the last of them.
    outcome: Outcome,
    /// Why there will be none any more.
    parted: Option<RanksError>,
}

/// What all ranks gave.
type Outcome = Result<Arc<Vec<Vec<u8>>>, RanksError>;

impl Threads {
    /// The places of `size` ranks, in order.
    pub fn places(size: usize) -> Vec<Threads> {
        let state = State { given: vec![None; size], over: 0, outcome: Ok(Arc::default()), parted: None };
        let meeting = Arc::new(Meeting { size, state: Mutex::new(state), changed: Condvar::new() });
        (0..size).map(|rank| Threads { rank, meeting: meeting.clone() }).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.meeting.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn exchange(&self, call: Call, own: Vec<u8>) -> Outcome {
        let mut state = self.state();
        if let Some(parted) = &state.parted {
            return Err(parted.clone());
        }
        state.given[self.rank] = Some((call, own));
        let mine = state.over;
        if state.given.iter().all(Option::is_some) {
            let (calls, given): (Vec<Call>, Vec<Vec<u8>>) = state.given.iter_mut().filter_map(Option::take).unzip();
            state.over += 1;
            state.outcome = in_step(&calls).map(|()| Arc::new(given));
            if let Err(error) = &state.outcome {
                state.parted = Some(error.clone());
            }
            self.meeting.changed.notify_all();
        }
        loop {
            if state.over > mine {
                return state.outcome.clone();
            }
            if let Some(parted) = &state.parted {
                return Err(parted.clone());
            }
            state = self.meeting.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Adds up numbers of 8 bytes each, in the order of the ranks.
    fn sum<T: Copy>(
        &self,
        call: Call,
        values: &mut [T],
        bytes: impl Fn(T) -> [u8; 8],
        add: impl Fn(T, [u8; 8]) -> T,
        zero: T,
    ) -> Result<(), RanksError> {
        let own = values.iter().flat_map(|&value| bytes(value)).collect();
        let all = self.exchange(call, own)?;
        values.fill(zero);
        for given in all.iter() {
            let (given, _) = given.as_chunks::<8>();
            values.iter_mut().zip(given).for_each(|(sum, &value)| *sum = add(*sum, value));
        }
        Ok(())
    }
}

impl Ranks for Threads {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.meeting.size
    }

    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, RanksError> {
        Ok(self.exchange(Call::Gather, own.to_vec())?.to_vec())
    }

    fn broadcast(&self, bytes: &mut Vec<u8>) -> Result<(), RanksError> {
        let own = if self.is_first() { bytes.clone() } else { Vec::new() };
        let all = self.exchange(Call::Broadcast, own)?;
        bytes.clone_from(&all[0]);
        Ok(())
    }

    fn sum_i64(&self, values: &mut [i64]) -> Result<(), RanksError> {
        let add = |sum: i64, value| sum.wrapping_add(i64::from_le_bytes(value));
        self.sum(Call::SumI64(values.len()), values, i64::to_le_bytes, add, 0)
    }

    fn sum_f64(&self, values: &mut [f64]) -> Result<(), RanksError> {
        let add = |sum: f64, value| sum + f64::from_le_bytes(value);
        self.sum(Call::SumF64(values.len()), values, f64::to_le_bytes, add, 0.0)
    }

    fn leave(&self, why: &str) {
        let mut state = self.state();
        let left = RanksError::Left { rank: self.rank, why: why.to_owned() };
        state.parted.get_or_insert(left);
        self.meeting.changed.notify_all();
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.leave(if std::thread::panicking() { "a defect of dpc ended it" } else { "it has ended" });
    }
}
