//! Whole networks train privately: fifty noisy steps on data with signal make the loss fall, on either device alike.

use dpc::train::data::{Array, DType, npz};

use super::place::{Place, models};
use super::zoo::named;

/// A network of each kind.
const NETWORKS: [&str; 9] =
    ["mnist_small", "lstm_small", "lstm_last", "gru", "gpt_tied", "vision_transformer", "residual", "u_net", "bert"];

/// How often the data has each record of the golden file, with a little noise on floats: a network can tell them apart.
const COPIES: usize = 64;

fn copies(golden: &std::path::Path, to: &std::path::Path) {
    let mut file = npz::Npz::open(golden).expect("a golden file");
    let inputs = |name: &String| ["input", "tokens", "mask", "label"].contains(&name.as_str());
    let names: Vec<String> = file.names().into_iter().filter(inputs).collect();
    let mut state = 1_u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    let copied = names.into_iter().map(|name| {
        let array = file.read(&name).expect("an array");
        let mut dims = array.dims().to_vec();
        dims[0] *= COPIES;
        let copies = match array.dtype() {
            DType::F32 if name == "label" => Array::from_f32(dims, &array.to_f32().repeat(COPIES)),
            DType::F32 => {
                let values = array.to_f32().repeat(COPIES);
                Array::from_f32(dims, &values.into_iter().map(|value| value + 0.2 * noise()).collect::<Vec<f32>>())
            }
            _ => Array::from_i64(dims, &array.to_i64().expect("integers").repeat(COPIES)),
        };
        (name, copies)
    });
    npz::write(to, &copied.collect()).expect("a file");
}

fn loss(place: &Place, what: &str) -> f64 {
    let printed = place.ok(&format!("eval {what} --data data.npz --json"));
    let json: serde_json::Value = serde_json::from_str(printed.lines().last().expect("a line")).expect("JSON");
    json["loss"].as_f64().expect("a loss")
}

/// Half of the networks, kept in 16 bits: the loss ends where it does in `f32`, but for the noise that rounding is.
#[test]
fn networks_train_privately_in_16_bits() {
    let place = Place::new();
    for (k, name) in ["mnist_small", "lstm_small", "gpt_tied", "vision_transformer", "u_net"].into_iter().enumerate() {
        let model = named(name);
        copies(&model.golden, &place.path("data.npz"));
        let file = models(&format!("zoo/{name}.ts.onnx"));
        let device = if k % 2 == 0 { "cpu" } else { "gpu" };
        let mut before = 0.0;
        let after = ["f32", "f16", "bf16"].map(|precision| {
            let loss_of = &model.loss;
            place.ok(&format!("compile {file} --loss {loss_of} --optimizer adam --precision {precision} -o m.dpc"));
            before = loss(&place, "m.dpc");
            let out = format!("{name}.{precision}");
            place.ok(&format!(
                "train m.dpc --data data.npz --noise-multiplier 1 --delta 1e-5 --batch 64 --steps 50 --lr 0.03 --device \
                 {device} --insecure-seed 1 --out {out}"
            ));
            loss(&place, &out)
        });
        assert!(after.iter().all(|&after| after < before / 2.0), "{name}: {before} to {after:?}");
        assert!(after.iter().all(|one| (one - after[0]).abs() < 0.1 * before), "{name}: {after:?}");
    }
}

#[test]
fn networks_of_every_kind_train_privately_on_both_devices() {
    let place = Place::new();
    for name in NETWORKS {
        let model = named(name);
        copies(&model.golden, &place.path("data.npz"));
        let file = models(&format!("zoo/{name}.ts.onnx"));
        place.ok(&format!("compile {file} --loss {} --optimizer adam -o m.dpc", model.loss));
        let before = loss(&place, "m.dpc");
        let after = ["cpu", "gpu"].map(|device| {
            let out = format!("{name}.{device}");
            place.ok(&format!(
                "train m.dpc --data data.npz --noise-multiplier 1 --delta 1e-5 --batch 64 --steps 50 --lr 0.03 --device \
                 {device} --insecure-seed 1 --out {out}"
            ));
            loss(&place, &out)
        });
        assert!(after.iter().all(|&after| after < before / 2.0), "{name}: {before} to {after:?}");
        assert!((after[0] - after[1]).abs() < 1e-3 * before, "{name}: {after:?}");
    }
}
