//! Values indexed by the number of a record within its batch: each record's own row is read if that number is
//! `Range(0, N)` unchanged, and any other number is refused. What is read is held to differences in `shapes`.

use crate::shapes::{by_own_elements, by_own_row, net, own_element_tensors, own_row_tensors};

#[test]
fn the_number_of_the_record_reads_its_own_row() {
    net(&[4], &by_own_row("Range(zero, t1, one)"), own_row_tensors()).compile().expect("each record is alone");
}

#[test]
fn any_other_number_of_a_record_is_refused() {
    for index in [
        // Another record's: the next one's, that from the other end, those from the second on, one for all.
        "Range(zero, t1, one) | Add(t2, one)",
        "Range(zero, t1, one) | Sub(t1, one) | Sub(t3, t2)",
        "Add(t1, one) | Range(one, t2, one)",
        "Range(zero, t1, one) | Mul(t2, zero)",
        "Range(zero, t1, one) | Mod(t2, one)",
        "Range(zero, t1, one) | Min(t2, one)",
        "Range(zero, t1, one) | Gather(t2, t2)",
        "Range(zero, t1, one) | Slice(t2, minus, end, first, minus)",
        "Range(zero, t1, one) | Cast(t2; to=1) | Neg(t3) | Cast(t4; to=7)",
    ] {
        let mut tensors = own_row_tensors();
        tensors.push(crate::shapes::ints("minus", &[1], &[-1]));
        tensors.push(crate::shapes::ints("end", &[1], &[i64::MIN]));
        tensors.push(crate::shapes::ints("first", &[1], &[0]));
        let why = net(&[4], &by_own_row(index), tensors).compile().err().unwrap_or_else(|| panic!("{index} is taken"));
        assert!(why.contains("would depend on other records"), "{index}: {why}");
    }
}

#[test]
fn the_number_of_a_record_is_nothing_else() {
    for ops in [
        "Shape(x; start=0; end=1) | Squeeze(t0) | Range(zero, t1, one) | Cast(t2; to=1) | Unsqueeze(t3, axis1) | Add(h, t4)",
        "Shape(x; start=0; end=1) | Squeeze(t0) | Range(zero, t1, one) | Gather(h, t2)",
    ] {
        let mut tensors = own_row_tensors();
        tensors.push(crate::shapes::ints("axis1", &[1], &[1]));
        let why = net(&[4], ops, tensors).compile().err().unwrap_or_else(|| panic!("{ops} is taken"));
        assert!(why.contains("would depend on other records"), "{ops}: {why}");
    }
}

/// Numbers that count on from record to record name a record's own elements if they grow with each record by as many as it
/// has, and are nothing else.
#[test]
fn elements_that_may_be_another_records_are_refused() {
    const POOL: &str = "MaxPool*(h; kernel_shape=[2, 2]; strides=[2, 2])";
    const UNPOOL: &str = "kernel_shape=[2, 2]; strides=[2, 2]";
    for ops in by_own_elements() {
        net(&[2, 4, 4], ops, own_element_tensors()).compile().unwrap_or_else(|e| panic!("{ops}: {e}"));
    }
    for ops in [
        // The numbers themselves, doubled, in part, and put into images of another size.
        format!("{POOL} | Cast(t0*; to=1) | Mul(t0, t1)"),
        format!("{POOL} | Add(t0*, t0*) | MaxUnpool(t0, t1; {UNPOOL})"),
        format!("{POOL} | Mul(t0*, two) | MaxUnpool(t0, t1; {UNPOOL})"),
        format!("{POOL} | Sub(one, t0*) | MaxUnpool(t0, t1; {UNPOOL})"),
        format!("{POOL} | Sub(t0*, t0*) | MaxUnpool(t0, t1; {UNPOOL})"),
        format!("{POOL} | Min(t0*, sixteen) | MaxUnpool(t0, t1; {UNPOOL})"),
        format!("{POOL} | Mod(t0*, sixteen) | MaxUnpool(t0, t1; {UNPOOL})"),
        format!("{POOL} | Gather(h, t0*; axis=0)"),
        format!("{POOL} | Cast(t0*; to=9) | Cast(t1; to=7) | MaxUnpool(t0, t2; {UNPOOL})"),
        format!("{POOL} | MaxUnpool(t0, t0*; kernel_shape=[3, 3]; strides=[2, 2])"),
        // A range of two numbers a record, which are not 32 apart from record to record.
        by_own_elements()[3].replace("sixteen", "two"),
        by_own_elements()[3].replace("Mul(t3, sixteen)", "Add(t3, sixteen)"),
    ] {
        let why = net(&[2, 4, 4], &ops, own_element_tensors()).compile().err();
        let why = why.unwrap_or_else(|| panic!("{ops} is taken"));
        assert!(why.contains("would depend on other records"), "{ops}: {why}");
    }
}
