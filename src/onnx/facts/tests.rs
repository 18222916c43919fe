use super::*;

#[test]
fn sizes_at_two_batches_tell_fixed_from_multiples() {
    assert_eq!(integer(5, 5), Some(Int::Known(5)));
    assert_eq!(integer(13, 17), Some(Int::Batch(1)));
    assert_eq!(integer(-104, -136), Some(Int::Batch(-8)));
    assert_eq!(integer(14, 18), None);
    assert_eq!(integer(6, 8), None);
    assert_eq!(Int::Batch(-8).to_dim(), None);
    assert_eq!(Int::Batch(8).to_dim().map(|dim| dim.to_string()).as_deref(), Some("8·N"));
}
