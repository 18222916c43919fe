//! Where a run's randomness comes from, and how its uses are kept apart.
//!
//! A run has one 256-bit [`RunKey`]. Each use of randomness (a [`Domain`]) gets its own ChaCha20 key,
//! `SHA-256("dpc key v1" ‖ domain ‖ run key)`, and reads its [`Stream`] at a (stream number, block)
//! that encodes what the randomness is for. The same key, stream and block always give the same bytes,
//! so two different releases must never share all three.

use std::fmt;

use chacha20::ChaCha20Legacy;
use chacha20::cipher::{KeyIvInit, StreamCipher, StreamCipherSeek};
use miette::Diagnostic;
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::plan::PrivacyPlan;

/// Bytes in one ChaCha20 block.
pub const BLOCK_BYTES: usize = 64;

/// The secret from which all randomness of a run follows.
///
/// Whoever has it can subtract the noise. It is not serialisable: a resumed run draws a new one, so
/// that a step repeated after a crash never reuses noise with a different gradient.
#[derive(Clone)]
pub struct RunKey([u8; 32]);

impl RunKey {
    /// A fresh key from `entropy`, or, where `plan` carries an insecure seed, the key fixed by that seed.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn for_plan(plan: &PrivacyPlan, entropy: &dyn Entropy) -> Result<RunKey, EntropyError> {
        plan.insecure_seed.map_or_else(|| RunKey::fresh(entropy), |seed| Ok(RunKey::insecure(seed)))
    }

    /// A fresh key.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn fresh(entropy: &dyn Entropy) -> Result<RunKey, EntropyError> {
        Ok(RunKey(drawn(entropy)?))
    }

    /// The key that everyone who knows `seed` knows too. For tests only.
    pub fn insecure(seed: u64) -> RunKey {
        let hash = Sha256::new().chain_update(b"dpc insecure seed v1").chain_update(seed.to_le_bytes());
        RunKey(hash.finalize().into())
    }

    /// The ChaCha20 key of one use of randomness.
    pub fn derive(&self, domain: Domain) -> [u8; 32] {
        let hash = Sha256::new()
            .chain_update(b"dpc key v1")
            .chain_update([0])
            .chain_update(domain.label())
            .chain_update([0])
            .chain_update(self.0);
        hash.finalize().into()
    }
}

impl fmt::Debug for RunKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RunKey(secret)")
    }
}

/// A use of randomness. No two share a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// Which records enter a logical batch.
    Sampling,
    /// The noise on the sum of clipped gradients.
    Noise,
    /// The noise on exact sums of integers.
    DiscreteNoise,
    /// The keys of dropout masks.
    Dropout,
    /// The random views of records.
    Views,
    /// Which units are in which part of a cycle.
    Parts,
    /// How many trials a selection makes, and of what.
    Trials,
}

impl Domain {
    fn label(self) -> &'static [u8] {
        match self {
            Domain::Sampling => b"sampling",
            Domain::Noise => b"noise",
            Domain::DiscreteNoise => b"discrete noise",
            Domain::Dropout => b"dropout",
            Domain::Views => b"views",
            Domain::Parts => b"parts",
            Domain::Trials => b"trials",
        }
    }
}

/// The ChaCha20 key stream (RFC 8439 block function, with a 64-bit block counter and a 64-bit stream
/// number in place of the 96-bit nonce), read from any block on.
pub struct Stream(ChaCha20Legacy);

impl Stream {
    /// The key stream of `key` with number `stream`, from the start of 64-byte block `block`.
    pub fn at(key: &[u8; 32], stream: u64, block: u64) -> Stream {
        let mut cipher = ChaCha20Legacy::new(key.into(), (&stream.to_le_bytes()).into());
        cipher.seek(u128::from(block) * BLOCK_BYTES as u128);
        Stream(cipher)
    }

    /// The next bytes of the key stream.
    pub fn fill(&mut self, out: &mut [u8]) {
        self.0.write_keystream(out);
    }
}

