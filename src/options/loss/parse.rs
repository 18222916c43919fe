//! Reads the text form of a loss.

use std::str::FromStr;

use super::{Classes, Loss, LossKind, Reduction, Term};

const NAMES: [&str; 6] = ["cross-entropy", "nll", "mse", "l1", "huber", "bce"];
const KNOWN: &str = "give cross-entropy, nll, mse, l1, huber, bce, or output:NAME for an output that is the loss";

impl FromStr for Loss {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let terms = split(text).into_iter().map(term).collect::<Result<_, _>>()?;
        Ok(Loss { terms })
    }
}

/// The positions of the characters outside quotes.
fn unquoted(text: &str) -> impl Iterator<Item = (usize, char)> {
    let (mut inside, mut escaped) = (false, false);
    text.char_indices().filter(move |&(_, c)| {
        let outside = !inside;
        match c {
            _ if escaped => escaped = false,
            '\\' if inside => escaped = true,
            '"' => inside = !inside,
            _ => {}
        }
        outside
    })
}

/// The terms of a sum: between plus signs that are neither quoted nor part of a number such as `1e+3`.
fn split(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut start = 0;
    for (at, _) in unquoted(text).filter(|&(_, c)| c == '+') {
        let mut before = text[..at].chars().rev();
        let exponent = before.next().is_some_and(|c| c == 'e' || c == 'E')
            && before.next().is_some_and(|c| c.is_ascii_digit() || c == '.')
            && text[at + 1..].starts_with(|c: char| c.is_ascii_digit());
        if !exponent {
            parts.push(&text[start..at]);
            start = at + 1;
        }
    }
    parts.push(&text[start..]);
    parts
}

fn term(text: &str) -> Result<Term, String> {
    let text = text.trim();
    let (factor, rest) = match unquoted(text).find(|&(_, c)| c == '*') {
        Some((at, _)) => (factor(text[..at].trim())?, text[at + 1..].trim()),
        None => (1.0, text),
    };
    if let Some(own) = rest.strip_prefix("output:") {
        return own_loss(factor, own);
    }
    let is_loss = |text: &str| {
        let name = text.split([':', ',']).next().unwrap_or_default().trim();
        NAMES.contains(&name) || name == "output" || name == "output:"
    };
    let equals = unquoted(rest).filter(|&(_, c)| c == '=').map(|(at, _)| at);
    let (output, loss) = match equals.into_iter().find(|&at| is_loss(&rest[at + 1..])) {
        Some(at) => (Some(name(rest[..at].trim())?), rest[at + 1..].trim()),
        None => (None, rest),
    };
    let (loss, options) = loss.split_once(':').map_or((loss, None), |(loss, options)| (loss, Some(options)));
    if loss == "output" {
        return Err(format!("`{rest}`: an output that is the loss stands alone, as in output:NAME"));
    }
    Ok(Term { factor, output, kind: kind(loss, options)? })
}

fn factor(text: &str) -> Result<f32, String> {
    let wrong = || {
        format!(
            "`{text}` before `*` should be a number other than 0; put the name of an output that holds a * in quotes"
        )
    };
    text.parse().ok().filter(|factor: &f32| factor.is_finite() && *factor != 0.0).ok_or_else(wrong)
}

fn own_loss(factor: f32, text: &str) -> Result<Term, String> {
    let option = match text.starts_with('"') {
        true => unquoted(text).find(|&(_, c)| c == ',').map(|(at, _)| at),
        false => text.rfind(",reduction="),
    };
    let (output, option) = text.split_at(option.unwrap_or(text.len()));
    let reduction = match option {
        "" | ",reduction=mean" => Reduction::Mean,
        ",reduction=sum" => Reduction::Sum,
        _ => return Err(format!("`{}` should be reduction=mean or reduction=sum", &option[1..])),
    };
    Ok(Term { factor, output: Some(name(output)?), kind: LossKind::Output(reduction) })
}

/// A name with or without quotes.
fn name(text: &str) -> Result<String, String> {
    let Some(inner) = text.strip_prefix('"') else {
        return if text.is_empty() { Err("the name of an output is missing".to_owned()) } else { Ok(text.to_owned()) };
    };
    let mut name = String::new();
    let mut rest = inner.chars();
    while let Some(c) = rest.next() {
        match c {
            '\\' => name.extend(rest.next()),
            '"' if rest.as_str().is_empty() => return Ok(name),
            '"' => break,
            c => name.push(c),
        }
    }
    Err(format!("`{text}` should end with the quote that closes the name"))
}

