//! Processes that were started together by MPI (`mpirun`, `srun`) as ranks.
//!
//! Before each call the ranks exchange two numbers each: what they are about to do, and with how many bytes or elements.
//! So one that leaves, or ends, is seen wherever the others are, and its reason reaches them; calls that do not fit are
//! errors and no deadlock. A process that is killed sends nothing: MPI's own launcher sees that and ends the others.
//!
//! MPI's calls are made one at a time, by whichever thread. Where one fails, MPI ends the whole job.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use mpi::Threading;
use mpi::collective::SystemOperation;
use mpi::environment::Universe;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives, Equivalence, Root};

use super::{Call, Ranks, RanksError, in_step};

/// Elements of one message, whose number MPI takes as a C int.
const MESSAGE: usize = 1 << 28;
/// The first number that a rank sends before a call: what that is.
const LEAVES: u64 = 0;
const GATHERS: u64 = 1;
const BROADCASTS: u64 = 2;
const SUMS_INTEGERS: u64 = 3;
const SUMS_FLOATS: u64 = 4;
/// That it has no more to do.
const ENDS: u64 = 5;

/// This process's place among those of MPI's world. Dropping it waits for the others to end too, or to notice that it has.
pub struct Mpi {
    rank: usize,
    size: usize,
    world: Mutex<World>,
}

struct World {
    /// Until MPI is over.
    universe: Option<Universe>,
    parted: Option<RanksError>,
}

impl fmt::Debug for Mpi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mpi(rank {} of {})", self.rank, self.size)
    }
}

impl Mpi {
    /// Joins the processes that were started together with this one. Once in a process.
    ///
    /// # Errors
    /// When MPI is in use already, or cannot be used from several threads in turn.
    pub fn join() -> Result<Mpi, RanksError> {
        let unusable = |what: &str| RanksError::Unusable { what: what.to_owned() };
        let (universe, threading) = mpi::initialize_with_threading(Threading::Serialized)
            .ok_or_else(|| unusable("it was begun before in this process"))?;
        if threading < Threading::Serialized {
            return Err(unusable("it does not allow calls from several threads in turn"));
        }
        let world = universe.world();
        let (rank, size) = (world.rank() as usize, world.size() as usize);
        let world = World { universe: Some(universe), parted: None };
        Ok(Mpi { rank, size, world: Mutex::new(world) })
    }

    /// How MPI calls itself.
    pub fn library() -> String {
        let version = mpi::environment::library_version().unwrap_or_default();
        version.lines().next().unwrap_or_default().trim_end_matches('\0').to_owned()
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Exchanges what is next, and does it once all are to do the same.
    fn call<T>(
        &self,
        (call, length): (u64, usize),
        work: impl FnOnce(&SimpleCommunicator, &[usize]) -> T,
    ) -> Result<T, RanksError> {
        let mut state = self.world();
        let lengths = state.announce((call, length as u64), self.size, &[])?;
        let world = state.communicator()?;
        Ok(work(&world, &lengths))
    }
}

impl World {
    fn communicator(&self) -> Result<SimpleCommunicator, RanksError> {
        let over = || RanksError::Unusable { what: "it is over".to_owned() };
        self.universe.as_ref().map(Universe::world).ok_or_else(over)
    }

