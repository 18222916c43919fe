//! The passes in the order in which they run, each with the graph that it makes and the check of that.

use std::collections::BTreeMap;

use super::grid::grid;
use super::{CompileError, Compiled, Options, phases, proved};
use crate::graph::{Violation, verify as structure};
use crate::import::Proved;
use crate::import::custom::CustomOps;
use crate::lower::check::{MAX_ROWS, check};
use crate::lower::kernels::{Half, Sums};
use crate::lower::program::Program;
use crate::lower::target::Targets;
use crate::onnx::{Parameter, Source};
use crate::ops::Graph;
use crate::options::{NoiseKind, NormChoice, Precision};
use crate::passes::attach_loss::{LossInfo, attach};
use crate::passes::collapse::collapse;
use crate::passes::differentiate::{GRADIENT, differentiate_mean};
use crate::passes::fuse::fuse;
use crate::passes::fuse_sums::fuse_sums;
use crate::passes::inference::inference;
use crate::passes::narrow::narrow;
use crate::passes::privatize::{Choice, PrivateOptions, privatize, weigh_rows, with_gradient};
use crate::passes::simplify::simplify;
use crate::passes::strategy::NormStrategy;
use crate::passes::verify;
use crate::privacy::clipping::ClipGroup;
use crate::privacy::grid::Grid;

/// A graph of the pipeline, or the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The proved forward graph with its loss.
    Graph,
    /// With the gradient of every trained parameter.
    Gradients,
    /// With the gradients rewritten to be private.
    Private,
    /// With the gradients summed as they are, for comparisons.
    Plain,
    /// The forward graph without what only training needs.
    Inference,
    /// The private graph with chains of functions fused.
    FusedPrivate,
    /// The plain graph with chains of functions fused.
    FusedPlain,
    /// The inference graph with chains of functions fused.
    FusedInference,
    /// The lowered program.
    Program,
}

/// One pass of the pipeline.
pub struct Pass {
    /// What it is called.
    pub name: &'static str,
    /// What it makes, or makes anew.
    pub stage: Stage,
    /// Whether it runs for a program that only runs forward.
    forward: bool,
    run: fn(&mut Compilation<'_>) -> Result<(), CompileError>,
    verify: fn(&Graph, &str) -> Result<(), Vec<Violation>>,
}

/// All passes.
pub const PIPELINE: &[Pass] = &[
    pass("prove", Stage::Graph, |c| c.prove(), verify::forward).always(),
    pass("attach-loss", Stage::Graph, |c| c.attach_loss(), verify::forward),
    pass("collapse", Stage::Graph, |c| c.rewrite(Stage::Graph, Stage::Graph, collapse), verify::forward).always(),
    pass("simplify", Stage::Graph, |c| c.rewrite(Stage::Graph, Stage::Graph, simplify), verify::forward).always(),
    pass("name-values", Stage::Graph, |c| c.name_values(), verify::forward).always(),
    pass("differentiate", Stage::Gradients, |c| c.differentiate(), verify::gradients),
    pass("simplify", Stage::Gradients, |c| c.rewrite(Stage::Gradients, Stage::Gradients, simplify), verify::gradients),
    pass("narrow", Stage::Gradients, |c| c.narrow(), verify::gradients),
    pass("privatize", Stage::Private, |c| c.privatize(), verify::private),
    pass("fuse-sums", Stage::Private, |c| c.rewrite(Stage::Private, Stage::Private, fuse_sums), verify::private),
    pass("fuse", Stage::FusedPrivate, |c| c.rewrite(Stage::Private, Stage::FusedPrivate, fuse), structure),
    pass("weigh-rows", Stage::Plain, |c| c.rewrite(Stage::Gradients, Stage::Plain, weigh_rows), verify::plain),
    pass("simplify", Stage::Plain, |c| c.rewrite(Stage::Plain, Stage::Plain, simplify), verify::plain),
    pass("fuse-sums", Stage::Plain, |c| c.rewrite(Stage::Plain, Stage::Plain, fuse_sums), verify::plain),
    pass("fuse", Stage::FusedPlain, |c| c.rewrite(Stage::Plain, Stage::FusedPlain, fuse), verify::plain),
    pass("inference", Stage::Inference, |c| c.rewrite(Stage::Graph, Stage::Inference, inference), verify::forward)
        .always(),
    pass("fuse", Stage::FusedInference, |c| c.rewrite(Stage::Inference, Stage::FusedInference, fuse), verify::forward)
        .always(),
    pass("lower", Stage::Program, |c| c.lower(), structure).always(),
];

const fn pass(
    name: &'static str,
    stage: Stage,
    run: fn(&mut Compilation<'_>) -> Result<(), CompileError>,
    verify: fn(&Graph, &str) -> Result<(), Vec<Violation>>,
) -> Pass {
    Pass { name, stage, forward: false, run, verify }
}

impl Pass {
    const fn always(self) -> Pass {
        Pass { forward: true, ..self }
    }
}

impl Stage {
    /// All stages, in order of their first pass.
    pub fn all() -> impl Iterator<Item = Stage> {
        let first = |k: usize| !PIPELINE[..k].iter().any(|pass| pass.stage == PIPELINE[k].stage);
        (0..PIPELINE.len()).filter(move |&k| first(k)).map(|k| PIPELINE[k].stage)
    }

    /// What it is, for people.
    pub fn about(self) -> &'static str {
        match self {
            Stage::Graph => "The proved forward graph with its loss",
            Stage::Gradients => "With the gradient of every trained parameter",
            Stage::Private => "With the gradients rewritten to be private",
            Stage::Plain => "With the gradients summed without privacy, for comparisons",
            Stage::Inference => "The forward graph without what only training needs",
            Stage::FusedPrivate => "The private graph with chains of functions fused",
            Stage::FusedPlain => "The plain graph with chains of functions fused",
            Stage::FusedInference => "The inference graph with chains of functions fused",
            Stage::Program => "The lowered program",
        }
    }

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Graph => "graph",
            Stage::Gradients => "gradients",
            Stage::Private => "private",
            Stage::Plain => "plain",
            Stage::Inference => "inference",
            Stage::FusedPrivate => "fused-private",
            Stage::FusedPlain => "fused-plain",
            Stage::FusedInference => "fused-inference",
            Stage::Program => "program",
        }
    }
}

