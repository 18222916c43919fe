//! Functions of the rows of a record: reductions, normalisations and products.

use super::net::{Attr, Kind, Net, Val};

pub fn reduce(net: &mut Net) -> Option<Val> {
    const OPS: &[&str] = &[
        "ReduceSum",
        "ReduceMean",
        "ReduceMax",
        "ReduceMin",
        "ReduceProd",
        "ReduceL1",
        "ReduceL2",
        "ReduceSumSquare",
        "ReduceLogSum",
        "ReduceLogSumExp",
    ];
    let op = *net.one_of(OPS);
    let mut x = net.float()?;
    let mut axes = vec![];
    for axis in (0..x.rank()).filter(|&axis| x.batch != Some(axis)) {
        if net.one_in(2) {
            axes.push(axis);
        }
    }
    if axes.is_empty() {
        return None;
    }
    let count: usize = axes.iter().map(|&axis| x.dims[axis]).product();
    match op {
        "ReduceProd" => {
            if count > 40 {
                return None;
            }
            x = net.within(&x, 1.5);
        }
        "ReduceLogSum" | "ReduceL2" => x = net.positive(&x),
        "ReduceLogSumExp" => x = net.within(&x, 15.0),
        "ReduceSumSquare" => x = net.within(&x, 8.0),
        _ => {}
    }
    let most = match op {
        "ReduceMean" | "ReduceMax" | "ReduceMin" => x.most,
        "ReduceProd" => x.most.max(1.0).powi(count as i32),
        "ReduceSumSquare" => x.most * x.most * count as f64,
        "ReduceLogSum" | "ReduceLogSumExp" => x.most + (count as f64).ln(),
        _ => x.most * count as f64,
    };
    let keep = net.one_in(2);
    let mut like = x.clone().of(Kind::F, most);
    if keep {
        axes.iter().for_each(|&axis| like.dims[axis] = 1);
    } else {
        let kept: Vec<usize> = (0..x.rank()).filter(|axis| !axes.contains(axis)).collect();
        like.dims = kept.iter().map(|&axis| x.dims[axis]).collect();
        like.batch = x.batch.and_then(|batch| kept.iter().position(|&axis| axis == batch));
    }
    let signed: Vec<i64> = axes.iter().map(|&axis| net.signed(axis, x.rank())).collect();
    let mut attributes = vec![];
    if !keep || net.one_in(2) {
        attributes.push(("keepdims", Attr::Int(keep.into())));
    }
    if op == "ReduceSum" || net.opset >= 18 {
        let axes = net.ints(&signed);
        return Some(net.emit(op, &[&x, &axes], attributes, like));
    }
    attributes.push(("axes", Attr::Ints(signed)));
    Some(net.emit(op, &[&x], attributes, like))
}

pub fn softmax(net: &mut Net) -> Option<Val> {
    let x = net.float()?;
    let axis = net.axis(&x)?;
    let op = *net.one_of(&["Softmax", "Softmax", "LogSoftmax", "Hardmax"]);
    let axis = net.signed(axis, x.rank());
    let most = if op == "LogSoftmax" { 2.0 * x.most + 5.0 } else { 1.0 };
    Some(net.emit(op, &[&x], vec![("axis", Attr::Int(axis))], x.clone().of(Kind::F, most)))
}

pub fn positions(net: &mut Net) -> Option<Val> {
    let x = net.float()?;
    let axis = net.axis(&x)?;
    let keep = net.one_in(2);
    let op = *net.one_of(&["ArgMax", "ArgMin"]);
    let mut like = x.clone().of(Kind::I, (x.dims[axis] - 1) as f64);
    if keep {
        like.dims[axis] = 1;
    } else {
        like.dims.remove(axis);
        like.batch = x.batch.map(|batch| if batch > axis { batch - 1 } else { batch });
    }
    let at = net.signed(axis, x.rank());
    let mut attributes = vec![("axis", Attr::Int(at)), ("keepdims", Attr::Int(keep.into()))];
    if net.one_in(4) {
        attributes.push(("select_last_index", Attr::Int(1)));
    }
    Some(net.emit(op, &[&x], attributes, like))
}

pub fn top(net: &mut Net) -> Option<Val> {
    let x = net.float()?;
    let axis = net.axis(&x)?;
    if x.dims[axis] > 17 {
        return None;
    }
    let count = 1 + net.below(x.dims[axis].min(4));
    let k = net.ints(&[count as i64]);
    let (mut values, at) = (x.clone(), net.signed(axis, x.rank()));
    values.dims[axis] = count;
    let ids = values.clone().of(Kind::I, (x.dims[axis] - 1) as f64);
    let mut attributes = vec![("axis", Attr::Int(at))];
    if net.one_in(2) {
        attributes.push(("largest", Attr::Int(0)));
    }
    let both = net.several("TopK", &[&x, &k], attributes, vec![Some(values), Some(ids)]);
    net.values.extend(both.iter().cloned());
    both.into_iter().next()
}

