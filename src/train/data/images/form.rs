//! What a model takes of an image, by the shape of its input.

use std::fmt;
use std::str::FromStr;

use crate::schema::Dims;

/// Pixels from top to bottom, and from left to right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub height: usize,
    pub width: usize,
}

/// How an image becomes the bytes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// 1 for grey, 3 for red, green and blue.
    pub channels: usize,
    pub size: Size,
    /// Whether the channels of a pixel lie beside each other, `[H, W, C]`, and not in planes, `[C, H, W]`.
    pub channels_last: bool,
    /// Whether images of another size are resized.
    pub resize: bool,
}

impl Form {
    /// For records of shape `dims`: `[C, H, W]`, `[H, W, C]` or `[H, W]`, where C is 1 or 3; the first where it may be either.
    /// Flat records are `[C, H, W]`, of the size that is resized to.
    ///
    /// # Errors
    /// Why not, and what to do.
    pub fn of(dims: &[usize], resize: Option<Size>) -> Result<Self, (String, String)> {
        let (channels, size, channels_last) = match (dims, resize) {
            (&[channels @ (1 | 3), height, width], _) => (channels, Size { height, width }, false),
            (&[height, width, channels @ (1 | 3)], _) => (channels, Size { height, width }, true),
            (&[height, width], _) => (1, Size { height, width }, false),
            (&[flat], Some(size)) if flat == size.pixels() => (1, size, false),
            (&[flat], Some(size)) if flat == 3 * size.pixels() => (3, size, false),
            (&[flat], None) if flat > 1 => {
                return Err((
                    format!("the model takes {flat} numbers in a row, which do not say how high and wide an image is"),
                    "say it with --resize HEIGHTxWIDTH".to_owned(),
                ));
            }
            (&[flat], Some(size)) => {
                return Err((
                    format!(
                        "the model takes {flat} numbers, and images of {size} have {} or, in colour, {}",
                        size.pixels(),
                        3 * size.pixels()
                    ),
                    "give --resize the height and the width that the model is for".to_owned(),
                ));
            }
            _ => {
                return Err((
                    format!("the model takes records of shape {}", Dims(dims)),
                    "images go into inputs of shape [C, H, W], [H, W, C] or [H, W], with 1 or 3 channels".to_owned(),
                ));
            }
        };
        match resize {
            Some(other) if other != size => Err((
                format!("--resize makes them {other} (height x width), but the model takes {size}"),
                format!("give --resize {size}"),
            )),
            _ => Ok(Self { channels, size, channels_last, resize: resize.is_some() }),
        }
    }

    /// The shape of a record.
    #[cfg(any(feature = "images", feature = "tables"))]
    pub fn dims(&self) -> Vec<usize> {
        let (channels, Size { height, width }) = (self.channels, self.size);
        if self.channels_last { vec![height, width, channels] } else { vec![channels, height, width] }
    }

    /// Bytes of a record.
    #[cfg(any(feature = "images", feature = "tables"))]
    pub fn bytes(&self) -> usize {
        self.channels * self.size.pixels()
    }
}

impl Size {
    fn pixels(self) -> usize {
        self.height.saturating_mul(self.width)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.height, self.width)
    }
}

impl FromStr for Size {
    type Err = String;

    /// `HEIGHTxWIDTH`.
    fn from_str(text: &str) -> Result<Self, String> {
        // A larger image than a device can hold a batch of is a slip.
        const MOST: usize = 1 << 15;
        let number = |text: &str| text.trim().parse().ok().filter(|number| (1..=MOST).contains(number));
        let size = text.split_once('x').and_then(|(height, width)| number(height).zip(number(width)));
        let (height, width) = size.ok_or("expected HEIGHTxWIDTH in pixels, as in 224x224")?;
        Ok(Self { height, width })
    }
}
