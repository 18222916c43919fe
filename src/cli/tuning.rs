//! The measured costs of a device, kept in the user's cache from one command to the next.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use miette::Result;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::device::tuner::{Measured, Tuner};
use crate::device::{self, Device};
use crate::files;
use crate::lower::cost::CostModel;
use crate::options::DeviceChoice;

/// Records that norms are compared for, where a physical batch may have more.
const ROWS: usize = 64;

/// A device, and what is known of its kernels.
pub struct Tuning {
    pub device: Arc<dyn Device>,
    pub tuner: Arc<Tuner>,
    kept: Kept,
    path: Option<PathBuf>,
}

/// The file: other versions and other devices have other files, but a hash may be anything's.
#[derive(Serialize, Deserialize)]
struct Kept {
    version: String,
    device: String,
    seconds: Measured,
}

impl Tuning {
    /// Opens a device with what earlier commands have measured. A file that cannot be read is measured anew.
    pub fn open(choice: &DeviceChoice) -> Result<Tuning> {
        let device: Arc<dyn Device> = device::open(choice)?.into();
        let (version, name) = (version(), described(&device.name()));
        let digest = Sha256::digest(format!("{version}\n{name}"));
        let file: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let path = dirs::cache_dir().map(|directory| directory.join("dpc").join(format!("costs-{file}.json")));
        let read = path.as_deref().and_then(|path| files::read(path).ok());
        let kept = read.and_then(|bytes| serde_json::from_slice::<Kept>(&bytes).ok());
        let kept = kept.filter(|kept| kept.version == version && kept.device == name);
        let kept = kept.unwrap_or(Kept { version, device: name, seconds: Measured::new() });
        let tuner = Arc::new(Tuner::new(device.clone(), kept.seconds.clone()));
        Ok(Tuning { device, tuner, kept, path })
    }

    /// The costs of a program whose physical batches have at most `most` rows.
    pub fn model(&self, most: usize) -> CostModel {
        CostModel { costs: self.tuner.clone(), rows: ROWS.min(most), ..CostModel::default() }
    }

    /// Keeps what was measured. A cache that cannot be written is none.
    pub fn save(&self) {
        let Some(path) = &self.path else { return };
        let seconds = self.tuner.measured();
        if seconds == self.kept.seconds {
            return;
        }
        let kept = Kept { version: self.kept.version.clone(), device: self.kept.device.clone(), seconds };
        let directory = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        if directory.is_ok()
            && let Ok(text) = serde_json::to_vec_pretty(&kept)
        {
            let _ = files::write_atomic(path, |file| file.write_all(&text));
        }
    }
}

/// This very program: the next one may have faster kernels.
fn version() -> String {
    let file = std::env::current_exe().and_then(std::fs::metadata).ok();
    let changed = file.and_then(|file| file.modified().ok()?.duration_since(SystemTime::UNIX_EPOCH).ok());
    format!("{} of {}", env!("CARGO_PKG_VERSION"), changed.unwrap_or_default().as_secs())
}

/// A device's name with that of the processor, which a directory of a user's may be shared by several of.
fn described(device: &str) -> String {
    let processors = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processors.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    format!("{device}{model}")
}