fn kind(name: &str, options: Option<&str>) -> Result<LossKind, String> {
    match name {
        "cross-entropy" => Ok(LossKind::CrossEntropy(classes(name, options)?)),
        "nll" => Ok(LossKind::Nll(classes(name, options)?)),
        "huber" => {
            let mut delta = 1.0;
            for (key, values) in keyed(options)? {
                match (key, &values[..]) {
                    ("delta", [value]) => delta = number(value, |delta| delta > 0.0, "delta", "above 0")?,
                    _ => return Err(format!("`{key}` is no option of huber; it has delta=NUMBER")),
                }
            }
            Ok(LossKind::Huber { delta })
        }
        "bce" => {
            let mut pos_weight = Vec::new();
            for (key, values) in keyed(options)? {
                match key {
                    "pos_weight" => pos_weight = weights(key, &values)?,
                    _ => return Err(format!("`{key}` is no option of bce; it has pos_weight=NUMBER,…")),
                }
            }
            Ok(LossKind::Bce { pos_weight })
        }
        "mse" | "l1" if options.is_some() => Err(format!("the loss {name} has no options")),
        "mse" => Ok(LossKind::Mse),
        "l1" => Ok(LossKind::L1),
        _ => Err(format!("`{name}` is no loss; {KNOWN}")),
    }
}

fn classes(loss: &str, options: Option<&str>) -> Result<Classes, String> {
    let mut classes = Classes::default();
    for (key, values) in keyed(options)? {
        match (key, <[&str; 1]>::try_from(&values[..]).ok()) {
            ("axis", Some(["last"])) => classes.axis = -1,
            ("axis", Some([axis])) => {
                classes.axis = axis.parse().map_err(|_| format!("axis={axis} should be axis=A or axis=last"))?;
            }
            ("ignore_index", Some([index])) => {
                classes.ignore_index =
                    index.parse().map_err(|_| format!("ignore_index={index} should be an integer of 32 bits"))?;
            }
            ("weights", _) => classes.weights = weights(key, &values)?,
            ("smoothing", Some([share])) if loss == "cross-entropy" => {
                let within = |share: f32| (0.0..=1.0).contains(&share);
                classes.smoothing = number(share, within, "smoothing", "between 0 and 1")?;
            }
            ("probabilities", _) if loss == "cross-entropy" && values.is_empty() => classes.probabilities = true,
            _ => {
                let more = if loss == "cross-entropy" { ", smoothing=S, probabilities" } else { "" };
                return Err(format!(
                    "`{}` is no option of {loss}; it has axis=A or axis=last, ignore_index=I with an integer I, \
                     weights=W,W,…{more}",
                    [&[key], &values[..]].concat().join("=")
                ));
            }
        }
    }
    Ok(classes)
}

/// The options with their values: an item without a key continues the list before it, unless it is a word of its own.
fn keyed(options: Option<&str>) -> Result<Vec<(&str, Vec<&str>)>, String> {
    let mut keyed: Vec<(&str, Vec<&str>)> = Vec::new();
    for item in options.into_iter().flat_map(|options| options.split(',')).map(str::trim) {
        let key = item.split_once('=').map_or(item, |(key, _)| key);
        if keyed.iter().any(|(known, _)| *known == key) {
            return Err(format!("`{key}` is given twice"));
        }
        match (item.split_once('='), keyed.last_mut()) {
            (Some((key, value)), _) => keyed.push((key, vec![value])),
            (None, Some((_, values))) if !values.is_empty() && item.parse::<f32>().is_ok() => values.push(item),
            (None, _) => keyed.push((item, vec![])),
        }
    }
    Ok(keyed)
}

fn weights(key: &str, values: &[&str]) -> Result<Vec<f32>, String> {
    if values.is_empty() {
        return Err(format!("{key} should be numbers, as in {key}=1,2,5"));
    }
    values.iter().map(|value| number(value, |weight| weight >= 0.0, key, "of at least 0")).collect()
}

fn number(text: &str, allowed: impl Fn(f32) -> bool, key: &str, what: &str) -> Result<f32, String> {
    let wrong = || format!("{key}={text} should be a number {what}");
    text.parse().ok().filter(|&n: &f32| n.is_finite() && allowed(n)).ok_or_else(wrong)
}
