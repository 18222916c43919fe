//! How views are asked for on the command line.

use std::fmt;
use std::str::FromStr;

use miette::Diagnostic;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::MOST_VIEWS;
use super::image::Image;
use crate::schema::{InputKind, Schema};

/// `K:flip,crop=4,…`: K views of each record and how each is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Augment {
    /// K.
    pub views: usize,
    /// Whether left and right are exchanged, in half of the views.
    pub flip: bool,
    /// The most pixels by which an image moves along each axis, its edges reflected into what becomes free: the same as a random crop
    /// of an image that was padded by so many.
    pub crop: usize,
    /// The same, its edges repeated.
    pub shift: usize,
    /// The most degrees by which it is turned.
    pub rotate: f32,
    /// The standard deviation of Gaussian noise on every element.
    pub noise: f32,
}

impl FromStr for Augment {
    type Err = String;

    fn from_str(text: &str) -> Result<Augment, String> {
        let form =
            "give K:flip,crop=P,shift=P,rotate=DEGREES,noise=DEVIATION with one or more of these, as in 8:flip,crop=4";
        let (views, ways) = text.split_once(':').ok_or(form)?;
        let views = views.trim().parse().ok().filter(|views| (1..=MOST_VIEWS).contains(views));
        let mut augment =
            Augment { views: views.ok_or(format!("{form}; K is from 1 to {MOST_VIEWS}"))?, ..Augment::default() };
        for way in ways.split(',').map(str::trim) {
            let (name, value) = way.split_once('=').unwrap_or((way, ""));
            let pixels =
                || value.parse().ok().filter(|&p| (1..=1 << 12).contains(&p)).ok_or(format!("`{way}`: {form}"));
            let number = |most: f32| {
                let number = value.parse().ok().filter(|n: &f32| *n > 0.0 && *n <= most);
                number.ok_or(format!("`{way}`: {form}"))
            };
            match name {
                "flip" if value.is_empty() => augment.flip = true,
                "crop" => augment.crop = pixels()?,
                "shift" => augment.shift = pixels()?,
                "rotate" => augment.rotate = number(180.0)?,
                "noise" => augment.noise = number(f32::MAX)?,
                _ => return Err(format!("`{way}`: {form}")),
            }
        }
        Ok(augment)
    }
}

impl fmt::Display for Augment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Augment { views, flip, crop, shift, rotate, noise } = *self;
        let ways = [
            flip.then(|| "flip".to_owned()),
            (crop > 0).then(|| format!("crop={crop}")),
            (shift > 0).then(|| format!("shift={shift}")),
            (rotate > 0.0).then(|| format!("rotate={rotate}")),
            (noise > 0.0).then(|| format!("noise={noise}")),
        ];
        write!(f, "{views}:{}", ways.into_iter().flatten().collect::<Vec<_>>().join(","))
    }
}

impl TryFrom<String> for Augment {
    type Error = String;

    fn try_from(text: String) -> Result<Augment, String> {
        text.parse()
    }
}

impl From<Augment> for String {
    fn from(augment: Augment) -> String {
        augment.to_string()
    }
}

/// Data that views cannot be made of.
#[derive(Clone, Debug, PartialEq, Error, Diagnostic)]
#[allow(missing_docs)]
pub enum AugmentError {
    #[error("--augment {augment} moves images, and no input of the model is one: {inputs}")]
    #[diagnostic(
        code(dpc::train::augment),
        help(
            "an image is a floating-point input whose last two axes are height and width; noise=S alone is for any floats"
        )
    )]
    NoImage { augment: Augment, inputs: String },
}

impl Augment {
    /// Whether it moves images.
    fn moves(&self) -> bool {
        self.flip || self.crop > 0 || self.shift > 0 || self.rotate > 0.0
    }

    /// Makes sure that views of the inputs can be made.
    ///
    /// # Errors
    /// When images are to be moved and there are none, or nothing is a float.
    pub fn check(&self, schema: &Schema) -> Result<(), AugmentError> {
        let floats = || schema.inputs.iter().filter(|input| input.kind == InputKind::F32);
        let fits =
            if self.moves() { floats().any(|i| Image::of(&i.dims).is_some()) } else { floats().next().is_some() };
        if fits {
            return Ok(());
        }
        let inputs: Vec<String> =
            schema.inputs.iter().map(|i| format!("`{}` of {:?} a record", i.name, i.dims)).collect();
        Err(AugmentError::NoImage { augment: *self, inputs: inputs.join(", ") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::InputSchema;

    #[test]
    fn what_is_written_is_read() {
        for text in
            ["1:flip", "8:flip,crop=4", "16:shift=2,rotate=10,noise=0.1", "1024:flip,crop=1,shift=1,rotate=0.5,noise=2"]
        {
            assert_eq!(text.parse::<Augment>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "flip",
            "8:",
            "8:flip=1",
            "0:flip",
            "1025:flip",
            "8:crop",
            "8:crop=0",
            "8:turn=3",
            "8:rotate=181",
            "8:noise=nan",
            "8:noise=-1",
        ] {
            assert!(text.parse::<Augment>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_moves_needs_an_image() {
        let input = |dims: &[usize], kind| InputSchema { name: "x".into(), dims: dims.to_vec(), kind };
        let check = |text: &str, input| {
            text.parse::<Augment>().unwrap().check(&Schema { inputs: vec![input], targets: vec![] }).is_ok()
        };
        assert!(check("2:flip", input(&[1, 8, 8], InputKind::F32)));
        assert!(check("2:flip", input(&[8, 8], InputKind::F32)));
        assert!(!check("2:flip", input(&[64], InputKind::F32)));
        assert!(check("2:noise=1", input(&[64], InputKind::F32)));
        assert!(!check("2:noise=1", input(&[8, 8], InputKind::I32 { table: None })));
    }
}
