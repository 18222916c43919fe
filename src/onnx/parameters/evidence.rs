//! What a file says of its initialisers.
//!
//! PyTorch's newer exporter leaves two traces: a signature of the exported module in the model's metadata, one line an
//! input such as `p_fc1_weight: PARAMETER target='fc1.weight'`, and the kind of each value in that value's own metadata.
//! Nodes carry the ATen call that they stand for, with its arguments by the names of the signature. Files of other
//! exporters say nothing.

use std::collections::BTreeMap;

use crate::onnx::source::Source;

/// The key under which torch.export leaves the role of each input.
const SIGNATURE: &str = "pkg.torch.export.ExportedProgram.graph_signature";
/// The keys of a value's own role, and of its name in the signature.
const KIND: &str = "pkg.torch.export.graph_signature.InputSpec.kind";
const ORIGINAL: &str = "pkg.torch.onnx.original_node_name";

/// What an exporter calls an initialiser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Declared {
    /// An `nn.Parameter`; whether it requires a gradient is not said.
    Parameter,
    /// A buffer: running statistics, masks, position tables.
    Buffer,
    /// A tensor in the module's code.
    Constant,
}

/// What the exporter says of the module's tensors.
#[derive(Clone, Debug, Default)]
pub(super) struct Evidence {
    /// By the tensor's name in the module.
    declared: BTreeMap<String, Declared>,
    /// The name of each parameter as an argument of calls, and the parameter's own.
    arguments: Vec<(String, String)>,
}

impl Evidence {
    /// What `source` says.
    pub fn of(source: &Source) -> Evidence {
        let mut evidence = Evidence::default();
        let graph = source.model.graph.iter();
        let metadata = source.model.metadata_props.iter().chain(graph.clone().flat_map(|graph| &graph.metadata_props));
        for entry in metadata.filter(|entry| entry.key() == SIGNATURE) {
            evidence.read_signature(entry.value());
        }
        let values = graph.clone().flat_map(|graph| &graph.value_info).map(|info| (info.name(), &info.metadata_props));
        let tensors = graph.flat_map(|graph| &graph.initializer).map(|tensor| (tensor.name(), &tensor.metadata_props));
        for (name, properties) in values.chain(tensors) {
            let property = |key: &str| properties.iter().find(|entry| entry.key() == key).map(|entry| entry.value());
            if let Some(declared) = property(KIND).and_then(declared) {
                evidence.insert(name, property(ORIGINAL).unwrap_or_default(), declared);
            }
        }
        evidence
    }

    /// Whether the exporter says anything.
    pub fn speaks(&self) -> bool {
        !self.declared.is_empty()
    }

    /// What the exporter calls the initialiser `name`.
    pub fn declared(&self, name: &str) -> Option<Declared> {
        self.declared.get(name).copied()
    }

    /// The name of a parameter as an argument of calls.
    pub fn argument(&self, name: &str) -> Option<&str> {
        self.arguments.iter().find(|(_, own)| own == name).map(|(argument, _)| argument.as_str())
    }

    /// The parameters of the module that the file does not have under their own name: as an argument of calls, and by
    /// name.
    pub fn missing<'s>(&'s self, source: &'s Source) -> impl Iterator<Item = (&'s str, &'s str)> {
        let absent = |(_, name): &&(String, String)| !source.initializers.contains_key(name);
        self.arguments.iter().filter(absent).map(|(argument, name)| (argument.as_str(), name.as_str()))
    }

    /// The lines before `# outputs`, such as `p_fc1_weight: PARAMETER target='fc1.weight'`.
    fn read_signature(&mut self, text: &str) {
        for line in text.lines().take_while(|line| line.trim() != "# outputs") {
            let Some((argument, role)) = line.split_once(": ") else { continue };
            let Some((role, target)) = role.split_once(" target='") else { continue };
            let target = target.split('\'').next().unwrap_or_default();
            if let Some(declared) = declared(role.trim()) {
                self.insert(target, argument.trim(), declared);
            }
        }
    }

    fn insert(&mut self, name: &str, argument: &str, declared: Declared) {
        let new = self.declared.insert(name.to_owned(), declared).is_none();
        if new && declared == Declared::Parameter && !argument.is_empty() {
            self.arguments.push((argument.to_owned(), name.to_owned()));
        }
    }
}

fn declared(role: &str) -> Option<Declared> {
    match role {
        "PARAMETER" => Some(Declared::Parameter),
        "BUFFER" => Some(Declared::Buffer),
        "CONSTANT_TENSOR" => Some(Declared::Constant),
        _ => None,
    }
}