/// Where fresh randomness comes from. All privacy rests on it: nobody else may know or guess its bytes.
pub trait Entropy: fmt::Debug + Send + Sync {
    /// Fills `out` with bytes that are independent and uniform.
    ///
    /// # Errors
    /// When there are none.
    fn fill(&self, out: &mut [u8]) -> Result<(), EntropyError>;
}

/// The operating system's random generator.
#[cfg(feature = "host")]
#[derive(Clone, Copy, Debug)]
pub struct SystemEntropy;

#[cfg(feature = "host")]
impl Entropy for SystemEntropy {
    fn fill(&self, out: &mut [u8]) -> Result<(), EntropyError> {
        getrandom::fill(out).map_err(|error| EntropyError(error.into()))
    }
}

/// A name that tells this run from every other one in a shared ledger: 16 hexadecimal digits, unrelated to the run key.
///
/// # Errors
/// When there is no randomness.
pub fn run_id(entropy: &dyn Entropy) -> Result<String, EntropyError> {
    let bytes: [u8; 8] = drawn(entropy)?;
    Ok(hex(&bytes))
}

/// The SHA-256 digest of `bytes` in lower-case hexadecimal.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn drawn<const N: usize>(entropy: &dyn Entropy) -> Result<[u8; N], EntropyError> {
    let mut bytes = [0; N];
    entropy.fill(&mut bytes)?;
    Ok(bytes)
}

/// There is no randomness.
#[derive(Debug, Error, Diagnostic)]
#[error("the operating system gave no random bytes")]
#[diagnostic(
    code(dpc::privacy::entropy),
    help("private training needs the system's random generator; nothing was trained")
)]
pub struct EntropyError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8439 §2.3.2: key 00..1f, nonce 000000090000004a00000000, block counter 1. The first nonce
    /// word is the upper half of a 64-bit counter, the other two are the stream number.
    #[test]
    fn rfc_8439_block() {
        let key: [u8; 32] = std::array::from_fn(|i| i as u8);
        let block = 1 | u64::from(0x0900_0000_u32) << 32;
        let stream = u64::from(0x4a00_0000_u32);
        let mut bytes = [0; 64];
        Stream::at(&key, stream, block).fill(&mut bytes);
        let expected = "10f1e7e4d13b5915500fdd1fa32071c4c7d1f4c733c068030422aa9ac3d46c4e\
                        d2826446079faa0914c2d705d98b02a2b5129cd1de164eb9cbd083e8a2503c4e";
        assert_eq!(hex(&bytes), expected);
    }

    #[test]
    fn seeking_equals_reading_on() {
        let key = RunKey::insecure(7).derive(Domain::Noise);
        let mut all = [0; 10 * BLOCK_BYTES];
        Stream::at(&key, 3, 0).fill(&mut all);
        for block in [1, 5, 9] {
            let mut one = [0; BLOCK_BYTES];
            Stream::at(&key, 3, block as u64).fill(&mut one);
            assert_eq!(one, all[block * BLOCK_BYTES..][..BLOCK_BYTES]);
        }
    }

    #[test]
    fn uses_and_runs_share_no_key() {
        let run = RunKey::insecure(1);
        let other = RunKey::insecure(2);
        assert_ne!(run.derive(Domain::Sampling), run.derive(Domain::Noise));
        assert_ne!(run.derive(Domain::Noise), run.derive(Domain::DiscreteNoise));
        assert_ne!(run.derive(Domain::Noise), other.derive(Domain::Noise));
        assert_eq!(run.derive(Domain::Noise), RunKey::insecure(1).derive(Domain::Noise));
        assert_ne!(run_id(&SystemEntropy).unwrap(), run_id(&SystemEntropy).unwrap());
    }

    #[test]
    fn the_key_is_never_printed() {
        assert_eq!(format!("{:?}", RunKey::insecure(1)), "RunKey(secret)");
    }

    #[test]
    fn sha256_of_the_empty_string() {
        assert_eq!(sha256_hex(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }
}
