//! How many rows a physical batch has where nobody says: as many as fit, since the time of a record changes little with them.

use super::step::Stepper;
use super::units::Units;
use crate::artifact::Artifact;
use crate::device::Device;
use crate::lower::check::COUNTED_ROWS;
use crate::lower::program::{Phase, Program};
use crate::privacy::adjacency::Unit;
use crate::privacy::plan::PrivacyPlan;

/// The rows of a physical batch for training by `plan` on one of `ranks` devices, at most those that the artifact allows and
/// `device` has memory for: whole records where each has several views.
pub fn suited(device: &dyn Device, artifact: &Artifact, plan: &PrivacyPlan, units: &Units, ranks: usize) -> usize {
    let views = plan.views as usize;
    let together = plan.clips_means() && plan.unit == Unit::Record && views <= artifact.manifest.max_batch;
    let steps: &[Phase] = match (together, plan.grid.is_some()) {
        (true, true) => &[Phase::Private, Phase::Release],
        (true, false) => &[Phase::Private, Phase::Update],
        (false, _) => Stepper::phases(plan),
    };
    let most = artifact.manifest.max_batch.min(COUNTED_ROWS);
    let most = fitting(device, &artifact.program, &[&[Phase::Forward], steps].concat(), most);
    match plan.clips_means() {
        true if together && views <= most => rows(plan.expected_batch / ranks as f64, most / views) * views,
        true => (units.longest() * views).min(most),
        false => rows(plan.expected_batch * views as f64 / ranks as f64, most),
    }
}

/// The most rows, at most `most`, for which `device` has memory for the `phases` of a program; 1 where there is none even
/// for that.
pub fn fitting(device: &dyn Device, program: &Program, phases: &[Phase], most: usize) -> usize {
    let program = program.restricted(phases);
    if device.fits(&program, most) {
        return most;
    }
    let (mut low, mut high) = (1, most);
    while low + 1 < high {
        let middle = low.midpoint(high);
        if device.fits(&program, middle) { low = middle } else { high = middle }
    }
    low
}

/// Rows, at most `most`, such that the fewest physical batches that hold nearly every logical batch of `expected`
/// records are evenly full. A Poisson number of records passes its mean by three deviations once in 700 steps.
pub fn rows(expected: f64, most: usize) -> usize {
    let nearly_all = (expected + 3.0 * expected.sqrt()).ceil().max(1.0);
    let batches = (nearly_all / most as f64).ceil();
    (nearly_all / batches).ceil() as usize
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::device::{DeviceError, Session};

    /// A device that has memory for so many rows.
    struct Small(usize);

    impl Device for Small {
        fn name(&self) -> String {
            "small".into()
        }

        fn fits(&self, _program: &Program, rows: usize) -> bool {
            rows <= self.0
        }

        fn load(&self, _program: Arc<Program>, _rows: usize) -> Result<Box<dyn Session>, DeviceError> {
            Err(DeviceError::OutOfMemory { device: self.name(), what: "everything".into() })
        }
    }

    #[test]
    fn as_many_rows_as_fit() {
        for most in [1, 2, 3, 7, 256] {
            for room in 0..2 * most {
                let rows = fitting(&Small(room), &Program::default(), &[Phase::Private], most);
                assert_eq!(rows, room.clamp(1, most), "{room} of {most}");
            }
        }
    }

    #[test]
    fn rows_fill_whole_batches() {
        assert_eq!(rows(10.0, 256), 20);
        assert_eq!(rows(256.0, 256), 152);
        assert_eq!(rows(2048.0, 256), 243);
        assert_eq!(rows(0.001, 256), 1);
        assert_eq!(rows(5.0, 1), 1);
    }
}
