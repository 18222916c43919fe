//! From the bytes of a file to those of pixels.

use std::fmt::Display;
use std::io::Cursor;

use png::{ColorType, Decoder, Limits, Reader, Transformations};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::resize::resized;
use super::{Form, Size};
use crate::panics::contained;

const PNG: [u8; 8] = *b"\x89PNG\r\n\x1a\n";
const JPEG: [u8; 3] = [0xff, 0xd8, 0xff];
/// Bytes that an image may take.
const MOST_BYTES: usize = 1 << 28;

/// An image whose header has been read.
enum Image<'a> {
    Png(Box<Reader<Cursor<&'a [u8]>>>),
    Jpeg(Box<JpegDecoder<ZCursor<&'a [u8]>>>),
}

/// The bytes of an image in its form.
///
/// # Errors
/// What the image is instead, as in `is empty`.
pub fn decode(bytes: &[u8], form: &Form) -> Result<Vec<u8>, String> {
    read(bytes, |image| {
        let size = image.size();
        if size != form.size && !form.resize {
            return Err(format!("is {size}"));
        }
        let channels = if image.is_colour() { 3 } else { 1 };
        let pixels = image.pixels()?;
        let pixels = match (channels, form.channels) {
            (1, 3) => pixels.into_iter().flat_map(|grey| [grey; 3]).collect(),
            (3, 1) => pixels.as_chunks().0.iter().map(luma).collect(),
            _ => pixels,
        };
        let pixels = resized(pixels, form.channels, size, form.size);
        Ok(match form.channels_last || form.channels == 1 {
            true => pixels,
            false => (0..form.channels).flat_map(|c| pixels.iter().skip(c).step_by(form.channels)).copied().collect(),
        })
    })
}

/// What an image is, for people, as far as its header says.
pub fn described(bytes: &[u8]) -> String {
    let header = read(bytes, |image| {
        let colour = if image.is_colour() { "colour" } else { "grey" };
        Ok(format!("{} {colour} {}", image.size(), if matches!(image, Image::Png(_)) { "PNG" } else { "JPEG" }))
    });
    header.unwrap_or_else(|what| what)
}

fn read<T>(bytes: &[u8], of: impl FnOnce(Image<'_>) -> Result<T, String>) -> Result<T, String> {
    contained(|| of(Image::open(bytes)?)).unwrap_or_else(|panic| Err(undecoded(panic)))
}

fn undecoded(error: impl Display) -> String {
    format!("cannot be decoded: {}", error.to_string().lines().next().unwrap_or_default())
}

impl<'a> Image<'a> {
    fn open(bytes: &'a [u8]) -> Result<Self, String> {
        let image = if bytes.starts_with(&PNG) {
            let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), Limits { bytes: MOST_BYTES });
            // Palettes become colours, bits bytes, and of 16 bits the upper eight stay.
            decoder.set_transformations(Transformations::normalize_to_color8());
            Self::Png(Box::new(decoder.read_info().map_err(undecoded)?))
        } else if bytes.starts_with(&JPEG) {
            // Strict, so that what is cut off is an error.
            let options = DecoderOptions::default().set_strict_mode(true);
            let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
            decoder.decode_headers().map_err(undecoded)?;
            let colour = decoder.input_colorspace() != Some(ColorSpace::Luma);
            let space = if colour { ColorSpace::RGB } else { ColorSpace::Luma };
            decoder.set_options(options.jpeg_set_out_colorspace(space));
            Self::Jpeg(Box::new(decoder))
        } else if bytes.is_empty() {
            return Err("is empty".to_owned());
        } else {
            return Err("is no PNG or JPEG image".to_owned());
        };
        let Size { height, width } = image.size();
        match height.checked_mul(width).and_then(|pixels| pixels.checked_mul(4)) {
            Some(bytes) if bytes <= MOST_BYTES => Ok(image),
            _ => Err(format!("is {height}x{width}, which is larger than dpc reads")),
        }
    }

    fn size(&self) -> Size {
        match self {
            Self::Png(reader) => Size { height: reader.info().height as usize, width: reader.info().width as usize },
            Self::Jpeg(decoder) => {
                let info = decoder.info().unwrap_or_default();
                Size { height: info.height.into(), width: info.width.into() }
            }
        }
    }

    fn is_colour(&self) -> bool {
        match self {
            Self::Png(reader) => {
                !matches!(reader.output_color_type().0, ColorType::Grayscale | ColorType::GrayscaleAlpha)
            }
            Self::Jpeg(decoder) => decoder.output_colorspace() != Some(ColorSpace::Luma),
        }
    }

    /// One or three bytes a pixel, without transparency.
    fn pixels(self) -> Result<Vec<u8>, String> {
        match self {
            Self::Jpeg(mut decoder) => decoder.decode().map_err(undecoded),
            Self::Png(mut reader) => {
                let length = reader.output_buffer_size().ok_or_else(|| undecoded("it is too large"))?;
                let mut bytes = vec![0; length];
                reader.next_frame(&mut bytes).map_err(undecoded)?;
                Ok(match reader.output_color_type().0 {
                    ColorType::GrayscaleAlpha => bytes.into_iter().step_by(2).collect(),
                    ColorType::Rgba => {
                        bytes.as_chunks::<4>().0.iter().flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect()
                    }
                    _ => bytes,
                })
            }
        }
    }
}

/// As PIL's `convert("L")` has it.
fn luma(&[red, green, blue]: &[u8; 3]) -> u8 {
    ((u32::from(red) * 19595 + u32::from(green) * 38470 + u32::from(blue) * 7471 + 0x8000) >> 16) as u8
}
