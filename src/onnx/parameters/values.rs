//! What the values of a tensor say: some are no parameter's.

use crate::onnx::tensor::Tensor;

/// Values this large stand for minus infinity in additive masks.
const MASKING: f32 = 1e4;

/// What a tensor is by its values, where no parameter would have them.
pub(super) fn betray(tensor: &Tensor) -> Option<&'static str> {
    let values = tensor.floats()?;
    let wide = tensor.dims.iter().filter(|&&size| size > 1).count() > 1;
    match () {
        _ if !finite(tensor) => Some("it holds values that are not finite, as masks do"),
        _ if values.iter().any(|value| value.abs() >= MASKING) => {
            Some("it holds values of 10,000 and more, as masks do")
        }
        _ if wide && zeros_and_ones(values) => Some("it holds zeros and ones only, as masks do"),
        _ if positions(tensor) => Some("it holds the sines and cosines of positions"),
        _ => None,
    }
}

/// Whether every value is a number.
pub(super) fn finite(tensor: &Tensor) -> bool {
    tensor.floats().is_none_or(|values| values.iter().all(|value| value.is_finite()))
}

fn zeros_and_ones(values: &[f32]) -> bool {
    values.iter().all(|&value| value == 0.0 || value == 1.0) && values.contains(&0.0) && values.contains(&1.0)
}

/// Whether each row is sines and cosines of the same angles, interleaved or one half after the other (Vaswani et al.
/// 2017, <https://arxiv.org/abs/1706.03762>, §3.5).
fn positions(tensor: &Tensor) -> bool {
    let (Some(values), Some(&width)) = (tensor.floats(), tensor.dims.last()) else { return false };
    if width < 2 || width % 2 != 0 || values.len() < 2 * width {
        return false;
    }
    let of_one_angle = |sine: f32, cosine: f32| (sine * sine + cosine * cosine - 1.0).abs() < 1e-3;
    let interleaved = |row: &[f32]| row.chunks_exact(2).all(|pair| of_one_angle(pair[0], pair[1]));
    let halves = |row: &[f32]| (0..width / 2).all(|k| of_one_angle(row[k], row[k + width / 2]));
    let constant = values.iter().all(|value| *value == values[0]);
    !constant && (values.chunks_exact(width).all(interleaved) || values.chunks_exact(width).all(halves))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::tensor::TensorData;

    fn tensor(dims: &[usize], values: Vec<f32>) -> Tensor {
        Tensor { dims: dims.to_vec(), data: TensorData::F32(values) }
    }

    #[test]
    fn masks_and_position_tables_are_seen() {
        let mask =
            |low: f32, high: f32| tensor(&[3, 3], (0..9).map(|k| if k % 3 > k / 3 { low } else { high }).collect());
        assert!(betray(&mask(f32::NEG_INFINITY, 0.0)).unwrap().contains("not finite"));
        assert!(betray(&mask(-1e9, 0.0)).unwrap().contains("10,000"));
        assert!(betray(&mask(0.0, 1.0)).unwrap().contains("zeros and ones"));
        let angle = |row: usize, k: usize| row as f32 / 100_f32.powf(k as f32 / 4.0);
        let table = |at: fn(usize) -> (usize, bool)| {
            let value = |k: usize| {
                let (pair, sine) = at(k % 8);
                if sine { angle(k / 8, pair).sin() } else { angle(k / 8, pair).cos() }
            };
            tensor(&[1, 5, 8], (0..40).map(value).collect())
        };
        assert!(betray(&table(|k| (k / 2, k % 2 == 0))).unwrap().contains("sines"));
        assert!(betray(&table(|k| (k % 4, k < 4))).unwrap().contains("sines"));
    }

    #[test]
    fn fresh_parameters_are_not_taken_for_masks() {
        for fresh in [
            tensor(&[8], vec![1.0; 8]),
            tensor(&[8], vec![0.0; 8]),
            tensor(&[2, 4], vec![1.0; 8]),
            tensor(&[2, 2], vec![0.1, -0.2, 0.3, 0.4]),
            tensor(&[4], vec![0.0, 1.0, 0.0, 1.0]),
            tensor(&[2, 2], vec![0.707_106_77; 4]),
        ] {
            assert_eq!(betray(&fresh), None, "{fresh:?}");
        }
    }
}
