//! Operators that move elements, and tables.

use super::net::{Attr, Kind, Net, Val};

pub fn reshape(net: &mut Net) -> Option<Val> {
    if net.one_in(2) {
        let rank = 2 + net.below(3);
        return net.of_rank(rank);
    }
    let x = net.record()?;
    // From axis 1 on, which need not be said.
    let attributes = if net.one_in(2) { vec![("axis", Attr::Int(1))] } else { vec![] };
    Some(net.emit("Flatten", &[&x], attributes, x.with(vec![1, x.len()])))
}

/// A reshape by the shape of another value.
pub fn reshape_like(net: &mut Net) -> Option<Val> {
    let x = net.record()?;
    let like = net.pick(|y| y.kind == Kind::F && y.leads() && y.len() == x.len())?;
    let shape = net.hidden(
        "Shape",
        &[&like],
        vec![],
        Val { dims: vec![like.rank()], batch: None, ..x.clone() }.of(Kind::I, 0.0),
    );
    Some(net.emit("Reshape", &[&x, &shape], vec![], x.with(like.dims.clone())))
}

pub fn transpose(net: &mut Net) -> Option<Val> {
    let x = net.pick(|value| value.rank() > 1)?;
    let mut perm: Vec<usize> = (0..x.rank()).collect();
    for k in (1..perm.len()).rev() {
        let other = net.below(k + 1);
        perm.swap(k, other);
    }
    if !net.one_in(4) {
        // The batch stays.
        let at = perm.iter().position(|&axis| x.batch == Some(axis));
        if let (Some(at), Some(batch)) = (at, x.batch) {
            perm.swap(at, batch);
        }
    }
    let dims = perm.iter().map(|&axis| x.dims[axis]).collect();
    let batch = x.batch.and_then(|batch| perm.iter().position(|&axis| axis == batch));
    let perm = perm.iter().map(|&axis| axis as i64).collect();
    Some(net.emit("Transpose", &[&x], vec![("perm", Attr::Ints(perm))], Val { dims, batch, ..x.clone() }))
}

/// A value whose batch is elsewhere, with the batch first.
pub fn bring_back(net: &mut Net) -> Option<Val> {
    let x = net.pick(|value| value.batch.is_some_and(|batch| batch > 0))?;
    let batch = x.batch?;
    let perm: Vec<usize> = std::iter::once(batch).chain((0..x.rank()).filter(|&axis| axis != batch)).collect();
    let dims = perm.iter().map(|&axis| x.dims[axis]).collect();
    let perm = perm.iter().map(|&axis| axis as i64).collect();
    let like = Val { dims, batch: Some(0), ..x.clone() };
    Some(net.emit("Transpose", &[&x], vec![("perm", Attr::Ints(perm))], like))
}

pub fn ones(net: &mut Net) -> Option<Val> {
    let x = net.pick(|_| true)?;
    if net.one_in(2) && x.rank() < 5 {
        let at = net.below(x.rank() + 1);
        let mut like = x.clone();
        like.dims.insert(at, 1);
        like.batch = x.batch.map(|batch| if batch >= at { batch + 1 } else { batch });
        let axis = net.signed(at, like.rank());
        let axes = net.ints(&[axis]);
        return Some(net.emit("Unsqueeze", &[&x, &axes], vec![], like));
    }
    let axes: Vec<usize> = (0..x.rank()).filter(|&axis| x.dims[axis] == 1 && x.batch != Some(axis)).collect();
    if axes.is_empty() {
        return None;
    }
    let at = *net.one_of(&axes);
    let mut like = x.clone();
    like.dims.remove(at);
    like.batch = x.batch.map(|batch| if batch > at { batch - 1 } else { batch });
    let axis = net.signed(at, x.rank());
    let axes = net.ints(&[axis]);
    Some(net.emit("Squeeze", &[&x, &axes], vec![], like))
}

