//! `--tokenizer`: texts as ids of tokens, with a mask and types, all of one length.
//!
//! The tokenizer is a `tokenizer.json` of Hugging Face's `tokenizers`, which does the work. What it says of truncation and
//! padding counts, but for the length, which is the model's. It is taken to be public: a vocabulary that was learned from
//! private data is not covered by any guarantee.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::error::DataError;
use crate::files;

/// What an array holds of the tokens of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TokensOf {
    /// Their ids, and that of padding.
    Ids,
    /// 1 for a token, 0 for padding.
    Mask,
    /// Which of several texts a token is of: with one text 0, and for padding what the tokenizer says.
    Types,
}

impl TokensOf {
    /// What an array of this name holds where nobody says, by the names that `transformers` gives.
    pub fn by_name(name: &str) -> Self {
        let name = name.to_ascii_lowercase();
        if name.contains("mask") {
            Self::Mask
        } else if name.contains("type") || name.contains("segment") {
            Self::Types
        } else {
            Self::Ids
        }
    }

    /// As `--columns` has it.
    pub fn of_word(word: &str) -> Option<Self> {
        match word {
            "ids" => Some(Self::Ids),
            "mask" => Some(Self::Mask),
            "types" => Some(Self::Types),
            _ => None,
        }
    }
}

/// The tokens of one text, of the length that was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Tokens {
    pub ids: Vec<u32>,
    pub mask: Vec<u32>,
    pub types: Vec<u32>,
}

impl Tokens {
    pub fn of(&self, of: TokensOf) -> &[u32] {
        match of {
            TokensOf::Ids => &self.ids,
            TokensOf::Mask => &self.mask,
            TokensOf::Types => &self.types,
        }
    }
}

/// A tokenizer, as its file has it.
#[derive(Clone)]
pub struct Tokenizer {
    path: PathBuf,
    /// SHA-256 of the file.
    digest: [u8; 32],
    inner: Arc<Inner>,
}

