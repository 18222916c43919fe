//! Values that no node computes: inputs, parameters, constants.

use std::sync::Arc;

use super::{Backward, OpRules, VjpError};
use crate::graph::{DType, NodeId, Type};
use crate::lower::kernels;
use crate::lower::program::{Extent, Role};
use crate::lower::{LowerError, Lowering};

/// A value that the host fills for every physical batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// The ONNX name, or one of [`crate::lower::host_inputs`].
    pub name: String,
    /// Its type.
    pub ty: Type,
}

/// A parameter of the model.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// The ONNX initialiser.
    pub name: String,
    /// Its dims.
    pub dims: Vec<usize>,
    /// Whether it is trained; a frozen one is never written.
    pub trainable: bool,
}

/// The elements of a [`Constant`]. Two are equal if their bits are.
#[derive(Clone, Debug)]
pub enum Data {
    /// Floats.
    F32(Arc<[f32]>),
    /// Integers.
    I32(Arc<[i32]>),
}

/// A value known at compile time.
#[derive(Clone, Debug, PartialEq)]
pub struct Constant {
    /// Its dims.
    pub dims: Vec<usize>,
    /// Its elements, row-major.
    pub data: Data,
}

/// A value all of whose elements are equal. Two are equal if the bits of their elements are.
#[derive(Clone, Debug)]
pub struct Fill {
    /// Its type.
    pub ty: Type,
    /// The element.
    pub value: f32,
}

impl PartialEq for Data {
    fn eq(&self, other: &Data) -> bool {
        match (self, other) {
            (Data::F32(x), Data::F32(y)) => bytemuck::cast_slice::<f32, u32>(x) == bytemuck::cast_slice::<f32, u32>(y),
            (Data::I32(x), Data::I32(y)) => x == y,
            _ => false,
        }
    }
}

impl PartialEq for Fill {
    fn eq(&self, other: &Fill) -> bool {
        self.ty == other.ty && self.value.to_bits() == other.value.to_bits()
    }
}

impl OpRules for Input {
    fn mnemonic(&self) -> String {
        "input".into()
    }

    fn attributes(&self) -> String {
        format!("{:?}", self.name)
    }

    fn infer(&self, _operands: &[&Type]) -> Result<Type, String> {
        Ok(self.ty.clone())
    }

    fn vjp(&self, _bw: &mut Backward<'_>) -> Result<Vec<Option<NodeId>>, VjpError> {
        Ok(vec![])
    }

    fn is_function(&self) -> bool {
        false
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<(), LowerError> {
        cx.external(Role::Input(self.name.clone()));
        Ok(())
    }
}

impl OpRules for Parameter {
    fn mnemonic(&self) -> String {
        if self.trainable { "parameter" } else { "frozen_parameter" }.into()
    }

    fn attributes(&self) -> String {
        format!("{:?}", self.name)
    }

    fn infer(&self, _operands: &[&Type]) -> Result<Type, String> {
        Ok(Type::shared(self.dims.clone()))
    }

    fn vjp(&self, _bw: &mut Backward<'_>) -> Result<Vec<Option<NodeId>>, VjpError> {
        Ok(vec![])
    }

    fn is_function(&self) -> bool {
        false
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<(), LowerError> {
        cx.external(Role::Parameter(self.name.clone()));
        Ok(())
    }
}

impl OpRules for Constant {
    fn mnemonic(&self) -> String {
        "constant".into()
    }

    fn attributes(&self) -> String {
        let few = |texts: Vec<String>, len: usize| {
            if len > texts.len() { format!("[{}, …]", texts.join(", ")) } else { format!("[{}]", texts.join(", ")) }
        };
        match &self.data {
            Data::F32(v) => few(v.iter().take(4).map(|x| format!("{x:?}")).collect(), v.len()),
            Data::I32(v) => few(v.iter().take(4).map(|x| x.to_string()).collect(), v.len()),
        }
    }

    fn infer(&self, _operands: &[&Type]) -> Result<Type, String> {
        let (dtype, len) = match &self.data {
            Data::F32(v) => (DType::F32, v.len()),
            Data::I32(v) => (DType::I32, v.len()),
        };
        let ty = Type::shared(self.dims.clone()).of(dtype);
        if ty.len() == len { Ok(ty) } else { Err(format!("{len} elements cannot fill {ty}")) }
    }

    fn vjp(&self, _bw: &mut Backward<'_>) -> Result<Vec<Option<NodeId>>, VjpError> {
        Ok(vec![])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<(), LowerError> {
        cx.external(match &self.data {
            Data::F32(v) => Role::ConstantF32(v.to_vec()),
            Data::I32(v) => Role::ConstantI32(v.to_vec()),
        });
        Ok(())
    }
}

impl OpRules for Fill {
    fn mnemonic(&self) -> String {
        "fill".into()
    }

    fn attributes(&self) -> String {
        format!("{:?}", self.value)
    }

    fn infer(&self, _operands: &[&Type]) -> Result<Type, String> {
        Ok(self.ty.clone())
    }

    fn vjp(&self, _bw: &mut Backward<'_>) -> Result<Vec<Option<NodeId>>, VjpError> {
        Ok(vec![])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<(), LowerError> {
        let out = cx.output();
        let len = Extent::of(self.ty.len(), self.ty.batched);
        cx.launch(kernels::Fill { len, value: self.value }, &[], &[out]);
        Ok(())
    }
}
