//! Images as files hold them, PNG and JPEG, and the bytes that a model takes of them.
//!
//! What becomes of an image is what PIL makes of it: `convert("RGB")` or `convert("L")`, whose grey is
//! (19595 R + 38470 G + 7471 B) / 2¹⁶ ([ITU-R BT.601](https://www.itu.int/rec/R-REC-BT.601)), and then `resize` with its
//! bilinear filter, which is a mean over what a pixel covers where an image gets smaller. Transparency, colour profiles and
//! the orientation that a camera notes are left out of account, as in torchvision's `ImageFolder`; of 16 bits a channel the
//! upper eight are taken.

mod form;
#[cfg(feature = "images")]
mod pixels;
#[cfg(feature = "images")]
mod resize;

pub use form::{Form, Size};
#[cfg(feature = "images")]
pub use pixels::{decode, described};

#[cfg(feature = "images")]
mod folder;
#[cfg(feature = "images")]
pub(super) use folder::{ImageFolder, holds_classes};

/// The bytes of an image in its form.
#[cfg(all(feature = "tables", not(feature = "images")))]
pub fn decode(_: &[u8], _: &Form) -> Result<Vec<u8>, String> {
    Err("is an image, which this dpc is built without: its feature is `images`".to_owned())
}

/// What an image is, for people.
#[cfg(all(feature = "tables", not(feature = "images")))]
pub fn described(_: &[u8]) -> String {
    "image".to_owned()
}

#[cfg(all(test, feature = "images"))]
mod tests;
