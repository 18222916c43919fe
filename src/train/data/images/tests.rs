//! Images as PIL reads them (`tests/images/make.py`).

use std::fs;
use std::path::{Path, PathBuf};

use miette::Diagnostic;

use super::super::{Array, Batch, DataError, Dataset, Reading, Values, describe, npz};
use super::*;
use crate::schema::{InputKind, InputSchema, LABEL, Schema, TargetKind, TargetSchema};

const CLASSES: [&str; 3] = ["bird", "cat", "dog"];

fn at(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/images").join(name)
}

fn schema(dims: &[usize]) -> Schema {
    Schema {
        inputs: vec![InputSchema { name: "x".to_owned(), dims: dims.to_vec(), kind: InputKind::F32 }],
        targets: vec![TargetSchema::new(LABEL, &[], TargetKind::Class { classes: 3, ignore_index: None })],
    }
}

fn load(path: &Path, dims: &[usize], reading: &Reading) -> Result<Dataset, DataError> {
    Dataset::load_as(path.to_str().unwrap(), &schema(dims), reading)
}

fn resize(size: &str) -> Reading {
    Reading { resize: Some(size.parse().unwrap()), ..Reading::default() }
}

/// All bytes of the only input.
fn bytes(data: &Dataset) -> Vec<u8> {
    let Values::F32(values) = data.inputs()[0].values().unwrap() else { panic!("images are floats") };
    values.iter().map(|value| (value * 255.0).round() as u8).collect()
}

fn labels(data: &Dataset) -> Values {
    data.targets()[0].values().unwrap()
}

fn expected(name: &str) -> Array {
    npz::Npz::open(&at("expected.npz")).unwrap().read(name).unwrap()
}

/// Holds images to PIL's: those of PNG files are the same, those of JPEG files within 2, and within 4 and 0.5 on average
/// where they have fewer pixels of colour than of brightness, between which decoders interpolate each in its own way.
fn hold(found: &[u8], name: &str) {
    let (all, kind) = (expected(name), expected("kind"));
    let width = all.bytes().len() / all.dims()[0];
    assert_eq!(found.len(), all.bytes().len(), "{name}");
    for (at, (found, all)) in found.chunks(width).zip(all.bytes().chunks(width)).enumerate() {
        let apart = || found.iter().zip(all).map(|(a, b)| a.abs_diff(*b));
        let mean = apart().map(f64::from).sum::<f64>() / width as f64;
        let (most, mean_most) = [(0, 0.0), (2, 0.02), (4, 0.5)][usize::from(kind.bytes()[at])];
        assert!(apart().max().unwrap() <= most && mean <= mean_most, "image {at} of {name} is {mean} from PIL's");
    }
}

/// Planes to pixels.
fn interleaved(planes: &[u8], images: usize) -> Vec<u8> {
    let plane = planes.len() / images / 3;
    let image = |image: &[u8]| (0..plane).flat_map(|at| [0, 1, 2].map(|c| image[c * plane + at])).collect::<Vec<_>>();
    planes.chunks(3 * plane).flat_map(image).collect()
}

#[test]
fn pixels_are_those_of_pil() {
    let grey = load(&at("photos"), &[1, 20, 26], &Reading::default()).unwrap();
    hold(&bytes(&grey), "L_20x26");
    assert_eq!(bytes(&load(&at("photos"), &[20, 26], &Reading::default()).unwrap()), bytes(&grey));
    let colour = load(&at("photos"), &[20, 26, 3], &Reading::default()).unwrap();
    hold(&bytes(&colour), "RGB_20x26");
    let planes = load(&at("photos"), &[3, 20, 26], &Reading::default()).unwrap();
    assert_eq!(interleaved(&bytes(&planes), 10), bytes(&colour));
    assert_eq!(bytes(&load(&at("photos"), &[3 * 20 * 26], &resize("20x26")).unwrap()), bytes(&planes));
    assert_eq!(colour.fitted()["label"], CLASSES);
    assert_eq!(colour.bytes(), ["x"]);
    let classes = expected("label").to_i64().unwrap().iter().map(|&class| class as i32).collect();
    assert_eq!(labels(&colour), Values::I32(classes));
}