/// What has been made so far.
pub struct Compilation<'a> {
    source: &'a Source,
    parameters: &'a [Parameter],
    ops: &'a CustomOps,
    options: &'a Options,
    targets: Targets<'a>,
    proved: Option<Proved>,
    loss: Option<LossInfo>,
    graphs: BTreeMap<Stage, Graph>,
    clip_groups: Vec<ClipGroup>,
    choices: Vec<Choice>,
    program: Program,
    grid: Option<Grid>,
}

impl Compilation<'_> {
    /// The text of a stage.
    pub fn text(&mut self, stage: Stage) -> String {
        if stage == Stage::Program { self.program.to_string() } else { self.graph(stage).to_string() }
    }

    /// The program; empty if it has not been made.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The graph of a stage; empty if it has not been made.
    pub fn graph(&mut self, stage: Stage) -> &Graph {
        self.graphs.entry(stage).or_default()
    }

    fn rewrite<E>(&mut self, from: Stage, to: Stage, pass: fn(&Graph) -> Result<Graph, E>) -> Result<(), CompileError>
    where
        CompileError: From<E>,
    {
        let graph = pass(self.graph(from))?;
        self.graphs.insert(to, graph);
        Ok(())
    }

    fn prove(&mut self) -> Result<(), CompileError> {
        let proved = proved(self.source, self.parameters, self.options, self.ops)?;
        self.graphs.insert(Stage::Graph, proved.graph.clone());
        self.proved = Some(proved);
        Ok(())
    }

    fn attach_loss(&mut self) -> Result<(), CompileError> {
        if let (Some(proved), Some(loss)) = (&mut self.proved, &self.options.loss) {
            self.loss = Some(attach(proved, loss, self.options.output.as_deref())?);
            self.graphs.insert(Stage::Graph, proved.graph.clone());
        }
        Ok(())
    }

    fn name_values(&mut self) -> Result<(), CompileError> {
        self.graphs.entry(Stage::Graph).or_default().name_values();
        Ok(())
    }

    fn differentiate(&mut self) -> Result<(), CompileError> {
        let views = self.options.views;
        let gradients = differentiate_mean(self.graph(Stage::Graph), views).map_err(CompileError::Vjp)?;
        if !gradients.outputs.keys().any(|name| name.starts_with(GRADIENT)) {
            return Err(CompileError::NothingToTrain);
        }
        self.clip_groups = self.options.clip.resolve(with_gradient(&gradients).map(|(name, _)| name))?;
        self.graphs.insert(Stage::Gradients, gradients);
        Ok(())
    }

    fn narrow(&mut self) -> Result<(), CompileError> {
        let half = match self.options.precision {
            Precision::F32 => return Ok(()),
            Precision::F16 => Half::F16,
            Precision::Bf16 => Half::Bf16,
        };
        let graph = narrow(self.graph(Stage::Gradients), half)?;
        self.graphs.insert(Stage::Gradients, graph);
        Ok(())
    }

    fn privatize(&mut self) -> Result<(), CompileError> {
        let strategy = match self.options.norm {
            NormChoice::Auto => None,
            NormChoice::Materialize => Some(NormStrategy::Materialize),
            NormChoice::Ghost => Some(NormStrategy::Ghost),
            NormChoice::Tile => Some(NormStrategy::Tile),
        };
        let (clip, groups) = (self.options.clip.clone(), self.clip_groups.clone());
        let (costs, per_sample) = (self.options.costs.clone(), self.options.per_sample);
        let views = self.options.views;
        let options = PrivateOptions { clip, groups, strategy, costs, views, per_sample, sums: self.sums() };
        let targets = self.targets;
        let rewritten = privatize(self.graph(Stage::Gradients), &options, targets)?;
        self.graphs.insert(Stage::Private, rewritten.graph);
        self.choices = rewritten.choices;
        Ok(())
    }

    /// What private sums are made of.
    fn sums(&self) -> Sums {
        match self.options.noise {
            NoiseKind::Exact => Sums::Grid,
            NoiseKind::Float => Sums::Floats,
        }
    }

    fn lower(&mut self) -> Result<(), CompileError> {
        let views = self.options.views;
        let mut program = phases::Builder::new(views);
        program.forward(self.graph(Stage::FusedInference))?;
        if self.loss.is_some() {
            program.private(self.graph(Stage::FusedPrivate))?;
            let exact = self.options.noise == NoiseKind::Exact;
            // Without privacy, and in units of any size, views are rows like others.
            if views == 1 {
                program.plain(self.graph(Stage::FusedPlain))?;
                program.units(self.options.clip.function(), &self.clip_groups, exact, self.targets);
            }
            if views == 1 || !exact {
                program.update(&self.options.optimizer);
            }
            if exact {
                program.release(&self.options.optimizer, &self.clip_groups);
                let groups = self.clip_groups.clone();
                self.grid = Some(grid(self.graph(Stage::Private), &groups)?);
            }
        }
        self.program = Program { targets: self.targets.ids(), ..program.finish() };
        self.targets.check(&self.program)?;
        check(&self.program, &[1, MAX_ROWS]).map_err(|invalid| CompileError::Contract(invalid.what))?;
        Ok(())
    }
}

