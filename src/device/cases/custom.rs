//! An op from outside for tests: `y[j] = Σᵢ w[j, i] x[i]²` of a record, and element by element `number · x³`.

use super::data::{Values, untouched};
use super::reference::Floats;
use super::{Case, Data};
use crate::graph::DType;
use crate::import::custom::{Code, CustomOp, Kernel, Node, Shape, Term};
use crate::lower::kernels::{Custom, Link, Reads};

/// The op.
#[derive(Debug)]
pub struct Squares;

impl CustomOp for Squares {
    fn domain(&self) -> &str {
        "test"
    }

    fn op_type(&self) -> &str {
        "Squares"
    }

    fn formula<'f>(&self, node: &Node<'f>) -> Result<Vec<Term<'f>>, String> {
        let [x, w] = node.operands()?;
        Ok(vec![node.formula().kernel(&SQUARES, &[x, w], &[])])
    }

    fn kernels(&self) -> Vec<&'static Kernel> {
        vec![&SQUARES, &OF_X, &OF_W, &CUBE]
    }
}

/// `y[j] = Σᵢ w[j, i] x[i]²`.
pub static SQUARES: Kernel = Kernel {
    name: "squares",
    shape: Shape::Records(|dims, _| match dims {
        [[width], [rows, own]] if width == own => Ok(vec![*rows]),
        _ => Err("takes a vector and the rows of a matrix".into()),
    }),
    code: Code {
        operands: &["x", "w"],
        wgsl: "
fn element(j: u32) -> f32 {
    var sum = 0.0;
    for (var i = 0u; i < x_len(); i++) {
        sum += w(j * x_len() + i) * x(i) * x(i);
    }
    return sum;
}",
        native: |record, y| {
            let [x, w] = record.operands();
            for (y, w) in y.iter_mut().zip(w.chunks(x.len())) {
                *y = w.iter().zip(x).map(|(w, x)| w * x * x).sum();
            }
        },
    },
    vjp: Some(|call| {
        let ([x, w], d) = (call.operands(), call.cotangent());
        vec![Some(call.kernel(&OF_X, &[x, w, d])), Some(call.kernel(&OF_W, &[x, w, d]))]
    }),
};

static OF_X: Kernel = Kernel {
    name: "of_x",
    shape: Shape::Records(|dims, _| Ok(dims[0].to_vec())),
    code: Code {
        operands: &["x", "w", "d"],
        wgsl: "
fn element(i: u32) -> f32 {
    var sum = 0.0;
    for (var j = 0u; j < d_len(); j++) {
        sum += w(j * x_len() + i) * d(j);
    }
    return 2.0 * x(i) * sum;
}",
        native: |record, dx| {
            let [x, w, d] = record.operands();
            for (i, dx) in dx.iter_mut().enumerate() {
                *dx = 2.0 * x[i] * d.iter().enumerate().map(|(j, d)| w[j * x.len() + i] * d).sum::<f32>();
            }
        },
    },
    vjp: None,
};

static OF_W: Kernel = Kernel {
    name: "of_w",
    shape: Shape::Records(|dims, _| Ok(dims[1].to_vec())),
    code: Code {
        operands: &["x", "w", "d"],
        wgsl: "
fn element(i: u32) -> f32 {
    let a = x(i % x_len());
    return d(i / x_len()) * a * a;
}",
        native: |record, dw| {
            let [x, _, d] = record.operands();
            dw.iter_mut().enumerate().for_each(|(i, dw)| *dw = d[i / x.len()] * x[i % x.len()] * x[i % x.len()]);
        },
    },
    vjp: None,
};

/// `number · x³`, whose derivative is a formula.
pub static CUBE: Kernel = Kernel {
    name: "cube",
    shape: Shape::Elementwise,
    code: Code {
        operands: &["x"],
        wgsl: "fn element(i: u32) -> f32 { return number(0u) * x(i) * x(i) * x(i); }",
        native: |record, y| {
            let [x] = record.operands();
            y.iter_mut().zip(x).for_each(|(y, x)| *y = record.number(0) * x * x * x);
        },
    },
    vjp: Some(|call| {
        let [x] = call.operands();
        vec![Some(x * x * (3.0 * call.numbers()[0]) * call.cotangent())]
    }),
};

/// What one record's result is, in double precision.
fn exact(k: &Custom, x: &[&[f64]]) -> Floats {
    let width = x[0].len();
    let element = |i: usize| match k.name.as_str() {
        "squares" => (0..width).map(|c| x[1][i * width + c] * x[0][c].powi(2)).sum(),
        "of_x" => 2.0 * x[0][i] * x[2].iter().enumerate().map(|(j, d)| x[1][j * width + i] * d).sum::<f64>(),
        "of_w" => x[2][i / width] * x[0][i % width].powi(2),
        "cube" => f64::from(k.numbers[0]) * x[0][i].powi(3),
        other => panic!("no kernel {other}"),
    };
    (0..k.len).map(element).collect()
}

/// The reference.
pub fn reference(k: &Custom, rows: usize, x: &[Floats], y: &mut [f64]) {
    for n in 0..if k.batched { rows } else { 1 } {
        let operands: Vec<&[f64]> =
            k.operands.iter().zip(x).map(|(reads, x)| &x[n * reads.record..][..reads.len]).collect();
        y[n * k.len..][..k.len].copy_from_slice(&exact(k, &operands));
    }
}

fn case(kernel: &'static Kernel, rows: usize, lens: &[(usize, bool)], len: usize) -> Case {
    let mut values = Values::new(len as u64);
    let reads = |&(len, batched): &(usize, bool)| Reads { record: if batched { len } else { 0 }, len };
    let custom = Custom {
        op: "test::Squares".into(),
        name: kernel.name.into(),
        digest: kernel.code.digest(),
        batched: true,
        operands: lens.iter().map(reads).collect(),
        len,
        numbers: vec![-0.3],
        code: Link(Some(&kernel.code)),
    };
    let read: Vec<Data> =
        lens.iter().map(|&(len, batched)| values.floats(len * if batched { rows } else { 1 })).collect();
    Case::new(format!("{}_{rows}x{len}", kernel.name), rows, custom, read, vec![untouched(DType::F32, rows * len)])
}

pub fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for (rows, width, out) in [(1, 1, 1), (3, 7, 5), (2, 129, 65)] {
        all.push(case(&SQUARES, rows, &[(width, true), (out * width, false)], out));
        all.push(case(&OF_X, rows, &[(width, true), (out * width, false), (out, true)], width));
        all.push(case(&OF_W, rows, &[(width, true), (out * width, false), (out, true)], out * width));
        all.push(case(&CUBE, rows, &[(width, true)], width));
    }
    all
}
