//! A kernel from outside: code of a user's, for one record at a time.
//!
//! A program names the code and has its digest; the code itself comes from whoever loads the program. The code sees one
//! record's elements and nothing else: natively as slices, in WGSL through functions of the operands' names, which keep to the
//! record. [`Code::problem`] makes sure that WGSL reaches no memory in any other way.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::contract::work;
use super::{Binding, KernelRules};
use crate::lower::program::Extent;

/// What a user's kernel computes of one record, as WGSL and natively. The two must agree.
#[derive(Debug)]
pub struct Code {
    /// The names of the operands, by which the WGSL reads them; at most [`Code::MOST_OPERANDS`].
    pub operands: &'static [&'static str],
    /// WGSL that has the function `element(i: u32) -> f32`, which computes element `i` of a record's result. It may call, for an
    /// operand `x`, `x(i: u32) -> f32`, the element `i` of the record's `x` or the last one if there are fewer, and
    /// `x_len() -> u32`; and `len() -> u32`, the elements of the result, and `number(k: u32) -> f32`, which is 0 beyond the last.
    pub wgsl: &'static str,
    /// The same for all elements of a record's result.
    pub native: fn(&Record<'_>, &mut [f32]),
}

/// The operands of a kernel for one record.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    operands: &'a [&'a [f32]],
    numbers: &'a [f32],
}

impl<'a> Record<'a> {
    /// A record of these operands and numbers.
    pub fn new(operands: &'a [&'a [f32]], numbers: &'a [f32]) -> Record<'a> {
        Record { operands, numbers }
    }

    /// The elements of every operand, row-major.
    ///
    /// # Panics
    /// Where the kernel has other than `N` operands.
    pub fn operands<const N: usize>(&self) -> [&'a [f32]; N] {
        self.operands.try_into().expect("as many operands as the code names")
    }

    /// Number `k` that the formula gave; 0 beyond the last.
    pub fn number(&self, k: usize) -> f32 {
        self.numbers.get(k).copied().unwrap_or(0.0)
    }
}

impl Code {
    /// The most operands, as a shader binds eight buffers.
    pub const MOST_OPERANDS: usize = 7;

    /// A digest of what can be told of the code: the names and the WGSL.
    pub fn digest(&self) -> String {
        let text = format!("{}\n{}", self.operands.join(" "), self.wgsl);
        Sha256::digest(text.as_bytes())[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Why the code cannot be taken: the WGSL is not valid by itself, names memory of its own, or has no `element`.
    pub fn problem(&self) -> Option<String> {
        let word = |name: &str| {
            let mut chars = name.chars();
            chars.next().is_some_and(|c| c.is_ascii_lowercase())
                && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
                && !name.starts_with("dpc_")
        };
        if let Some(name) = self.operands.iter().find(|name| !word(name)) {
            return Some(format!("`{name}` is no name for an operand: a lower-case letter, then letters and digits"));
        }
        if self.operands.is_empty() || self.operands.len() > Code::MOST_OPERANDS {
            return Some(format!("it has {} operands, not 1 to {}", self.operands.len(), Code::MOST_OPERANDS));
        }
        // By itself the code sees functions without memory behind them, and so it names none but its own, of which there is
        // to be none. A comment that is not closed would hide what follows it.
        let operand = |name: &&str| {
            format!("fn {name}(i: u32) -> f32 {{ return 0.0; }}\nfn {name}_len() -> u32 {{ return 1u; }}\n")
        };
        let stubs: String = self.operands.iter().map(operand).collect();
        let text = format!(
            "{}\nfn len() -> u32 {{ return 1u; }}\nfn number(k: u32) -> f32 {{ return 0.0; }}\n{stubs}\
             fn main(i: u32) -> f32 {{ return element(i); }}\n",
            self.wgsl
        );
        let module = match naga::front::wgsl::parse_str(&text) {
            Ok(module) => module,
            Err(error) => return Some(error.emit_to_string(&text)),
        };
        let flags = naga::valid::ValidationFlags::all();
        if let Err(error) = naga::valid::Validator::new(flags, naga::valid::Capabilities::empty()).validate(&module) {
            return Some(error.emit_to_string(&text));
        }
        if !module.functions.iter().any(|(_, function)| function.name.as_deref() == Some("main")) {
            return Some("a comment in it does not end".to_owned());
        }
        if !module.global_variables.is_empty() || !module.entry_points.is_empty() || !module.overrides.is_empty() {
            return Some("it declares variables, overrides or entry points outside of functions".to_owned());
        }
        let functions = module.functions.iter().filter_map(|(_, function)| function.name.as_deref());
        let constants = module.constants.iter().filter_map(|(_, constant)| constant.name.as_deref());
        let types = module.types.iter().filter_map(|(_, ty)| ty.name.as_deref());
        let taken = functions.chain(constants).chain(types).find(|name| name.starts_with("dpc_"));
        taken.map(|name| format!("`{name}` begins as dpc's own names do"))
    }
}

/// The code of a kernel, where it is known.
#[derive(Clone, Copy, Default)]
pub struct Link(pub Option<&'static Code>);

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "linked" } else { "not linked" })
    }
}