pub fn cumulative(net: &mut Net) -> Option<Val> {
    let x = net.float()?;
    let axis = net.axis(&x)?;
    let at = net.signed(axis, x.rank());
    let at = net.int_tensor(&[], &[at]);
    let (exclusive, reverse) = (net.below(2) as i64, net.below(2) as i64);
    let attributes = vec![("exclusive", Attr::Int(exclusive)), ("reverse", Attr::Int(reverse))];
    let most = x.most * x.dims[axis] as f64;
    Some(net.emit("CumSum", &[&x, &at], attributes, x.clone().of(Kind::F, most)))
}

pub fn layer_norm(net: &mut Net) -> Option<Val> {
    let x = net.record()?;
    if x.rank() < 2 {
        return None;
    }
    let axis = 1 + net.below(x.rank() - 1);
    let dims = x.dims[axis..].to_vec();
    let at = net.signed(axis, x.rank());
    let mut attributes = vec![("axis", Attr::Int(at))];
    if net.one_in(2) {
        attributes.push(("epsilon", Attr::Float(0.01)));
    }
    let scale = net.weight(&dims);
    let like = x.clone().of(Kind::F, 6.0);
    if net.opset >= 23 && net.one_in(2) {
        return Some(net.emit("RMSNormalization", &[&x, &scale], attributes, like));
    }
    if net.opset < 17 {
        return None;
    }
    let bias = if net.one_in(2) { net.parameter(&dims) } else { Val::none() };
    Some(net.emit("LayerNormalization", &[&x, &scale, &bias], attributes, like))
}

pub fn channel_norm(net: &mut Net) -> Option<Val> {
    let rank = 3 + net.below(2);
    let x = net.of_rank(rank)?;
    let channels = x.dims[1];
    let like = x.clone().of(Kind::F, 6.0);
    let parameter = |net: &mut Net| net.parameter(&[channels]);
    match net.below(4) {
        0 => {
            let (scale, bias) = (parameter(net), parameter(net));
            Some(net.emit("InstanceNormalization", &[&x, &scale, &bias], vec![], like))
        }
        1 => {
            let groups: Vec<usize> = (1..=channels).filter(|groups| channels.is_multiple_of(*groups)).collect();
            let groups = *net.one_of(&groups);
            if net.opset < 21 {
                return None;
            }
            let (scale, bias) = (parameter(net), parameter(net));
            let attributes = vec![("num_groups", Attr::Int(groups as i64))];
            Some(net.emit("GroupNormalization", &[&x, &scale, &bias], attributes, like))
        }
        2 => {
            let (scale, bias) = (parameter(net), parameter(net));
            let (mean, variance) = (net.constant(&[channels], -0.5, 0.5), net.constant(&[channels], 0.5, 1.5));
            Some(net.emit("BatchNormalization", &[&x, &scale, &bias, &mean, &variance], vec![], x.clone()))
        }
        _ => {
            let size = 1 + 2 * net.below(3) as i64;
            let attributes = vec![("size", Attr::Int(size)), ("alpha", Attr::Float(0.3)), ("beta", Attr::Float(0.6))];
            if x.rank() != 4 {
                return None;
            }
            Some(net.emit("LRN", &[&x], attributes, x.clone()))
        }
    }
}

pub fn vector_norm(net: &mut Net) -> Option<Val> {
    let x = net.float()?;
    let axis = net.axis(&x)?;
    if net.one_in(2) {
        // Statistics of channels of an image, each record's own.
        let x = net.of_rank(4)?;
        let attributes = vec![("axes", Attr::Ints(vec![2, 3]))];
        if x.dims[2] * x.dims[3] < 3 {
            return None;
        }
        // Equal elements have no variance to be divided by.
        let x = net.within(&x, 2.0);
        let apart = net.constant(&x.dims[1..], -1.0, 1.0);
        let x = net.hidden("Add", &[&x, &apart], vec![], x.clone().of(Kind::F, 3.0));
        return Some(net.emit("MeanVarianceNormalization", &[&x], attributes, x.clone().of(Kind::F, 6.0)));
    }
    let x = net.positive(&x);
    let (at, p) = (net.signed(axis, x.rank()), 1 + net.below(2) as i64);
    let attributes = vec![("axis", Attr::Int(at)), ("p", Attr::Int(p))];
    Some(net.emit("LpNormalization", &[&x], attributes, x.clone().of(Kind::F, 1.0)))
}

