//! The ledger's text: one JSON object a line, chained by hashes.
//!
//! A line is an [`Entry`] with a last member `hash`, the SHA-256 of the hash of the line before (32
//! bytes; for the first line, that of `dpc ledger v2`) followed by the line without that member, byte for
//! byte.

use sha2::{Digest, Sha256};

use super::entry::{Entry, Head};
use crate::privacy::accountant::Selection;
use crate::privacy::adjacency::Unit;
use crate::privacy::keys::hex;
use crate::privacy::plan::PrivacyPlan;

type Hash = [u8; 32];

/// What a ledger holds.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Contents {
    entries: Vec<Entry>,
    /// The hash of each entry.
    hashes: Vec<Hash>,
    /// Whether a torn or unreadable line follows the entries. It counts as a step.
    pub torn: bool,
    /// Whether the last entry lacks nothing but the end of its line.
    pub(super) unended: bool,
}

impl Contents {
    /// Reads a ledger's text; the number of the first corrupt line, from 1, if one lies before the last.
    pub(super) fn parse(bytes: &[u8]) -> Result<Contents, usize> {
        let mut contents = Contents::default();
        let mut rest = bytes;
        while !rest.is_empty() {
            let end = rest.iter().position(|&byte| byte == b'\n');
            let (line, following) = match end {
                Some(end) => (&rest[..end], &rest[end + 1..]),
                None => (rest, &[][..]),
            };
            match contents.decode(line) {
                Some((entry, hash)) => {
                    contents.entries.push(entry);
                    contents.hashes.push(hash);
                    contents.unended = end.is_none();
                }
                None if following.is_empty() && beginnings(line) <= 1 => contents.torn = true,
                None => return Err(contents.entries.len() + 1),
            }
            rest = following;
        }
        Ok(contents)
    }

    /// Appends `entry` and returns its line.
    pub(super) fn push(&mut self, entry: Entry) -> String {
        let (line, hash) = encode(&self.last_hash(), &entry);
        self.entries.push(entry);
        self.hashes.push(hash);
        line
    }

    /// These contents with an entry of `run` in place of the torn line.
    pub(super) fn repaired(mut self, run: &str, plan: &PrivacyPlan) -> Contents {
        let charge = self.torn_charge(plan);
        let step = self.entries.last().map_or(0, |last| last.step.saturating_add(1));
        let entry = Entry {
            noise_multiplier: charge.noise_multiplier,
            sampling: charge.sampling,
            recovered: true,
            ..Entry::new(self.len(), run, step, plan, None)
        };
        self.push(entry);
        self.torn = false;
        self
    }

    /// Whether a text is that of the format before this one.
    pub(super) fn is_v1(bytes: &[u8]) -> bool {
        let first = bytes.split(|&byte| byte == b'\n').next().unwrap_or_default();
        let before = Sha256::digest(b"dpc ledger v1").into();
        str::from_utf8(first).is_ok_and(|line| chained(&before, line).is_some())
    }

    /// The text of the entries.
    pub(super) fn to_text(&self) -> String {
        let mut previous = genesis();
        let mut text = String::new();
        for (entry, hash) in self.entries.iter().zip(&self.hashes) {
            text.push_str(&encode(&previous, entry).0);
            previous = *hash;
        }
        text
    }

    /// The whole lines, in order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// How many whole lines there are.
    pub fn len(&self) -> u64 {
        self.entries.len() as u64
    }

    /// The selection among trials that the ledger counts, if it does. It is then alone there.
    pub fn selection(&self) -> Option<&Selection> {
        self.entries.iter().find_map(|entry| entry.selection.as_ref())
    }

    /// Whether there are steps of trials, which are paid for by the selection among them.
    pub fn has_trials(&self) -> bool {
        self.entries.iter().any(|entry| entry.trial_of.is_some())
    }

    /// The kind of unit that the steps are for; `None` where there is no step.
    pub fn unit(&self) -> Option<Unit> {
        self.entries.first().map(|entry| entry.unit)
    }

    /// Whether sampling and noise of any step were fixed by a seed.
    pub fn insecure(&self) -> bool {
        self.entries.iter().any(|entry| entry.insecure)
    }

    /// How many ranks took the steps, and after them how many others, in their order.
    pub fn ranks(&self) -> Vec<u64> {
        let mut ranks: Vec<u64> =
            self.entries.iter().filter(|entry| !entry.recovered).map(|entry| entry.ranks).collect();
        ranks.dedup();
        ranks
    }

