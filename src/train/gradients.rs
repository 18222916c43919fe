//! What the records of a batch do to the gradient: their losses, norms and clipped sum, and each one's own gradient. For
//! looking and for comparing; nothing of it is private.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::chance::Chance;
use super::data::Dataset;
use super::engine::{Engine, EngineError, total_norms};
use crate::artifact::Artifact;
use crate::device::Device;
use crate::lower::host_outputs::{LOSS, NORM};
use crate::lower::program::Phase;
use crate::passes::privatize::PER_SAMPLE;
use crate::privacy::clipping::ClipState;
use crate::privacy::keys::RunKey;
use crate::tensors::{Tensor, Tensors};

/// Rows of a physical batch, which an artifact is compiled for at least.
pub const ROWS: usize = 64;

/// What the records of a batch do to the gradient.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradients {
    /// The loss of each record, `[N]`.
    pub loss: Vec<f32>,
    /// The norm of each record's gradient over all parameters, `[N]`, before clipping.
    pub norm: Vec<f32>,
    /// The same within each clip group, `[N]` each.
    pub group_norms: BTreeMap<String, Vec<f32>>,
    /// The sum of the clipped gradients, by parameter, without noise.
    pub sum: Tensors,
    /// Each record's own gradient, `[N, …]`, by parameter, where it was asked for.
    pub per_sample: Tensors,
}

/// The gradients of all records of `data`. With `per_sample`, `artifact` is one that was compiled for that, and so are
/// sums that are not on a grid. Masks of dropout are those of a fixed key, so that two runs agree.
///
/// # Errors
/// When the device fails or the data cannot be read.
pub fn gradients(
    artifact: &Artifact,
    device: &dyn Device,
    data: &Dataset,
    per_sample: bool,
) -> Result<Gradients, EngineError> {
    let (rows, records) = (ROWS.min(data.records()), data.records());
    let manifest = &artifact.manifest;
    let program = Arc::new(artifact.program.clone());
    let mut engine = Engine::new(device, program, &artifact.weights, rows, &[Phase::Private])?;
    let groups = &manifest.clip_groups;
    engine.set_clip_bounds(&ClipState::new(&manifest.clip, groups).bounds(1.0))?;

    let chance = Chance::new(&RunKey::insecure(0), None);
    let with_gradient = engine.trained();
    let (mut loss, mut norm) = (Vec::new(), Vec::new());
    let mut own: BTreeMap<&str, Vec<f32>> = BTreeMap::new();
    let all: Vec<usize> = (0..records).collect();
    for batch in all.chunks(rows) {
        engine.run(Phase::Private, data, batch, Some((&chance, 0)))?;
        let mut read = |name: &str, to: &mut Vec<f32>| -> Result<(), EngineError> {
            let values = engine.floats(name)?;
            to.extend(&values[..values.len() / rows * batch.len()]);
            Ok(())
        };
        read(LOSS, &mut loss)?;
        read(NORM, &mut norm)?;
        for name in with_gradient.iter().filter(|_| per_sample) {
            read(&format!("{PER_SAMPLE}{name}"), own.entry(name).or_default())?;
        }
    }

    let of_group = |k: usize| norm.iter().skip(k).step_by(groups.len()).copied().collect();
    let group_norms = groups.iter().enumerate().map(|(k, group)| (group.name.clone(), of_group(k))).collect();
    let (mut sum, mut each) = (Tensors::new(), Tensors::new());
    for parameter in manifest.parameters.iter().filter(|entry| entry.trained) {
        let (name, dims) = (&parameter.name, &parameter.dims);
        // A parameter that does not reach the loss has a gradient of zeros.
        let zeros = |records: usize| vec![0.0; records * dims.iter().product::<usize>()];
        let data = match with_gradient.contains(name) {
            true => engine.gradient_sum(name)?,
            false => zeros(1),
        };
        sum.insert(name.clone(), Tensor { dims: dims.clone(), data });
        if per_sample {
            let data = own.remove(name.as_str()).unwrap_or_else(|| zeros(records));
            each.insert(name.clone(), Tensor { dims: [&[records], dims.as_slice()].concat(), data });
        }
    }
    Ok(Gradients { loss, norm: total_norms(&norm, groups.len()), group_norms, sum, per_sample: each })
}