pub fn linear(net: &mut Net) -> Option<Val> {
    let x = net.record()?;
    if x.rank() < 2 {
        return None;
    }
    let (k, m) = (*x.dims.last()?, net.size());
    let mut dims = x.dims.clone();
    *dims.last_mut()? = m;
    if !Net::fits(&dims) || k * m > 1500 {
        return None;
    }
    let x = net.within(&x, 8.0);
    let like = x.with(dims).of(Kind::F, x.most * (k as f64).sqrt());
    if x.rank() == 2 && net.one_in(2) {
        let turned = net.one_in(2);
        let weight = if turned { net.weight(&[m, k]) } else { net.weight(&[k, m]) };
        let bias = match net.below(4) {
            0 => Val::none(),
            1 => net.parameter(&[]),
            2 => net.parameter(&[1, m]),
            _ => net.parameter(&[m]),
        };
        let mut attributes = vec![("transB", Attr::Int(turned.into()))];
        if net.one_in(3) {
            attributes.extend([("alpha", Attr::Float(0.7)), ("beta", Attr::Float(1.3))]);
        }
        return Some(net.emit("Gemm", &[&x, &weight, &bias], attributes, like));
    }
    // A matrix, or one for each of the axes between.
    let matrices = if x.rank() > 2 && net.one_in(4) { x.dims[1..x.rank() - 2].to_vec() } else { vec![] };
    let weight = net.weight(&[matrices.as_slice(), &[k, m]].concat());
    let product = net.emit("MatMul", &[&x, &weight], vec![], like);
    if net.one_in(2) {
        let bias = net.parameter(&[m]);
        return Some(net.emit("Add", &[&product, &bias], vec![], product.clone()));
    }
    Some(product)
}

/// A product of two values of records.
pub fn product(net: &mut Net) -> Option<Val> {
    let x = net.of_rank(3)?;
    let y = net.pick(|y| {
        y.kind == Kind::F && y.leads() && y.rank() == 3 && (y.dims[2] == x.dims[2] || y.dims[1] == x.dims[2])
    });
    let (x, y) = (net.within(&x, 3.0), y.unwrap_or_else(|| x.clone()));
    let y = net.within(&y, 3.0);
    let most = x.most * y.most * (x.dims[2] as f64).sqrt();
    let dims = |n: usize| vec![1, x.dims[1], n];
    if y.dims[2] == x.dims[2] {
        let dims = dims(y.dims[1]);
        if !Net::fits(&dims) {
            return None;
        }
        let like = x.with(dims).of(Kind::F, most);
        if net.one_in(2) {
            let equation = vec![("equation", Attr::Text("bik,bjk->bij"))];
            return Some(net.emit("Einsum", &[&x, &y], equation, like));
        }
        let turned = y.with(vec![1, y.dims[2], y.dims[1]]);
        let turned = net.hidden("Transpose", &[&y], vec![("perm", Attr::Ints(vec![0, 2, 1]))], turned);
        return Some(net.emit("MatMul", &[&x, &turned], vec![], like));
    }
    let dims = dims(y.dims[2]);
    Net::fits(&dims).then(|| net.emit("MatMul", &[&x, &y], vec![], x.with(dims).of(Kind::F, most)))
}

pub fn einsum(net: &mut Net) -> Option<Val> {
    let x = net.of_rank(3)?;
    let x = net.within(&x, 5.0);
    let (t, d, m) = (x.dims[1], x.dims[2], net.small());
    if t * d > 200 {
        return None;
    }
    let (equation, weights, dims): (&str, Vec<Val>, Vec<usize>) = match net.below(6) {
        0 => ("btd,dm->btm", vec![net.weight(&[d, m])], vec![1, t, m]),
        1 => ("btd,td->bt", vec![net.weight(&[t, d])], vec![1, t]),
        2 => ("btd,dm,m->bt", vec![net.weight(&[d, m]), net.parameter(&[m])], vec![1, t]),
        3 => ("btd->bdt", vec![], vec![1, d, t]),
        4 => ("btd->b", vec![], vec![1]),
        _ => ("...d,md->...m", vec![net.weight(&[m, d])], vec![1, t, m]),
    };
    let operands: Vec<&Val> = std::iter::once(&x).chain(&weights).collect();
    let most = x.most * (t * d) as f64;
    let like = x.with(dims).of(Kind::F, most);
    Some(net.emit("Einsum", &operands, vec![("equation", Attr::Text(equation))], like))
}
