//! The noise of a step in pieces: a thread makes them one after another before the step needs them, as far as it comes, and the step
//! makes what is left on all threads at once. Who makes a piece changes nothing of it.

use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;

use super::discrete::DiscreteNoise;

/// Elements of a piece, but for the last of a parameter.
pub const LEN: usize = DiscreteNoise::BLOCK;

/// Values of each parameter, of which the first pieces are made.
pub struct Pieces<T> {
    values: Vec<Vec<T>>,
    made: usize,
}

/// Some elements of a parameter.
pub struct Piece<'a, T> {
    /// The parameter's number.
    pub parameter: u32,
    /// The number of the piece in the parameter: it begins at so many times [`LEN`].
    pub block: u64,
    /// Where its values go.
    pub values: &'a mut [T],
}

impl<T: Copy + Default + Send> Pieces<T> {
    /// For parameters of so many elements each; none is made.
    pub fn new(sizes: &[usize]) -> Pieces<T> {
        Pieces { values: sizes.iter().map(|&size| vec![T::default(); size]).collect(), made: 0 }
    }

    /// Gives the first parameters other sizes, of which nothing is made.
    pub fn resize(&mut self, sizes: impl Iterator<Item = usize>) {
        self.made = 0;
        self.values.iter_mut().zip(sizes).for_each(|(values, size)| *values = vec![T::default(); size]);
    }

    /// The values of each parameter, whether they are made or not.
    pub fn values(&self) -> &[Vec<T>] {
        &self.values
    }

    /// The same, to be changed.
    pub fn values_mut(&mut self) -> &mut [Vec<T>] {
        &mut self.values
    }

    /// Takes nothing for made.
    pub fn forget(&mut self) {
        self.made = 0;
    }

    fn left(&mut self) -> impl Iterator<Item = Piece<'_, T>> {
        let of = |(parameter, values)| {
            let pieces = <[T]>::chunks_mut(values, LEN);
            (0..).zip(pieces).map(move |(block, values)| Piece { parameter, block, values })
        };
        (0..).zip(self.values.iter_mut().map(Vec::as_mut_slice)).flat_map(of).skip(self.made)
    }

    /// Makes one piece after another, at least one, until all are, or somebody waits for them.
    ///
    /// # Errors
    /// The first of `make`.
    pub fn make_until<E>(
        &mut self,
        wanted: &AtomicBool,
        make: impl Fn(Piece<'_, T>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut made = self.made;
        let mut result = Ok(());
        for piece in self.left() {
            result = make(piece);
            if result.is_err() {
                break;
            }
            made += 1;
            if wanted.load(Ordering::Relaxed) {
                break;
            }
        }
        self.made = made;
        result
    }

    /// Makes all that are left, on all threads.
    ///
    /// # Errors
    /// One of `make`; then some are not made.
    pub fn make_all<E: Send>(&mut self, make: impl Fn(Piece<'_, T>) -> Result<(), E> + Sync) -> Result<(), E> {
        let left: Vec<Piece<T>> = self.left().collect();
        let count = left.len();
        left.into_par_iter().try_for_each(&make)?;
        self.made += count;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    fn mark(piece: Piece<'_, i64>) -> Result<(), Infallible> {
        let first = i64::from(piece.parameter) << 32 | (piece.block as i64 * LEN as i64);
        (first..).zip(piece.values).for_each(|(value, out)| *out += value + 1);
        Ok(())
    }

    #[test]
    fn each_piece_is_made_once_by_whomever() {
        let sizes = [2 * LEN + 3, 0, 5, LEN];
        for ahead in 1..=6 {
            let mut pieces = Pieces::new(&sizes);
            let (wanted, seen) = (AtomicBool::new(false), AtomicUsize::new(0));
            let until = |piece: Piece<'_, i64>| {
                wanted.store(seen.fetch_add(1, Ordering::Relaxed) + 1 >= ahead, Ordering::Relaxed);
                mark(piece)
            };
            pieces.make_until(&wanted, until).unwrap();
            assert_eq!(seen.into_inner(), ahead.min(5));
            pieces.make_all(mark).unwrap();
            for (parameter, (values, size)) in pieces.values().iter().zip(sizes).enumerate() {
                let expected = (0..size as i64).map(|at| ((parameter as i64) << 32 | at) + 1);
                assert!(values.iter().copied().eq(expected), "{ahead}: parameter {parameter}");
            }
            // Nothing is left.
            pieces.make_all(|_| Err("made again")).unwrap();
        }
    }

    #[test]
    fn an_error_ends_it() {
        let mut pieces = Pieces::<i64>::new(&[3 * LEN]);
        let broken = |piece: Piece<'_, i64>| if piece.block == 1 { Err("no room") } else { Ok(()) };
        assert_eq!(pieces.make_until(&AtomicBool::new(false), broken), Err("no room"));
        assert_eq!(pieces.make_all(broken), Err("no room"));
    }
}
