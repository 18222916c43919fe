//! Interpolation along an axis, as Resize has it: for each position of the result what it takes of the operand.

/// How the value between elements comes from them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Nearest(Nearest),
    Linear,
    /// By a piecewise cubic with this coefficient.
    Cubic(f64),
}

/// Which of two elements is the nearest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Nearest {
    RoundPreferFloor,
    RoundPreferCeil,
    Floor,
    Ceil,
}

/// Where a position of the result lies among those of the operand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Coordinates {
    HalfPixel,
    HalfPixelSymmetric,
    PytorchHalfPixel,
    AlignCorners,
    Asymmetric,
    TfHalfPixelForNn,
    TfCropAndResize,
}

/// An interpolation, the same along all axes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Interpolation {
    pub kind: Kind,
    pub coordinates: Coordinates,
    pub antialias: bool,
    pub exclude_outside: bool,
    /// What stands where a crop reaches beyond the image.
    pub extrapolation: f32,
}

impl Interpolation {
    /// Whether corners are aligned by a size that is no whole number.
    pub(super) fn rounds_size(&self, from: usize, size: usize, scale: f64) -> bool {
        self.coordinates == Coordinates::AlignCorners && (scale * from as f64 - size as f64).abs() > 1e-4
    }

    /// Where position `to` of `size` lies among the `from` elements of the operand.
    fn coordinate(&self, to: usize, from: usize, size: usize, scale: f64, part: [f64; 2]) -> f64 {
        let (x, last) = (to as f64, from as f64 - 1.0);
        let width = scale * from as f64;
        let half_pixel = (x + 0.5) / scale - 0.5;
        match self.coordinates {
            Coordinates::HalfPixel => half_pixel,
            Coordinates::HalfPixelSymmetric => {
                let adjustment = size as f64 / width;
                from as f64 / 2.0 * (1.0 - adjustment) + half_pixel
            }
            Coordinates::PytorchHalfPixel if size == 1 => 0.0,
            Coordinates::PytorchHalfPixel => half_pixel,
            Coordinates::AlignCorners if size == 1 || width == 1.0 => 0.0,
            Coordinates::AlignCorners => x * last / (width - 1.0),
            Coordinates::Asymmetric => x / scale,
            Coordinates::TfHalfPixelForNn => (x + 0.5) / scale,
            Coordinates::TfCropAndResize if size == 1 => 0.5 * (part[0] + part[1]) * last,
            Coordinates::TfCropAndResize => part[0] * last + x * (part[1] - part[0]) * last / (size as f64 - 1.0),
        }
    }

    /// The position of the operand that each of the result has, where they are the nearest ones and inside of the image.
    pub(super) fn places(&self, from: usize, size: usize, scale: f64, part: [f64; 2]) -> Option<Vec<usize>> {
        let Kind::Nearest(nearest) = self.kind else { return None };
        let place = |to: usize| {
            let x = self.coordinate(to, from, size, scale, part);
            if self.is_outside(x, from) {
                return None;
            }
            // What differs from a whole number by rounding alone is one.
            let x = if (x - x.round()).abs() < 1e-9 { x.round() } else { x };
            let (below, ratio) = (x.floor(), x - x.floor());
            let up = match nearest {
                Nearest::RoundPreferFloor => ratio > 0.5,
                Nearest::RoundPreferCeil => ratio >= 0.5,
                Nearest::Floor => false,
                Nearest::Ceil => ratio > 0.0,
            };
            Some((below + f64::from(u8::from(up))).clamp(0.0, from as f64 - 1.0) as usize)
        };
        (0..size).map(place).collect()
    }

    fn is_outside(&self, x: f64, from: usize) -> bool {
        self.coordinates == Coordinates::TfCropAndResize && !(0.0..=from as f64 - 1.0).contains(&x)
    }

