//! Programs that are damaged or made by hand: a typed error or a clean run on both devices, and never a panic.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dpc::compile::compile;
use dpc::device::Device;
use dpc::device::cpu::Cpu;
use dpc::device::gpu::Gpu;
use dpc::graph::DType;
use dpc::lower::check::{MAX_ROWS, check};
use dpc::lower::program::{Phase, Program, Role};
use dpc::lower::target::Targets;
use dpc::onnx::{Source, discover};
use dpc::options::NormChoice;
use serde_json::Value;

use crate::zoo::{compiled, models, options};

/// Rows of the physical batch.
const ROWS: usize = 3;
/// Bytes above which a program is not loaded here.
const MOST_BYTES: usize = 64 << 20;
/// What a damaged program may take at most.
const LONGEST: Duration = Duration::from_secs(60);

/// Clipping allows for how the devices round that the model was compiled for.
#[test]
fn a_program_that_clips_is_refused_by_a_device_that_it_was_not_compiled_for() {
    let source = Source::open(&models("zoo/mlp.ts.onnx")).expect("a model");
    let parameters = discover(&source, &[], &[]).expect("parameters");
    let options = options("cross-entropy".parse().expect("a loss"), NormChoice::Auto);
    let compiled = compile(&source, &parameters, &options, Targets(&[&Cpu])).expect("a program");
    let program = Arc::new(compiled.program);
    Cpu.load(program.clone(), ROWS).expect("it was compiled for this device");
    let gpu = Gpu::open(None).expect("a gpu");
    let refused = gpu.load(program.clone(), ROWS).map(|_| ()).expect_err("it was not compiled for this device");
    assert_eq!(refused.to_string(), "the program was compiled for `cpu 2`, and not for `gpu 2`");
    // What is only run forward does not clip.
    gpu.load(Arc::new(program.restricted(&[Phase::Forward])), ROWS).expect("nothing depends on the device");
}

/// A generator of damage (SplitMix64).
struct Damage(u64);

impl Damage {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    /// Another number in the place of `old`.
    fn number(&mut self, old: u64) -> u64 {
        let others = [
            0,
            1,
            2,
            old.wrapping_add(1),
            old.wrapping_sub(1),
            old.wrapping_mul(2),
            old / 2,
            1 << 16,
            1 << 31,
            u64::from(u32::MAX),
            1 << 32,
            1 << 62,
            u64::MAX,
        ];
        others[self.below(others.len())]
    }

    /// Changes the program in one place.
    fn strike(&mut self, program: &mut Value) {
        let phases: Vec<String> = program["phases"].as_object().expect("phases").keys().cloned().collect();
        let phase = &phases[self.below(phases.len())];
        let count = program["phases"][phase].as_array().map_or(0, Vec::len);
        let [one, other] = [self.below(count), self.below(count)];
        match self.below(8) {
            0 if count > 0 => {
                let kernel = program["phases"][phase][other]["kernel"].clone();
                program["phases"][phase][one]["kernel"] = kernel;
            }
            1 if count > 0 => {
                let all = program["buffers"].as_array().map_or(0, Vec::len);
                let buffers = program["phases"][phase][one]["buffers"].as_array_mut().expect("buffers");
                let [at, id] = [self.below(buffers.len()), self.below(all + 1)];
                match self.below(3) {
                    0 => buffers[at] = id.into(),
                    1 => buffers.push(id.into()),
                    _ => drop(buffers.remove(at)),
                }
            }
            2 => {
                let buffers = program["buffers"].as_array_mut().expect("buffers");
                let at = self.below(buffers.len());
                let dtype = if buffers[at]["dtype"] == "f32" { "i32" } else { "f32" };
                buffers[at]["dtype"] = dtype.into();
            }
            3 => self.strike_a_number(&mut program["buffers"]),
            4 => self.strike_a_number(&mut program["slots"]),
            _ if count > 0 => self.strike_a_number(&mut program["phases"][phase][one]["kernel"]),
            _ => self.strike_a_number(program),
        }
    }

