//! The digest by which ranks see that they train on the same data.

use sha2::{Digest, Sha256};

use super::{DataError, Dataset, Values};

/// Records that are read at a time.
const CHUNK: usize = 1024;
/// Records of data in files that are looked at.
const LOOKED_AT: usize = 4096;

impl Dataset {
    /// A SHA-256, in hexadecimal, of the names, shapes and number of records, of their groups, and of the values: all of
    /// them where they are in memory, and where some are in files those of up to 4,096 records, evenly spaced.
    ///
    /// # Errors
    /// Where they cannot be read.
    pub fn digest(&self) -> Result<String, DataError> {
        let columns = || self.inputs.iter().chain(&self.targets);
        let mut hash = Sha256::new();
        for column in columns() {
            hash.update(format!("{:?} {:?} {}\n", column.name, column.dims, column.is_float()));
        }
        hash.update(format!("{} {}\n", self.records, self.groups.is_some()));
        self.groups.iter().flatten().for_each(|group| hash.update(group.to_le_bytes()));
        let step = match columns().any(|column| column.is_in_files()) {
            true => self.records.div_ceil(LOOKED_AT).max(1),
            false => 1,
        };
        let records: Vec<usize> = (0..self.records).step_by(step).collect();
        for records in records.chunks(CHUNK) {
            for column in columns() {
                match column.gathered(records)? {
                    Values::F32(values) => hash.update(bytemuck::cast_slice(&values)),
                    Values::I32(values) => hash.update(bytemuck::cast_slice(&values)),
                }
            }
        }
        Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}
