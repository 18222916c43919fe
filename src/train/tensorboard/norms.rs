//! A histogram of norms, in buckets whose limits grow by a tenth.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::proto;

/// The ratio of neighbouring limits, as TensorFlow's own summaries have it.
const GROWTH: f64 = 1.1;
/// Norms up to here are in one bucket.
const LEAST: f64 = 1e-12;

/// The norms so far; those that are not finite are left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Norms {
    /// Bucket k holds norms in (LEAST · GROWTH^(k−1), LEAST · GROWTH^k], the first all up to LEAST.
    buckets: BTreeMap<u32, u64>,
    min: f64,
    max: f64,
    sum: f64,
    sum_squares: f64,
}

impl Norms {
    /// Counts one norm.
    pub fn add(&mut self, norm: f32) {
        let norm = f64::from(norm);
        if !norm.is_finite() {
            return;
        }
        let first = self.buckets.is_empty();
        self.min = if first { norm } else { self.min.min(norm) };
        self.max = if first { norm } else { self.max.max(norm) };
        self.sum += norm;
        self.sum_squares += norm * norm;
        let bucket = if norm <= LEAST { 0 } else { ((norm / LEAST).ln() / GROWTH.ln()).ceil() as u32 };
        *self.buckets.entry(bucket).or_default() += 1;
    }

    /// Counts all that `other` has.
    pub fn merge(&mut self, other: &Norms) {
        if other.buckets.is_empty() {
            return;
        }
        let first = self.buckets.is_empty();
        self.min = if first { other.min } else { self.min.min(other.min) };
        self.max = if first { other.max } else { self.max.max(other.max) };
        self.sum += other.sum;
        self.sum_squares += other.sum_squares;
        for (&bucket, count) in &other.buckets {
            *self.buckets.entry(bucket).or_default() += count;
        }
    }

    /// The message of an event file; `None` where there are no norms.
    pub fn message(&self) -> Option<proto::Histogram> {
        if self.buckets.is_empty() {
            return None;
        }
        let limit = |bucket: u32| LEAST * GROWTH.powi(bucket as i32);
        let (mut bucket_limit, mut bucket) = (Vec::new(), Vec::new());
        let mut last = None;
        for (&at, &count) in &self.buckets {
            if at > 0 && last != Some(at - 1) {
                // Nothing lies between, down to this bucket's lower end.
                bucket_limit.push(limit(at - 1));
                bucket.push(0.0);
            }
            bucket_limit.push(limit(at));
            bucket.push(count as f64);
            last = Some(at);
        }
        let Norms { min, max, sum, sum_squares, .. } = *self;
        Some(proto::Histogram { min, max, num: bucket.iter().sum(), sum, sum_squares, bucket_limit, bucket })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_counts_what_both_have() {
        let of = |norms: &[f32]| {
            let mut found = Norms::default();
            norms.iter().for_each(|&norm| found.add(norm));
            found
        };
        let mut merged = Norms::default();
        for part in [&[][..], &[0.5, 4.0], &[], &[0.25, 8.0, 0.5]] {
            let read: Norms = serde_json::from_slice(&serde_json::to_vec(&of(part)).unwrap()).unwrap();
            merged.merge(&read);
        }
        assert_eq!(merged, of(&[0.5, 4.0, 0.25, 8.0, 0.5]));
    }

    #[test]
    fn every_norm_lies_within_its_bucket() {
        let norms = [0.0, 1e-13, 0.5, 0.5, 0.9, 3.0, 1e20];
        let mut found = Norms::default();
        assert_eq!(found.message(), None);
        norms.iter().for_each(|&norm| found.add(norm));
        found.add(f32::NAN);
        let message = found.message().unwrap();
        assert_eq!((message.num, message.min, message.max), (7.0, 0.0, f64::from(1e20f32)));
        assert!(message.bucket_limit.is_sorted_by(|a, b| a < b));
        let mut below = f64::NEG_INFINITY;
        for (&limit, &count) in message.bucket_limit.iter().zip(&message.bucket) {
            let within =
                norms.iter().filter(|&&norm| f64::from(norm) > below && f64::from(norm) <= limit * (1.0 + 1e-9));
            assert_eq!(within.count() as f64, count, "up to {limit}");
            below = limit * (1.0 + 1e-9);
        }
        // Limits are close to what they hold.
        assert!(message.bucket_limit.iter().any(|limit| (0.5..0.56).contains(limit)));
    }
}
