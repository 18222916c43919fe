//! Fewer points for the same picture.

/// The most points of a curve that is drawn: more than a screen has columns for it.
const MOST: usize = 480;

/// The points, at most about [`MOST`] of them: of each stretch the lowest and the highest, so that no peak is lost, and both ends.
pub fn thin(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    if points.len() <= MOST {
        return points.to_vec();
    }
    let stretch = points.len().div_ceil(MOST / 2 - 1);
    let mut kept = Vec::with_capacity(MOST + 2);
    kept.extend(points.first());
    for stretch in points.chunks(stretch) {
        let by_height = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
        let ends = [stretch.iter().min_by(by_height), stretch.iter().max_by(by_height)];
        let mut ends: Vec<(f64, f64)> = ends.into_iter().flatten().copied().collect();
        ends.sort_by(|a, b| a.0.total_cmp(&b.0));
        kept.extend(ends);
    }
    kept.extend(points.last());
    kept.dedup();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peaks_and_ends_stay() {
        let points: Vec<(f64, f64)> =
            (0..100_000).map(|x| (f64::from(x), if x == 54_321 { 9.0 } else { (f64::from(x) / 9e3).sin() })).collect();
        let few = thin(&points);
        assert!(few.len() <= MOST + 2, "{}", few.len());
        assert!(few.contains(&(54_321.0, 9.0)));
        assert_eq!((few.first(), few.last()), (points.first(), points.last()));
        assert!(few.is_sorted_by(|a, b| a.0 < b.0));
        assert_eq!(thin(&points[..100]), points[..100]);
    }
}