    /// For each position of the result the coefficients of the operand's elements; `None` outside of the image.
    pub(super) fn rows(&self, from: usize, size: usize, scale: f64, part: [f64; 2]) -> Vec<Option<Vec<f32>>> {
        let row = |to: usize| {
            let x = self.coordinate(to, from, size, scale, part);
            if self.is_outside(x, from) {
                return None;
            }
            let mut taps = self.taps(x, scale);
            if self.exclude_outside {
                taps.iter_mut().filter(|tap| tap.0 < 0 || tap.0 >= from as i64).for_each(|tap| tap.1 = 0.0);
                let sum: f64 = taps.iter().map(|tap| tap.1).sum();
                taps.iter_mut().for_each(|tap| tap.1 /= sum);
            }
            let mut row = vec![0.0; from];
            // Elements beyond the border are those at the border.
            taps.iter().for_each(|&(at, share)| row[at.clamp(0, from as i64 - 1) as usize] += share);
            Some(row.into_iter().map(|share| share as f32).collect())
        };
        (0..size).map(row).collect()
    }

    /// The elements around a coordinate and their coefficients, whose sum is 1.
    fn taps(&self, x: f64, scale: f64) -> Vec<(i64, f64)> {
        let below = x.floor();
        let ratio = x - below;
        let wide = if self.antialias { scale.min(1.0) } else { 1.0 };
        let reach = match self.kind {
            Kind::Nearest(_) | Kind::Linear => 1.0,
            Kind::Cubic(_) => 2.0,
        };
        let first = (-reach / wide).floor() as i64 + 1;
        let weight = |k: i64| match self.kind {
            Kind::Nearest(nearest) => {
                let up = match nearest {
                    Nearest::RoundPreferFloor => ratio > 0.5,
                    Nearest::RoundPreferCeil => ratio >= 0.5,
                    Nearest::Floor => false,
                    Nearest::Ceil => ratio > 0.0,
                };
                f64::from(u8::from(k == i64::from(up)))
            }
            Kind::Linear => (1.0 - ((k as f64 - ratio) * wide).abs()).clamp(0.0, 1.0),
            Kind::Cubic(a) => cubic((k as f64 - ratio) * wide, a),
        };
        let taps: Vec<(i64, f64)> = (first..2 - first).map(|k| (below as i64 + k, weight(k))).collect();
        let sum: f64 = taps.iter().map(|tap| tap.1).sum();
        taps.into_iter().map(|(at, weight)| (at, weight / sum)).collect()
    }
}

/// The piecewise cubic of [Keys](https://doi.org/10.1109/TASSP.1981.1163711).
fn cubic(x: f64, a: f64) -> f64 {
    let x = x.abs();
    if x <= 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kind: Kind, coordinates: Coordinates) -> Interpolation {
        Interpolation { kind, coordinates, antialias: false, exclude_outside: false, extrapolation: 0.0 }
    }

    #[test]
    fn twice_the_size_takes_quarters() {
        let rows = of(Kind::Linear, Coordinates::HalfPixel).rows(2, 4, 2.0, [0.0, 1.0]);
        let rows: Vec<Vec<f32>> = rows.into_iter().map(Option::unwrap).collect();
        assert_eq!(rows, [[1.0, 0.0], [0.75, 0.25], [0.25, 0.75], [0.0, 1.0]]);
    }

    #[test]
    fn the_nearest_element_is_that_of_the_mode() {
        let places =
            |nearest| of(Kind::Nearest(nearest), Coordinates::Asymmetric).places(4, 8, 2.0, [0.0, 1.0]).unwrap();
        assert_eq!(places(Nearest::Floor), [0, 0, 1, 1, 2, 2, 3, 3]);
        assert_eq!(places(Nearest::RoundPreferFloor), [0, 0, 1, 1, 2, 2, 3, 3]);
        assert_eq!(places(Nearest::RoundPreferCeil), [0, 1, 1, 2, 2, 3, 3, 3]);
        assert_eq!(places(Nearest::Ceil), [0, 1, 1, 2, 2, 3, 3, 3]);
    }

    #[test]
    fn coefficients_sum_to_one() {
        for kind in [Kind::Linear, Kind::Cubic(-0.75)] {
            for (size, antialias) in [(3, true), (3, false), (11, false)] {
                let how = Interpolation { antialias, ..of(kind, Coordinates::HalfPixel) };
                for row in how.rows(7, size, size as f64 / 7.0, [0.0, 1.0]) {
                    assert!((row.unwrap().iter().sum::<f32>() - 1.0).abs() < 1e-6);
                }
            }
        }
    }
}
