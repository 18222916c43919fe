//! Convolutions, and their gradient with respect to the input, which is the transposed convolution.
//!
//! The two ops are each other's derivative; that of the weight is a sum over output positions of outer products, an
//! [`Outer`].

use super::movement::Reshape;
use super::outer::Outer;
use super::{Backward, OpRules, VjpError};
use crate::graph::{DType, NodeId, Type};
use crate::lower::kernels::{self, Bias, ConvGeometry, View};
use crate::lower::program::Extent;
use crate::lower::scalar::Func;
use crate::lower::{LowerError, Lowering};

/// `y[o, p…] = Σ w[o, c, k…] x[g·C/G + c, p·stride + k·dilation − pad, …]` of `x[C, …]` and `w[O, C/G, K…]` with one to three
/// spatial axes, and with `g` the group of `o`.
#[derive(Clone, Debug, PartialEq)]
pub struct Conv {
    /// The sizes.
    pub geometry: ConvGeometry,
    /// Whether operand 2 is a bias, one number per filter; passes fuse it in.
    pub bias: bool,
    /// Applied to the result; passes fuse it in.
    pub activation: Option<Func>,
}

impl Conv {
    /// The plain convolution.
    pub fn new(geometry: ConvGeometry) -> Conv {
        Conv { geometry, bias: false, activation: None }
    }
}

/// The cotangent `[C, …]` of a convolution's input, from that of its result `dy[O, …]` and its weight.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvInputGradient {
    /// The sizes of the convolution.
    pub geometry: ConvGeometry,
}

/// The dims `[O, C/G, KH, KW]` of the weight of a convolution.
pub fn weight_dims(g: &ConvGeometry) -> Vec<usize> {
    [vec![g.filters], g.window.dims(g.group_channels(), g.window.kernel)].concat()
}

fn input_dims(g: &ConvGeometry) -> Vec<usize> {
    g.window.dims(g.channels, g.window.input)
}

fn output_dims(g: &ConvGeometry) -> Vec<usize> {
    g.window.dims(g.filters, g.window.output)
}

fn infer(operands: &[&Type], from: Vec<usize>, weight: Vec<usize>, to: Vec<usize>) -> Result<Type, String> {
    let [x, w] = operands else { return Err("takes two operands".into()) };
    if x.dtype != DType::F32 || w.dtype != DType::F32 || x.dims != from || w.dims != weight {
        return Err(format!("the operands are not f32{from:?} and f32{weight:?}"));
    }
    if w.batched {
        return Err("the weight is not shared by the records".into());
    }
    Ok(x.with_dims(to))
}

fn attributes(g: &ConvGeometry) -> String {
    let w = &g.window;
    let mut text = w.text(w.kernel);
    for (name, value, usual) in [("stride", w.stride, 1), ("pad", w.pad, 0), ("dilation", w.dilation, 1)] {
        if value != [usual; 3] {
            text += &format!(" {name}={}", w.text(value));
        }
    }
    if g.groups != 1 {
        text += &format!(" groups={}", g.groups);
    }
    text
}

/// The patches of a convolution's input: row is an element of a patch, column an output position.
pub fn patches(conv: ConvGeometry, record: usize) -> View {
    if conv.window.is_pointwise() {
        let col = conv.positions();
        return View::Strided { record, group: conv.group_channels() * col, row: col, col: 1 };
    }
    View::Patches { conv, record }
}

/// The cotangent of the weight of the convolution `g` from its input `x` and the cotangent `dy` of its result, summed
/// over the batch if one of them is batched.
fn weight_cotangent(bw: &mut Backward<'_>, g: ConvGeometry, dy: NodeId, x: NodeId) -> Result<NodeId, VjpError> {
    if !bw.ty(dy).batched && !bw.ty(x).batched {
        return Err(bw.not_differentiable());
    }
    let steps = g.positions();
    let a = View::Strided { record: 0, group: g.group_filters() * steps, row: steps, col: 1 };
    let (groups, rows, cols, b) = (g.groups, g.group_filters(), g.patch(), patches(g, 0));
    let dw = bw.emit(Outer { groups, rows, cols, steps, a, b }, &[dy, x])?;
    let dw = bw.sum_batch_to(1, dw)?;
    bw.emit(Reshape { dims: weight_dims(&g) }, &[dw])
}

