//! `--tensorboard DIR`: an event file for each process of a run, which TensorBoard shows.
//!
//! A file is a sequence of records: the length as eight bytes, its masked CRC-32C, an [`Event`](proto::Event), and its masked
//! CRC-32C (`tensorflow/core/lib/io/record_writer.h`). What is written is what the line of metrics says, so that nothing without
//! noise is here that is not there; the histogram of norms is added where that line has figures that are not private.

mod norms;
pub mod proto;

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;

pub use norms::Norms;
use proto::{Content, Event, SessionLog, Summary, Value, What};

use super::metrics::StepMetrics;
use crate::files::{self, FileError};

/// An open event file.
#[derive(Debug)]
pub struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// A new file in `directory` for the steps after `step` ones. What earlier files there say of them counts no more.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn create(directory: &Path, step: u64) -> Result<EventFile, FileError> {
        files::create_directory(directory)?;
        let (seconds, process) = (now() as u64, std::process::id());
        let mut number = 0;
        let (path, file) = loop {
            let path = directory.join(format!("events.out.tfevents.{seconds:010}.dpc.{process}.{number}"));
            match OpenOptions::new().append(true).create_new(true).open(&path) {
                Ok(file) => break (path, file),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => number += 1,
                Err(error) => return Err(FileError::write(&path, error)),
            }
        };
        let mut events = Self { path, file };
        events.write(0, What::FileVersion("brain.Event:2".to_owned()))?;
        events.write(step + 1, What::SessionLog(SessionLog { status: 1 }))?;
        Ok(events)
    }

    /// Adds what a line of metrics says, and the norms that go with it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add(&mut self, metrics: &StepMetrics, norms: Option<&Norms>) -> Result<(), FileError> {
        let scalar = |(tag, value): (String, f64)| Value { tag, content: Some(Content::SimpleValue(value as f32)) };
        let mut value: Vec<Value> = scalars(metrics).into_iter().map(scalar).collect();
        if let Some(norms) = norms.filter(|_| metrics.not_private.is_some()).and_then(Norms::message) {
            value.push(Value { tag: "not_private/gradient_norm".to_owned(), content: Some(Content::Histo(norms)) });
        }
        self.write(metrics.step, What::Summary(Summary { value }))
    }

    fn write(&mut self, step: u64, what: What) -> Result<(), FileError> {
        let event = Event { wall_time: now(), step: step as i64, what: Some(what) };
        self.file.write_all(&record(&event.encode_to_vec())).map_err(|source| FileError::write(&self.path, source))
    }
}

/// The tags of a line of metrics with their values.
fn scalars(metrics: &StepMetrics) -> Vec<(String, f64)> {
    let mut all: Vec<(String, Option<f64>)> = vec![
        ("privacy/epsilon".to_owned(), metrics.epsilon),
        ("privacy/noise_multiplier".to_owned(), metrics.noise_multiplier),
        ("train/learning_rate".to_owned(), metrics.learning_rate),
        ("train/epoch".to_owned(), Some(metrics.epoch)),
        ("train/steps_per_second".to_owned(), metrics.steps_per_second),
        ("train/samples_per_second".to_owned(), Some(metrics.samples_per_second)),
    ];
    all.extend(metrics.lr_for.iter().map(|(pattern, rate)| (format!("train/learning_rate/{pattern}"), Some(*rate))));
    match &metrics.clip_bounds[..] {
        [only] => all.push(("privacy/clip_bound".to_owned(), Some(*only))),
        several => all.extend((1..).zip(several).map(|(k, bound)| (format!("privacy/clip_bound/{k}"), Some(*bound)))),
    }
    let figures = metrics.valid.iter().flat_map(|valid| valid.figures());
    all.extend(figures.map(|figure| (format!("valid/{}", figure.key), Some(figure.value))));
    if let Some(estimates) = &metrics.estimates {
        all.push(("estimates/batch_size".to_owned(), Some(estimates.batch_size)));
        all.push(("estimates/loss".to_owned(), estimates.loss));
    }
    if let Some(observed) = &metrics.not_private {
        all.push(("not_private/loss".to_owned(), observed.loss));
        all.push(("not_private/clipped_fraction".to_owned(), observed.clipped_fraction));
    }
    all.into_iter().filter_map(|(tag, value)| Some((tag, value?))).collect()
}

/// One record of an event file.
fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    [&length[..], &masked(&length), data, &masked(data)].concat()
}

/// A CRC-32C, rotated and moved, as checksums of data that hold checksums are to be.
fn masked(data: &[u8]) -> [u8; 4] {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests;