/// Kernels are told apart by the names and digests of their code.
impl PartialEq for Link {
    fn eq(&self, _: &Link) -> bool {
        true
    }
}

/// How an operand of a [`Custom`] kernel is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reads {
    /// Elements between records, 0 for a shared operand.
    pub record: usize,
    /// Elements of one record.
    pub len: usize,
}

/// `y[n, i]` by the user's code, of the operands' records `n`.
///
/// Buffers: the operands; then `y`, contiguous.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Custom {
    /// The op that the code belongs to, as `domain::Op`.
    pub op: String,
    /// The name of the code within the op.
    pub name: String,
    /// The [digest](Code::digest) of the code.
    pub digest: String,
    /// Whether there is one result per record.
    pub batched: bool,
    /// How each operand is read.
    pub operands: Vec<Reads>,
    /// Elements of one record's result.
    pub len: usize,
    /// Numbers that the code reads.
    pub numbers: Vec<f32>,
    /// The code.
    #[serde(skip)]
    pub code: Link,
}

impl KernelRules for Custom {
    fn name(&self) -> &'static str {
        "custom"
    }

    fn buffers(&self) -> Vec<Binding> {
        let records = Extent::of(1, self.batched);
        let operand = |reads: &Reads| Binding::floats("operand", records.strided(reads.record, reads.len));
        let y = Binding::floats("y", records.times(self.len)).written();
        self.operands.iter().map(operand).chain([y]).collect()
    }

    fn problem(&self) -> Option<String> {
        let Some(code) = self.code.0 else {
            return Some(format!("is of the op `{}`, which is not registered", self.op));
        };
        if code.operands.len() != self.operands.len() {
            return Some(format!("has {} operands in place of {}", self.operands.len(), code.operands.len()));
        }
        if self.len == 0 || self.operands.iter().any(|reads| reads.len == 0) {
            return Some("has no elements".to_owned());
        }
        (code.digest() != self.digest).then(|| format!("is of another version of the op `{}`", self.op))
    }

    /// A guess: what the code does is not known.
    fn flops(&self, rows: usize) -> u64 {
        let reads = self.operands.iter().map(|reads| reads.len).max().unwrap_or(1);
        work(&[self.len.max(reads), if self.batched { rows } else { 1 }])
    }

    fn text(&self) -> String {
        let numbers = if self.numbers.is_empty() { String::new() } else { format!(" {:?}", self.numbers) };
        format!("{} {} {}{numbers}", self.op, self.name, self.digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(wgsl: &'static str) -> Option<String> {
        Code { operands: &["x", "w"], wgsl, native: |_, _| {} }.problem()
    }

    #[test]
    fn code_reads_its_record_and_nothing_else() {
        assert_eq!(problem("fn element(i: u32) -> f32 { return x(i) * w(i % w_len()) + number(0u); }"), None);
        assert_eq!(
            problem(
                "const HALF = 0.5;\nfn half(y: f32) -> f32 { return y * HALF; }\nfn element(i: u32) -> f32 { return half(x(i)); }"
            ),
            None
        );
        let refused = [
            ("fn element(i: u32) -> f32 { return dpc_buffer_0[i]; }", "no definition in scope"),
            ("fn element(i: u32) -> f32 { return x(i + dpc_record); }", "no definition in scope"),
            ("var<private> kept: f32;\nfn element(i: u32) -> f32 { kept += x(i); return kept; }", "declares variables"),
            (
                "@group(0) @binding(1) var<storage> b: array<f32>;\nfn element(i: u32) -> f32 { return b[i]; }",
                "declares variables",
            ),
            ("fn element(i: u32) -> f32 { return 0.0; }\n@compute @workgroup_size(1) fn other() {}", "entry points"),
            ("fn element(i: u32) -> u32 { return i; }", "error"),
            ("fn x(i: u32) -> f32 { return 1.0; }\nfn element(i: u32) -> f32 { return x(i); }", "redefinition"),
            ("fn element(i: u32) -> f32 { return x(i); } /*", "error"),
            ("fn dpc_main() {}\nfn element(i: u32) -> f32 { return x(i); }", "dpc's own names"),
            ("", "no definition in scope"),
        ];
        for (wgsl, said) in refused {
            let problem = problem(wgsl).unwrap_or_else(|| panic!("{wgsl} is taken"));
            assert!(problem.contains(said), "{wgsl}: {problem}");
        }
    }
}
