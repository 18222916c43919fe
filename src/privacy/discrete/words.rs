//! Which part of the key stream each draw reads.
//!
//! The values of a parameter are made in blocks of [`VALUES`], each by itself. A block has [`ROOM`] key-stream blocks of 64 bytes of its own:
//! [`HEADS`] of them hold one word for each candidate, the others the further bits that a few candidates need. The room is
//! many times what a block takes: at least every other candidate becomes a value, and the probability that 24,576 candidates give
//! fewer than 4,096 values is below e⁻⁵⁹⁰⁰. If it is used up all the same, the words go on in a stream whose key is a
//! hash of the key and the position, so that no word ever serves twice.

use sha2::{Digest, Sha256};

use crate::privacy::keys::{BLOCK_BYTES, Stream};

/// Values made from one room.
pub(super) const VALUES: usize = 4096;
/// Key-stream blocks of a room.
pub(super) const ROOM: u64 = 1 << ROOM_BITS;
/// The base-2 logarithm of the blocks of a room.
pub(super) const ROOM_BITS: u32 = 12;
/// Key-stream blocks of a room that hold candidates.
const HEADS: u64 = 3 << 10;
/// 64-bit words of one key-stream block.
const WORDS: usize = BLOCK_BYTES / 8;

/// Where a part of a room begins, and how long it is.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    key: &'a [u8; 32],
    stream: u64,
    block: u64,
    blocks: u64,
}

impl<'a> Place<'a> {
    /// The candidates' part of the room that begins at `block`, and that of the further bits.
    pub(super) fn room(key: &'a [u8; 32], stream: u64, block: u64) -> (Place<'a>, Place<'a>) {
        let heads = Place { key, stream, block, blocks: HEADS };
        (heads, Place { block: block + HEADS, blocks: ROOM - HEADS, ..heads })
    }

    fn stream(self) -> Stream {
        Stream::at(self.key, self.stream, self.block)
    }

    /// What follows where the place is used up: a stream with a key of its own.
    fn continuation(self) -> Stream {
        let hash = Sha256::new()
            .chain_update(b"dpc discrete noise continued v1")
            .chain_update(self.key)
            .chain_update(self.stream.to_le_bytes())
            .chain_update(self.block.to_le_bytes());
        Stream::at(&hash.finalize().into(), 0, 0)
    }
}

/// The words of a place, many at a time.
pub(super) struct Words<'a> {
    place: Place<'a>,
    stream: Stream,
    left: u64,
}

impl<'a> Words<'a> {
    pub(super) fn new(place: Place<'a>) -> Words<'a> {
        Words { place, stream: place.stream(), left: place.blocks }
    }

    /// The next `N` words, `N` a multiple of 8: all from the place, or all from what follows it.
    pub(super) fn fill<const N: usize>(&mut self, words: &mut [u64; N]) {
        let blocks = (N / WORDS) as u64;
        if self.left < blocks {
            self.stream = self.place.continuation();
            self.left = u64::MAX;
        }
        self.left -= blocks;
        self.stream.fill(bytemuck::cast_slice_mut(words));
        words.iter_mut().for_each(|word| *word = u64::from_le(*word));
    }
}

/// Further bits, a word at a time, where few candidates need any.
pub(super) struct Extras<'a> {
    place: Place<'a>,
    words: Option<Words<'a>>,
    buffer: [u64; WORDS],
    used: usize,
}

impl<'a> Extras<'a> {
    pub(super) fn new(place: Place<'a>) -> Extras<'a> {
        Extras { place, words: None, buffer: [0; WORDS], used: WORDS }
    }

    /// Extras whose first words are `words`, at most 8.
    #[cfg(test)]
    pub(super) fn beginning_with(words: &[u64], place: Place<'a>) -> Extras<'a> {
        let mut extras = Extras { used: WORDS - words.len(), ..Extras::new(place) };
        extras.buffer[extras.used..].copy_from_slice(words);
        extras
    }

    /// `count` ≤ 64 fresh bits, from a word of their own.
    pub(super) fn bits(&mut self, count: u32) -> u64 {
        if self.used == WORDS {
            let place = self.place;
            self.words.get_or_insert_with(|| Words::new(place)).fill(&mut self.buffer);
            self.used = 0;
        }
        let word = self.buffer[self.used];
        self.used += 1;
        word & (u64::MAX >> (64 - count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [3; 32];

    fn words(place: Place, count: usize) -> Vec<u64> {
        let mut words = Words::new(place);
        let mut all = Vec::new();
        while all.len() < count {
            let mut some = [0; 2 * WORDS];
            words.fill(&mut some);
            all.extend(some);
        }
        all
    }

    #[test]
    fn a_place_that_is_used_up_goes_on_in_a_stream_of_its_own() {
        let place = |block, blocks| Place { key: &KEY, stream: 5, block, blocks };
        let long = words(place(16, 64), 64 * WORDS);
        let short = words(place(16, 5), 64 * WORDS);
        assert_eq!(long[..4 * WORDS], short[..4 * WORDS]);
        let others = [words(place(0, 1 << 20), 4096), long, words(place(0, 3), 4096), words(place(32, 3), 4096)];
        let mut seen: std::collections::BTreeSet<u64> = others[0].iter().copied().collect();
        assert!(others[1].iter().all(|word| seen.contains(word)));
        for later in [&short[4 * WORDS..], &others[2][2 * WORDS..], &others[3][2 * WORDS..]] {
            assert!(later.iter().all(|word| seen.insert(*word)));
        }
    }

    #[test]
    fn parts_and_rooms_share_no_block() {
        let (heads, extras) = Place::room(&KEY, 1, 7 << ROOM_BITS);
        assert_eq!(heads.block + heads.blocks, extras.block);
        assert_eq!(extras.block + extras.blocks, 8 << ROOM_BITS);
        assert!(VALUES as u64 * 2 <= heads.blocks * WORDS as u64);
    }
}
