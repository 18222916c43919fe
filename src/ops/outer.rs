//! The weight gradient of every product: a sum over positions of outer products.
//!
//! Linear layers, convolutions and recurrences all have it: `Σ_t a_t ⊗ b_t` for each record, where one side is the
//! layer's input (or its patches, a view that is never stored) and the other the cotangent of its output.

use super::{Op, OpRules, WeightGradient};
use crate::graph::{DType, Type};
use crate::lower::kernels::{self, Gemm, MAX_ITERATIONS, OuterSum, Records, View, Walk, Window};
use crate::lower::program::Extent;
use crate::lower::{LowerError, Lowering};

/// `Σ_t a_t ⊗ b_t` over positions `t`, of each record or summed over the batch.
///
/// Operands `a`, `b`, at least one of them batched, and the clip factors if weighted. The result has dims
/// `[groups · rows, cols]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Outer {
    /// Whether the batch factor is kept.
    pub per_sample: bool,
    /// Whether a third operand, `f32[N]`, weighs the records.
    pub weighted: bool,
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
    /// The sum over the batch, as differentiation makes it.
    pub fn new(groups: usize, rows: usize, cols: usize, steps: usize, a: View, b: View) -> Outer {
        Outer { per_sample: false, weighted: false, groups, rows, cols, steps, a, b }
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
    match view {
        View::Strided { group, row, col, .. } => View::Strided { record: stride, group, row, col },
        View::Patches { conv, .. } => View::Patches { conv, record: stride },
        View::PatchesTransposed { conv, .. } => View::PatchesTransposed { conv, record: stride },
        View::CotangentPatches { conv, .. } => View::CotangentPatches { conv, record: stride },
        View::WeightTransposed { conv } => View::WeightTransposed { conv },
    }
}

impl OpRules for Outer {
    fn mnemonic(&self) -> String {
        if self.per_sample { "per_sample_gradient" } else { "weight_gradient" }.into()
    }

    fn text(&self, operands: &[String]) -> String {
        let [a, b] = self.sides(operands);
        match operands.get(2) {
            Some(clip) => format!("{} {clip} · {a}, {b}", self.mnemonic()),
            None => format!("{} {a}, {b}", self.mnemonic()),
        }
    }

    fn infer(&self, operands: &[&Type]) -> Result<Type, String> {
        let [a, b] = operands.get(..2).ok_or("takes two operands")? else { return Err("takes two operands".into()) };
        if operands.len() != 2 + self.weighted as usize {
            return Err("wrong operand count".into());
        }
        if !(a.batched || b.batched) || a.dtype != DType::F32 || b.dtype != DType::F32 {
            return Err("there is no batch to sum over".into());
        }
        if self.weighted && *operands[2] != Type::batched([]) {
            return Err("the weights are not f32[N]".into());
        }
        let dims = [self.groups * self.rows, self.cols];
        Ok(if self.per_sample { Type::batched(dims) } else { Type::shared(dims) })
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<(), LowerError> {
        let a = with_record(self.a, cx.record_stride(0));
        let b = with_record(self.b, cx.record_stride(1));
        let reads: Vec<_> = (0..cx.arity()).map(|i| cx.operand(i)).collect();
        let Outer { groups, rows, cols, steps, .. } = *self;
        let len = groups * rows * cols;
        if self.per_sample {
            let b = b.transposed().ok_or_else(|| cx.no_kernel("a view that cannot be exchanged"))?;
            let out = cx.output();
            let kernel = Gemm {
                records: Extent::rows(1),
                groups,
                rows: Extent::fixed(rows),
                cols,
                inner: steps,
                a,
                b,
                bias: None,
                activation: None,
                out_record: len,
                out_group: rows * cols,
                out_row: cols,
                out_col: 1,
            };
            cx.launch(kernel, &reads, &[out]);
            return Ok(());
        }
        if !self.weighted {
            return Err(cx.no_kernel("a sum over the batch without weights"));
        }
        let chunk = chunk(len, steps);
        let partial = cx.temporary("partial", DType::F32, Extent::groups(len, chunk));
        let out = cx.output();
        cx.launch(OuterSum { groups, rows, cols, steps, a, b, chunk }, &reads, &[partial]);
        let kept = vec![Walk { size: len, stride: 1 }];
        let records = Records::All(Extent::groups(1, chunk));
        cx.launch(kernels::Reduce { records, record: len, kept, reduced: vec![], square: false }, &[partial], &[out]);
        Ok(())
    }

    fn weight_gradient(&self) -> Option<&dyn WeightGradient> {
        if self.per_sample { None } else { Some(self) }
    }
}

/// Records summed into one partial result: few enough to keep loops short and many enough to keep partial results small
/// beside the operands; one where a launch cannot make all of its steps, so that even then no other record's are among them.
fn chunk(len: usize, steps: usize) -> usize {
    let wanted = match Window::split(1, steps, 1).len() {
        1 if len <= 1 << 16 => 16,
        1 => 64,
        _ => 1,
    };
    (MAX_ITERATIONS / steps.max(1)).clamp(1, wanted)
}

impl WeightGradient for Outer {
    fn per_sample(&self) -> Op {
        Outer { per_sample: true, ..self.clone() }.into()
    }

    fn weighted(&self) -> Op {
        Outer { weighted: true, ..self.clone() }.into()
    }
}