    /// Whether not one step has been recorded.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && !self.torn
    }

    /// How many steps count, a torn one included.
    pub fn steps(&self) -> u64 {
        self.len() + u64::from(self.torn)
    }

    /// The point reached.
    pub fn head(&self) -> Head {
        Head { entries: self.len(), hash: hex(&self.last_hash()) }
    }

    /// The first `entries` lines alone, if there are so many: what the ledger held then.
    pub fn until(&self, entries: u64) -> Option<Contents> {
        let entries = usize::try_from(entries).ok().filter(|&entries| entries <= self.entries.len())?;
        let (entries, hashes) = (self.entries[..entries].to_vec(), self.hashes[..entries].to_vec());
        Some(Contents { entries, hashes, torn: false, unended: false })
    }

    /// The point after the first `entries` lines, if there are so many.
    pub(super) fn head_at(&self, entries: u64) -> Option<Head> {
        let hash = match usize::try_from(entries).ok()?.checked_sub(1) {
            None => genesis(),
            Some(last) => *self.hashes.get(last)?,
        };
        Some(Head { entries, hash: hex(&hash) })
    }

    fn last_hash(&self) -> Hash {
        self.hashes.last().copied().unwrap_or_else(genesis)
    }

    /// The entry of a line that is to follow these contents.
    fn decode(&self, line: &[u8]) -> Option<(Entry, Hash)> {
        let (content, hash) = chained(&self.last_hash(), str::from_utf8(line).ok()?)?;
        let entry: Entry = serde_json::from_str(&content).ok()?;
        let unit = self.unit().unwrap_or(entry.unit);
        (entry.seq == self.len() && entry.unit == unit).then_some((entry, hash))
    }
}

/// The content of a line and its hash, if the line follows one of hash `previous`.
fn chained(previous: &Hash, line: &str) -> Option<(String, Hash)> {
    let (content, tail) = line.split_at_checked(line.len().checked_sub(TAIL_LEN)?)?;
    let content = format!("{content}}}");
    let hash = link(previous, &content);
    (tail == tail_of(&hash)).then_some((content, hash))
}

/// How many lines begin in `line`: more than one where the end between two was damaged.
fn beginnings(line: &[u8]) -> usize {
    let beginning = br#"{"seq":"#;
    line.windows(beginning.len()).filter(|window| window == beginning).count()
}

fn genesis() -> Hash {
    Sha256::digest(b"dpc ledger v2").into()
}

fn link(previous: &Hash, content: &str) -> Hash {
    Sha256::new().chain_update(previous).chain_update(content).finalize().into()
}

/// The length of what [`tail_of`] gives.
const TAIL_LEN: usize = r#","hash":""#.len() + 64 + r#""}"#.len();

fn tail_of(hash: &Hash) -> String {
    format!(r#","hash":"{}"}}"#, hex(hash))
}

fn encode(previous: &Hash, entry: &Entry) -> (String, Hash) {
    let content = serde_json::to_string(entry).expect("strings and numbers are always JSON");
    let hash = link(previous, &content);
    let open = content.strip_suffix('}').unwrap_or(&content);
    (format!("{open}{}\n", tail_of(&hash)), hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::privacy::plan;
    use crate::privacy::sampling::Sampling;
    use proptest::prelude::*;

    /// The hash is Python's `hashlib`'s.
    #[test]
    fn a_line_can_be_checked_by_hand() {
        let plan = PrivacyPlan::new(plan::example()).unwrap();
        let mut contents = Contents::default();
        let line = contents.push(Entry::new(0, "0123456789abcdef", 0, &plan, None));
        assert_eq!(
            line,
            concat!(
                r#"{"seq":0,"run":"0123456789abcdef","step":0,"noise_multiplier":1.5,"sampling":"poisson","#,
                r#""sample_rate":0.25,"#,
                r#""clip":"flat:2.0","expected_batch":64.0,"unit":"record","insecure":true,"recovered":false,"#,
                r#""hash":"ceca12fd8daa657c7b86614e56d6af75a12797e62301f7e14c81a502dc2220c7"}"#,
                "\n"
            )
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let read = Contents::parse(&bytes);
            prop_assert!(read.is_err() || read.unwrap().steps() == u64::from(!bytes.is_empty()));
        }

        #[test]
        fn every_finite_number_is_kept(sigma in 0.0..1e300_f64, q in 0.0..1.0_f64, batch in 0.0..1e9_f64) {
            let plan = PrivacyPlan::new(plan::example()).unwrap();
            let entry = Entry {
                noise_multiplier: sigma,
                sampling: Sampling::Poisson { rate: q },
                expected_batch: batch,
                ..Entry::new(0, "a \"run\"\n", 7, &plan, None)
            };
            let mut contents = Contents::default();
            let line = contents.push(entry);
            prop_assert_eq!(Contents::parse(line.as_bytes()).unwrap(), contents);
        }
    }
}
