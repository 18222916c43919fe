//! Images that are moved: turned, shifted and mirrored.

use super::{Augment, Draws};

/// The planes of an image: its last two axes are height and width.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Image {
    height: usize,
    width: usize,
}

/// How a view differs from the image.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Motion {
    flip: bool,
    /// Rows and columns, edges reflected.
    crop: [isize; 2],
    /// Rows and columns, edges repeated.
    shift: [isize; 2],
    /// In radians.
    angle: f32,
}

impl Motion {
    /// A random one. As many numbers are drawn whatever they are.
    pub fn draw(spec: &Augment, draws: &mut Draws) -> Motion {
        let flip = draws.unit() < 0.5 && spec.flip;
        let crop = [draws.offset(spec.crop), draws.offset(spec.crop)];
        let shift = [draws.offset(spec.shift), draws.offset(spec.shift)];
        let angle = (2.0 * draws.unit() - 1.0) * spec.rotate.to_radians();
        Motion { flip, crop, shift, angle }
    }
}

impl Image {
    /// Of a record of these dims; `None` if it has fewer than two axes.
    pub fn of(dims: &[usize]) -> Option<Image> {
        let [.., height, width] = *dims else { return None };
        (height > 0 && width > 0).then_some(Image { height, width })
    }

    /// Moves all planes of `row`.
    pub fn move_by(self, motion: &Motion, row: &mut [f32], scratch: &mut Vec<f32>) {
        if *motion == Motion::default() {
            return;
        }
        let Image { height, width } = self;
        for plane in row.chunks_exact_mut(height * width) {
            scratch.clear();
            scratch.extend_from_slice(plane);
            if motion.angle != 0.0 {
                self.turn(motion.angle, scratch, plane);
                scratch.copy_from_slice(plane);
            }
            for (i, line) in plane.chunks_exact_mut(width).enumerate() {
                let from = source(i, motion.shift[0], motion.crop[0], height);
                for (j, value) in line.iter_mut().enumerate() {
                    let column = if motion.flip { width - 1 - j } else { j };
                    *value = scratch[from * width + source(column, motion.shift[1], motion.crop[1], width)];
                }
            }
        }
    }

    /// Turns a plane about its middle; between pixels it is linear, and beyond the edges their pixels are repeated.
    fn turn(self, angle: f32, from: &[f32], to: &mut [f32]) {
        let Image { height, width } = self;
        let (sine, cosine) = (libm::sinf(angle), libm::cosf(angle));
        let middle = [(height - 1) as f32 / 2.0, (width - 1) as f32 / 2.0];
        for (i, line) in to.chunks_exact_mut(width).enumerate() {
            for (j, value) in line.iter_mut().enumerate() {
                let (y, x) = (i as f32 - middle[0], j as f32 - middle[1]);
                let (y, x) = (cosine * y - sine * x + middle[0], sine * y + cosine * x + middle[1]);
                let (y, x) = (y.clamp(0.0, (height - 1) as f32), x.clamp(0.0, (width - 1) as f32));
                let (top, left) = (y as usize, x as usize);
                let (bottom, right) = ((top + 1).min(height - 1), (left + 1).min(width - 1));
                let (down, across) = (y - top as f32, x - left as f32);
                let at = |i: usize, j: usize| from[i * width + j];
                let upper = at(top, left) + across * (at(top, right) - at(top, left));
                let lower = at(bottom, left) + across * (at(bottom, right) - at(bottom, left));
                *value = upper + down * (lower - upper);
            }
        }
    }
}

/// The pixel that comes to stand at `i` of `len`, shifted and then cropped.
fn source(i: usize, shift: isize, crop: isize, len: usize) -> usize {
    let i = reflected(i as isize - crop, len) as isize;
    (i - shift).clamp(0, len as isize - 1) as usize
}

/// An index beyond the edges counted back from them, which do not count twice.
fn reflected(i: isize, len: usize) -> usize {
    let period = 2 * (len as isize - 1).max(1);
    let i = i.rem_euclid(period);
    if i < len as isize { i as usize } else { (period - i).min(len as isize - 1) as usize }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDE: Image = Image { height: 2, width: 4 };
    const PLANE: [f32; 8] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];

    fn moved(image: Image, motion: Motion, plane: &[f32]) -> Vec<f32> {
        let mut row = plane.to_vec();
        image.move_by(&motion, &mut row, &mut Vec::new());
        row
    }

    #[test]
    fn images_are_mirrored_and_shifted() {
        let still = Motion::default();
        assert_eq!(moved(WIDE, still, &PLANE), PLANE);
        assert_eq!(moved(WIDE, Motion { flip: true, ..still }, &PLANE), [4.0, 3.0, 2.0, 1.0, 8.0, 7.0, 6.0, 5.0]);
        assert_eq!(moved(WIDE, Motion { shift: [0, 2], ..still }, &PLANE), [1.0, 1.0, 1.0, 2.0, 5.0, 5.0, 5.0, 6.0]);
        assert_eq!(moved(WIDE, Motion { shift: [1, -9], ..still }, &PLANE), [4.0; 8]);
        assert_eq!(moved(WIDE, Motion { crop: [0, 2], ..still }, &PLANE), [3.0, 2.0, 1.0, 2.0, 7.0, 6.0, 5.0, 6.0]);
        assert_eq!(moved(WIDE, Motion { crop: [0, -2], ..still }, &PLANE), [3.0, 4.0, 3.0, 2.0, 7.0, 8.0, 7.0, 6.0]);
        assert_eq!(moved(WIDE, Motion { crop: [1, 0], ..still }, &PLANE), [5.0, 6.0, 7.0, 8.0, 1.0, 2.0, 3.0, 4.0]);
    }

    #[test]
    fn every_plane_moves_alike() {
        let two: Vec<f32> = PLANE.iter().chain(&PLANE).copied().collect();
        let motion = Motion { flip: true, crop: [1, 3], shift: [0, -1], angle: 0.3 };
        let row = moved(WIDE, motion, &two);
        assert_eq!(row[..8], row[8..]);
    }

    #[test]
    fn a_quarter_turn_moves_every_pixel() {
        let square = Image { height: 3, width: 3 };
        let plane: Vec<f32> = (0..9).map(|i| i as f32).collect();
        let turned = moved(square, Motion { angle: std::f32::consts::FRAC_PI_2, ..Motion::default() }, &plane);
        let expected = [2.0, 5.0, 8.0, 1.0, 4.0, 7.0, 0.0, 3.0, 6.0];
        let reversed: Vec<f32> = expected.iter().rev().copied().collect();
        let near = |to: &[f32]| turned.iter().zip(to).all(|(a, b)| (a - b).abs() < 1e-4);
        assert!(near(&expected) || near(&reversed), "{turned:?}");
        // A constant stays one.
        assert!(
            moved(square, Motion { angle: 1.1, ..Motion::default() }, &[2.5; 9]).iter().all(|v| (v - 2.5).abs() < 1e-6)
        );
    }

    #[test]
    fn an_image_of_one_pixel_stays() {
        let one = Image { height: 1, width: 1 };
        assert_eq!(moved(one, Motion { flip: true, crop: [3, -2], shift: [1, 1], angle: 1.0 }, &[7.0]), [7.0]);
    }
}
