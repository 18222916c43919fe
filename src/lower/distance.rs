//! How long ago the memory that a dispatch works on was last used, in bytes that were used since, its own among them: its reuse distance
//! (Mattson et al. 1970). What is farther than a cache is large comes from the memory behind it.
//!
//! What belongs to records is left out of what can be far, as it is worked on in blocks that caches hold: parameters, tables and sums remain.

use std::collections::HashMap;

use super::program::{Dispatch, Program};

/// For each of the dispatches, which are run in this order again and again at a physical batch of `rows`, the share of its bytes
/// that all records share and since whose last use more than `cache` bytes were used.
pub fn far(program: &Program, dispatches: &[&Dispatch], rows: usize, cache: usize) -> Vec<f64> {
    let mut used_at: HashMap<usize, usize> = HashMap::new();
    let mut used = 0;
    let mut shares = Vec::new();
    // The second time around, every distance is known.
    for _ in 0..2 {
        shares =
            dispatches.iter().map(|dispatch| share(program, dispatch, rows, cache, &mut used_at, &mut used)).collect();
    }
    shares
}

/// Bytes that the dispatches use, of a buffer that several use each time.
pub fn used(program: &Program, dispatches: &[&Dispatch], rows: usize) -> usize {
    dispatches.iter().flat_map(|dispatch| places(program, dispatch, rows)).map(|place| place.bytes).sum()
}

fn share(
    program: &Program,
    dispatch: &Dispatch,
    rows: usize,
    cache: usize,
    used_at: &mut HashMap<usize, usize>,
    used: &mut usize,
) -> f64 {
    let (mut far, mut all) = (0, 0);
    for Place { home, bytes, shared } in places(program, dispatch, rows) {
        all += bytes;
        if shared && used_at.get(&home).is_none_or(|&at| *used - at + bytes > cache) {
            far += bytes;
        }
    }
    for Place { home, bytes, .. } in places(program, dispatch, rows) {
        *used += bytes;
        used_at.insert(home, *used);
    }
    far as f64 / all.max(1) as f64
}

/// A buffer of a dispatch: its memory, and whether all records share it.
struct Place {
    home: usize,
    bytes: usize,
    shared: bool,
}

fn places<'a>(program: &'a Program, dispatch: &'a Dispatch, rows: usize) -> impl Iterator<Item = Place> + 'a {
    dispatch.buffers.iter().filter_map(move |&buffer| {
        let (home, len) = program.place(buffer, rows)?;
        Some(Place { home, bytes: 4 * len, shared: program.buffer(buffer).len.per_row == 0 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::DType;
    use crate::lower::kernels::{Fill, Kernel};
    use crate::lower::program::{Buffer, BufferId, Extent, Role};

    #[test]
    fn what_was_used_before_much_else_is_far() {
        let buffer = |len| Buffer {
            name: String::new(),
            dtype: DType::F32,
            len: Extent { per_row: 0, fixed: len },
            role: Role::Temporary,
            slot: 0,
        };
        let program = Program { buffers: vec![buffer(10), buffer(10), buffer(1000)], ..Program::default() };
        // What a kernel does with its buffers is of no account here.
        let on = |buffers: [u32; 2]| Dispatch {
            kernel: Kernel::Fill(Fill { len: Extent { per_row: 0, fixed: 10 }, value: 0.0 }),
            buffers: buffers.map(BufferId).to_vec(),
            label: String::new(),
            views: 1,
        };
        let (near, large) = (on([0, 1]), on([1, 2]));
        let all = [&near, &large, &near];
        assert_eq!(used(&program, &all, 1), 40 * 4 + 40 + 4000);
        // The last finds both of its buffers 4,040 bytes or more away, the first finds them where the last left them.
        assert_eq!(far(&program, &all, 1, 2000), [0.0, 4000.0 / 4040.0, 1.0]);
        assert_eq!(far(&program, &all, 1, 1 << 20), [0.0, 0.0, 0.0]);
    }
}
