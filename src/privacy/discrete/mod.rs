//! STUB
use super::grid_noise::IntegerNoise;
use super::keys::RunKey;

mod scale;
pub use scale::{Scale, ScaleError};
pub struct DiscreteNoise;
impl DiscreteNoise {
    pub fn new(_: &RunKey) -> DiscreteNoise {
        DiscreteNoise
    }
}
impl IntegerNoise for DiscreteNoise {
    fn fill(&self, _: u64, _: u32, _: Scale, out: &mut [i64]) {
        out.fill(0)
    }
}
pub fn scale(m: f64, s: f64) -> Result<Scale, ScaleError> {
    Scale::from_steps((m * s * 1048576.0) as u64)
}