#[test]
fn sizes_are_those_of_pil() {
    for (size, [height, width]) in [("9x7", [9, 7]), ("31x40", [31, 40]), ("20x10", [20, 10])] {
        let reading = resize(size);
        let colour = load(&at("photos"), &[height, width, 3], &reading).unwrap();
        hold(&bytes(&colour), &format!("RGB_{size}"));
        let grey = load(&at("photos"), &[1, height, width], &reading).unwrap();
        hold(&bytes(&grey), &format!("L_{size}"));
    }
}

#[test]
fn folders_parquet_and_what_is_prepared_hold_the_same() {
    let dims = [3, 20, 26];
    let folder = load(&at("photos"), &dims, &Reading::default()).unwrap();
    let cache = tempfile::tempdir().unwrap();
    let cached = Reading { in_memory: 1000, cache: Some(cache.path().to_owned()), ..Reading::default() };
    let mut batch = Batch::default();
    folder.fill(&[9, 0, 4], 4, &mut batch).unwrap();
    let expected = (bytes(&folder), labels(&folder), batch);
    let names: &[&str] = if cfg!(feature = "tables") { &["photos", "photos.parquet"] } else { &["photos"] };
    for name in names {
        // Prepared, and found again.
        for reading in [&Reading::default(), &cached, &cached] {
            let data = load(&at(name), &dims, reading).unwrap();
            let mut batch = Batch::default();
            data.fill(&[9, 0, 4], 4, &mut batch).unwrap();
            assert_eq!((bytes(&data), labels(&data)), (expected.0.clone(), expected.1.clone()), "{name}");
            assert_eq!(batch.inputs, expected.2.inputs, "{name}");
        }
    }
    assert_eq!(fs::read_dir(cache.path()).unwrap().count(), names.len());
}

#[test]
fn a_folder_is_described() {
    let description =
        describe(at("photos").to_str().unwrap(), Some(&schema(&[3, 20, 26])), &Reading::default()).unwrap();
    let [image, label] = description.columns.try_into().expect("two columns");
    assert_eq!((description.records, image.kind.as_str(), image.feeds), (10, "image", vec!["x".to_owned()]));
    let count = |text: &str, count| (text.to_owned(), count);
    let kinds = [("20x26 colour JPEG", 3), ("20x26 colour PNG", 3), ("20x26 grey PNG", 3), ("20x26 grey JPEG", 1)];
    assert_eq!(image.counts, kinds.map(|(text, n)| count(text, n)));
    assert_eq!(label.counts, [count("cat", 4), count("bird", 3), count("dog", 3)]);
}

/// The file of an image of this width and height.
fn png([width, height]: [u32; 2], kind: png::ColorType, depth: png::BitDepth, bytes: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width, height);
    encoder.set_color(kind);
    encoder.set_depth(depth);
    encoder.write_header().unwrap().write_image_data(bytes).unwrap();
    file
}

/// A copy of the photos.
fn copied() -> tempfile::TempDir {
    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
            match entry.path().is_dir() {
                true => copy(&entry.path(), &to.join(entry.file_name())),
                false => _ = fs::copy(entry.path(), to.join(entry.file_name())).unwrap(),
            }
        }
    }
    let directory = tempfile::tempdir().unwrap();
    copy(&at("photos"), directory.path());
    directory
}

#[test]
fn all_that_cannot_be_used_is_told_at_once() {
    let photos = copied();
    let bird = |name: &str| photos.path().join("bird").join(name);
    let whole = fs::read(bird("0_rgb.png")).unwrap();
    fs::write(bird("0_rgb.png"), &whole[..whole.len() / 2]).unwrap();
    fs::write(bird("a.jpg"), "hello").unwrap();
    fs::write(bird("b.png"), "").unwrap();
    fs::write(bird("c.gif"), "GIF89a..").unwrap();
    fs::write(bird("d.png"), png([3, 5], png::ColorType::Grayscale, png::BitDepth::Eight, &[0; 15])).unwrap();
    fs::create_dir(photos.path().join(".hidden")).unwrap();
    let error = load(photos.path(), &[3, 20, 26], &Reading::default()).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("5 images of column `image` in "), "{text}");
    for part in [
        "bird/0_rgb.png cannot be decoded: ",
        "bird/a.jpg is no PNG or JPEG image, bird/b.png is empty, bird/c.gif is no PNG or JPEG image, bird/d.png is 5x3",
    ] {
        assert!(text.contains(part), "{text}");
    }
    assert!(error.help().unwrap().to_string().contains("--resize 20x26"), "{error:?}");
    let error = load(photos.path(), &[3, 20, 26], &resize("20x26")).unwrap_err();
    assert!(error.to_string().starts_with("4 images"), "{error}");
}

