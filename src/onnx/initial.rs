//! Initial values from another file, by name: those of a model that was trained before, on public data.
//!
//! They take the place of the values in the model's own file, so that what is trained, what is frozen and what is a buffer
//! all begin with them, and so does everything that comes after, as if the model had been exported with them.
//!
//! Names that an exporter made up, as `onnx::MatMul_88`, count layers and constants, and are another tensor's in another
//! model. They are matched only where all of them agree, as in two files of one module, and constants by such names never.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};
use sha2::{Digest, Sha256};
use tract_onnx::tract_hir::internal::f16;

use super::error::OnnxError;
use super::export::{encoded, with_values};
use super::parameters::{Parameters, is_anonymous};
use super::source::Source;
use crate::tensors::{Tensor, Tensors};

/// The float tensors of a file.
#[derive(Clone, Debug)]
pub struct Given {
    /// The file.
    pub path: PathBuf,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
    tensors: Tensors,
}

/// What became of the tensors of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Initial {
    /// The file.
    pub path: PathBuf,
    /// The model's tensors that had their values from it, or might have had.
    pub tensors: Vec<Matched>,
    /// The names of the file's tensors that the model does not have.
    pub unused: Vec<String>,
}

/// A tensor of the model.
#[derive(Clone, Debug, PartialEq)]
pub struct Matched {
    /// Its name in the model.
    pub name: String,
    /// Its shape in the model.
    pub dims: Vec<usize>,
    /// Its shape in the file, if that has it.
    pub found: Option<Vec<usize>>,
    /// Whether its values are those of the file; otherwise the model's own stay.
    pub taken: bool,
}

impl Matched {
    fn agrees(&self) -> bool {
        self.found.as_ref() == Some(&self.dims)
    }
}

impl Given {
    /// Reads a `.safetensors` file or an ONNX model.
    ///
    /// # Errors
    ///
    /// [`OnnxError::InitialFile`] if it is neither or holds no floats, and those of reading a model.
    pub fn read(path: &Path) -> Result<Given, OnnxError> {
        let bytes = std::fs::read(path).map_err(|source| OnnxError::Read { path: path.to_owned(), source })?;
        let sha256 = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        let none = |what: String| OnnxError::InitialFile { path: path.to_owned(), what };
        let tensors: Tensors = match is_safetensors(&bytes) {
            true => {
                let file = SafeTensors::deserialize(&bytes).map_err(|error| none(error.to_string()))?;
                let floats = file.iter().filter_map(|(name, view)| {
                    let data = floats(view.dtype(), view.data())?;
                    Some((name.to_owned(), Tensor { dims: view.shape().to_vec(), data }))
                });
                floats.collect()
            }
            false => {
                let source = Source::from_bytes(bytes.into(), path)?;
                let floats = source.initializers.iter().filter_map(|(name, tensor)| {
                    let data = tensor.floats()?.to_vec();
                    Some((name.clone(), Tensor { dims: tensor.dims.clone(), data }))
                });
                floats.collect()
            }
        };
        match tensors.is_empty() {
            true => Err(none("it has no tensor of floats".to_owned())),
            false => Ok(Given { path: path.to_owned(), sha256, tensors }),
        }
    }

