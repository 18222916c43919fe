//! `--columns`: which columns of a table feed which array of the model.
//!
//! ```text
//! ARRAY=PART,PART,…;ARRAY=…        PART is a column, or a pattern with *, and what becomes of it:
//! age                              a number, or a list of numbers, as it is
//! age[17:90]                       limited to 17 and 90, which become 0 and 1; [0:99999:log] on a logarithmic scale
//! text[ids]                        texts as tokens by --tokenizer: their ids, their mask or their types, as text[mask]
//! job{clerk|teacher|*}             one of these: one number each for floats, its position for integers; * is all others
//! job{}                            one of all values that the file has, in sorted order
//! ```
//!
//! Names and values stand between double quotes where they hold any of `,;={}[]|*"`.

use std::str::FromStr;

use super::super::tokens::TokensOf;
use crate::glob::Glob;

/// Which columns feed which arrays. What is not named is fed by the column of its own name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Columns(pub(super) Vec<Feed>);

/// What one array is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Feed {
    pub array: String,
    pub parts: Vec<Part>,
}

/// A column, or all that a pattern fits, and what becomes of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    pub column: Name,
    pub how: How,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Name {
    Column(String),
    Pattern(Glob),
}

/// What becomes of the cells of a column.
#[derive(Clone, Debug, PartialEq)]
pub enum How {
    AsIs,
    /// Limited to the range, which becomes [0, 1].
    Range {
        low: f32,
        high: f32,
        log: bool,
    },
    /// One of these, in this order; with `others` one more that stands for all else.
    Vocabulary {
        names: Vec<String>,
        others: bool,
    },
    /// One of the values that the file has, in sorted order.
    Sorted,
    /// Texts as tokens.
    Tokens(TokensOf),
}

const GRAMMAR: &str = "expected ARRAY=COLUMN,COLUMN,… with arrays separated by `;`, where COLUMN may be a pattern as \
                       pixel*, have a range as age[17:90] or gain[0:99999:log], a vocabulary as job{clerk|teacher|*}, or \
                       become tokens as text[ids], text[mask] or text[types]; \
                       names that hold any of ,;={}[]|*\" stand between double quotes";

impl Columns {
    /// Adds what `other` says.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The arrays that are given again.
    pub(super) fn twice(&self) -> impl Iterator<Item = &str> {
        let earlier = |at: usize| self.0[..at].iter().any(|feed| feed.array == self.0[at].array);
        (0..self.0.len()).filter(move |&at| earlier(at)).map(|at| self.0[at].array.as_str())
    }

    /// What the array `name` is made of, where that is said.
    pub(super) fn of(&self, name: &str) -> Option<&Feed> {
        self.0.iter().find(|feed| feed.array == name)
    }

    /// The columns that are named apart, which no pattern stands for.
    pub(super) fn named(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flat_map(|feed| &feed.parts).filter_map(|part| match &part.column {
            Name::Column(name) => Some(name.as_str()),
            Name::Pattern(_) => None,
        })
    }
}

impl FromStr for Columns {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut scanner = Scanner { rest: text };
        let mut columns = Self::default();
        loop {
            columns.0.push(scanner.feed().map_err(|error| format!("{error}: {GRAMMAR}"))?);
            if let Some(twice) = columns.twice().next() {
                return Err(format!("`{twice}` is given twice: {GRAMMAR}"));
            }
            if scanner.rest.is_empty() {
                return Ok(columns);
            }
        }
    }
}

/// What of the text is left.
struct Scanner<'a> {
    rest: &'a str,
}