impl PartialEq for Tokenizer {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

/// By what it is, and not where.
impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tokenizer ")?;
        self.digest.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Tokenizer {
    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// Where it cannot be read, is none, or this dpc is built without the feature `text`.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let bytes = files::read(path)?;
        let digest = Sha256::digest(&bytes).into();
        Ok(Self { path: path.to_owned(), digest, inner: Arc::new(Inner::new(path, &bytes)?) })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// There is none.
#[cfg(not(feature = "text"))]
enum Inner {}

#[cfg(not(feature = "text"))]
impl Inner {
    fn new(path: &Path, _: &[u8]) -> Result<Self, DataError> {
        let what = "this dpc is built without the feature `text`".to_owned();
        Err(DataError::Tokenizer { path: path.to_owned(), what, help: "build it with that feature".to_owned() })
    }
}

#[cfg(not(feature = "text"))]
impl Tokenizer {
    /// The tokens of each text.
    pub fn encode(&self, _: &[&str], _: usize) -> Result<Vec<Result<Tokens, String>>, DataError> {
        match *self.inner {}
    }
}

#[cfg(feature = "text")]
use with_tokenizers::Inner;

#[cfg(feature = "text")]
mod with_tokenizers {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use rayon::prelude::*;
    use tokenizers::{PaddingParams, PaddingStrategy, PostProcessor, TruncationParams, TruncationStrategy};

    use super::{Arc, DataError, Path, Tokenizer, Tokens};
    use crate::panics::contained;

    /// Names of the token that fills texts up, where the file does not say which it is.
    const PADDING: [&str; 4] = ["[PAD]", "<pad>", "<PAD>", "<|pad|>"];

    pub struct Inner {
        whole: tokenizers::Tokenizer,
        /// With truncation and padding to each length that was asked for.
        of_length: Mutex<BTreeMap<usize, Arc<tokenizers::Tokenizer>>>,
    }

    impl Inner {
        pub fn new(path: &Path, bytes: &[u8]) -> Result<Self, DataError> {
            let read = contained(|| tokenizers::Tokenizer::from_bytes(bytes).map_err(|error| error.to_string()));
            let whole = read.and_then(|read| read).map_err(|what| DataError::Tokenizer {
                path: path.to_owned(),
                what: format!("it is no tokenizer.json: {what}"),
                help: "write one with tokenizer.save(\"tokenizer.json\") or, in transformers, \
                       tokenizer.save_pretrained(DIR), of a fast tokenizer"
                    .to_owned(),
            })?;
            Ok(Self { whole, of_length: Mutex::default() })
        }
    }

    impl Tokenizer {
        /// The tokens of each text, or what is wrong with it.
        ///
        /// # Errors
        /// Where the tokenizer has no padding, or adds more tokens to a text than there are to be.
        pub fn encode(&self, texts: &[&str], length: usize) -> Result<Vec<Result<Tokens, String>>, DataError> {
            let tokenizer = self.of_length(length)?;
            let one = |&text: &&str| {
                let encoded = contained(|| tokenizer.encode_fast(text, true).map_err(|error| error.to_string()));
                let encoded = encoded.and_then(|encoded| encoded)?;
                let tokens = Tokens {
                    ids: encoded.get_ids().to_vec(),
                    mask: encoded.get_attention_mask().to_vec(),
                    types: encoded.get_type_ids().to_vec(),
                };
                match [&tokens.ids, &tokens.mask, &tokens.types].iter().all(|values| values.len() == length) {
                    true => Ok(tokens),
                    false => Err(format!("gives {} tokens, and not {length}", tokens.ids.len())),
                }
            };
            Ok(texts.par_iter().map(one).collect())
        }

        fn of_length(&self, length: usize) -> Result<Arc<tokenizers::Tokenizer>, DataError> {
            let mut known = self.inner.of_length.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if let Some(tokenizer) = known.get(&length) {
                return Ok(tokenizer.clone());
            }
            let unfit = |what: String, help: &str| DataError::Tokenizer {
                path: self.path.clone(),
                what,
                help: help.to_owned(),
            };
            let whole = &self.inner.whole;
            let named = || PADDING.iter().find_map(|&name| Some((whole.token_to_id(name)?, name.to_owned())));
            let padding = match (whole.get_padding(), named()) {
                (Some(padding), _) => padding.clone(),
                (None, Some((pad_id, pad_token))) => PaddingParams { pad_id, pad_token, ..PaddingParams::default() },
                (None, None) => {
                    return Err(unfit(
                        "it does not say which token fills up shorter texts".to_owned(),
                        "say it in Python, tokenizer.enable_padding(pad_id=ID, pad_token=TOKEN), with a token that the model \
                         does not heed, and save the file again",
                    ));
                }
            };
            let added = whole.get_post_processor().map_or(0, |processor| processor.added_tokens(false));
            if added >= length {
                return Err(unfit(
                    format!("it adds {added} tokens to every text, and the model takes {length}"),
                    "compile the model for longer texts, by --dim where the file leaves the axis free",
                ));
            }
            let padding =
                PaddingParams { strategy: PaddingStrategy::Fixed(length), pad_to_multiple_of: None, ..padding };
            let direction = whole.get_truncation().map(|truncation| truncation.direction).unwrap_or_default();
            let strategy = TruncationStrategy::LongestFirst;
            let truncation = TruncationParams { direction, max_length: length, strategy, stride: 0 };
            let mut tokenizer = whole.clone();
            tokenizer.with_padding(Some(padding));
            tokenizer.with_truncation(Some(truncation)).map_err(|error| unfit(error.to_string(), "give another"))?;
            Ok(known.entry(length).or_insert(Arc::new(tokenizer)).clone())
        }
    }
}

#[cfg(all(test, feature = "text"))]
mod tests;
