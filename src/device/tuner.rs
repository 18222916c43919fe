//! What kernels cost on a device: each is run alone, once, and its time kept.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::{Device, DeviceError, TARGETS};
use crate::graph::DType;
use crate::lower::cost::Costs;
use crate::lower::kernels::{
    Access, CrossEntropy, CrossEntropyVjp, Kernel, WeightedCrossEntropy, WeightedCrossEntropyVjp,
};
use crate::lower::program::{Buffer, BufferId, Dispatch, Extent, Phase, Program, Role};

/// Seconds by physical batch and kernel.
pub type Measured = BTreeMap<String, f64>;

/// Runs a kernel for at least this long, so that the median says something,
const LONG_ENOUGH: Duration = Duration::from_millis(4);
/// and at least so often,
const FEWEST: usize = 3;
/// but not more often.
const MOST: usize = 50;

/// Measures kernels on a device.
pub struct Tuner {
    device: Arc<dyn Device>,
    measured: Mutex<Measured>,
}

impl Tuner {
    /// A tuner that knows some kernels from earlier.
    pub fn new(device: Arc<dyn Device>, measured: Measured) -> Tuner {
        Tuner { device, measured: Mutex::new(measured) }
    }

    /// All that it knows.
    pub fn measured(&self) -> Measured {
        self.measured.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn measure(&self, kernel: &Kernel, rows: usize) -> Result<f64, DeviceError> {
        let program = Arc::new(alone(kernel));
        let mut session = self.device.load(program.clone(), rows)?;
        let mut random = Random(1);
        for id in program.ids() {
            let buffer = program.buffer(id);
            let words = match (buffer.dtype, buffer.name.as_str()) {
                (DType::I32, "order") => identity(buffer.len, rows),
                (DType::I32, _) => random.ids(bound(kernel), buffer.len, rows),
                (dtype, _) => (0..buffer.len.at(rows)).map(|_| random.word(dtype)).collect(),
            };
            session.write(id, &words)?;
        }
        let mut seconds = Vec::new();
        let begun = Instant::now();
        while seconds.len() <= FEWEST || (begun.elapsed() < LONG_ENOUGH && seconds.len() < MOST) {
            seconds.extend(session.time(Phase::Forward)?);
        }
        let warm = &mut seconds[1..];
        warm.sort_by(f64::total_cmp);
        Ok(warm[warm.len() / 2])
    }
}

impl Costs for Tuner {
    fn seconds(&self, kernel: &Kernel, rows: usize) -> f64 {
        let key = key(kernel, rows);
        let known = self.measured.lock().unwrap_or_else(PoisonError::into_inner).get(&key).copied();
        known.unwrap_or_else(|| {
            let seconds = self.measure(kernel, rows).unwrap_or(f64::INFINITY);
            self.measured.lock().unwrap_or_else(PoisonError::into_inner).insert(key, seconds);
            seconds
        })
    }
}

/// The name of a measurement.
fn key(kernel: &Kernel, rows: usize) -> String {
    let text = serde_json::to_string(kernel).unwrap_or_else(|_| kernel.rules().text());
    let digest: String = Sha256::digest(text).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("{} {rows} {digest}", kernel.rules().name())
}

/// A program of a single dispatch.
fn alone(kernel: &Kernel) -> Program {
    let mut program = Program { targets: TARGETS.ids(), ..Program::default() };
    for (k, binding) in kernel.rules().buffers().into_iter().enumerate() {
        let role = match binding.access {
            Access::Read => Role::Input(k.to_string()),
            Access::Write => Role::Output(k.to_string()),
        };
        let (name, dtype) = (binding.name.to_owned(), binding.dtype.unwrap_or(DType::F32));
        program.buffers.push(Buffer { name, dtype, len: binding.len, role, slot: 0 });
    }
    let buffers: Vec<BufferId> = program.ids().collect();
    program
        .phases
        .insert(Phase::Forward, vec![Dispatch { kernel: kernel.clone(), buffers, label: String::new(), views: 1 }]);
    program
}

/// What the ids that a kernel reads are below.
fn bound(kernel: &Kernel) -> usize {
    match kernel {
        Kernel::Gather(k) => k.table_rows,
        Kernel::Scatter(k) => k.table_rows,
        Kernel::SortIds(k) => k.table_rows,
        Kernel::SegmentNorm(k) => k.table_rows,
        Kernel::SegmentCross(k) => k.table_rows,
        Kernel::Rearrange(k) => k.from_len,
        Kernel::CrossEntropy(CrossEntropy(of)) | Kernel::CrossEntropyVjp(CrossEntropyVjp(of)) => of.classes,
        Kernel::WeightedCrossEntropy(WeightedCrossEntropy(k)) => k.of.classes,
        Kernel::WeightedCrossEntropyVjp(WeightedCrossEntropyVjp(k)) => k.of.classes,
        _ => 1,
    }
}

/// The order of ids that are sorted, for every record.
fn identity(len: Extent, rows: usize) -> Vec<u32> {
    let (record, records) = if len.per_row > 0 { (len.per_row, rows) } else { (len.fixed, 1) };
    (0..records).flat_map(|_| 0..record as u32).collect()
}

/// Numbers that are neither all alike nor extreme.
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u32 {
        // Knuth's linear congruential generator.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as u32
    }

    fn word(&mut self, dtype: DType) -> u32 {
        match dtype {
            DType::F32 => (self.bits() as f32 / (1 << 23) as f32 - 1.0).to_bits(),
            DType::I32 | DType::Bool => self.bits() & 1,
        }
    }

    /// Ids below a bound, those of a record sorted.
    fn ids(&mut self, bound: usize, len: Extent, rows: usize) -> Vec<u32> {
        let mut ids: Vec<u32> = (0..len.at(rows)).map(|_| self.bits() % bound.max(1) as u32).collect();
        ids.chunks_mut(len.per_row.max(len.fixed).max(1)).for_each(<[u32]>::sort_unstable);
        ids
    }
}

#[cfg(all(test, feature = "cpu", feature = "gpu"))]
mod tests {
    use super::*;
    use crate::device::cases::cases;
    use crate::device::cpu::Cpu;

    #[test]
    fn every_kernel_can_be_measured_alone() {
        let tuner = Tuner::new(Arc::new(Cpu), Measured::new());
        for case in cases() {
            let seconds = tuner.seconds(case.kernel(), case.rows);
            assert!(seconds.is_finite(), "{}", case.name);
            assert_eq!(seconds, tuner.seconds(case.kernel(), case.rows), "{}", case.name);
        }
        assert!(!tuner.measured().is_empty());
    }
}
