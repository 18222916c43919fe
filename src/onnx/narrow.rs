//! Element types of at most a byte in which files store weights, and with which nothing computes: integers of two and four
//! bits, several to a byte, and floats of four and eight.

use super::tensor::{Elem, TensorData};

/// How the elements of a type are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Narrow {
    /// Integers of so many bits.
    Ints { bits: u32, signed: bool },
    /// Floats of a sign, an exponent and so many bits of mantissa.
    Floats { bits: u32, mantissa: u32, bias: i32, specials: Specials },
    /// Powers of two by their exponent: no sign, and NaN for the last.
    Powers,
}

/// What a float type has besides numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Specials {
    None,
    /// Infinities and NaN in the last exponent, as IEEE 754 has them.
    Ieee,
    /// NaN where all bits but the sign are set.
    LastIsNan,
    /// NaN in the place of the negative zero.
    NegativeZeroIsNan,
}

impl Narrow {
    /// The form of an element type; `None` for others.
    pub(super) fn of(elem: Elem) -> Option<Narrow> {
        let Elem::Other(number) = elem else { return None };
        let float8 = |mantissa, bias, specials| Narrow::Floats { bits: 8, mantissa, bias, specials };
        Some(match number {
            17 => float8(3, 7, Specials::LastIsNan),
            18 => float8(3, 8, Specials::NegativeZeroIsNan),
            19 => float8(2, 15, Specials::Ieee),
            20 => float8(2, 16, Specials::NegativeZeroIsNan),
            21 => Narrow::Ints { bits: 4, signed: false },
            22 => Narrow::Ints { bits: 4, signed: true },
            23 => Narrow::Floats { bits: 4, mantissa: 1, bias: 1, specials: Specials::None },
            24 => Narrow::Powers,
            25 => Narrow::Ints { bits: 2, signed: false },
            26 => Narrow::Ints { bits: 2, signed: true },
            _ => return None,
        })
    }

    /// The least and the largest of the integers.
    pub(super) fn bounds(self) -> Option<(i64, i64)> {
        match self {
            Narrow::Ints { bits, signed: false } => Some((0, (1 << bits) - 1)),
            Narrow::Ints { bits, signed: true } => Some((-(1 << (bits - 1)), (1 << (bits - 1)) - 1)),
            _ => None,
        }
    }

    fn bits(self) -> u32 {
        match self {
            Narrow::Ints { bits, .. } | Narrow::Floats { bits, .. } => bits,
            Narrow::Powers => 8,
        }
    }

    /// Bytes that so many elements take.
    pub(super) fn bytes(self, count: usize) -> usize {
        count.div_ceil(8 / self.bits() as usize)
    }

    /// The first `count` elements of `bytes`, the lowest bits of a byte first.
    pub(super) fn read(self, bytes: &[u8], count: usize) -> TensorData {
        let bits = self.bits();
        let codes = bytes
            .iter()
            .flat_map(|&byte| (0..8 / bits).map(move |k| (u32::from(byte) >> (k * bits)) & ((1 << bits) - 1)));
        let codes = codes.take(count);
        match self {
            Narrow::Ints { signed, .. } => {
                let sign = |code: u32| i64::from(signed && code >> (bits - 1) == 1) << bits;
                TensorData::I64(codes.map(|code| i64::from(code) - sign(code)).collect())
            }
            _ => TensorData::F32(codes.map(|code| self.float(code)).collect()),
        }
    }

    fn float(self, code: u32) -> f32 {
        let Narrow::Floats { bits, mantissa, bias, specials } = self else {
            return if code == 0xff { f32::NAN } else { 2.0_f32.powi(code as i32 - 127) };
        };
        let sign = if code >> (bits - 1) == 1 { -1.0 } else { 1.0 };
        let rest = code & ((1 << (bits - 1)) - 1);
        let (exponent, fraction) = ((rest >> mantissa) as i32, rest & ((1 << mantissa) - 1));
        let last = (1 << (bits - 1 - mantissa)) - 1;
        match specials {
            Specials::Ieee if exponent == last && fraction == 0 => return sign * f32::INFINITY,
            Specials::Ieee if exponent == last => return f32::NAN,
            Specials::LastIsNan if rest == (1 << (bits - 1)) - 1 => return f32::NAN,
            Specials::NegativeZeroIsNan if sign < 0.0 && rest == 0 => return f32::NAN,
            _ => {}
        }
        let unit = 2.0_f32.powi(exponent.max(1) - bias - mantissa as i32);
        let whole = if exponent == 0 { fraction } else { fraction + (1 << mantissa) };
        sign * whole as f32 * unit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(number: i32) -> TensorData {
        let bytes: Vec<u8> = (0..=u8::MAX).collect();
        Narrow::of(Elem::Other(number)).unwrap().read(&bytes, 256)
    }

    /// The floats of eight bits as the Python package ml_dtypes has them: the least above zero, the largest, how many are NaN,
    /// and the sum of all finite ones, each times its code modulo 7 less 3.
    #[test]
    fn floats_of_eight_bits() {
        let expected = [
            (17, 0.001953125_f32, 448.0, 2, 1364.66015625_f64),
            (18, 0.0009765625_f32, 240.0, 1, 202.330078125_f64),
            (19, 2.0_f32.powi(-16), 57344.0, 6, -273883.7165374756_f64),
            (20, 2.0_f32.powi(-17), 57344.0, 1, 18706.141731262207_f64),
        ];
        for (number, least, largest, undefined, sum) in expected {
            let TensorData::F32(values) = all(number) else { panic!("floats") };
            assert_eq!(values[1], least, "{number}");
            assert_eq!(values.iter().copied().filter(|x| x.is_finite()).fold(0.0, f32::max), largest, "{number}");
            assert_eq!(values.iter().filter(|x| x.is_nan()).count(), undefined, "{number}");
            let terms = values.iter().enumerate().filter(|(_, x)| x.is_finite());
            let found: f64 = terms.map(|(code, &x)| f64::from(x) * ((code % 7) as f64 - 3.0)).sum();
            assert_eq!(found, sum, "{number}");
        }
        let TensorData::F32(powers) = all(24) else { panic!("floats") };
        assert_eq!([powers[0], powers[127], powers[254]], [2.0_f32.powi(-127), 1.0, 2.0_f32.powi(127)]);
        assert!(powers[255].is_nan());
    }

    #[test]
    fn several_to_a_byte() {
        let read = |number: i32, bytes: &[u8], count| {
            let narrow = Narrow::of(Elem::Other(number)).unwrap();
            assert_eq!(narrow.bytes(count), bytes.len());
            narrow.read(bytes, count)
        };
        assert_eq!(read(21, &[0x81, 0x0f], 3), TensorData::I64(vec![1, 8, 15]));
        assert_eq!(read(22, &[0x81, 0x0f], 3), TensorData::I64(vec![1, -8, -1]));
        assert_eq!(read(25, &[0b11_10_01_00, 0b01], 5), TensorData::I64(vec![0, 1, 2, 3, 1]));
        assert_eq!(read(26, &[0b11_10_01_00, 0b01], 5), TensorData::I64(vec![0, 1, -2, -1, 1]));
        let floats = vec![0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0];
        assert_eq!(read(23, &[0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe], 16), TensorData::F32(floats));
    }
}