pub fn concat(net: &mut Net) -> Option<Val> {
    let x = net.pick(|_| true)?;
    let axis = net.axis(&x)?;
    let agrees = |y: &Val| {
        let same = |k: usize| k == axis || y.dims[k] == x.dims[k];
        y.kind == x.kind && y.batch == x.batch && y.rank() == x.rank() && (0..x.rank()).all(same)
    };
    let mut operands = vec![x.clone()];
    for _ in 0..=net.below(3) {
        operands.extend(net.pick(agrees));
    }
    let mut like = x.clone();
    like.dims[axis] = operands.iter().map(|value| value.dims[axis]).sum();
    like.most = operands.iter().map(|value| value.most).fold(0.0, f64::max);
    if !Net::fits(&like.dims) {
        return None;
    }
    let at = net.signed(axis, x.rank());
    let operands: Vec<&Val> = operands.iter().collect();
    Some(net.emit("Concat", &operands, vec![("axis", Attr::Int(at))], like))
}

pub fn split(net: &mut Net) -> Option<Val> {
    let x = net.float()?;
    let axis = net.axis(&x)?;
    let size = x.dims[axis];
    if size < 2 {
        return None;
    }
    let first = 1 + net.below(size - 1);
    let piece = |size: usize| {
        let mut like = x.clone();
        like.dims[axis] = size;
        like
    };
    let at = net.signed(axis, x.rank());
    let sizes = net.ints(&[first as i64, (size - first) as i64]);
    let (one, two) = (piece(first), piece(size - first));
    if net.one_in(3) {
        let like = vec![Some(x.clone())];
        let sequence = net.several("SplitToSequence", &[&x, &sizes], vec![("axis", Attr::Int(at))], like).remove(0);
        let which = net.below(2);
        let at = net.signed(which, 2);
        let place = net.int_tensor(&[], &[at]);
        let like = if which == 0 { one } else { two };
        return Some(net.emit("SequenceAt", &[&sequence, &place], vec![], like));
    }
    let both = net.several("Split", &[&x, &sizes], vec![("axis", Attr::Int(at))], vec![Some(one), Some(two)]);
    net.values.extend(both.iter().cloned());
    both.into_iter().next()
}

pub fn slice(net: &mut Net) -> Option<Val> {
    let x = net.pick(|_| true)?;
    let axis = net.axis(&x)?;
    let size = x.dims[axis] as i64;
    let (start, end) = (net.below(size as usize) as i64, 1 + net.below(size as usize) as i64);
    let step = 1 + net.below(2) as i64;
    let (start, end, step) = match net.one_in(3) {
        // Backwards, down to the first element.
        true => (start.max(end - 1), i64::MIN + 1, -step),
        false if start < end => (start, if end == size { i64::from(i32::MAX) } else { end }, step),
        false => return None,
    };
    let count = match step {
        ..0 => start / -step + 1,
        _ => (end.min(size) - start + step - 1) / step,
    };
    let mut like = x.clone();
    like.dims[axis] = count as usize;
    let at = net.signed(axis, x.rank());
    let start = if net.one_in(2) { start - size } else { start };
    let [start, end, at, step] = [start, end, at, step].map(|n| net.ints(&[n]));
    Some(net.emit("Slice", &[&x, &start, &end, &at, &step], vec![], like))
}

pub fn pad(net: &mut Net) -> Option<Val> {
    let x = net.float()?;
    let axis = net.axis(&x)?;
    let mode = *net.one_of(&["constant", "constant", "reflect", "edge"]);
    let size = x.dims[axis];
    let most = if mode == "reflect" { size.min(3) - 1 } else { 2 };
    let (before, after) = (net.below(most + 1), net.below(most + 1));
    let mut pads = vec![0; 2 * x.rank()];
    (pads[axis], pads[x.rank() + axis]) = (before as i64, after as i64);
    let mut like = x.clone();
    like.dims[axis] += before + after;
    if !Net::fits(&like.dims) {
        return None;
    }
    let pads = net.ints(&pads);
    let value = if mode == "constant" && net.one_in(2) { net.number(0.3) } else { Val::none() };
    Some(net.emit("Pad", &[&x, &pads, &value], vec![("mode", Attr::Text(mode))], like))
}