    /// Changes one of the integers or booleans of a value.
    fn strike_a_number(&mut self, value: &mut Value) {
        fn leaves<'a>(value: &'a mut Value, found: &mut Vec<&'a mut Value>) {
            match value {
                Value::Array(values) => values.iter_mut().for_each(|value| leaves(value, found)),
                Value::Object(values) => values.values_mut().for_each(|value| leaves(value, found)),
                Value::Number(_) | Value::Bool(_) => found.push(value),
                _ => {}
            }
        }
        let mut found = Vec::new();
        leaves(value, &mut found);
        let at = self.below(found.len());
        let Some(leaf) = found.into_iter().nth(at) else { return };
        let new = match &*leaf {
            Value::Bool(old) => (!old).into(),
            old => self.number(old.as_u64().unwrap_or(0)).into(),
        };
        *leaf = new;
    }
}

fn program(name: &str, norm: NormChoice) -> Value {
    let loss = if name == "tied_embedding" { "cross-entropy:axis=last" } else { "cross-entropy" };
    let options = options(loss.parse().expect("a loss"), norm);
    let (_, compiled) = compiled(&models(&format!("zoo/{name}.ts.onnx")), &options).expect("a model");
    serde_json::to_value(compiled.program).expect("JSON")
}

/// Runs all phases on inputs that are as wild as the data of a file may be; whether it came to that.
fn runs(device: &dyn Device, program: &Program) -> bool {
    let _ = check(program, &[1, MAX_ROWS]);
    if check(program, &[ROWS]).is_ok() && program.bytes(ROWS) > MOST_BYTES {
        return false;
    }
    let program = Arc::new(program.clone());
    let Ok(mut session) = device.load(program.clone(), ROWS) else { return false };
    for id in program.ids() {
        let buffer = program.buffer(id);
        if let Role::Input(_) = buffer.role {
            let len = buffer.len.at(ROWS);
            let ids: Vec<i32> = (0..len as i32).map(|i| [3, -1, i32::MAX, i, i32::MIN][i as usize % 5]).collect();
            let _ = match buffer.dtype {
                DType::F32 => session.write_f32(id, &vec![0.5; len]),
                DType::I32 | DType::Bool => session.write_i32(id, &ids),
            };
        }
    }
    let done = program.phases.keys().all(|&phase| session.run(phase).is_ok());
    program.ids().for_each(|id| drop(session.read(id)));
    done
}

fn survive(device: &dyn Device, cases: &[(&str, NormChoice)], times: u64) {
    for &(name, norm) in cases {
        let whole = program(name, norm);
        let sound: Program = serde_json::from_value(whole.clone()).expect("a program");
        assert_eq!(check(&sound, &[1, MAX_ROWS]), Ok(()));
        assert!(runs(device, &sound), "{name}");
        let mut ran = 0;
        for seed in 0..times {
            let (mut damage, mut broken) = (Damage(seed), whole.clone());
            (0..1 + damage.below(2)).for_each(|_| damage.strike(&mut broken));
            let Ok(broken) = serde_json::from_value::<Program>(broken) else { continue };
            let start = Instant::now();
            let ran_so = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runs(device, &broken)));
            let took = start.elapsed();
            assert!(ran_so.is_ok(), "{name} {norm:?}, damage {seed} panics");
            assert!(took < LONGEST, "{name} {norm:?}, damage {seed} takes {took:?}");
            ran += u64::from(ran_so.unwrap_or(false));
        }
        // Damage that shows only in the result is still run.
        assert!(ran > 0 && ran < times, "{name}: {ran} of {times} ran");
    }
}

#[test]
fn damaged_programs_never_panic_on_the_cpu() {
    let cases = [
        ("mlp", NormChoice::Auto),
        ("mnist_small", NormChoice::Tile),
        ("mnist_small", NormChoice::Ghost),
        ("lstm_small", NormChoice::Auto),
        ("tied_embedding", NormChoice::Auto),
        ("embedding_small", NormChoice::Auto),
    ];
    survive(&Cpu, &cases, 250);
}

#[test]
fn damaged_programs_never_panic_on_a_gpu() {
    let gpu = Gpu::open(None).expect("a GPU");
    survive(&gpu, &[("mlp", NormChoice::Auto), ("tied_embedding", NormChoice::Auto)], 60);
}
