//! Data that are no plain numbers: records that are not finite are left out alike on both devices, and bytes are scaled alike
//! from every format.

use dpc::train::data::npz::{self, Npz};
use dpc::train::data::{Array, DType};

use crate::place::{Place, models};

#[test]
fn both_devices_leave_out_the_same_records() {
    let place = Place::new();
    let mut digits = Npz::open(models("digits_test.npz").as_ref()).expect("a file");
    let mut read = |name: &str| digits.read(name).expect("an array");
    let (mut pixels, labels) = (read("input").to_f32()[..4 * 64].to_vec(), read("label").to_i64().expect("integers"));
    for (record, x) in [(1, f32::NAN), (2, f32::INFINITY), (3, f32::NEG_INFINITY)] {
        pixels[64 * record + 27] = x;
    }
    let arrays = [
        ("input".to_owned(), Array::from_f32(vec![4, 1, 8, 8], &pixels)),
        ("label".to_owned(), Array::from_i64(vec![4], &labels[..4])),
    ];
    npz::write(&place.path("data.npz"), &arrays.into()).expect("a file");
    for flags in ["", "--freeze conv1*", "--norm ghost"] {
        let [cpu, gpu] = ["cpu", "gpu"].map(|device| {
            let model = models("digits_cnn.onnx");
            let line = format!("grads {model} --data data.npz --loss cross-entropy --clip flat:1.0 {flags}");
            place.ok(&format!("{line} --device {device} --out {device}.npz"));
            let mut results = Npz::open(&place.path(&format!("{device}.npz"))).expect("a file");
            ["norm", "loss"].map(|name| results.read(name).expect("an array").to_f32()).concat()
        });
        assert!(cpu[0].is_finite() && cpu[1].is_nan(), "{flags}: {cpu:?}");
        let same = |(a, b): (&f32, &f32)| a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= 1e-5 * a.abs();
        assert!(cpu.iter().zip(&gpu).all(same), "{flags}: {cpu:?} on cpu, {gpu:?} on gpu");
    }
    let [cpu, gpu] = ["cpu", "gpu"].map(|device| {
        let line = format!("eval {} --data data.npz --loss cross-entropy --device {device}", models("digits_cnn.onnx"));
        let output = place.run(&line);
        let warned = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(warned.contains("data.npz holds 3 values that are NaN or infinite"), "{warned}");
        output.stdout
    });
    assert_eq!(String::from_utf8_lossy(&cpu), String::from_utf8_lossy(&gpu));
}

#[test]
fn bytes_are_scaled_alike_from_every_format() {
    let place = Place::new();
    let bytes: Vec<u8> = (0..10 * 64).map(|i| (i * 37 % 256) as u8).collect();
    let labels: Vec<u8> = (0..10).collect();
    let floats: Vec<f32> = bytes.iter().map(|&byte| f32::from(byte) / 255.0).collect();
    let label =
        ("label".to_owned(), Array::from_i64(vec![10], &labels.iter().map(|&l| l.into()).collect::<Vec<i64>>()));
    let array = Array::new(DType::U8, vec![10, 1, 8, 8], bytes.clone()).expect("as many bytes");
    npz::write(&place.path("u8.npz"), &[("input".to_owned(), array), label.clone()].into()).expect("a file");
    let array = Array::from_f32(vec![10, 1, 8, 8], &floats);
    npz::write(&place.path("f32.npz"), &[("input".to_owned(), array), label].into()).expect("a file");
    let idx = |dims: &[u8], data: &[u8]| {
        let sizes = dims.iter().flat_map(|&dim| [0, 0, 0, dim]);
        [0, 0, 8, dims.len() as u8].into_iter().chain(sizes).chain(data.iter().copied()).collect::<Vec<u8>>()
    };
    std::fs::write(place.path("images"), idx(&[10, 8, 8], &bytes)).expect("a file");
    std::fs::write(place.path("labels"), idx(&[10], &labels)).expect("a file");
    let results = ["f32.npz", "u8.npz", "images,labels"].map(|data| {
        let model = models("digits_cnn.onnx");
        let output = place.run(&format!("eval {model} --data {data} --loss cross-entropy --device cpu"));
        let said = String::from_utf8_lossy(&output.stderr).contains("is uint8: its bytes are divided by 255");
        assert_eq!(said, data != "f32.npz", "{data}");
        String::from_utf8(output.stdout).expect("text")
    });
    assert_eq!(results[0], results[1]);
    assert_eq!(results[0], results[2]);
}