pub fn repeat(net: &mut Net) -> Option<Val> {
    let x = net.float()?;
    let axis = net.axis(&x)?;
    let times = 1 + net.below(3);
    let mut like = x.clone();
    like.dims[axis] *= times;
    if !Net::fits(&like.dims) {
        return None;
    }
    if x.dims[axis] == 1 && net.one_in(2) {
        // By the last axes; a size of 1 leaves an axis as it is.
        let to: Vec<i64> = (0..x.rank()).map(|k| if k == axis { times as i64 } else { 1 }).collect();
        let to = net.ints(&to);
        return Some(net.emit("Expand", &[&x, &to], vec![], like));
    }
    let repeats: Vec<i64> = (0..x.rank()).map(|k| if k == axis { times as i64 } else { 1 }).collect();
    let repeats = net.ints(&repeats);
    Some(net.emit("Tile", &[&x, &repeats], vec![], like))
}

pub fn triangle(net: &mut Net) -> Option<Val> {
    let x = net.of_rank(3)?;
    if net.opset < 14 {
        return None;
    }
    let shift = net.below(5) as i64 - 2;
    let shift = if net.one_in(2) { net.int_tensor(&[], &[shift]) } else { Val::none() };
    let upper = net.below(2) as i64;
    Some(net.emit("Trilu", &[&x, &shift], vec![("upper", Attr::Int(upper))], x.clone()))
}

/// Integers below a number of rows, that records have; a new input, or such as are computed.
fn ids(net: &mut Net, rows: usize) -> Val {
    let found =
        net.pick(|value| value.kind == Kind::I && value.leads() && value.most < rows as f64 && value.rank() < 4);
    match found {
        Some(ids) if net.one_in(2) => ids,
        _ => {
            let dims: Vec<usize> = (0..net.below(3)).map(|_| net.small()).collect();
            net.input(Kind::I, &dims, 0.0, rows as f64)
        }
    }
}

pub fn embedding(net: &mut Net) -> Option<Val> {
    let (rows, width) = (1 + net.size(), net.small());
    let ids = ids(net, rows);
    if ids.len() * width > 300 {
        return None;
    }
    let table = net.weight(&[rows, width]);
    let like = Val { dims: [ids.dims.as_slice(), &[width]].concat(), ..ids.clone() }.of(Kind::F, 1.0);
    Some(net.emit("Gather", &[&table, &ids], vec![("axis", Attr::Int(0))], like))
}

pub fn take(net: &mut Net) -> Option<Val> {
    let x = net.float()?;
    let axis = net.axis(&x)?;
    let size = x.dims[axis];
    let count = 1 + net.below(4);
    let picked: Vec<i64> = (0..count).map(|_| net.below(2 * size) as i64 - size as i64).collect();
    let mut like = x.clone();
    let at = net.signed(axis, x.rank());
    if net.one_in(4) {
        let one = net.int_tensor(&[], &picked[..1]);
        like.dims.remove(axis);
        like.batch = x.batch.map(|batch| if batch > axis { batch - 1 } else { batch });
        return Some(net.emit("Gather", &[&x, &one], vec![("axis", Attr::Int(at))], like));
    }
    like.dims[axis] = count;
    let ids = net.ints(&picked);
    Net::fits(&like.dims).then(|| net.emit("Gather", &[&x, &ids], vec![("axis", Attr::Int(at))], like))
}

pub fn elements(net: &mut Net) -> Option<Val> {
    let x = net.record()?;
    if x.rank() < 2 || x.len() > 200 {
        return None;
    }
    let axis = net.axis(&x)?;
    let mut dims = x.dims.clone();
    dims[axis] = net.small();
    let ids = net.input(Kind::I, &dims[1..], 0.0, x.dims[axis] as f64);
    let at = net.signed(axis, x.rank());
    Some(net.emit("GatherElements", &[&x, &ids], vec![("axis", Attr::Int(at))], x.with(dims)))
}

pub fn tuples(net: &mut Net) -> Option<Val> {
    let x = net.record()?;
    if x.rank() < 2 || x.len() > 200 {
        return None;
    }
    let count = net.small();
    let ids = net.input(Kind::I, &[count, 1], 0.0, x.dims[1] as f64);
    let dims = [&[1, count], &x.dims[2..]].concat();
    Net::fits(&dims).then(|| net.emit("GatherND", &[&x, &ids], vec![("batch_dims", Attr::Int(1))], x.with(dims)))
}

