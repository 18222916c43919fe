//! The per-sample weight gradient of every product: a sum over positions of outer products.
//!
//! Linear layers, convolutions and recurrences all have it: `Σ_t a_t ⊗ b_t` for each record, where one side is the
//! layer's input (or its patches, a view that is never stored) and the other the cotangent of its output.

use super::OpRules;
use crate::graph::{DType, Type};
use crate::lower::kernels::{Gemm, View, is_long};
use crate::lower::program::Extent;
use crate::lower::{LowerError, Lowering};

/// `Σ_t a_t ⊗ b_t` over positions `t`, of each record.
///
/// Operands `a` and `b`, at least one of them batched. The result has dims `[groups · rows, cols]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Outer {
    /// Groups, each with its own rows of the result.
    pub groups: usize,
    /// Rows of a group: items of `a`.
    pub rows: usize,
    /// Columns: items of `b`.
    pub cols: usize,
    /// Positions.
    pub steps: usize,
    /// How `a` is read: row is the item, column the position. Record strides are left to the lowering.
    pub a: View,
    /// How `b` is read, likewise.
    pub b: View,
}

impl Outer {
    /// The same products with the sides exchanged: the transposed gradient.
    pub fn exchanged(&self) -> Outer {
        Outer { rows: self.cols, cols: self.rows, a: self.b, b: self.a, ..self.clone() }
    }

    /// Whether a group's gradient is no larger than its sides, see [`is_long`].
    pub fn is_long(&self) -> bool {
        is_long(self.rows, self.cols, self.steps)
    }

    /// The two operands as the textual form shows them, with patches named.
    pub fn sides(&self, operands: &[String]) -> [String; 2] {
        let side = |view: &View, name: Option<&String>| {
            let name = name.map_or("", String::as_str);
            if matches!(view, View::Strided { .. }) { name.to_string() } else { format!("patches({name})") }
        };
        [side(&self.a, operands.first()), side(&self.b, operands.get(1))]
    }
}

/// A view with the record stride of the value that it reads.
pub fn with_record(view: View, stride: usize) -> View {
    view.with_record(stride)
}

impl OpRules for Outer {
    fn mnemonic(&self) -> String {
        "per_sample_gradient".into()
    }

    fn text(&self, operands: &[String]) -> String {
        let [a, b] = self.sides(operands);
        format!("{} {a}, {b}", self.mnemonic())
    }

    fn infer(&self, operands: &[&Type]) -> Result<Type, String> {
        let [a, b] = operands else { return Err("takes two operands".into()) };
        if !(a.batched || b.batched) || a.dtype != DType::F32 || b.dtype != DType::F32 {
            return Err("there is no record to have a gradient".into());
        }
        Ok(Type::batched([self.groups * self.rows, self.cols]))
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<(), LowerError> {
        let views = [with_record(self.a, cx.record_stride(0)), with_record(self.b, cx.record_stride(1))];
        let kernel = self.kernel(views).ok_or_else(|| cx.no_kernel("a view that cannot be exchanged"))?;
        let reads = [cx.operand(0), cx.operand(1)];
        let out = cx.output();
        cx.launch(kernel, &reads, &[out]);
        Ok(())
    }
}

impl Outer {
    /// The kernel that stores the gradient, whose sides are read by `views`; `None` if the second cannot be exchanged.
    pub fn kernel(&self, [a, b]: [View; 2]) -> Option<Gemm> {
        let Outer { groups, rows, cols, steps, .. } = *self;
        Some(Gemm {
            records: Extent::rows(1),
            groups,
            rows: Extent::fixed(rows),
            cols,
            inner: steps,
            a,
            b: b.transposed()?,
            bias: None,
            activation: None,
            out_record: groups * rows * cols,
            out_group: rows * cols,
            out_row: cols,
            out_col: 1,
        })
    }
}