    /// Tells the others what this rank does next. The lengths that all have, where all do the same; where one leaves
    /// or ends, its reason, of which `why` is this one's.
    fn announce(&mut self, own: (u64, u64), size: usize, why: &[u8]) -> Result<Vec<usize>, RanksError> {
        if let Some(parted) = &self.parted {
            return Err(parted.clone());
        }
        let world = self.communicator()?;
        let mut all = vec![0_u64; 2 * size];
        world.all_gather_into(&[own.0, own.1][..], &mut all[..]);
        let (all, _) = all.as_chunks::<2>();
        let lengths: Vec<usize> = all.iter().map(|&[_, length]| length as usize).collect();
        let gone = |kind: u64| all.iter().position(|&[call, _]| call == kind);
        let outcome = if let Some(rank) = gone(LEAVES) {
            let mut told = if rank == world.rank() as usize { why.to_vec() } else { vec![0; lengths[rank]] };
            broadcast(&world, rank, &mut told);
            Err(RanksError::Left { rank, why: String::from_utf8_lossy(&told).into_owned() })
        } else if all.iter().all(|&[call, _]| call == ENDS) {
            Ok(lengths)
        } else if let Some(rank) = gone(ENDS) {
            Err(RanksError::Left { rank, why: "it has ended".to_owned() })
        } else {
            let calls: Vec<Call> = all.iter().map(|&[call, length]| named(call, length as usize)).collect();
            in_step(&calls).map(|()| lengths)
        };
        if let Err(error) = &outcome {
            self.parted = Some(error.clone());
        }
        outcome
    }
}

fn named(call: u64, length: usize) -> Call {
    match call {
        SUMS_INTEGERS => Call::SumI64(length),
        SUMS_FLOATS => Call::SumF64(length),
        BROADCASTS => Call::Broadcast,
        _ => Call::Gather,
    }
}

fn broadcast(world: &SimpleCommunicator, from: usize, bytes: &mut [u8]) {
    let root = world.process_at_rank(from as i32);
    bytes.chunks_mut(MESSAGE).for_each(|part| root.broadcast_into(part));
}

fn sum<T: Copy + Equivalence>(world: &SimpleCommunicator, values: &mut [T]) {
    for part in values.chunks_mut(MESSAGE) {
        let own = part.to_vec();
        world.all_reduce_into(&own[..], part, SystemOperation::sum());
    }
}

impl Ranks for Mpi {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, RanksError> {
        self.call((GATHERS, own.len()), |world, lengths| {
            // As many bytes of each as the longest has.
            let longest = lengths.iter().copied().max().unwrap_or(0);
            let mut all = vec![Vec::with_capacity(longest); lengths.len()];
            for start in (0..longest).step_by(MESSAGE / lengths.len()) {
                let width = (longest - start).min(MESSAGE / lengths.len());
                let mut part = vec![0_u8; width];
                let given = own.get(start..).unwrap_or_default();
                part.iter_mut().zip(given).for_each(|(to, &byte)| *to = byte);
                let mut parts = vec![0_u8; width * lengths.len()];
                world.all_gather_into(&part[..], &mut parts[..]);
                all.iter_mut().zip(parts.chunks_exact(width)).for_each(|(all, part)| all.extend_from_slice(part));
            }
            all.iter_mut().zip(lengths).for_each(|(all, &length)| all.truncate(length));
            all
        })
    }

    fn broadcast(&self, bytes: &mut Vec<u8>) -> Result<(), RanksError> {
        self.call((BROADCASTS, bytes.len()), |world, lengths| {
            bytes.resize(lengths[0], 0);
            broadcast(world, 0, bytes);
        })
    }

    fn sum_i64(&self, values: &mut [i64]) -> Result<(), RanksError> {
        self.call((SUMS_INTEGERS, values.len()), |world, _| sum(world, values))
    }

    fn sum_f64(&self, values: &mut [f64]) -> Result<(), RanksError> {
        self.call((SUMS_FLOATS, values.len()), |world, _| sum(world, values))
    }

    fn leave(&self, why: &str) {
        // That it left is what all are told; this one knows.
        let _ = self.world().announce((LEAVES, why.len() as u64), self.size, why.as_bytes());
    }
}

impl Drop for Mpi {
    fn drop(&mut self) {
        let (broken, size) = (std::thread::panicking(), self.size);
        let mut state = self.world();
        let why = b"a defect of dpc ended it";
        // Where others are still at work they learn of it, and end too.
        let _ = match broken {
            true => state.announce((LEAVES, why.len() as u64), size, why),
            false => state.announce((ENDS, 0), size, &[]),
        };
        state.universe.take();
    }
}
