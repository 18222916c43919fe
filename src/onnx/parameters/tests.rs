use std::path::Path;

use super::*;

fn source(file: &str) -> Source {
    Source::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(file)).unwrap()
}

fn globs(patterns: &[&str]) -> Vec<Glob> {
    patterns.iter().map(|pattern| Glob::new(*pattern)).collect()
}

fn trained(parameters: &Parameters) -> Vec<&str> {
    parameters.trainable().map(|parameter| parameter.name.as_str()).collect()
}

#[test]
fn train_replaces_the_default_and_freeze_takes_away() {
    let source = source("zoo/mlp.ts.onnx");
    let all = discover(&source, &[], &[]).unwrap();
    assert!(all.iter().all(|parameter| parameter.trainable), "{all}");
    let biases = discover(&source, &globs(&["*.bias"]), &[]).unwrap();
    assert!(trained(&biases).iter().all(|name| name.ends_with(".bias")) && !trained(&biases).is_empty());
    let weights = discover(&source, &[], &globs(&["*.bias"])).unwrap();
    assert_eq!(trained(&weights).len() + trained(&biases).len(), all.len());
    let both = discover(&source, &globs(&["*"]), &globs(&["*.bias"])).unwrap();
    assert_eq!(trained(&both), trained(&weights));
    assert_eq!(both.warnings.len(), trained(&biases).len());
    assert!(matches!(
        discover(&source, &[], &globs(&["*"])).unwrap().require_trainable(),
        Err(OnnxError::NoParameters { frozen: true })
    ));
}

#[test]
fn patterns_that_match_nothing_are_named_with_near_names() {
    let source = source("zoo/mnist_small.ts.onnx");
    let error = discover(&source, &globs(&["fc1.wieght", "conv1.*"]), &globs(&["fc9.bias"])).unwrap_err();
    let OnnxError::Patterns { patterns } = error else { panic!("{error}") };
    assert_eq!(patterns.len(), 2);
    assert!(patterns[0].starts_with("`fc1.wieght`; near it: `fc1.weight`"), "{}", patterns[0]);
    assert!(patterns[1].contains("`fc1.bias`"), "{}", patterns[1]);
}

#[test]
fn hazards_of_exporters_are_seen() {
    for file in ["hazards/untied_head.ts.onnx", "hazards/untied_head.dyn.onnx"] {
        let warnings = discover(&source(file), &[], &[]).unwrap().warnings;
        assert!(warnings.iter().any(|warning| warning.contains("transposes of each other")), "{file}: {warnings:?}");
    }
    for file in ["hazards/folded_weights.ts.onnx", "hazards/folded_weights.dyn.onnx"] {
        let found = discover(&source(file), &[], &[]).unwrap();
        assert_eq!(trained(&found).len(), 5, "{found}");
        assert!(found.warnings.iter().any(|warning| warning.contains("made up")), "{file}: {:?}", found.warnings);
    }
    let warnings = discover(&source("hazards/folded_weights.dyn.onnx"), &[], &[]).unwrap().warnings;
    let named =
        |warning: &String| warning.contains("`val_0` (the module's `a.weight`), `val_2` (the module's `b.weight`)");
    assert!(warnings.iter().any(named), "{warnings:?}");
    let warnings = discover(&source("hazards/merged_biases.dyn.onnx"), &[], &[]).unwrap().warnings;
    assert!(warnings.iter().any(|warning| warning.contains("serves 2 nodes")), "{warnings:?}");
}

#[test]
fn names_that_exporters_make_up() {
    for name in ["val_12", "onnx::MatMul_3", "/Constant_output_0", "194", "lifted_tensor_0"] {
        assert!(is_anonymous(name), "{name}");
    }
    for name in ["val_net.weight", "value.bias", "0.weight", "cls", "layer1.0.conv.weight"] {
        assert!(!is_anonymous(name), "{name}");
    }
}

#[test]
fn distance_ignores_wildcards() {
    assert_eq!(distance("fc*", "fc1.weight"), 0);
    assert_eq!(distance("fc?.weight", "fc1.weight"), 0);
    assert_eq!(distance("conv", "fc"), 4);
    assert_eq!(distance("fc1.wight", "fc1.weight"), 1);
}

#[test]
fn what_the_exporter_makes_of_layers_is_told_from_what_it_adds() {
    let source = source("hazards/folded_layers.dyn.onnx");
    let parameters = discover(&source, &[], &[]).unwrap();
    let of = |name: &str| parameters.iter().find(|parameter| parameter.name == name).unwrap();
    let neutral = |p: &&Parameter| p.slots.iter().any(|slot| slot.op_type == "InstanceNormalization");
    assert_eq!(parameters.iter().filter(neutral).filter(|p| !p.trainable).count(), 2, "{parameters}");
    let looked_up = of("embedding_1");
    assert!(looked_up.trainable && looked_up.reason.contains("`position.weight`"), "{parameters}");
    let slope = parameters.iter().find(|p| p.slots.iter().any(|slot| slot.op_type == "PRelu")).unwrap();
    assert!(slope.trainable && slope.reason.contains("`slope.weight`"), "{parameters}");
    // The scale and the shift of the group norm are made of the module's.
    let own = |p: &&Parameter| p.dims == [4, 1] && p.slots.iter().any(|slot| matches!(&*slot.op_type, "Mul" | "Add"));
    let own: Vec<&str> = parameters.iter().filter(own).filter(|p| p.trainable).map(|p| p.reason.as_str()).collect();
    assert!(own.iter().any(|reason| reason.contains("norm.weight")), "{parameters}");
    assert!(own.iter().any(|reason| reason.contains("norm.bias")), "{parameters}");
    assert!(!parameters.warnings.iter().any(|warning| warning.contains("do not train")), "{:?}", parameters.warnings);
}
