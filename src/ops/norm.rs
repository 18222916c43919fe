//! Square norms of per-sample gradients, in every way that does not need more than it must.
//!
//! All yield `f32[N]`. `SquareNorm` reads a materialised gradient; the others read the two sides of its outer products,
//! or a table's ids and cotangents. The privatize pass picks one per parameter.

use super::outer::{Outer, with_record};
use super::{Op, OpRules};
use crate::graph::{DType, Type};
use crate::lower::kernels::{self, Kernel, Records, View, Walk};
use crate::lower::program::{BufferId, Extent};
use crate::lower::{LowerError, Lowering};

/// Of a per-sample gradient that is there.
#[derive(Clone, Debug, PartialEq)]
pub struct SquareNorm;

/// Of one outer product a record: `‖a‖² ‖b‖²` (Goodfellow, arXiv 1510.01799).
#[derive(Clone, Debug, PartialEq)]
pub struct OuterNorm(pub Outer);

/// By Gram matrices of positions (Li et al., arXiv 2110.05679): of one sum of outer products, or twice the inner product
/// of two, the cross term of a parameter that is used twice. Operands `a, b`, or `a, b, c, d`.
#[derive(Clone, Debug, PartialEq)]
pub struct GhostNorm {
    /// The first sum.
    pub first: Outer,
    /// The second sum of a cross term.
    pub second: Option<Outer>,
}

/// By tiles of the gradient that are squared and dropped.
#[derive(Clone, Debug, PartialEq)]
pub struct TileNorm(pub Outer);

/// Of a table's gradient, by runs of ids of one row (Kong and Muñoz Medina, NeurIPS 2023). Operands: ids, cotangent.
#[derive(Clone, Debug, PartialEq)]
pub struct SegmentNorm {
    /// Ids per record.
    pub count: usize,
    /// Elements of a table row.
    pub width: usize,
    /// Rows of the table.
    pub table_rows: usize,
}

/// Twice the inner product of a table's gradient by ids and its gradient as the matrix of a product: the cross term of a
/// tied embedding. Operands: ids, cotangent by ids, and the two sides of the outer products.
#[derive(Clone, Debug, PartialEq)]
pub struct SegmentCross {
    /// Ids per record.
    pub count: usize,
    /// Elements of a table row.
    pub width: usize,
    /// The outer products; their rows are the table's.
    pub outer: Outer,
}

/// A bound on the square of `Σ_t ‖a_t‖ ‖b_t‖`, the total length of the terms of a gradient that is never stored. It may be
/// far above the square of the gradient's own norm, where terms cancel; what rounding can hide is in proportion to it.
#[derive(Clone, Debug, PartialEq)]
pub enum LengthBound {
    /// Of a sum of outer products: `(Σ_t ‖a_t‖²) (Σ_t ‖b_t‖²)`, for each group. Operands `a, b`.
    Products(Box<Outer>),
    /// Of rows that are added up by id, over their number: `Σ_t ‖x_t‖²`. Operand `x`.
    Rows,
}

fn per_record(operands: &[&Type], arity: usize) -> Result<Type, String> {
    if operands.len() != arity {
        return Err("wrong operand count".into());
    }
    if !operands.iter().any(|t| t.batched) {
        return Err("there is no per-sample gradient without a batch".into());
    }
    Ok(Type::batched([]))
}

/// What adds up a record's tiles, where there are several.
fn sum_of(tiles: usize) -> Option<kernels::Reduce> {
    let (records, reduced) = (Records::Each(Extent::rows(1)), vec![Walk { size: tiles, stride: 1 }]);
    (tiles > 1).then_some(kernels::Reduce { records, record: tiles, kept: vec![], reduced, square: false })
}

/// Launches a kernel that makes tiles, and what adds them up.
fn launch_tiles(cx: &mut Lowering<'_>, reads: &[BufferId], [kernel, sum]: [Option<Kernel>; 2]) {
    let Some(kernel) = kernel else { return };
    let Some(Kernel::Reduce(sum)) = sum else {
        let out = cx.output();
        return cx.launch(kernel, reads, &[out]);
    };
    let partial = cx.temporary("tiles", DType::F32, Extent::rows(sum.record));
    let out = cx.output();
    cx.launch(kernel, reads, &[partial]);
    cx.launch(sum, &[partial], &[out]);
}

fn views(cx: &Lowering<'_>, outer: &Outer, at: usize) -> [View; 2] {
    [with_record(outer.a, cx.record_stride(at)), with_record(outer.b, cx.record_stride(at + 1))]
}

impl OpRules for SquareNorm {
    fn mnemonic(&self) -> String {
        "square_norm".into()
    }