/// Runs the pipeline, and tells `seen` of every pass that has run, and all that has been made.
pub(super) fn run(
    (source, parameters, ops): (&Source, &[Parameter], &CustomOps),
    options: &Options,
    targets: Targets<'_>,
    seen: &mut dyn FnMut(&Pass, &mut Compilation<'_>),
) -> Result<Compiled, CompileError> {
    let mut compilation = Compilation {
        source,
        parameters,
        ops,
        options,
        targets,
        proved: None,
        loss: None,
        graphs: BTreeMap::new(),
        clip_groups: vec![],
        choices: vec![],
        program: Default::default(),
        grid: None,
    };
    for pass in PIPELINE.iter().filter(|pass| pass.forward || options.loss.is_some()) {
        (pass.run)(&mut compilation)?;
        (pass.verify)(compilation.graph(pass.stage), pass.name).map_err(CompileError::Violations)?;
        seen(pass, &mut compilation);
    }
    let Compilation { proved, loss, mut graphs, clip_groups, choices, program, grid, .. } = compilation;
    let mut graph = |stage| graphs.remove(&stage).unwrap_or_default();
    Ok(Compiled {
        proved: proved.unwrap_or_default(),
        loss,
        graph: graph(Stage::Graph),
        gradients: graph(Stage::Gradients),
        clip_groups,
        private: graph(Stage::Private),
        choices,
        program,
        grid,
    })
}
