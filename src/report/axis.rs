//! Ticks of an axis: round numbers, and how they are written.

/// Values along an axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    pub from: f64,
    pub to: f64,
    /// Within `from` and `to`, with what is written at them.
    pub ticks: Vec<(f64, String)>,
}

impl Axis {
    /// An axis that holds `from` to `to`, with about `count` ticks; to the next tick at both ends where `round` says so.
    pub fn new(from: f64, to: f64, count: usize, round: bool) -> Axis {
        let (from, to) = if to > from { (from, to) } else { around(from) };
        let step = step((to - from) / count.max(1) as f64);
        let (first, last) = match round {
            true => ((from / step + 1e-9).floor(), (to / step - 1e-9).ceil()),
            false => ((from / step - 1e-9).ceil(), (to / step + 1e-9).floor()),
        };
        let ticks = (0..=(last - first).max(0.0) as usize).map(|k| {
            let value = (first + k as f64) * step;
            (value, written(value, step))
        });
        let ticks: Vec<(f64, String)> = ticks.collect();
        match round {
            true => Axis { from: first * step, to: last * step, ticks },
            false => Axis { from, to, ticks },
        }
    }

    /// Where a value lies, from 0 to 1.
    pub fn place(&self, value: f64) -> f64 {
        (value - self.from) / (self.to - self.from)
    }
}

/// A range around one value.
fn around(value: f64) -> (f64, f64) {
    match value == 0.0 {
        true => (0.0, 1.0),
        false => (value - value.abs() / 2.0, value + value.abs() / 2.0),
    }
}

/// 1, 2 or 5 times a power of ten, at least `least`.
fn step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    let times = [1.0, 2.0, 5.0, 10.0].into_iter().find(|times| times * power >= least * (1.0 - 1e-9));
    times.unwrap_or(10.0) * power
}

/// A multiple of `step`, with no more digits than that has.
fn written(value: f64, step: f64) -> String {
    let digits = -step.log10().floor();
    if value == 0.0 {
        "0".to_owned()
    } else if !(-6.0..=4.0).contains(&digits) {
        let digits = (value.abs().log10().floor() + digits).max(0.0) as usize;
        format!("{value:.digits$e}")
    } else {
        grouped(&format!("{value:.*}", digits.max(0.0) as usize))
    }
}

/// A number of several significant digits.
pub fn number(value: f64) -> String {
    if !value.is_finite() {
        return "none".to_owned();
    }
    let size = value.abs();
    if size != 0.0 && !(1e-3..1e7).contains(&size) {
        return format!("{value:.3e}");
    }
    let digits = if value.fract() == 0.0 { 0 } else { (3.0 - size.log10().floor()).clamp(0.0, 6.0) as usize };
    grouped(&format!("{value:.digits$}"))
}

/// A bound that is not to be understated: up to four significant digits, rounded up.
pub fn bound(value: f64) -> String {
    if !value.is_finite() || value <= 0.0 {
        return number(value);
    }
    let unit = 10f64.powf(value.log10().floor() - 3.0);
    number((value / unit - 1e-9).ceil() * unit)
}

/// Thin spaces between groups of three digits before the point, from five digits on.
fn grouped(text: &str) -> String {
    let (whole, rest) = text.split_once('.').map_or((text, None), |(whole, rest)| (whole, Some(rest)));
    let (sign, digits) = whole.strip_prefix('-').map_or(("", whole), |digits| ("−", digits));
    let mut out = sign.to_owned();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && digits.len() > 4 && (digits.len() - at).is_multiple_of(3) {
            out.push('\u{2009}');
        }
        out.push(digit);
    }
    rest.map_or(out.clone(), |rest| format!("{out}.{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, text)| text.as_str()).collect()
    }

    #[test]
    fn ticks_are_round_numbers() {
        let steps = Axis::new(0.0, 1234.0, 5, false);
        assert_eq!((labels(&steps), steps.to), (vec!["0", "500", "1000"], 1234.0));
        let epsilon = Axis::new(0.0, 2.9, 4, true);
        assert_eq!((labels(&epsilon), epsilon.to), (vec!["0", "1", "2", "3"], 3.0));
        assert_eq!(labels(&Axis::new(91.2, 94.9, 4, true)), ["91", "92", "93", "94", "95"]);
        assert_eq!(labels(&Axis::new(0.0, 100_000.0, 4, false)), ["0", "50\u{2009}000", "100\u{2009}000"]);
        assert_eq!(labels(&Axis::new(1e-6, 3e-6, 2, true)), ["1e-6", "2e-6", "3e-6"]);
        // One value alone has room around it.
        let one = Axis::new(0.5, 0.5, 4, true);
        assert!(one.from < 0.5 && one.to > 0.5 && one.ticks.len() > 2, "{one:?}");
        assert_eq!(one.place(one.to), 1.0);
    }

    #[test]
    fn numbers_keep_four_digits() {
        let all = [0.0, 3.0, 0.123456, -12345.6, 1e-5, 2.5e9, f64::NAN].map(number);
        assert_eq!([2.99821, 3.0, 0.0712341, 12.0001].map(bound), ["2.999", "3", "0.07124", "12.01"]);
        assert_eq!(all, ["0", "3", "0.1235", "−12\u{2009}346", "1.000e-5", "2.500e9", "none"]);
    }
}
