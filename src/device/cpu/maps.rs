//! Dispatches that go over the elements of one parameter one after the other, as those of its update do: a block of elements goes
//! through all of them before the next, so that memory is passed over once.

use std::collections::BTreeMap;

use super::{Native, native};
use crate::lower::program::{BufferId, Dispatch, Extent, Program};

/// Elements of a block: few enough that what only the dispatches use stays in cache.
pub const BLOCK: usize = 8192;

/// A kernel whose result for an element takes nothing of other elements.
pub struct Map<'a> {
    /// Number of elements.
    pub len: usize,
    /// Words of each buffer for an element, in binding order. 0 is a buffer that is for all: read as a whole, or of flags, of which
    /// each block of elements sets some.
    words: Vec<usize>,
    /// The same kernel for so many elements.
    of: Box<dyn Fn(usize) -> Box<dyn Native> + 'a>,
}

impl<'a> Map<'a> {
    /// A kernel of `len` elements, with the words of its buffers for each.
    pub fn new<K: Native + 'static>(len: usize, words: &[usize], of: impl Fn(usize) -> K + 'a) -> Map<'a> {
        Map { len, words: words.to_vec(), of: Box::new(move |len| Box::new(of(len))) }
    }
}

/// What a block of elements needs of a buffer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Use {
    /// So many words an element.
    Each(usize),
    /// All of it.
    All,
    /// It sets flags in it.
    Flags,
}

/// A dispatch over elements.
#[derive(Debug, PartialEq)]
pub struct Elements {
    pub len: usize,
    pub uses: BTreeMap<BufferId, Use>,
}

impl Elements {
    /// Those of a dispatch, if it is a map.
    pub fn of(dispatch: &Dispatch) -> Option<Elements> {
        let kernel = native(&dispatch.kernel);
        let Map { len, words, .. } = kernel.map()?;
        let (read, _) = dispatch.split();
        let of = |(at, (&id, &words)): (usize, (&BufferId, &usize))| match words {
            0 if at < read.len() => (id, Use::All),
            0 => (id, Use::Flags),
            _ => (id, Use::Each(words)),
        };
        (len > 0).then(|| Elements { len, uses: dispatch.buffers.iter().zip(&words).enumerate().map(of).collect() })
    }

    /// Those of both, if a block can go through one and then the other.
    pub fn with(&self, other: &Elements) -> Option<Elements> {
        let agree = |(id, used): (&BufferId, &Use)| self.uses.get(id).is_none_or(|own| own == used);
        let both = self.len == other.len && other.uses.iter().all(agree);
        let uses = self.uses.iter().chain(&other.uses).map(|(&id, &used)| (id, used)).collect();
        both.then_some(Elements { len: self.len, uses })
    }

    /// The program with the elements for records.
    pub fn as_records(&self, program: &Program) -> Program {
        let mut buffers = program.buffers.clone();
        for (id, used) in &self.uses {
            if let Use::Each(words) = used {
                buffers[id.0 as usize].len = Extent::rows(*words);
            }
        }
        Program { buffers, phases: program.phases.clone(), slots: program.slots.clone(), ..Program::default() }
    }
}

/// The kernels of a dispatch over elements.
pub struct Kernels {
    /// That for a block of them.
    pub block: Box<dyn Native>,
    /// That for the last block, if it has fewer.
    pub last: Option<Box<dyn Native>>,
}

impl Kernels {
    /// Those of a dispatch, if it is a map.
    pub fn of(dispatch: &Dispatch) -> Option<Kernels> {
        let kernel = native(&dispatch.kernel);
        let Map { len, of, .. } = kernel.map()?;
        let rest = len % BLOCK;
        Some(Kernels { block: of(len.min(BLOCK)), last: (len > BLOCK && rest > 0).then(|| of(rest)) })
    }
}
