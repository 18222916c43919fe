//! Ops from outside: how a program adds an op of a domain of its own.
//!
//! An op is one trait, [`CustomOp`]: its name, and what a node of it yields as a formula of its operands. Most ops are no more
//! than that, and need no derivative: dpc has those of all that a formula is made of. Snake, `x + sin²(a x) / a`, is
//!
//! ```
//! use dpc::device::cpu::Cpu;
//! use dpc::library::custom::{CustomOp, CustomOps, Func, Node, Term};
//! use dpc::library::testing::OpCheck;
//!
//! #[derive(Debug)]
//! struct Snake;
//!
//! impl CustomOp for Snake {
//!     fn domain(&self) -> &str {
//!         "com.example"
//!     }
//!
//!     fn op_type(&self) -> &str {
//!         "Snake"
//!     }
//!
//!     fn formula<'f>(&self, node: &Node<'f>) -> Result<Vec<Term<'f>>, String> {
//!         let [x, a] = node.operands()?;
//!         let sine = (a * x).call(Func::Sin);
//!         Ok(vec![x + sine * sine / a])
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let ops = CustomOps::new().with(Snake)?;
//! OpCheck::new(&ops, "com.example", "Snake").records(&[4, 7]).parameter(&[4, 1]).between(0.5, 1.5).run(&[&Cpu])?;
//! # Ok(())
//! # }
//! ```
//!
//! What no formula says is a [`Kernel`]: the dims of one record's result, code that computes them from one record's operands,
//! in WGSL and natively, and the derivative, as a formula again, of scalar functions, sums and other kernels of the op. This one
//! has the distances of a record to trained centres, and their bell curves:
//!
//! ```
//! use dpc::device::{cpu::Cpu, gpu::Gpu};
//! use dpc::library::custom::{Code, CustomOp, CustomOps, Kernel, Node, Shape, Term};
//! use dpc::library::testing::OpCheck;
//!
//! /// `y[j] = exp(−γ Σᵢ (x[i] − c[j, i])²)`, of the domain `com.example`.
//! #[derive(Debug)]
//! struct Rbf;
//!
//! static RBF: Kernel = Kernel {
//!     name: "rbf",
//!     shape: Shape::Records(|dims, _gamma| match dims {
//!         [[width], [centres, own]] if width == own => Ok(vec![*centres]),
//!         _ => Err("takes vectors, and as many centres of that length as there are rows".into()),
//!     }),
//!     code: Code {
//!         operands: &["x", "c"],
//!         wgsl: "
//!             fn element(j: u32) -> f32 {
//!                 var square = 0.0;
//!                 for (var i = 0u; i < x_len(); i++) {
//!                     let distance = x(i) - c(j * x_len() + i);
//!                     square += distance * distance;
//!                 }
//!                 return exp(-number(0u) * square);
//!             }",
//!         native: |record, y| {
//!             let [x, c] = record.operands();
//!             for (y, c) in y.iter_mut().zip(c.chunks(x.len())) {
//!                 let square: f32 = x.iter().zip(c).map(|(x, c)| (x - c) * (x - c)).sum();
//!                 *y = (-record.number(0) * square).exp();
//!             }
//!         },
//!     },
//!     // Of both operands by one kernel: what reaches the centres, whose sum over the centres is what reaches x, negated.
//!     vjp: Some(|call| {
//!         let [x, c] = call.operands();
//!         let scale = call.cotangent() * call.value() * (2.0 * call.numbers()[0]);
//!         let of_c = call.kernel(&OF_C, &[x, c, scale]);
//!         vec![Some(-of_c.sum(&[0])), Some(of_c)]
//!     }),
//! };
//!
//! static OF_C: Kernel = Kernel {
//!     name: "of_c",
//!     shape: Shape::Records(|dims, _| Ok(dims[1].to_vec())),
//!     code: Code {
//!         operands: &["x", "c", "scale"],
//!         wgsl: "fn element(i: u32) -> f32 { return scale(i / x_len()) * (x(i % x_len()) - c(i)); }",
//!         native: |record, of_c| {
//!             let [x, c, scale] = record.operands();
//!             of_c.iter_mut().enumerate().for_each(|(i, y)| *y = scale[i / x.len()] * (x[i % x.len()] - c[i]));
//!         },
//!     },
//!     vjp: None,
//! };
//!
//! impl CustomOp for Rbf {
//!     fn domain(&self) -> &str {
//!         "com.example"
//!     }
//!
//!     fn op_type(&self) -> &str {
//!         "Rbf"
//!     }
//!
//!     fn formula<'f>(&self, node: &Node<'f>) -> Result<Vec<Term<'f>>, String> {
//!         let [x, c] = node.operands()?;
//!         Ok(vec![node.formula().kernel(&RBF, &[x, c], &[node.float("gamma", 1.0)?])])
//!     }
//!
//!     fn kernels(&self) -> Vec<&'static Kernel> {
//!         vec![&RBF, &OF_C]
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let ops = CustomOps::new().with(Rbf)?;
//! let gpu = Gpu::open(None)?;
//! let node = OpCheck::new(&ops, "com.example", "Rbf").float("gamma", 0.5);
//! let checked = node.records(&[3]).parameter(&[4, 3]).run(&[&Cpu, &gpu])?;
//! println!("{} derivatives, none off by more than {:.0e}", checked.derivatives, checked.farthest);
//! # Ok(())
//! # }
//! ```
//!
//! [`Model::with_ops`](super::Model::with_ops) opens files that use the ops, and
//! [`Artifact::load_with`](crate::artifact::Artifact::load_with) loads what was compiled from them: an artifact names the kernels
//! and has digests of their WGSL, and is refused where they are not registered. Nothing is registered for all of a process.
//!
//! # What is trusted
//!
//! Nothing of an op can make records meet. A formula's parts refuse to sum, move or combine along the batch, and what a kernel
//! gets is one record: natively its slices, in WGSL functions that keep to it, besides which the code can name no memory, which
//! registering makes sure of. What a record adds to a parameter's gradient is clipped and summed like any other, so a wrong
//! derivative costs accuracy, never privacy. But that the WGSL ends, and that the native code has no state of its own and keeps
//! its hands off the rest of the process, is the user's word; and that the two compute the same is what
//! [`OpCheck`](super::testing::OpCheck) checks.
//!
//! An op whose file has it as a local function needs none of this: its body is written out before anything else, and is what
//! is differentiated.

pub use crate::import::custom::{
    Call, Code, CustomOp, CustomOps, Formula, Func, Kernel, Node, Record, RecordDims, RegistrationError, Shape, Term,
    UnknownOps,
};
