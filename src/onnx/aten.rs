//! The call that a node stands for, as PyTorch's newer exporter writes it into the node's metadata.
//!
//! The file alone does not say which row of an embedding is padding, which value is detached, or that a normalisation
//! was in training mode; the ATen call does:
//! `%embedding : [num_users=1] = call_function[target=torch.ops.aten.embedding.default](args = (%w, %ids, 0), kwargs = {})`.

use super::proto::NodeProto;

const KEY: &str = "pkg.torch.onnx.fx_node";
const CLASSES: &str = "pkg.torch.onnx.class_hierarchy";
const SCOPES: &str = "pkg.torch.onnx.name_scopes";

/// A call of an ATen operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AtenCall {
    /// The operator without its overload, as `embedding`.
    pub operator: String,
    /// The positional arguments as they are written; values have a `%` before their name. Empty where the file has the
    /// operator only.
    pub arguments: Vec<String>,
}

impl AtenCall {
    /// The call in the metadata of `node`, if it is there and can be read.
    pub(super) fn of(node: &NodeProto) -> Option<AtenCall> {
        property(node, KEY).and_then(Self::parse).or_else(|| {
            // As `['Net', 'torch.nn.modules.linear.Linear', 'aten.linear.default']`.
            let (_, last) = property(node, CLASSES)?.rsplit_once("'aten.")?;
            let operator = last.split(['.', '\'']).next()?.to_owned();
            Some(AtenCall { operator, arguments: Vec::new() })
        })
    }

    fn parse(text: &str) -> Option<AtenCall> {
        let (_, rest) = text.split_once("[target=torch.ops.aten.")?;
        let (operator, rest) = rest.split_once(']')?;
        let (_, rest) = rest.split_once("args = (")?;
        let operator = operator.split('.').next().unwrap_or(operator).to_owned();
        Some(AtenCall { operator, arguments: arguments(rest) })
    }

    /// Whether the value `name` is an argument, also inside of a list.
    pub fn reads(&self, name: &str) -> bool {
        let words = |argument: &String| {
            argument
                .split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '%'))
                .any(|word| word.strip_prefix('%').is_some_and(|value| value == name))
        };
        self.arguments.iter().any(words)
    }

    /// The integer at this position, if there is one.
    pub fn integer(&self, position: usize) -> Option<i64> {
        self.arguments.get(position)?.parse().ok()
    }
}

/// The module that a node is part of, as `encoder.layers.0`, by its metadata; empty for the outermost, and where nothing is
/// said.
pub(super) fn module(node: &NodeProto) -> String {
    // As `['', 'encoder', 'encoder.norm', 'layer_norm']`, of which the last is the node's own call.
    let scopes: Vec<&str> = property(node, SCOPES).unwrap_or_default().split('\'').skip(1).step_by(2).collect();
    scopes.iter().nth_back(1).copied().unwrap_or_default().to_owned()
}

/// Removes the call that a node stood for from its metadata.
pub(super) fn forget(node: &mut NodeProto) {
    node.metadata_props.retain(|entry| !matches!(entry.key(), KEY | CLASSES));
}

fn property<'n>(node: &'n NodeProto, key: &str) -> Option<&'n str> {
    node.metadata_props.iter().find(|entry| entry.key() == key).map(|entry| entry.value())
}

/// The arguments up to the parenthesis that closes the list.
fn arguments(text: &str) -> Vec<String> {
    let (mut depth, mut argument, mut list) = (0_usize, String::new(), Vec::new());
    for c in text.chars() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' if depth == 0 => break,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                list.push(std::mem::take(&mut argument).trim().to_owned());
                continue;
            }
            _ => {}
        }
        argument.push(c);
    }
    let last = argument.trim();
    if !last.is_empty() {
        list.push(last.to_owned());
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_read() {
        let call = AtenCall::parse(
            "%c : [num_users=1] = call_function[target=torch.ops.aten.conv2d.default](args = (%x, %p_0_weight, None, \
             [1, 1], [%s77, 2]), kwargs = {})",
        )
        .unwrap();
        assert_eq!(call.operator, "conv2d");
        assert_eq!(call.arguments, ["%x", "%p_0_weight", "None", "[1, 1]", "[%s77, 2]"]);
        assert!(call.reads("s77") && call.reads("x") && !call.reads("p_0"));
        let one = AtenCall::parse("%t = call_function[target=torch.ops.aten.tanh.default](args = (%y,), kwargs = {})");
        assert_eq!(one.unwrap().arguments, ["%y"]);
        assert_eq!(AtenCall::parse("%x : [num_users=3] = placeholder[target=x]"), None);
        assert_eq!(
            AtenCall::parse("[target=torch.ops.aten.a](args = (("),
            Some(AtenCall { operator: "a".into(), arguments: vec!["(".into()] })
        );
    }
}
