//! How many rows a physical batch has where nobody says.

/// Rows, at most `most`, such that the fewest physical batches that hold nearly every logical batch of `expected`
/// records are evenly full. A Poisson number of records passes its mean by three deviations once in 700 steps.
pub fn rows(expected: f64, most: usize) -> usize {
    let nearly_all = (expected + 3.0 * expected.sqrt()).ceil().max(1.0);
    let batches = (nearly_all / most as f64).ceil();
    (nearly_all / batches).ceil() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_fill_whole_batches() {
        assert_eq!(rows(10.0, 256), 20);
        assert_eq!(rows(256.0, 256), 152);
        assert_eq!(rows(2048.0, 256), 243);
        assert_eq!(rows(0.001, 256), 1);
        assert_eq!(rows(5.0, 1), 1);
    }
}
