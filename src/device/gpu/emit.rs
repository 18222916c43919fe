//! The WGSL emitter: specialises the templates of `shaders/`.
//!
//! Templates are valid WGSL as they stand. Specialising one replaces the value of a `const NAME: T = …;` line, or the
//! text between a `// begin NAME` and a `// end NAME` line; nothing else about a template can change. The snippets of
//! `shaders/shared/` take the place of the blocks of their names.
//!
//! Every shader binds, in group 0, its `Params` as a uniform at binding 0 and the buffers of the dispatch from binding 1
//! on, the read ones `read` and the written ones `read_write`. Sizes are uniforms, so that layers share pipelines.

use std::collections::BTreeMap;
use std::fmt::Display;

use naga::valid::{Capabilities, ValidationFlags, Validator};
use naga::{Block, Module, Statement};
use sha2::{Digest, Sha256};

use super::class::Class;
use super::kernels::{MAX_ITERATIONS, schedule};
use crate::lower::check::MAX_ROWS;
use crate::lower::kernels::Kernel;
use crate::lower::program::{Dispatch, Program};
use crate::lower::target::{Refusal, Unrunnable};

/// Embeds the shared snippets with their names.
macro_rules! embed {
    ($($name:literal)*) => {
        &[$(($name, include_str!(concat!("../../../shaders/shared/", $name, ".wgsl")))),*]
    };
}

/// The shared snippets by name.
const SNIPPETS: &[(&str, &str)] = embed![
    "blocked" "direct" "elements" "grid" "grid_sums" "grid_wide" "half" "math" "own" "pairs" "parts" "planes" "precise"
    "precise_own" "row" "serial" "threefry" "tile" "tokens" "total" "view" "window"
];

/// The most storage buffers of a dispatch that WebGPU guarantees.
pub const MAX_BUFFERS: usize = 8;

/// The most expressions of a shader with all that it calls written out, as drivers write it out: five times those of the
/// largest template. Some drivers take minutes over more.
pub const MAX_EXPRESSIONS: usize = 1 << 16;

/// A specialised shader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shader {
    /// `kernel-hash`: its file name, without `.wgsl`.
    pub name: String,
    /// The text.
    pub wgsl: String,
}

/// The shaders of a program for people to read, as GPUs of their own run them: each text once, in the order in which they
/// first run.
///
/// # Errors
/// Every dispatch that has no shader, see [`Refusal`].
pub fn shaders(program: &Program) -> Result<Vec<Shader>, Unrunnable> {
    shaders_on(program, Class::Discrete)
}

/// The shaders of a program on every class of devices, each text once.
///
/// # Errors
/// Every dispatch that has no shader, see [`Refusal`].
pub fn variants(program: &Program) -> Result<Vec<Shader>, Unrunnable> {
    let mut known = BTreeMap::new();
    for class in Class::ALL {
        known.extend(shaders_on(program, class)?.into_iter().map(|shader| (shader.name.clone(), shader)));
    }
    Ok(known.into_values().collect())
}

/// The shaders of a program on a class of devices.
fn shaders_on(program: &Program, class: Class) -> Result<Vec<Shader>, Unrunnable> {
    let mut known = BTreeMap::new();
    let (mut shaders, mut problems) = (Vec::new(), Vec::new());
    for dispatch in program.phases.values().flatten() {
        problems.extend(refusal(dispatch));
        // Of the largest batch, which has all the parts that there may be.
        let parts = schedule(&dispatch.kernel, class).1.sum_of_parts(MAX_ROWS).map(Kernel::from);
        for kernel in [Some(&dispatch.kernel), parts.as_ref()].into_iter().flatten() {
            let text = specialise_on(kernel, class);
            known.entry(text).or_insert_with_key(|text| {
                problems.extend(invalid(dispatch, text));
                shaders.push(Shader { name: name(kernel, text), wgsl: text.clone() });
            });
        }
    }
    if problems.is_empty() { Ok(shaders) } else { Err(Unrunnable { problems }) }
}

/// The WGSL of a kernel, as GPUs of their own run it.
pub fn specialise(kernel: &Kernel) -> String {
    specialise_on(kernel, Class::Discrete)
}

/// The WGSL of a kernel on a class of devices.
pub fn specialise_on(kernel: &Kernel, class: Class) -> String {
    let (text, schedule) = schedule(kernel, class);
    let mut template = Specialise::template(text);
    schedule.specialise(&mut template);
    template.finish()
}

/// Parses and validates WGSL against core WebGPU.
///
/// # Errors
/// naga's message, with the place in the text.
pub fn validate(wgsl: &str) -> Result<(naga::Module, naga::valid::ModuleInfo), String> {
    let module = naga::front::wgsl::parse_str(wgsl).map_err(|e| e.emit_to_string(wgsl))?;
    let info = Validator::new(ValidationFlags::all(), Capabilities::empty())
        .validate(&module)
        .map_err(|e| e.emit_to_string(wgsl))?;
    Ok((module, info))
}

