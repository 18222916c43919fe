//! Parsers of flag values whose errors say what to write.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use miette::Diagnostic;

use crate::privacy::accountant::{self, Accountant};

/// Parses a value whose error is a diagnostic, with its help.
pub fn with_help<T>(text: &str) -> Result<T, String>
where
    T: FromStr<Err: Diagnostic>,
{
    text.parse().map_err(|error: T::Err| explain(&error))
}

/// A finite number above 0.
pub fn positive(text: &str) -> Result<f64, String> {
    number(text, |n| n > 0.0, "a number above 0")
}

/// A finite number above 0 that bounds a privacy loss.
pub fn epsilon(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(f64::INFINITY) => Err("no finite ε is no privacy: train without any by --non-private".to_owned()),
        _ => positive(text),
    }
}

/// A finite number of at least 0.
pub fn non_negative(text: &str) -> Result<f64, String> {
    number(text, |n| n >= 0.0, "a number of at least 0")
}

/// A number of seconds.
pub fn duration(text: &str) -> Result<Duration, String> {
    Duration::try_from_secs_f64(non_negative(text)?).map_err(|error| error.to_string())
}

/// A number in (0, 1).
pub fn between_0_and_1(text: &str) -> Result<f64, String> {
    number(text, |n| n > 0.0 && n < 1.0, "a number above 0 and below 1")
}

/// A number in (0, 1].
pub fn rate(text: &str) -> Result<f64, String> {
    number(text, |n| n > 0.0 && n <= 1.0, "a number above 0, at most 1")
}

/// A number of bytes, with a unit or none.
pub fn bytes(text: &str) -> Result<usize, String> {
    const UNITS: [(&str, f64); 8] = [
        ("KiB", 1024.0),
        ("MiB", 1048576.0),
        ("GiB", 1073741824.0),
        ("TiB", 1099511627776.0),
        ("kB", 1e3),
        ("MB", 1e6),
        ("GB", 1e9),
        ("TB", 1e12),
    ];
    let named = UNITS.iter().find_map(|(unit, bytes)| Some((text.strip_suffix(unit)?, *bytes)));
    let (count, unit) = named.unwrap_or((text, 1.0));
    let what = "a number of bytes, as in 512MiB or 2GB";
    number(count.trim(), |count| count >= 0.0, what).map(|count| (count * unit) as usize)
}

/// An accountant by its name.
pub fn accountant(name: &str) -> Result<&'static dyn Accountant, String> {
    accountant::by_name(name).map_err(|error| explain(&error))
}

/// An accountant by its name whose answers are upper bounds.
pub fn bound(name: &str) -> Result<&'static dyn Accountant, String> {
    let found = accountant(name)?;
    match found.is_bound() {
        true => Ok(found),
        false => Err(format!("{name} only approximates the privacy loss, and no guarantee can rest on it")),
    }
}

fn number(text: &str, allowed: impl Fn(f64) -> bool, what: &str) -> Result<f64, String> {
    text.parse().ok().filter(|&n: &f64| n.is_finite() && allowed(n)).ok_or_else(|| format!("expected {what}"))
}

fn explain(error: &(impl Diagnostic + Display)) -> String {
    match error.help() {
        Some(help) => format!("{error}: {help}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::privacy::ClipRule;

    #[test]
    fn numbers_keep_to_their_ranges() {
        assert_eq!(positive("1e-3"), Ok(1e-3));
        assert!(epsilon("inf").unwrap_err().contains("--non-private"));
        assert_eq!(epsilon("8"), Ok(8.0));
        assert_eq!(non_negative("0"), Ok(0.0));
        assert_eq!(rate("1"), Ok(1.0));
        assert_eq!(duration("0.5"), Ok(Duration::from_millis(500)));
        assert!(duration("1e300").is_err());
        assert_eq!(bytes("1.5GiB"), Ok(3 << 29));
        assert_eq!([bytes("2 MB"), bytes("64")], [Ok(2_000_000), Ok(64)]);
        assert!(["-1MB", "MB", "2XB", "nan"].iter().all(|text| bytes(text).is_err()));
        for text in ["0", "-1", "inf", "nan", "x"] {
            assert!(positive(text).is_err(), "{text}");
        }
        assert!(between_0_and_1("1").is_err());
        assert!(rate("1.01").is_err());
    }

    #[test]
    fn errors_bring_their_help() {
        let error = with_help::<ClipRule>("layer:1").unwrap_err();
        assert!(error.contains("layer:1") && error.contains("flat:C"), "{error}");
        let error = accountant("magic").err().unwrap();
        assert!(error.contains("rdp"), "{error}");
    }
}