impl Scanner<'_> {
    fn take(&mut self, c: char) -> bool {
        self.rest = self.rest.trim_start();
        match self.rest.strip_prefix(c) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, c: char) -> Result<(), String> {
        match self.take(c) {
            true => Ok(()),
            false if self.rest.is_empty() => Err(format!("`{c}` is missing at the end")),
            false => Err(format!("`{c}` is missing before `{}`", self.rest)),
        }
    }

    /// A name up to one of `ends`, and whether it stood between quotes, where `""` is a quote.
    fn name(&mut self, ends: &[char]) -> Result<(String, bool), String> {
        if self.take('"') {
            let mut name = String::new();
            loop {
                let end = self.rest.find('"').ok_or("a double quote is missing")?;
                name.push_str(&self.rest[..end]);
                self.rest = &self.rest[end + 1..];
                match self.rest.strip_prefix('"') {
                    Some(rest) => {
                        name.push('"');
                        self.rest = rest;
                    }
                    None => return Ok((name, true)),
                }
            }
        }
        let end = self.rest.find(ends).unwrap_or(self.rest.len());
        let name = self.rest[..end].trim().to_owned();
        self.rest = &self.rest[end..];
        match name.is_empty() {
            true if self.rest.is_empty() => Err("a name is missing at the end".to_owned()),
            true => Err(format!("a name is missing before `{}`", self.rest)),
            false => Ok((name, false)),
        }
    }

    fn feed(&mut self) -> Result<Feed, String> {
        let (array, _) = self.name(&['=', ',', ';', '{', '['])?;
        self.expect('=')?;
        let mut parts = vec![self.part()?];
        while self.take(',') {
            parts.push(self.part()?);
        }
        if !self.rest.is_empty() {
            self.expect(';')?;
        }
        Ok(Feed { array, parts })
    }

    fn part(&mut self) -> Result<Part, String> {
        let (name, quoted) = self.name(&[',', ';', '{', '[', '='])?;
        let column = match !quoted && name.contains('*') {
            true => Name::Pattern(Glob::new(name)),
            false => Name::Column(name),
        };
        let how = if self.take('{') {
            self.vocabulary()?
        } else if self.take('[') {
            self.range()?
        } else {
            How::AsIs
        };
        self.rest = self.rest.trim_start();
        Ok(Part { column, how })
    }

    fn vocabulary(&mut self) -> Result<How, String> {
        if self.take('}') {
            return Ok(How::Sorted);
        }
        let (mut names, mut others) = (Vec::new(), false);
        loop {
            match self.name(&['|', '}'])? {
                (name, false) if name == "*" => others = true,
                _ if others => return Err("`*` stands for all other values, and comes last".to_owned()),
                (name, _) if names.contains(&name) => return Err(format!("the value `{name}` is given twice")),
                (name, _) => names.push(name),
            }
            if !self.take('|') {
                self.expect('}')?;
                return Ok(How::Vocabulary { names, others });
            }
        }
    }

    fn range(&mut self) -> Result<How, String> {
        let end = self.rest.find(']').ok_or("`]` is missing")?;
        let text = &self.rest[..end];
        self.rest = &self.rest[end + 1..];
        if let Some(of) = TokensOf::of_word(text.trim()) {
            return Ok(How::Tokens(of));
        }
        let wrong = || {
            format!(
                "[{text}] is no range, as [17:90] or [0:99999:log], and none of [ids], [mask] and [types] of tokens"
            )
        };
        let mut numbers = text.split(':').map(str::trim);
        let mut number = || numbers.next()?.parse().ok().filter(|n: &f32| n.is_finite());
        let (low, high) = number().zip(number()).filter(|(low, high)| low < high).ok_or_else(wrong)?;
        match (numbers.next(), numbers.next()) {
            (None, _) => Ok(How::Range { low, high, log: false }),
            (Some("log"), None) => Ok(How::Range { low, high, log: true }),
            _ => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(column: &str, how: How) -> Part {
        Part { column: Name::Column(column.to_owned()), how }
    }

    #[test]
    fn the_grammar() {
        let text = r#"input = age[17:90], gain[0:99999:log],job{a b|"x|""y"|*} , pixel*,text[mask],"p*";label=income{<=50K|>50K};z={}"#;
        let error = text.parse::<Columns>().unwrap_err();
        assert!(error.starts_with("a name is missing before `{}`"), "{error}");
        let columns: Columns = text.replace("z={}", "z=y{};").parse().unwrap();
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            columns.of("input").unwrap().parts,
            [
                part("age", How::Range { low: 17.0, high: 90.0, log: false }),
                part("gain", How::Range { low: 0.0, high: 99999.0, log: true }),
                part("job", How::Vocabulary { names: names(&["a b", "x|\"y"]), others: true }),
                Part { column: Name::Pattern(Glob::new("pixel*")), how: How::AsIs },
                part("text", How::Tokens(TokensOf::Mask)),
                part("p*", How::AsIs),
            ]
        );
        let label = How::Vocabulary { names: names(&["<=50K", ">50K"]), others: false };
        assert_eq!(columns.of("label").unwrap().parts, [part("income", label)]);
        assert_eq!(columns.of("z").unwrap().parts, [part("y", How::Sorted)]);
        assert_eq!(columns.named().collect::<Vec<_>>(), ["age", "gain", "job", "text", "p*", "income", "y"]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, wrong) in [
            ("", "a name is missing at the end"),
            ("age", "`=` is missing at the end"),
            ("input=", "a name is missing at the end"),
            ("input=a,,b", "a name is missing before `,b`"),
            ("input=a;input=b", "`input` is given twice"),
            ("input=a=b", "`;` is missing before `=b`"),
            ("input=a{b", "`}` is missing at the end"),
            ("input=a{*|b}", "`*` stands for all other values, and comes last"),
            ("input=a{b|b}", "the value `b` is given twice"),
            ("input=a[1]", "[1] is no range"),
            ("input=a[2:1]", "[2:1] is no range"),
            ("input=a[0:1:ln]", "[0:1:ln] is no range"),
            ("input=\"a", "a double quote is missing"),
        ] {
            let error = text.parse::<Columns>().unwrap_err();
            assert!(error.starts_with(wrong), "{text}: {error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "[a-z=,;{}\\[\\]|*\":0-9 ]{0,24}") {
            let _ = text.parse::<Columns>();
        }
    }
}