    fn attributes(&self) -> String {
        "materialize".into()
    }

    fn infer(&self, operands: &[&Type]) -> Result<Type, String> {
        per_record(operands, 1)
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<(), LowerError> {
        let len = cx.operand_ty(0).len();
        let (x, out) = (cx.operand(0), cx.output());
        cx.launch(SquareNorm::kernel(len), &[x], &[out]);
        Ok(())
    }
}

impl SquareNorm {
    /// The kernel for a gradient of `len` elements.
    pub fn kernel(len: usize) -> kernels::Reduce {
        let (records, reduced) = (Records::Each(Extent::rows(1)), vec![Walk { size: len, stride: 1 }]);
        kernels::Reduce { records, record: len, kept: vec![], reduced, square: true }
    }
}

impl OuterNorm {
    /// The kernel, whose sides are read by `views`.
    pub fn kernel(&self, [a, b]: [View; 2]) -> kernels::OuterNorm {
        let Outer { groups, rows, cols, .. } = self.0;
        kernels::OuterNorm { groups, rows, cols, steps: 1, a, b }
    }
}

impl LengthBound {
    /// The kernel for a sum of outer products, whose sides are read by `views`.
    pub fn kernel(outer: &Outer, [a, b]: [View; 2]) -> kernels::OuterNorm {
        let Outer { groups, rows, cols, steps, .. } = *outer;
        kernels::OuterNorm { groups, rows, cols, steps, a, b }
    }
}

impl TileNorm {
    /// The kernel of the tiles, whose sides are read by `views`, and what adds them up.
    pub fn kernels(&self, [a, b]: [View; 2]) -> [Option<Kernel>; 2] {
        let Outer { groups, rows, cols, steps, .. } = self.0;
        let kernel = kernels::TileNorm { groups, rows, cols, steps, a, b };
        let sum = sum_of(kernel.tiles()).map(Kernel::from);
        [Some(kernel.into()), sum]
    }
}

impl GhostNorm {
    /// The kernel of the tiles, whose sides are read by `views`, and what adds them up.
    pub fn kernels(&self, views: [View; 4]) -> [Option<Kernel>; 2] {
        let (first, second) = (&self.first, self.second.as_ref().unwrap_or(&self.first));
        let symmetric = self.second.is_none();
        let kernel = kernels::GhostNorm {
            groups: first.groups,
            rows: first.rows,
            cols: first.cols,
            steps: [first.steps, second.steps],
            views,
            symmetric,
            scale: if symmetric { 1.0 } else { 2.0 },
        };
        let sum = sum_of(kernel.tiles()).map(Kernel::from);
        [Some(kernel.into()), sum]
    }
}

impl SegmentNorm {
    /// The kernel.
    pub fn kernel(&self) -> kernels::SegmentNorm {
        let SegmentNorm { count, width, table_rows } = *self;
        kernels::SegmentNorm { count, width, table_rows }
    }
}

impl SegmentCross {
    /// The kernel, whose outer products are read by `views`: of the table's rows, then of their elements.
    pub fn kernel(&self, [b, a]: [View; 2]) -> kernels::SegmentCross {
        let Outer { rows, steps, .. } = self.outer;
        kernels::SegmentCross { count: self.count, width: self.width, table_rows: rows, steps, b, a }
    }
}

fn product_text(outer: &Outer, operands: &[String], way: &str) -> String {
    let [a, b] = outer.sides(operands);
    format!("square_norm ({a} ⊗ {b}) {way}")
}

impl OpRules for OuterNorm {
    fn mnemonic(&self) -> String {
        "square_norm".into()
    }

    fn text(&self, operands: &[String]) -> String {
        product_text(&self.0, operands, "outer")
    }

    fn infer(&self, operands: &[&Type]) -> Result<Type, String> {
        per_record(operands, 2)
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<(), LowerError> {
        let kernel = self.kernel(views(cx, &self.0, 0));
        let reads = [cx.operand(0), cx.operand(1)];
        let out = cx.output();
        cx.launch(kernel, &reads, &[out]);
        Ok(())
    }
}

impl OpRules for LengthBound {
    fn mnemonic(&self) -> String {
        "length_bound".into()
    }

    fn text(&self, operands: &[String]) -> String {
        match self {
            LengthBound::Products(outer) => {
                let [a, b] = outer.sides(operands);
                format!("length_bound ({a} ⊗ {b})")
            }
            LengthBound::Rows => format!("length_bound {}", operands.join(", ")),
        }
    }

