//! Data of which each rank holds its own.

use std::fs;
use std::ops::Range;

use super::{FIXED, TRAIN, Trial};

/// Records, and where those of each of three ranks begin.
const STARTS: [usize; 4] = [0, 250, 300, 600];
/// Pixels of a record.
const PIXELS: usize = 64;

impl Trial {
    /// Three ranks with records of their own train what one process does on all of them; the same records twice are refused.
    pub(super) fn own_data(&self) -> Result<(), String> {
        let write = |name: &str, records: Range<usize>| {
            fs::write(self.place.join(name), safetensors(records)).map_err(|e| format!("{name}: {e}"))
        };
        write("all.safetensors", 0..STARTS[3])?;
        for (rank, pair) in STARTS.windows(2).enumerate() {
            write(&format!("part{rank}.safetensors"), pair[0]..pair[1])?;
        }
        let train = |data: &str, out: &str| format!("{} {FIXED} --out {out}", TRAIN.replace("digits_train.npz", data));
        self.ok(&self.alone(&train("all.safetensors", "union")))?;
        self.ok(&self.on(3, &format!("{} --data-shard", train("part{rank}.safetensors", "own"))))?;
        if self.trained("own")? != self.trained("union")? {
            return Err("ranks with data of their own train other parameters than one process on all".to_owned());
        }
        self.ok(&self.alone("verify-certificate own"))?;
        let output = self.output(&self.on(2, &format!("{} --data-shard", train("all.safetensors", "twice"))))?;
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.success() || !said.contains("rank 1 holds the same data as rank 0") {
            return Err(format!("the same data on two ranks are not refused: {said}"));
        }
        println!("xtask: 3 ranks with data of their own: the bits of one process on all; the same data twice: refused");
        Ok(())
    }
}

/// These of made-up images with their labels, in the format of safetensors.
fn safetensors(records: Range<usize>) -> Vec<u8> {
    let count = records.len();
    let (images, labels) = (4 * count * PIXELS, 8 * count);
    let header = format!(
        "{{\"input\":{{\"dtype\":\"F32\",\"shape\":[{count},1,8,8],\"data_offsets\":[0,{images}]}},\
         \"label\":{{\"dtype\":\"I64\",\"shape\":[{count}],\"data_offsets\":[{images},{}]}}}}",
        images + labels
    );
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    let pixel = |at: usize| ((at * 2_654_435_761) % 1000) as f32 / 1000.0;
    file.extend((records.start * PIXELS..records.end * PIXELS).flat_map(|at| pixel(at).to_le_bytes()));
    file.extend(records.flat_map(|record| ((record % 10) as i64).to_le_bytes()));
    file
}