#[test]
fn classes_have_images_and_the_model_has_them() {
    let photos = copied();
    for name in ["ant", "eel"] {
        fs::create_dir(photos.path().join(name)).unwrap();
    }
    let error = load(photos.path(), &[3, 20, 26], &Reading::default()).unwrap_err();
    assert!(error.to_string().ends_with("has no images for 2 of its classes: `ant`, `eel`"), "{error}");
    fs::remove_dir(photos.path().join("eel")).unwrap();
    fs::copy(at("photos/cat/3_rgba.png"), photos.path().join("ant/a.png")).unwrap();
    let error = load(photos.path(), &[3, 20, 26], &Reading::default()).unwrap_err();
    assert!(error.to_string().contains("`label` has 4 values, but `label` has only 3"), "{error}");
    // Data to validate on have the classes of the data that are trained on, and may lack one.
    fs::remove_dir_all(photos.path().join("ant")).unwrap();
    fs::remove_dir_all(photos.path().join("bird")).unwrap();
    let fitted = [("label".to_owned(), CLASSES.map(str::to_owned).to_vec())].into();
    let data = load(photos.path(), &[3, 20, 26], &Reading { fitted, ..Reading::default() }).unwrap();
    assert_eq!(labels(&data), Values::I32(vec![1, 1, 1, 1, 2, 2, 2]));
}

#[test]
fn inputs_that_images_do_not_go_into_say_so() {
    let help = |dims: &[usize], reading: &Reading| {
        let error = load(&at("photos"), dims, reading).unwrap_err();
        (error.to_string().split("cannot become `x`: ").nth(1).unwrap().to_owned(), error.help().unwrap().to_string())
    };
    let plain = Reading::default();
    assert!(help(&[4, 20, 26], &plain).0.ends_with("records of shape [4, 20, 26]"));
    assert!(help(&[520], &plain).1.contains("--resize HEIGHTxWIDTH"));
    assert!(help(&[100], &resize("20x26")).0.contains("images of 20x26 have 520 or, in colour, 1560"));
    assert_eq!(help(&[1, 9, 7], &resize("7x9")).1, "give --resize 9x7");
    let ids = Schema {
        inputs: vec![InputSchema { name: "x".to_owned(), dims: vec![4], kind: InputKind::I32 { table: None } }],
        ..schema(&[])
    };
    let error = Dataset::load(at("photos").to_str().unwrap(), &ids).unwrap_err();
    assert!(error.to_string().contains("does not take the floats of an input"), "{error}");
    let empty = tempfile::tempdir().unwrap();
    let error = load(empty.path(), &[1, 9, 7], &plain).unwrap_err();
    assert!(error.to_string().contains("neither tables nor a folder of images for each class"), "{error}");
    let error = load(&at("expected.npz"), &[1, 9, 7], &resize("9x7")).unwrap_err();
    assert!(error.help().unwrap().to_string().contains("--resize"), "{error:?}");
}

#[test]
fn of_sixteen_bits_the_upper_eight_count() {
    let pixels = [0x00, 0x01, 0x12, 0xff, 0xff, 0xfe, 0x80, 0x00, 0x7f, 0xff, 0x00, 0xff];
    let file = png([1, 2], png::ColorType::Rgb, png::BitDepth::Sixteen, &pixels);
    let form = Form::of(&[2, 1, 3], None).unwrap();
    assert_eq!(decode(&file, &form), Ok(vec![0x00, 0x12, 0xff, 0x80, 0x7f, 0x00]));
}

proptest::proptest! {
    #[test]
    fn no_bytes_panic(at in 0usize..975, byte in 0u8.., cut in 0usize..1000) {
        let mut bytes = fs::read(self::at("photos/dog/7_full.jpeg")).unwrap();
        bytes[at] = byte;
        bytes.truncate(cut.max(8));
        let _ = decode(&bytes, &Form::of(&[3, 20, 26], None).unwrap());
    }
}