impl OpRules for Conv {
    fn mnemonic(&self) -> String {
        "conv".into()
    }

    fn attributes(&self) -> String {
        let activation = self.activation.map_or(String::new(), |f| format!(" → {}", f.name()));
        attributes(&self.geometry) + &activation
    }

    fn infer(&self, operands: &[&Type]) -> Result<Type, String> {
        let g = &self.geometry;
        let product = match operands {
            [x, w, bias] if self.bias && !bias.batched && bias.len() == g.filters => &[*x, *w],
            [x, w] if !self.bias => &[*x, *w],
            _ => return Err("takes an input, a weight and a bias where it has one".into()),
        };
        infer(product, input_dims(g), weight_dims(g), output_dims(g))
    }

    fn vjp(&self, bw: &mut Backward<'_>) -> Result<Vec<Option<NodeId>>, VjpError> {
        if self.bias || self.activation.is_some() {
            return Err(bw.not_differentiable());
        }
        let (x, w, dy, geometry) = (bw.operand(0), bw.operand(1), bw.cotangent(), self.geometry);
        let mut out = vec![None, None];
        if bw.needs(0) {
            let dx = bw.emit(ConvInputGradient { geometry }, &[dy, w])?;
            out[0] = Some(bw.sum_batch_to(0, dx)?);
        }
        if bw.needs(1) {
            out[1] = Some(weight_cotangent(bw, geometry, dy, x)?);
        }
        Ok(out)
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<(), LowerError> {
        let g = self.geometry;
        let (rows, inner, cols) = (g.group_filters(), g.patch(), g.positions());
        let a = View::Strided { record: 0, group: rows * inner, row: inner, col: 1 };
        let b = patches(g, cx.record_stride(0));
        let epilogue = (self.bias.then_some(Bias::Rows), self.activation);
        product(cx, g.groups, [rows, inner, cols], a, b, epilogue);
        Ok(())
    }
}

impl OpRules for ConvInputGradient {
    fn mnemonic(&self) -> String {
        "conv_input_gradient".into()
    }

    fn attributes(&self) -> String {
        attributes(&self.geometry)
    }

    fn infer(&self, operands: &[&Type]) -> Result<Type, String> {
        let g = &self.geometry;
        infer(operands, output_dims(g), weight_dims(g), input_dims(g))
    }

    fn vjp(&self, bw: &mut Backward<'_>) -> Result<Vec<Option<NodeId>>, VjpError> {
        let (dy, w, dx, geometry) = (bw.operand(0), bw.operand(1), bw.cotangent(), self.geometry);
        let mut out = vec![None, None];
        if bw.needs(0) {
            let d = bw.emit(Conv::new(geometry), &[dx, w])?;
            out[0] = Some(bw.sum_batch_to(0, d)?);
        }
        if bw.needs(1) {
            out[1] = Some(weight_cotangent(bw, geometry, dy, dx)?);
        }
        Ok(out)
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<(), LowerError> {
        let conv = self.geometry;
        let inner = conv.group_filters() * conv.window.taps();
        let sizes = [conv.group_channels(), inner, conv.window.elements()];
        let b = View::CotangentPatches { conv, record: cx.record_stride(0) };
        product(cx, conv.groups, sizes, View::WeightTransposed { conv }, b, (None, None));
        Ok(())
    }
}

/// The matrix product per record and group of the weight (operand 1) and patches of operand 0.
fn product(
    cx: &mut Lowering<'_>,
    groups: usize,
    [rows, inner, cols]: [usize; 3],
    a: View,
    b: View,
    (bias, activation): (Option<Bias>, Option<Func>),
) {
    let (batched, len) = (cx.ty().batched, cx.ty().len());
    let mut reads = vec![cx.operand(1), cx.operand(0)];
    if bias.is_some() {
        reads.push(cx.operand(2));
    }
    let out = cx.output();
    let kernel = kernels::Gemm {
        records: Extent::of(1, batched),
        groups,
        rows: Extent::fixed(rows),
        cols,
        inner,
        a,
        b,
        bias,
        activation,
        out_record: if batched { len } else { 0 },
        out_group: rows * cols,
        out_row: cols,
        out_col: 1,
    };
    cx.launch(kernel, &reads, &[out]);
}