/// Elements of a parameter replaced.
pub fn scatter(net: &mut Net) -> Option<Val> {
    let (rows, width) = (net.small() + 1, net.small());
    let table = net.weight(&[rows, width]);
    let update = net.parameter(&[2, width]);
    let ids: [i64; 2] = if net.one_in(2) { [0, rows as i64 - 1] } else { [rows as i64 - 1, 0] };
    let reduction = *net.one_of(&["none", "add"]);
    let mut attributes = vec![];
    if net.opset >= 16 && reduction == "add" {
        attributes.push(("reduction", Attr::Text("add")));
    }
    let changed = if net.one_in(2) {
        let ids = net.int_tensor(&[2, 1], &ids);
        net.hidden("ScatterND", &[&table, &ids, &update], attributes, table.clone())
    } else {
        let all: Vec<i64> = ids.iter().flat_map(|&row| vec![row; width]).collect();
        let ids = net.int_tensor(&[2, width], &all);
        attributes.push(("axis", Attr::Int(0)));
        net.hidden("ScatterElements", &[&table, &ids, &update], attributes, table.clone())
    };
    let by = self::ids(net, rows);
    let like = Val { dims: [by.dims.as_slice(), &[width]].concat(), ..by.clone() }.of(Kind::F, 2.0);
    Net::fits(&like.dims).then(|| net.emit("Gather", &[&changed, &by], vec![], like))
}

pub fn one_hot(net: &mut Net) -> Option<Val> {
    let depth = 1 + net.small();
    let ids = ids(net, depth);
    let size = net.int_tensor(&[], &[depth as i64]);
    let values = net.constant(&[2], -0.5, 1.0);
    let like = Val { dims: [ids.dims.as_slice(), &[depth]].concat(), ..ids.clone() }.of(Kind::F, 1.0);
    Net::fits(&like.dims).then(|| net.emit("OneHot", &[&ids, &size, &values], vec![("axis", Attr::Int(-1))], like))
}

pub fn compress(net: &mut Net) -> Option<Val> {
    let x = net.float()?;
    let axis = net.axis(&x)?;
    let mut kept: Vec<bool> = (0..x.dims[axis]).map(|_| net.one_in(2)).collect();
    kept[0] = true;
    let mut like = x.clone();
    like.dims[axis] = kept.iter().filter(|kept| **kept).count();
    let condition = net.bools(&kept);
    let at = net.signed(axis, x.rank());
    Some(net.emit("Compress", &[&x, &condition], vec![("axis", Attr::Int(at))], like))
}

/// Constants that are made by operators, added to a value.
pub fn made(net: &mut Net) -> Option<Val> {
    let x = net.record()?;
    let width = *x.dims.last()?;
    if x.rank() < 2 {
        return None;
    }
    let like = |dims: Vec<usize>| Val { dims, batch: None, ..x.clone() };
    let constant = match net.below(3) {
        0 => {
            let [zero, end, one] = [0, width as i64, 1].map(|n| net.int_tensor(&[], &[n]));
            let ids = net.hidden("Range", &[&zero, &end, &one], vec![], like(vec![width]).of(Kind::I, width as f64));
            let floats = net.hidden("Cast", &[&ids], vec![("to", Attr::Int(1))], like(vec![width]));
            let scale = net.number(0.1);
            net.hidden("Mul", &[&floats, &scale], vec![], like(vec![width]))
        }
        1 => {
            let to = net.ints(&[width as i64]);
            net.hidden("ConstantOfShape", &[&to], vec![], like(vec![width]))
        }
        _ => {
            let square = net.constant(&[width, width], 0.0, 1.0);
            if width > 20 {
                return None;
            }
            let eye = net.hidden("EyeLike", &[&square], vec![("k", Attr::Int(0))], like(vec![width, width]));
            let first = net.int_tensor(&[], &[0]);
            net.hidden("Gather", &[&eye, &first], vec![], like(vec![width]))
        }
    };
    Some(net.emit("Add", &[&x, &constant], vec![], x.clone().of(Kind::F, x.most + 2.0)))
}

/// A dropout that is off.
pub fn dropout(net: &mut Net) -> Option<Val> {
    let x = net.float()?;
    let ratio = net.number(0.5);
    Some(net.emit("Dropout", &[&x, &ratio], vec![], x.clone()))
}
