//! Models that are not per-sample independent, or use ops that dpc lacks: `models/refused/manifest.json` names the nodes.

use std::collections::{BTreeMap, BTreeSet};

use dpc::import::{Refusal, prove};
use dpc::onnx::{Source, discover};
use serde::Deserialize;

use crate::zoo::models;

#[derive(Deserialize)]
struct Entry {
    name: String,
    nodes: BTreeMap<String, Vec<String>>,
}

#[test]
fn every_node_at_fault_is_named_with_the_reason_and_the_remedy() {
    let text = std::fs::read_to_string(models("refused/manifest.json")).expect("the manifest is there");
    let entries: Vec<Entry> = serde_json::from_str(&text).expect("the manifest is JSON");
    assert_eq!(entries.len(), 12);
    for (name, file, nodes) in entries.iter().flat_map(|e| e.nodes.iter().map(|(f, n)| (&e.name, f, n))) {
        let source = Source::open(&models(&format!("refused/{file}"))).expect("a model");
        let parameters = discover(&source, &[], &[]).expect("parameters");
        let problems = prove(&source, &parameters).expect_err(file).problems;
        let mut named = BTreeSet::new();
        for problem in &problems {
            let (node, why, help) = match problem {
                Refusal::Mixes { node, why, help, .. } if name != "unsupported_ops" => (node, why, help),
                Refusal::Unsupported { node, why, help, .. } if name == "unsupported_ops" => (node, why, help),
                other => panic!("{file}: {other}"),
            };
            assert!(why.len() > 10 && help.len() > 10, "{file}: {problem}");
            assert!(named.insert(node.as_str()), "{file}: {node} is named twice");
        }
        let expected: BTreeSet<&str> = nodes.iter().map(String::as_str).collect();
        assert!(named.is_superset(&expected), "{file}: {named:?}, not {expected:?}");
        // Where the exporter wrote one reshape twice, both cut the batch.
        let extra: Vec<&&str> = named.difference(&expected).collect();
        assert!(extra.is_empty() || name == "batch_reshape", "{file}: {extra:?}");
    }
}
