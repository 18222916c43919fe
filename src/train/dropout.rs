//! The keys of dropout masks: a function of the run, the step, the record and its view, so that a record's
//! mask does not depend on what else is in its physical batch, or where in it the record stands.

use super::chance::Row;
use crate::privacy::keys::{Domain, RunKey, Stream};

/// The bits of a record's number.
const VIEW_SHIFT: u32 = 40;

/// Draws the keys of a run.
pub struct DropoutKeys {
    key: [u8; 32],
}

impl DropoutKeys {
    pub fn new(run: &RunKey) -> Self {
        let key = run.derive(Domain::Dropout);
        Self { key }
    }

    /// Writes two words for each of `rows` at `step` to the front of `out`.
    pub fn fill(&self, step: u64, rows: &[Row], out: &mut [u32]) {
        for (&(record, view), words) in rows.iter().zip(out.chunks_exact_mut(2)) {
            let mut bytes = [0; 8];
            Stream::at(&self.key, step, ((view as u64) << VIEW_SHIFT) | record as u64).fill(&mut bytes);
            let (halves, _) = bytes.as_chunks::<4>();
            for (word, half) in words.iter_mut().zip(halves) {
                *word = u32::from_le_bytes(*half);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_belongs_to_its_step_and_record() {
        let keys = DropoutKeys::new(&RunKey::insecure(7));
        let at = |step, rows: &[Row]| {
            let mut out = vec![0; 2 * rows.len()];
            keys.fill(step, rows, &mut out);
            out
        };
        assert_eq!(at(3, &[(5, 0), (9, 1)])[2..], at(3, &[(9, 1)])[..]);
        assert_ne!(at(3, &[(9, 0)]), at(4, &[(9, 0)]));
        assert_ne!(at(3, &[(9, 0)]), at(3, &[(8, 0)]));
        assert_ne!(at(3, &[(9, 0)]), at(3, &[(9, 1)]));
    }
}