    /// The model with the values of those of its tensors that have the same name and shape here. `parameters` are the
    /// model's, by whose other names a tensor may go too.
    ///
    /// # Errors
    ///
    /// [`OnnxError::InitialUnmatched`] if there is none, [`OnnxError::InitialNonfinite`] with those that hold NaN or infinities.
    pub fn give(&self, source: &Source, parameters: &Parameters) -> Result<(Source, Initial), OnnxError> {
        let (mut tensors, mut used) = (Vec::new(), BTreeMap::new());
        for (name, own) in source.initializers.iter().filter(|(_, own)| own.floats().is_some()) {
            let parameter = parameters.iter().find(|parameter| parameter.name == *name);
            let is_trained = parameter.is_some_and(|parameter| parameter.trainable);
            if is_anonymous(name) && !is_trained && own.dims.len() < 2 {
                continue;
            }
            let mut names = [name].into_iter().chain(parameter.iter().flat_map(|parameter| &parameter.aliases));
            let found = names.find_map(|name| self.tensors.get_key_value(name));
            // Constants are no concern of anybody's where they are not in the file.
            if found.is_some() || is_trained {
                used.extend(found.map(|(there, _)| (name.clone(), there.clone())));
                let found = found.map(|(_, tensor)| tensor.dims.clone());
                tensors.push(Matched { name: name.clone(), dims: own.dims.clone(), found, taken: false });
            }
        }
        let same_module = tensors.iter().filter(|tensor| is_anonymous(&tensor.name)).all(Matched::agrees);
        let mut values = Tensors::new();
        for tensor in &mut tensors {
            tensor.taken = tensor.agrees() && (same_module || !is_anonymous(&tensor.name));
            if let (true, Some(there)) = (tensor.taken, used.get(&tensor.name)) {
                values.insert(tensor.name.clone(), self.tensors[there].clone());
            }
        }
        if values.is_empty() {
            let shown = |name: &str, dims: &[usize]| format!("{name} {dims:?}");
            return Err(OnnxError::InitialUnmatched {
                path: self.path.clone(),
                model: tensors.iter().map(|tensor| shown(&tensor.name, &tensor.dims)).collect(),
                file: self.tensors.iter().map(|(name, tensor)| shown(name, &tensor.dims)).collect(),
            });
        }
        // A mask may be infinite, in the model as well.
        let finite =
            |name: &str| source.initializers[name].floats().is_some_and(|own| own.iter().all(|v| v.is_finite()));
        let nonfinite = values.iter().filter(|(name, _)| finite(name)).filter_map(|(name, tensor)| {
            let count = tensor.data.iter().filter(|value| !value.is_finite()).count();
            (count > 0).then(|| format!("`{name}`: {count} of {}", tensor.data.len()))
        });
        let nonfinite: Vec<String> = nonfinite.collect();
        if !nonfinite.is_empty() {
            return Err(OnnxError::InitialNonfinite { path: self.path.clone(), tensors: nonfinite });
        }
        let bytes = encoded(&with_values(source, &values)?)?;
        // What was said of the file holds of it still.
        let mut given = Source::from_bytes(bytes.into(), &source.path)?;
        given.notes.clone_from(&source.notes);
        let used: BTreeSet<&String> = used.values().collect();
        let unused = self.tensors.keys().filter(|name| !used.contains(name)).cloned().collect();
        Ok((given, Initial { path: self.path.clone(), tensors, unused }))
    }
}

/// Whether a header of JSON comes after its length ([safetensors](https://huggingface.co/docs/safetensors)).
fn is_safetensors(bytes: &[u8]) -> bool {
    let length = bytes.first_chunk().map(|&length| u64::from_le_bytes(length));
    length.is_some_and(|length| length <= bytes.len() as u64) && bytes.get(8) == Some(&b'{')
}

/// The numbers of a tensor of floats.
fn floats(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    fn each<const SIZE: usize>(bytes: &[u8], value: impl Fn([u8; SIZE]) -> f32) -> Vec<f32> {
        bytes.as_chunks().0.iter().map(|&element| value(element)).collect()
    }
    match dtype {
        Dtype::F32 => Some(each(bytes, f32::from_le_bytes)),
        Dtype::F64 => Some(each(bytes, |element| f64::from_le_bytes(element) as f32)),
        Dtype::F16 => Some(each(bytes, |element| f16::from_le_bytes(element).to_f32())),
        Dtype::BF16 => Some(each(bytes, |element| f32::from_bits(u32::from(u16::from_le_bytes(element)) << 16))),
        _ => None,
    }
}