/// The name of a kernel's shader, whose text is given.
pub fn name(kernel: &Kernel, text: &str) -> String {
    let hash = Sha256::digest(text.as_bytes());
    let hex: String = hash[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{hex}", kernel.rules().name())
}

/// What is wrong with the text of a dispatch's shader.
pub fn invalid(dispatch: &Dispatch, text: &str) -> Option<Refusal> {
    let (label, template) = (dispatch.label.clone(), dispatch.kernel.rules().name());
    match validate(text) {
        Err(what) => Some(Refusal::Invalid { label, template, what }),
        Ok((module, _)) => {
            let (size, most) = (expressions(&module), MAX_EXPRESSIONS);
            (size > most).then_some(Refusal::TooLarge { label, template, size, most })
        }
    }
}

/// The expressions of a module's entry points with all that they call written out.
fn expressions(module: &Module) -> usize {
    // A function is declared after those that it calls.
    let mut sizes: Vec<usize> = Vec::new();
    for (_, function) in module.functions.iter() {
        sizes.push(called(&function.body, &sizes).saturating_add(function.expressions.len()));
    }
    let entry = |e: &naga::EntryPoint| called(&e.function.body, &sizes).saturating_add(e.function.expressions.len());
    module.entry_points.iter().map(entry).fold(0, usize::saturating_add)
}

/// The expressions of what a block calls.
fn called(block: &Block, sizes: &[usize]) -> usize {
    let of = |statement: &Statement| match statement {
        Statement::Block(block) => called(block, sizes),
        Statement::If { accept, reject, .. } => called(accept, sizes).saturating_add(called(reject, sizes)),
        Statement::Switch { cases, .. } => {
            cases.iter().map(|case| called(&case.body, sizes)).fold(0, usize::saturating_add)
        }
        Statement::Loop { body, continuing, .. } => called(body, sizes).saturating_add(called(continuing, sizes)),
        Statement::Call { function, .. } => sizes[function.index()],
        _ => 0,
    };
    block.iter().map(of).fold(0, usize::saturating_add)
}

/// Which limit of WebGPU or of its drivers a dispatch passes.
pub fn refusal(dispatch: &Dispatch) -> Option<Refusal> {
    let (label, template) = (dispatch.label.clone(), dispatch.kernel.rules().name());
    let iterations = Class::ALL.map(|class| schedule(&dispatch.kernel, class).1.iterations());
    let (count, iterations) = (dispatch.buffers.len(), iterations.into_iter().fold(0, usize::max));
    if count > MAX_BUFFERS {
        return Some(Refusal::TooManyBuffers { label, template, count, most: MAX_BUFFERS });
    }
    let most = MAX_ITERATIONS;
    (iterations > most).then_some(Refusal::TooManyIterations { label, template, iterations, most })
}

/// A template being specialised.
#[derive(Clone, Debug)]
pub struct Specialise {
    text: String,
}

impl Specialise {
    /// Starts from the text of a template, the shared snippets in their places.
    pub fn template(text: &str) -> Specialise {
        let mut this = Specialise { text: text.into() };
        for (snippet, _) in SNIPPETS {
            this.snippet(snippet, snippet);
        }
        this
    }

    /// Replaces a block by a shared snippet.
    pub fn snippet(&mut self, block: &str, snippet: &str) {
        self.snippets(block, &[snippet]);
    }

    /// Replaces a block by shared snippets, one after the other.
    pub fn snippets(&mut self, block: &str, snippets: &[&str]) {
        let text = |snippet: &&str| SNIPPETS.iter().find(|(name, _)| name == snippet).map_or("", |(_, text)| text);
        self.block(block, &snippets.iter().map(text).collect::<String>());
    }

    /// The specialised text.
    pub fn finish(self) -> String {
        self.text
    }

    /// Sets the value of `const name: T = …;`.
    pub fn constant(&mut self, name: &str, value: impl Display) {
        let head = format!("const {name}:");
        self.text = lines(&self.text, |line| {
            line.trim_start().starts_with(&head).then(|| {
                let declaration = line.split_once('=').map_or(line, |(d, _)| d).trim_end();
                format!("{declaration} = {value};")
            })
        });
    }

    /// Replaces what stands between `// begin name` and `// end name`.
    pub fn block(&mut self, name: &str, text: &str) {
        let (begin, end) = (format!("// begin {name}"), format!("// end {name}"));
        let mut inside = false;
        let mut out = String::new();
        for line in self.text.lines() {
            if line.trim() == end {
                inside = false;
            }
            if !inside {
                out.push_str(line);
                out.push('\n');
            }
            if line.trim() == begin {
                inside = true;
                out.push_str(text.trim_end());
                out.push('\n');
            }
        }
        self.text = out;
    }
}

fn lines(text: &str, f: impl Fn(&str) -> Option<String>) -> String {
    text.lines().map(|line| f(line).unwrap_or_else(|| line.into()) + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::cases;
    use crate::device::gpu::kernels::TEMPLATES;
    use crate::graph::DType;
    use crate::lower::kernels::{Broadcast, Elementwise, SortIds};
    use crate::lower::program::{BufferId, Phase};
    use crate::lower::scalar::{Expr, Func, Step, Value};

    #[test]
    fn templates_are_valid_as_they_stand() {
        let wrong: Vec<String> = TEMPLATES
            .iter()
            .filter_map(|(name, text)| {
                Some(format!("{name}: {}", validate(&Specialise::template(text).finish()).err()?))
            })
            .collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn specialising_sets_constants_and_blocks() {
        let mut this = Specialise { text: "const A: u32 = 1u;\n  // begin b\n  x;\n  // end b\n".into() };
        this.constant("A", "2u");
        this.block("b", "  y;");
        assert_eq!(this.finish(), "const A: u32 = 2u;\n  // begin b\n  y;\n  // end b\n");
    }

    fn emitted() -> Vec<Shader> {
        let all = cases::cases();
        let shaders = all
            .iter()
            .flat_map(|case| variants(&case.program).unwrap_or_else(|e| panic!("{}: {:?}", case.name, e.problems)));
        let by_name: BTreeMap<String, Shader> = shaders.map(|s| (s.name.clone(), s)).collect();
        by_name.into_values().collect()
    }

    /// Vulkan takes SPIR-V, Metal MSL and DX12 HLSL: a shader that translates runs on all three.
    #[test]
    fn every_shader_translates_to_every_backend() {
        for shader in emitted() {
            let (module, info) = validate(&shader.wgsl).expect("validated by the emitter");
            let translated = translate(&module, &info);
            assert!(translated.is_ok(), "{}: {}", shader.name, translated.unwrap_err());
        }
    }

    fn translate(module: &naga::Module, info: &naga::valid::ModuleInfo) -> Result<(), String> {
        use naga::back::{hlsl, msl, spv};
        let text = |e: &dyn std::error::Error| e.to_string();
        spv::write_vec(module, info, &spv::Options::default(), None).map_err(|e| text(&e))?;
        msl::write_string(module, info, &msl::Options::default(), &msl::PipelineOptions::default())
            .map_err(|e| text(&e))?;
        let options =
            hlsl::Options { special_constants_binding: Some(hlsl::BindTarget::default()), ..Default::default() };
        let pipeline = hlsl::PipelineOptions::default();
        let mut out = String::new();
        hlsl::Writer::new(&mut out, &options, &pipeline).write(module, info, None).map_err(|e| text(&e))?;
        Ok(())
    }

    /// WebGPU's guarantees, where naga does not check them.
    #[test]
    fn every_shader_keeps_the_limits_of_core_webgpu() {
        for shader in emitted() {
            let (module, _) = validate(&shader.wgsl).expect("validated by the emitter");
            let size: u32 = module.entry_points[0].workgroup_size.iter().product();
            assert!(size <= 256 && module.entry_points[0].workgroup_size[0].is_multiple_of(8), "{}", shader.name);
            let mut layouter = naga::proc::Layouter::default();
            layouter.update(module.to_ctx()).expect("validated types");
            let shared = module.global_variables.iter().filter(|(_, v)| v.space == naga::AddressSpace::WorkGroup);
            let bytes: u32 = shared.map(|(_, v)| layouter[v.ty].size).sum();
            assert!(bytes <= 16_384, "{}", shader.name);
            assert!(!shader.wgsl.contains("enable "), "{}", shader.name);
        }
    }

    #[test]
    fn constants_may_be_infinite() {
        let expr = Expr::constant(Value::F32(f32::NEG_INFINITY));
        let kernel = Elementwise { batched: true, dims: vec![3], operands: vec![], expr };
        assert_eq!(validate(&specialise(&kernel.into())).err(), None);
    }

    fn dispatch_mut(program: &mut Program) -> &mut Dispatch {
        &mut program.phases.get_mut(&Phase::Forward).unwrap()[0]
    }

    #[test]
    fn refuses_what_no_shader_can_do() {
        let buffers = 0..9u32;
        let kernel = SortIds { count: 70_000, table_rows: 9 }.into();
        let dispatch = Dispatch { kernel, buffers: buffers.map(BufferId).collect(), label: "order".into(), views: 1 };
        let mut program = Program { phases: BTreeMap::from([(Phase::Forward, vec![dispatch])]), ..Default::default() };
        let error = shaders(&program).unwrap_err();
        assert!(matches!(error.problems[..], [Refusal::TooManyBuffers { count: 9, .. }]));
        dispatch_mut(&mut program).buffers.truncate(2);
        let error = shaders(&program).unwrap_err();
        assert!(matches!(error.problems[..], [Refusal::TooManyIterations { iterations: 70_000, .. }]));
        let steps = (0..MAX_EXPRESSIONS).map(|i| Step::Call(Func::Exp, [i, 0, 0]));
        let expr = Expr::new([Step::Operand(0, DType::F32)].into_iter().chain(steps).collect()).unwrap();
        let operands = vec![Broadcast { record: 3, strides: vec![1] }];
        dispatch_mut(&mut program).kernel = Elementwise { batched: true, dims: vec![3], operands, expr }.into();
        let error = shaders(&program).unwrap_err();
        assert!(matches!(error.problems[..], [Refusal::TooLarge { most: MAX_EXPRESSIONS, .. }]), "{error:?}");
    }
}
