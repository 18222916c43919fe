//! Losses of every kind by the commands: `dpc eval` against PyTorch's loss of a whole batch, labels of both forms, training
//! on a model's own loss and on sums over outputs, and what is said where a loss does not fit.

use std::collections::BTreeMap;

use dpc::train::data::{Array, npz};

use super::place::{Place, models};
use super::zoo::{Golden, named, zoo};

/// A loss as one word.
fn word(loss: impl ToString) -> String {
    loss.to_string().replace(' ', "")
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn file(name: &str, recipe: &str) -> String {
    models(&format!("zoo/{name}.{recipe}.onnx"))
}

fn golden(name: &str) -> String {
    models(&format!("zoo/goldens/{name}.npz"))
}

#[test]
fn eval_has_pytorchs_mean() {
    let place = Place::new();
    let mut checked = 0;
    for model in zoo() {
        let mut golden = Golden::open(&model.golden);
        if !golden.names().iter().any(|name| name == "mean_loss") {
            continue;
        }
        let expected = golden.floats("mean_loss")[0];
        for path in model.files.values() {
            let (path, data, loss) = (path.display(), model.golden.display(), word(&model.loss));
            let found = json(&place.ok(&format!("eval {path} --data {data} --loss {loss} --json --device cpu")));
            let found = found["loss"].as_f64().expect("a loss");
            assert!((found - expected).abs() <= 1e-5 * expected.abs(), "{}: {found}, not {expected}", model.name);
            checked += 1;
        }
    }
    assert!(checked >= 38, "{checked}");
}

#[test]
fn every_term_is_evaluated_on_its_own() {
    let place = Place::new();
    let (model, data) = (file("heads", "dyn"), golden("heads"));
    let loss = word(&named("heads").loss);
    let all = json(&place.ok(&format!("eval {model} --data {data} --loss {loss} --json")));
    let terms = all["terms"].as_array().expect("terms");
    let [classes, boxes, extra] = &terms[..] else { panic!("{all}") };
    assert_eq!(classes["term"], "classes=cross-entropy:smoothing=0.1");
    assert_eq!((classes["labels"].as_u64(), boxes["accuracy"].as_f64()), (Some(4), None));
    assert_eq!(classes["accuracy"], all["accuracy"]);
    let of = |value: &serde_json::Value| value["loss"].as_f64().expect("a loss");
    let sum = of(classes) + 0.3 * of(boxes) + 2.0 * of(extra);
    assert!((sum - of(&all)).abs() < 1e-6, "{all}");
    // Each term's loss is what it has alone, by either way of naming its output.
    let alone = json(&place.ok(&format!("eval {model} --data {data} --loss output:extra --json")));
    assert!((of(&alone) - of(extra)).abs() < 1e-6, "{alone}");
    let alone = json(
        &place.ok(&format!("eval {model} --data {data} --loss cross-entropy:smoothing=0.1 --output classes --json")),
    );
    assert!((of(&alone) - of(classes)).abs() < 1e-6, "{alone}");
    let text = place.ok(&format!("eval {model} --data {data} --loss {loss}"));
    assert!(
        text.contains("(classes=cross-entropy:smoothing=0.1, accuracy 25.00 %, macro F1 0.1333) + 0.3 × "),
        "{text}"
    );
}

#[test]
fn a_models_own_loss_trains_without_labels() {
    let place = Place::new();
    place.ok(&format!("compile {} --loss output:per_record -o m.dpc --clip flat:0.5", file("own_loss", "dyn")));
    let data = golden("own_loss");
    let before = json(&place.ok(&format!("eval m.dpc --data {data} --json")));
    let flags = "--non-private --batch 4 --sample-rate 1 --steps 60 --lr 0.02 --device cpu --insecure-seed 1";
    place.ok(&format!("train m.dpc --data {data} --valid {data} {flags} --out run"));
    place.ok("export run -o trained.onnx");
    let after = json(&place.ok(&format!("eval trained.onnx --data {data} --loss output:per_record --json")));
    let (before, after) = (before["loss"].as_f64().expect("a loss"), after["loss"].as_f64().expect("a loss"));
    assert!(after < 0.9 * before, "{before} {after}");
    place.ok(&format!(
        "train m.dpc --data {data} --noise-multiplier 1 --delta 1e-3 --batch 2 --steps 3 --lr 0.1 --out other"
    ));
    place.ok("bench step m.dpc --batch 3 --device cpu");
}

#[test]
fn a_sum_over_outputs_trains_with_labels_of_each() {
    let place = Place::new();
    let loss = word(&named("heads").loss);
    place.ok(&format!("compile {} --loss {loss} -o m.dpc", file("heads", "ts")));
    let data = golden("heads");
    place.ok(&format!(
        "train m.dpc --data {data} --valid {data} --noise-multiplier 1 --delta 1e-3 --batch 2 --steps 3 --lr 0.1"
    ));
    place.ok("bench step m.dpc --batch 3 --device cpu");
    // The artifact knows its loss, however it is asked for.
    place.ok(&format!("eval m.dpc --data {data} --loss {loss}"));
    let error = place.fails(&format!("eval m.dpc --data {data} --loss mse"), 1);
    assert!(error.contains("dpc::model::loss"), "{error}");
    // Labels that are missing are all named.
    let error = place.fails(&format!("eval m.dpc --data {}", golden("regression_l1")), 1);
    assert!(error.contains("`label.boxes`"), "{error}");
}

/// The input of the golden file of `name` with other labels.
fn with_labels(place: &Place, name: &str, label: Array) {
    let mut golden = Golden::open(&named(name).golden);
    let input: Vec<f32> = golden.floats("input").into_iter().map(|x| x as f32).collect();
    let input = Array::from_f32(vec![4, input.len() / 4], &input);
    let arrays = BTreeMap::from([("input".to_owned(), input), ("label".to_owned(), label)]);
    npz::write(&place.path("data.npz"), &arrays).expect("a file");
}

#[test]
fn labels_are_taken_for_what_they_are() {
    let place = Place::new();
    let model = file("one_hot", "dyn");
    let eval = |place: &Place, loss: &str| {
        let output = place.run(&format!("eval {model} --data data.npz --loss {loss} --json"));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        (json(&String::from_utf8_lossy(&output.stdout))["loss"].as_f64().expect("a loss"), said)
    };
    let one_hot = [0, 1, 0, 1, 0, 0, 0, 0, 1, 0, 1, 0];
    with_labels(&place, "one_hot", Array::from_i64(vec![4], &[1, 0, 2, 1]));
    let (expected, said) = eval(&place, "cross-entropy");
    assert!(!said.contains("taken as"), "{said}");
    let (by_ids, said) = eval(&place, "cross-entropy:probabilities");
    assert!(said.contains("--loss 'logits=cross-entropy'"), "{said}");
    assert_eq!(by_ids, expected);
    for label in [Array::from_i64(vec![4, 3], &one_hot), Array::from_f32(vec![4, 3], &one_hot.map(|x| x as f32))] {
        with_labels(&place, "one_hot", label);
        let (found, said) = eval(&place, "cross-entropy");
        assert!(said.contains("--loss 'logits=cross-entropy:probabilities'"), "{said}");
        assert!((found - expected).abs() < 1e-6);
        place.ok(&format!("grads {model} --data data.npz --loss cross-entropy --out out.npz"));
    }
    // An artifact says what to compile with, and nothing is trained.
    place.ok(&format!("compile {model} --loss cross-entropy:smoothing=0.1 -o m.dpc"));
    let train = "train m.dpc --data data.npz --noise-multiplier 1 --delta 1e-3 --batch 2 --steps 3 --lr 0.1 --out run";
    let error = place.fails(train, 1);
    assert!(error.contains("dpc::data::other_labels"), "{error}");
    let words: String = error.split_whitespace().collect();
    assert!(words.contains("--loss'logits=cross-entropy:smoothing=0.1,probabilities'"), "{error}");
    place.ok(&format!("compile {model} --loss cross-entropy:smoothing=0.1,probabilities -o m.dpc"));
    place.ok(train);
    let wrong = [0.0, 1.0, 0.0, -0.5, 1.5, 0.0, f32::NAN, 0.0, 1.0, 0.0, 1.0, 0.0];
    with_labels(&place, "one_hot", Array::from_f32(vec![4, 3], &wrong));
    let error = place.fails(&format!("eval {model} --data data.npz --loss cross-entropy:probabilities"), 1);
    assert!(error.contains("-0.5 at row 1, NaN at row 2"), "{error}");
}

#[test]
fn a_mean_that_is_none_says_why() {
    let place = Place::new();
    let model = file("one_hot", "dyn");
    with_labels(&place, "one_hot", Array::from_i64(vec![4], &[-100; 4]));
    let said = |line: &str| {
        let output = place.run(line);
        assert!(output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let all_ignored = said(&format!("eval {model} --data data.npz --loss cross-entropy"));
    assert!(all_ignored.contains("every label of `label` is ignored"), "{all_ignored}");
    let values: Vec<f32> = (0..12).map(|i| if i == 5 { f32::INFINITY } else { 0.5 }).collect();
    with_labels(&place, "one_hot", Array::from_f32(vec![4, 3], &values));
    let not_finite = said(&format!("eval {model} --data data.npz --loss mse"));
    assert!(not_finite.contains("the loss of 1 of 4 records is not finite"), "{not_finite}");
}

#[test]
fn losses_that_do_not_fit_are_warned_of() {
    let place = Place::new();
    let text = std::fs::read_to_string(models("misfits/manifest.json")).expect("the manifest is there");
    let mut problems = Vec::new();
    for entry in json(&text).as_array().expect("entries") {
        let name = entry["name"].as_str().expect("a name");
        for (loss, phrase) in entry["said"].as_object().expect("losses") {
            for recipe in ["ts", "dyn"] {
                let model = models(&format!("misfits/{name}.{recipe}.onnx"));
                let output = place.run(&format!("check {model} --loss {loss}"));
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                let right = match phrase.as_str() {
                    Some(phrase) => said.contains(phrase),
                    None => !said.contains("warning"),
                };
                if !right || !output.status.success() {
                    problems.push(format!("{name} {recipe} {loss}: {said}"));
                }
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