impl fmt::Display for Initial {
    /// One line for each tensor (name, shape, whether its values are those of the file), then what is left.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 20;
        let file = self.path.display();
        let shapes: Vec<String> = self.tensors.iter().map(|tensor| format!("{:?}", tensor.dims)).collect();
        let name = self.tensors.iter().map(|tensor| tensor.name.chars().count()).fold("tensor".len(), usize::max);
        let shape = shapes.iter().map(String::len).fold("shape".len(), usize::max);
        writeln!(f, "{:name$}  {:shape$}  from {file}", "tensor", "shape")?;
        for (tensor, dims) in self.tensors.iter().zip(&shapes) {
            write!(f, "{:name$}  {dims:shape$}  ", tensor.name)?;
            match &tensor.found {
                Some(_) if tensor.taken => writeln!(f, "yes")?,
                Some(_) if tensor.agrees() => {
                    writeln!(f, "no, its name is made up by the exporter, and others such differ")?
                }
                Some(found) => writeln!(f, "no, it has the shape {found:?} there")?,
                None => writeln!(f, "no, it is not there")?,
            }
        }
        let taken = self.tensors.iter().filter(|tensor| tensor.taken).count();
        write!(f, "{taken} of {} tensors begin with the values of {file}", self.tensors.len())?;
        if !self.unused.is_empty() {
            let more = if self.unused.len() > SHOWN { ", …" } else { "" };
            let first: Vec<&str> = self.unused.iter().take(SHOWN).map(String::as_str).collect();
            write!(f, "; it has {} that are not in the model: {}{more}", self.unused.len(), first.join(", "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::discover;

    /// Two folded weights go by names of the exporter's making.
    #[test]
    fn names_that_an_exporter_made_up_are_matched_together_or_not_at_all() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/hazards/untied_head.ts.onnx");
        let source = Source::open(&path).unwrap();
        let parameters = discover(&source, &[], &[]).unwrap();
        let taken = |given: &Given| -> Vec<String> {
            let (_, initial) = given.give(&source, &parameters).unwrap();
            initial.tensors.into_iter().filter(|tensor| tensor.taken).map(|tensor| tensor.name).collect()
        };
        let mut given = Given::read(&path).unwrap();
        let made_up = ["onnx::MatMul_11", "onnx::MatMul_12"];
        let all = taken(&given);
        assert!(made_up.iter().all(|name| all.iter().any(|taken| taken == name)) && all.len() > 2, "{all:?}");
        // A number that is infinite where the model's is not is none to begin with.
        let mut infinite = given.clone();
        infinite.tensors.get_mut(made_up[0]).unwrap().data[3] = f32::INFINITY;
        let error = infinite.give(&source, &parameters).unwrap_err();
        assert!(error.to_string().contains("`onnx::MatMul_11`: 1 of 49"), "{error}");
        given.tensors.insert(made_up[1].to_owned(), Tensor { dims: vec![1], data: vec![0.5] });
        let without: Vec<String> = all.into_iter().filter(|name| !made_up.contains(&name.as_str())).collect();
        assert_eq!(taken(&given), without);
    }

    #[test]
    fn floats_of_every_size_become_f32() {
        let values = [1.5f32, -0.25, 65504.0];
        let bytes = |element: &dyn Fn(f32) -> Vec<u8>| values.iter().flat_map(|&v| element(v)).collect::<Vec<u8>>();
        let wide = bytes(&|value| f64::from(value).to_le_bytes().to_vec());
        assert_eq!(floats(Dtype::F64, &wide).unwrap(), values);
        let half = [0x3e00u16, 0xb400, 0x7bff].map(u16::to_le_bytes).concat();
        assert_eq!(floats(Dtype::F16, &half).unwrap(), values);
        let brain = [0x3fc0u16, 0xbe80, 0x4780].map(u16::to_le_bytes).concat();
        assert_eq!(floats(Dtype::BF16, &brain).unwrap(), [1.5, -0.25, 65536.0]);
        assert_eq!(floats(Dtype::I64, &[0; 8]), None);
    }
}
