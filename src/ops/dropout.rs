//! Dropout, with a mask for each record that depends on nothing but the record's key.

use super::{Backward, OpRules, VjpError};
use crate::graph::{DType, NodeId, Type};
use crate::lower::{LowerError, Lowering, kernels};

/// `x · mask / (1 − ratio)`; the second operand is the records' keys, `i32[N, 2]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Dropout {
    /// The share of elements set to zero, in `[0, 1)`.
    pub ratio: f32,
    /// Which dropout of the model this is: dropouts have different masks.
    pub layer: u32,
}

/// The type of the records' keys.
pub fn keys_type() -> Type {
    Type::batched([2]).of(DType::I32)
}

impl OpRules for Dropout {
    fn mnemonic(&self) -> String {
        "dropout".into()
    }

    fn attributes(&self) -> String {
        format!("ratio={} layer={}", self.ratio, self.layer)
    }

    fn infer(&self, operands: &[&Type]) -> Result<Type, String> {
        match operands {
            [x, keys] if x.dtype == DType::F32 && **keys == keys_type() => Ok(Type { batched: true, ..(*x).clone() }),
            _ => Err("takes a float and the keys i32[N, 2]".into()),
        }
    }

    fn vjp(&self, bw: &mut Backward<'_>) -> Result<Vec<Option<NodeId>>, VjpError> {
        let (d, keys) = (bw.cotangent(), bw.operand(1));
        let dx = bw.emit(self.clone(), &[d, keys])?;
        Ok(vec![Some(bw.sum_batch_to(0, dx)?), None])
    }

    fn is_function(&self) -> bool {
        false
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<(), LowerError> {
        let kernel = kernels::Dropout { len: cx.ty().len(), ratio: self.ratio, layer: self.layer };
        let reads = [cx.spread(0), cx.operand(1)];
        let out = cx.output();
        cx.launch(kernel, &reads, &[out]);
        Ok(())
    }
}
