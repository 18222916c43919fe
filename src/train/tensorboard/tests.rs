//! Event files, read back by hand: no checksum, frame or field number is taken from what wrote them.

use super::*;
use crate::train::evaluate::{Evaluation, Measures};
use crate::train::metrics::{Estimated, Observed};

/// CRC-32C bit by bit (Castagnoli, reflected 0x82F63B78).
fn crc(data: &[u8]) -> u32 {
    let mut crc = !0u32;
    for byte in data {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    !crc
}

fn unmasked(bytes: &[u8]) -> u32 {
    let crc = u32::from_le_bytes(bytes.try_into().unwrap()).wrapping_sub(0xa282_ead8);
    crc.rotate_left(15)
}

/// The payloads of a file, each checked by both of its checksums.
fn payloads(mut file: &[u8]) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    while !file.is_empty() {
        let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
        assert_eq!(unmasked(&file[8..12]), crc(&file[..8]));
        let data = &file[12..12 + length];
        assert_eq!(unmasked(&file[12 + length..16 + length]), crc(data));
        out.push(data.to_vec());
        file = &file[16 + length..];
    }
    out
}

/// A field of a message: its number and its content, of fixed size or of a length.
type Field<'a> = (u64, &'a [u8]);

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let byte = bytes[0];
        *bytes = &bytes[1..];
        value |= u64::from(byte & 127) << shift;
        if byte < 128 {
            break;
        }
    }
    value
}

/// The fields of a message, by the wire format; the bytes of a number that is a varint are what is left of the message, which
/// [`varint`] reads.
fn fields(mut message: &[u8]) -> Vec<Field<'_>> {
    let mut out = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message);
        let length = match key & 7 {
            0 => {
                out.push((key >> 3, message));
                varint(&mut message);
                continue;
            }
            1 => 8,
            2 => varint(&mut message) as usize,
            5 => 4,
            kind => panic!("wire type {kind}"),
        };
        out.push((key >> 3, &message[..length]));
        message = &message[length..];
    }
    out
}

fn field(message: &[u8], number: u64) -> Option<&[u8]> {
    fields(message).into_iter().find(|(of, _)| *of == number).map(|(_, content)| content)
}

fn double(bytes: &[u8]) -> f64 {
    f64::from_le_bytes(bytes.try_into().unwrap())
}

fn line(private: bool) -> StepMetrics {
    let measures = Measures { roc_auc: Some(0.875), ..Measures::default() };
    let (records, terms, labels) = (8, vec![], Some(8));
    let valid = Evaluation { records, loss: 1.25, accuracy: Some(0.75), measures, nonfinite_records: 0, terms, labels };
    StepMetrics {
        step: 300,
        epoch: 2.5,
        epsilon: Some(0.5),
        noise_multiplier: Some(1.5),
        clip_bounds: vec![0.25, 4.0],
        learning_rate: Some(0.125),
        lr_for: [("head.*".to_owned(), 0.5)].into(),
        steps_per_second: Some(64.0),
        samples_per_second: 8192.0,
        valid: Some(valid),
        estimates: Some(Estimated { batch_size: 130.0, loss: None }),
        not_private: private.then(|| Observed { loss: Some(2.0), clipped_fraction: Some(0.5), ..Observed::default() }),
    }
}

/// The tags of the last event of a file with the line of metrics `private` or not, and the norms 1 and 2: a scalar's value, or
/// the sum of a histogram.
fn tags(private: bool) -> Vec<(String, f64)> {
    let place = tempfile::tempdir().unwrap();
    let mut norms = Norms::default();
    [1.0, 2.0].into_iter().for_each(|norm| norms.add(norm));
    let mut events = EventFile::create(place.path(), 299).unwrap();
    events.add(&line(private), Some(&norms)).unwrap();
    let all = payloads(&std::fs::read(&events.path).unwrap());
    let [version, start, last] = &all[..] else { panic!("{} records", all.len()) };
    assert_eq!(field(version, 3), Some(&b"brain.Event:2"[..]));
    assert_eq!(varint(&mut field(start, 2).unwrap()), 300);
    assert_eq!(varint(&mut field(field(start, 7).unwrap(), 1).unwrap()), 1);
    assert!((double(field(last, 1).unwrap()) - now()).abs() < 60.0);
    assert_eq!(varint(&mut field(last, 2).unwrap()), 300);
    let values = fields(field(last, 5).unwrap()).into_iter().map(|(number, value)| {
        assert_eq!(number, 1);
        let tag = String::from_utf8(field(value, 1).unwrap().to_vec()).unwrap();
        let number = match (field(value, 2), field(value, 5)) {
            (Some(scalar), None) => f64::from(f32::from_le_bytes(scalar.try_into().unwrap())),
            (None, Some(histogram)) => double(field(histogram, 4).unwrap()),
            _ => panic!("{tag} is neither"),
        };
        (tag, number)
    });
    values.collect()
}

#[test]
fn a_file_holds_what_the_line_of_metrics_says() {
    let public = [
        ("privacy/epsilon", 0.5),
        ("privacy/noise_multiplier", 1.5),
        ("train/learning_rate", 0.125),
        ("train/epoch", 2.5),
        ("train/steps_per_second", 64.0),
        ("train/samples_per_second", 8192.0),
        ("train/learning_rate/head.*", 0.5),
        ("privacy/clip_bound/1", 0.25),
        ("privacy/clip_bound/2", 4.0),
        ("valid/loss", 1.25),
        ("valid/accuracy", 0.75),
        ("valid/roc_auc", 0.875),
        ("estimates/batch_size", 130.0),
    ];
    let others = [("not_private/loss", 2.0), ("not_private/clipped_fraction", 0.5), ("not_private/gradient_norm", 3.0)];
    let named = |all: &[(&str, f64)]| -> Vec<(String, f64)> {
        all.iter().map(|(tag, value)| ((*tag).to_owned(), *value)).collect()
    };
    assert_eq!(tags(false), named(&public));
    assert_eq!(tags(true), named(&[&public[..], &others].concat()));
}

#[test]
fn checksums_are_those_of_the_standard() {
    // RFC 3720, B.4: of 32 bytes of zeros, and of 0 to 31.
    assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
    assert_eq!(crc32c::crc32c(&(0..32).collect::<Vec<u8>>()), 0x46dd_794e);
    assert_eq!(crc(&[0; 32]), 0x8a91_36aa);
}

#[test]
fn every_process_has_a_file_of_its_own() {
    let place = tempfile::tempdir().unwrap();
    let [first, second] = [0, 0].map(|step| EventFile::create(&place.path().join("board"), step).unwrap());
    assert_ne!(first.path, second.path);
}