    fn infer(&self, operands: &[&Type]) -> Result<Type, String> {
        per_record(operands, if matches!(self, LengthBound::Rows) { 1 } else { 2 })
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<(), LowerError> {
        let LengthBound::Products(outer) = self else { return SquareNorm.lower(cx) };
        let kernel = LengthBound::kernel(outer, views(cx, outer, 0));
        let reads = [cx.operand(0), cx.operand(1)];
        let out = cx.output();
        cx.launch(kernel, &reads, &[out]);
        Ok(())
    }
}

impl OpRules for TileNorm {
    fn mnemonic(&self) -> String {
        "square_norm".into()
    }

    fn text(&self, operands: &[String]) -> String {
        product_text(&self.0, operands, "tile")
    }

    fn infer(&self, operands: &[&Type]) -> Result<Type, String> {
        per_record(operands, 2)
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<(), LowerError> {
        let reads = [cx.operand(0), cx.operand(1)];
        launch_tiles(cx, &reads, self.kernels(views(cx, &self.0, 0)));
        Ok(())
    }
}

impl OpRules for GhostNorm {
    fn mnemonic(&self) -> String {
        "square_norm".into()
    }

    fn text(&self, operands: &[String]) -> String {
        match &self.second {
            None => product_text(&self.first, operands, "ghost"),
            Some(second) => {
                let ([a, b], [c, d]) = (self.first.sides(operands), second.sides(operands.get(2..).unwrap_or(&[])));
                format!("cross_norm 2 ⟨{a} ⊗ {b}, {c} ⊗ {d}⟩ ghost")
            }
        }
    }

    fn infer(&self, operands: &[&Type]) -> Result<Type, String> {
        let (x, y) = (&self.first, self.second.as_ref().unwrap_or(&self.first));
        if (x.groups, x.rows, x.cols) != (y.groups, y.rows, y.cols) {
            return Err("the two gradients differ in shape".into());
        }
        per_record(operands, if self.second.is_some() { 4 } else { 2 })
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<(), LowerError> {
        let [a, b] = views(cx, &self.first, 0);
        let second = self.second.as_ref().unwrap_or(&self.first);
        let [c, d] = if self.second.is_some() { views(cx, second, 2) } else { [a, b] };
        let mut reads: Vec<_> = (0..cx.arity()).map(|i| cx.operand(i)).collect();
        if self.second.is_none() {
            reads.extend_from_within(..2);
        }
        launch_tiles(cx, &reads, self.kernels([a, b, c, d]));
        Ok(())
    }
}

impl OpRules for SegmentNorm {
    fn mnemonic(&self) -> String {
        "square_norm".into()
    }

    fn text(&self, operands: &[String]) -> String {
        format!(
            "square_norm (rows({}) ⊗ {}) segment",
            operands.first().map_or("", |s| s),
            operands.get(1).map_or("", |s| s)
        )
    }

    fn infer(&self, operands: &[&Type]) -> Result<Type, String> {
        if !operands.first().is_some_and(|t| t.batched && t.dtype == DType::I32) {
            return Err("the ids are not batched integers".into());
        }
        per_record(operands, 2)
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<(), LowerError> {
        let (ids, x) = (cx.operand(0), cx.operand(1));
        let order = cx.temporary("order", DType::I32, Extent::rows(self.count));
        let out = cx.output();
        cx.launch(kernels::SortIds { count: self.count, table_rows: self.table_rows }, &[ids], &[order]);
        cx.launch(self.kernel(), &[ids, order, x], &[out]);
        Ok(())
    }
}

impl OpRules for SegmentCross {
    fn mnemonic(&self) -> String {
        "cross_norm".into()
    }

    fn text(&self, operands: &[String]) -> String {
        let [a, b] = self.outer.sides(operands.get(2..).unwrap_or(&[]));
        let at = |i: usize| operands.get(i).map_or("", String::as_str);
        format!("cross_norm 2 ⟨rows({}) ⊗ {}, {a} ⊗ {b}⟩ segment", at(0), at(1))
    }

    fn infer(&self, operands: &[&Type]) -> Result<Type, String> {
        per_record(operands, 4)
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<(), LowerError> {
        let kernel = self.kernel(views(cx, &self.outer, 2));
        let reads: Vec<_> = (0..4).map(|i| cx.operand(i)).collect();
        let out = cx.output();
        cx.launch(kernel, &reads, &[out]);
        Ok(())
    }
}

/// Whether an op is one of the norms; each yields one square (or cross term) per record.
pub fn is_norm(op: &Op) -> bool {
    matches!(
        op,
        Op::SquareNorm(_)
            | Op::OuterNorm(_)
            | Op::GhostNorm(_)
            | Op::TileNorm(_)
            | Op::SegmentNorm(_)
            | Op::SegmentCross(_)
    )
}
