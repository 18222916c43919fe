//! What the time of a private step tells on the cpu device: with records that are left out because a number is not finite, and with
//! other clip factors, beside an ordinary step.
//!
//!     cargo bench --bench side_channels
//!
//! Each pair of columns is a ratio of medians of steps taken in turn. Ids are never NaN, so that networks of ids have no figure for it.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dpc::device::cpu::Cpu;
use dpc::lower::program::Phase;
use dpc::train::data::{Array, Dataset, Values};
use dpc::train::engine::Engine;
use dpc::{Model, Options};

/// Steps of each kind.
const STEPS: usize = 101;
const BATCH: usize = 64;
const NETWORKS: [&str; 4] = ["mnist_cnn", "cifar_cnn", "imdb_embedding", "imdb_lstm"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("ratios to an ordinary step, medians of {STEPS} at batch {BATCH}\n");
    println!("network          again   half NaN   all NaN   all clipped   none clipped");
    for name in NETWORKS {
        let path = format!("{}/models/{name}.onnx", env!("CARGO_MANIFEST_DIR"));
        let compiled = Model::from_bytes(std::fs::read(path)?)?.compile(&Options::private("cross-entropy".parse()?))?;
        let artifact = compiled.artifact();
        let program = Arc::new(artifact.program.clone());
        let mut engine = Engine::new(&Cpu, program, &artifact.weights, BATCH, &[Phase::Private])?;
        let data = Dataset::random(compiled.schema(), BATCH);
        let floats = data.inputs().iter().any(|column| column.is_float());
        let mut ratio = |count: usize, bound: f32| -> Result<f64, Box<dyn Error>> {
            let other = with_nan(&data, &compiled, count)?;
            let (mut usual, mut changed) = (Vec::new(), Vec::new());
            for _ in 0..STEPS {
                usual.push(step(&mut engine, &data, 1.0)?);
                changed.push(step(&mut engine, &other, bound)?);
            }
            Ok(median(changed).as_secs_f64() / median(usual).as_secs_f64())
        };
        let again = ratio(0, 1.0)?;
        let nan = if floats {
            [ratio(BATCH / 2, 1.0)?, ratio(BATCH, 1.0)?].map(|r| format!("{r:.3}"))
        } else {
            ["-", "-"].map(str::to_owned)
        };
        let [all, none] = [ratio(0, 1e-6)?, ratio(0, 1e6)?];
        println!("{name:<14} {again:>7.3} {:>10} {:>9} {all:>13.3} {none:>14.3}", nan[0], nan[1]);
    }
    Ok(())
}

/// The data, with NaN in the first `count` records.
fn with_nan(data: &Dataset, compiled: &dpc::Compiled, count: usize) -> Result<Dataset, Box<dyn Error>> {
    let mut arrays = BTreeMap::new();
    for column in data.inputs().iter().chain(data.targets()) {
        let dims = [&[BATCH], &column.dims[..]].concat();
        let array = match column.values()? {
            Values::F32(mut values) => {
                let record = values.len() / BATCH;
                values[..count * record].fill(f32::NAN);
                Array::from_f32(dims, &values)
            }
            Values::I32(values) => Array::from_i64(dims, &values.iter().map(|&id| i64::from(id)).collect::<Vec<_>>()),
        };
        arrays.insert(column.name.clone(), array);
    }
    Ok(Dataset::from_arrays("memory", &arrays, compiled.schema())?)
}

/// How long a physical batch takes, from its records to its clipped sums.
fn step(engine: &mut Engine, data: &Dataset, bound: f32) -> Result<Duration, Box<dyn Error>> {
    let records: Vec<usize> = (0..BATCH).collect();
    engine.set_clip_bounds(&[bound])?;
    let start = Instant::now();
    engine.run(Phase::Private, data, &records, None)?;
    Ok(start.elapsed())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
