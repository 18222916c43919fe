//! Windows over images, recurrences and attention.

use super::net::{Attr, Kind, Net, Val};

/// An image of 1 to 3 spatial axes, no larger than a convolution by loops should be.
fn image(net: &mut Net) -> Option<Val> {
    let rank = *net.one_of(&[3, 3, 4, 4, 5]);
    let x = net.of_rank(rank)?;
    (x.len() <= 300).then_some(x)
}

/// What a window is like along each spatial axis.
struct Sliding {
    kernel: Vec<i64>,
    strides: Vec<i64>,
    dilations: Vec<i64>,
    pads: Vec<i64>,
    out: Vec<usize>,
}

fn sliding(net: &mut Net, sizes: &[usize], dilates: bool) -> Option<Sliding> {
    let n = sizes.len();
    let mut window = Sliding { kernel: vec![], strides: vec![], dilations: vec![], pads: vec![0; 2 * n], out: vec![] };
    for (k, &size) in sizes.iter().enumerate() {
        let kernel = 1 + net.below(3);
        let dilation = if dilates && net.one_in(3) { 2 } else { 1 };
        let stride = 1 + net.below(2) + usize::from(net.one_in(5));
        let reach = dilation * (kernel - 1) + 1;
        // A window never lies in the padding alone.
        let most = kernel.min(2) - 1;
        let pads = [net.below(most + 1), net.below(most + 1)];
        let padded = size + pads[0] + pads[1];
        if padded < reach || dilation > 1 && pads != [0, 0] {
            return None;
        }
        window.kernel.push(kernel as i64);
        window.strides.push(stride as i64);
        window.dilations.push(dilation as i64);
        (window.pads[k], window.pads[n + k]) = (pads[0] as i64, pads[1] as i64);
        window.out.push((padded - reach) / stride + 1);
    }
    Some(window)
}

impl Sliding {
    fn attributes(&self, dilates: bool) -> Vec<(&'static str, Attr<'static>)> {
        let mut all = vec![
            ("kernel_shape", Attr::Ints(self.kernel.clone())),
            ("strides", Attr::Ints(self.strides.clone())),
            ("pads", Attr::Ints(self.pads.clone())),
        ];
        if dilates {
            all.push(("dilations", Attr::Ints(self.dilations.clone())));
        }
        all
    }
}

pub fn conv(net: &mut Net) -> Option<Val> {
    let x = image(net)?;
    let window = sliding(net, &x.dims[2..], true)?;
    let channels = x.dims[1];
    let divisors: Vec<usize> = (1..=channels).filter(|groups| channels.is_multiple_of(*groups)).collect();
    let groups = if net.one_in(2) { 1 } else { *net.one_of(&divisors) };
    let out = groups * (1 + net.below(3));
    let kernel: Vec<usize> = window.kernel.iter().map(|&n| n as usize).collect();
    let taps: usize = kernel.iter().product::<usize>() * channels / groups;
    let dims = [&[1, out], window.out.as_slice()].concat();
    if !Net::fits(&dims) || dims.iter().product::<usize>() * taps > 6000 {
        return None;
    }
    let x = net.within(&x, 6.0);
    let weight = net.weight(&[&[out, channels / groups], kernel.as_slice()].concat());
    let bias = if net.one_in(2) { net.parameter(&[out]) } else { Val::none() };
    let mut attributes = window.attributes(true);
    attributes.push(("group", Attr::Int(groups as i64)));
    let (mut dims, taps) = (dims, taps);
    if net.one_in(5) && window.dilations.iter().all(|&dilation| dilation == 1) {
        attributes.retain(|(name, _)| *name != "pads");
        let side = *net.one_of(&["SAME_UPPER", "SAME_LOWER"]);
        attributes.push(("auto_pad", Attr::Text(side)));
        let sizes = x.dims[2..].iter().zip(&window.strides);
        dims.splice(2.., sizes.map(|(size, &stride)| size.div_ceil(stride as usize)));
    }
    let like = x.with(dims).of(Kind::F, x.most * (taps as f64).sqrt() + 1.0);
    Some(net.emit("Conv", &[&x, &weight, &bias], attributes, like))
}

pub fn conv_transpose(net: &mut Net) -> Option<Val> {
    let x = image(net)?;
    let channels = x.dims[1];
    let divisors: Vec<usize> = (1..=channels).filter(|groups| channels.is_multiple_of(*groups)).collect();
    let groups = if net.one_in(2) { 1 } else { *net.one_of(&divisors) };
    let own = 1 + net.below(2);
    let n = x.rank() - 2;
    let (mut kernel, mut strides, mut pads, mut sizes, mut added) = (vec![], vec![], vec![0; 2 * n], vec![], vec![]);
    for (k, &size) in x.dims[2..].iter().enumerate() {
        let (taps, stride) = (1 + net.below(3), 1 + net.below(2));
        let extra = if stride > 1 { net.below(2) } else { 0 };
        let whole = (size - 1) * stride + taps + extra;
        let pad = if whole > 2 && taps > 1 { net.below(2) } else { 0 };
        pads[k] = pad as i64;
        kernel.push(taps);
        strides.push(stride as i64);
        added.push(extra as i64);
        sizes.push(whole - pad);
    }
    let dims = [&[1, groups * own], sizes.as_slice()].concat();
    let taps = kernel.iter().product::<usize>() * channels;
    if !Net::fits(&dims) || dims.iter().product::<usize>() * taps > 6000 {
        return None;
    }
    let x = net.within(&x, 6.0);
    let weight = net.weight(&[&[channels, own], kernel.as_slice()].concat());
    let bias = if net.one_in(2) { net.parameter(&[groups * own]) } else { Val::none() };
    let attributes = vec![
        ("kernel_shape", Attr::Ints(kernel.iter().map(|&n| n as i64).collect())),
        ("strides", Attr::Ints(strides)),
        ("pads", Attr::Ints(pads)),
        ("output_padding", Attr::Ints(added)),
        ("group", Attr::Int(groups as i64)),
    ];
    let like = x.with(dims).of(Kind::F, x.most * (taps as f64).sqrt() + 1.0);
    Some(net.emit("ConvTranspose", &[&x, &weight, &bias], attributes, like))
}

pub fn pool(net: &mut Net) -> Option<Val> {
    let x = image(net)?;
    let op = *net.one_of(&["MaxPool", "MaxPool", "AveragePool", "AveragePool", "LpPool"]);
    let dilates = op == "MaxPool";
    let window = sliding(net, &x.dims[2..], dilates)?;
    let dims = [&x.dims[..2], window.out.as_slice()].concat();
    if !Net::fits(&dims) {
        return None;
    }
    let mut attributes = window.attributes(dilates);
    let mut operand = x.clone();
    let mut window = window;
    if op == "MaxPool" && net.one_in(4) && window.dilations.iter().all(|&dilation| dilation == 1) {
        // The last window begins within the image or the padding before it.
        for (k, &size) in x.dims[2..].iter().enumerate() {
            let (kernel, stride) = (window.kernel[k] as usize, window.strides[k] as usize);
            let (before, after) = (window.pads[k] as usize, window.pads[x.rank() - 2 + k] as usize);
            let mut out = (size + before + after - kernel).div_ceil(stride) + 1;
            if (out - 1) * stride >= size + before {
                out -= 1;
            }
            window.out[k] = out;
        }
        attributes.push(("ceil_mode", Attr::Int(1)));
    }
    let dims = [&x.dims[..2], window.out.as_slice()].concat();
    match op {
        "AveragePool" => attributes.push(("count_include_pad", Attr::Int(net.below(2) as i64))),
        "LpPool" => {
            attributes.push(("p", Attr::Int(2)));
            operand = net.positive(&x);
        }
        _ => {}
    }
    let like = operand.with(dims).of(Kind::F, operand.most * 6.0);
    Some(net.emit(op, &[&operand], attributes, like))
}

pub fn global_pool(net: &mut Net) -> Option<Val> {
    let x = image(net)?;
    let op = *net.one_of(&["GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"]);
    let x = if op == "GlobalLpPool" { net.positive(&x) } else { x };
    let dims = [&x.dims[..2], vec![1; x.rank() - 2].as_slice()].concat();
    let like = x.with(dims).of(Kind::F, x.most * 6.0);
    Some(net.emit(op, &[&x], vec![], like))
}

pub fn resize(net: &mut Net) -> Option<Val> {
    let x = net.of_rank(4)?;
    let nearest = net.one_in(3);
    let size = |net: &mut Net, size: usize| match nearest {
        // Halfway between two elements, rounding decides: an exact scale leaves no doubt.
        true => *net.one_of(&[size, 2 * size, if size.is_multiple_of(2) { size / 2 } else { size }]),
        false => 1 + net.below(2 * size.min(8) + 1),
    };
    let sizes: Vec<usize> = x.dims[2..].iter().map(|&own| size(net, own)).collect();
    let dims = [&x.dims[..2], sizes.as_slice()].concat();
    if !Net::fits(&dims) || net.opset < 19 || x.dims[2..].iter().any(|&size| size > 40) {
        return None;
    }
    let near: &[(&str, &str)] = &[("nearest", "asymmetric"), ("nearest", "half_pixel")];
    let between: &[(&str, &str)] =
        &[("linear", "half_pixel"), ("linear", "align_corners"), ("linear", "asymmetric"), ("cubic", "half_pixel")];
    let &(mode, coordinates) = net.one_of(if nearest { near } else { between });
    let to = net.ints(&sizes.iter().map(|&size| size as i64).collect::<Vec<_>>());
    let none = Val::none();
    let mut attributes = vec![
        ("mode", Attr::Text(mode)),
        ("coordinate_transformation_mode", Attr::Text(coordinates)),
        ("axes", Attr::Ints(vec![2, 3])),
    ];
    if mode == "nearest" {
        attributes.push(("nearest_mode", Attr::Text("floor")));
    }
    let like = x.with(dims).of(Kind::F, 1.5 * x.most);
    // What comes of a single element between others is the same but for rounding, which would decide what is largest.
    let alike = !nearest && x.dims[2..].iter().zip(&sizes).any(|(&own, &size)| own == 1 && size > 1);
    if !alike {
        return Some(net.emit("Resize", &[&x, &none, &none, &to], attributes, like));
    }
    let resized = net.hidden("Resize", &[&x, &none, &none, &to], attributes, like);
    let apart = net.parameter(&sizes);
    let like = resized.clone();
    Some(net.emit("Add", &[&resized, &apart], vec![], like.of(Kind::F, 1.5 * x.most + 1.0)))
}

pub fn blocks(net: &mut Net) -> Option<Val> {
    let x = net.of_rank(4)?;
    let (c, h, w) = (x.dims[1], x.dims[2], x.dims[3]);
    let block = 2;
    if c.is_multiple_of(4) {
        let mode = *net.one_of(&["DCR", "CRD"]);
        let attributes = vec![("blocksize", Attr::Int(2)), ("mode", Attr::Text(mode))];
        return Some(net.emit("DepthToSpace", &[&x], attributes, x.with(vec![1, c / 4, h * block, w * block])));
    }
    (h.is_multiple_of(2) && w.is_multiple_of(2)).then(|| {
        net.emit("SpaceToDepth", &[&x], vec![("blocksize", Attr::Int(2))], x.with(vec![1, c * 4, h / 2, w / 2]))
    })
}

pub fn recurrence(net: &mut Net) -> Option<Val> {
    let x = net.of_rank(3)?;
    let (steps, width) = (x.dims[1], x.dims[2]);
    if steps > 7 || width > 17 {
        return None;
    }
    let x = net.within(&x, 4.0);
    let &(op, gates) = net.one_of(&[("LSTM", 4), ("GRU", 3), ("RNN", 1)]);
    let hidden = *net.one_of(&[1, 2, 3, 5]);
    let direction = *net.one_of(&["forward", "reverse", "bidirectional"]);
    let directions = if direction == "bidirectional" { 2 } else { 1 };
    // Steps first, as ONNX has it by default.
    let turned = Val { dims: vec![steps, 1, width], batch: Some(1), ..x.clone() };
    let turned = net.hidden("Transpose", &[&x], vec![("perm", Attr::Ints(vec![1, 0, 2]))], turned);
    let w = net.parameter(&[directions, gates * hidden, width]);
    let r = net.parameter(&[directions, gates * hidden, hidden]);
    let b = if net.one_in(3) { Val::none() } else { net.parameter(&[directions, 2 * gates * hidden]) };
    let mut attributes = vec![("hidden_size", Attr::Int(hidden as i64)), ("direction", Attr::Text(direction))];
    if op == "GRU" && net.one_in(2) {
        attributes.push(("linear_before_reset", Attr::Int(1)));
    }
    if op == "RNN" && net.one_in(2) {
        attributes.push(("activations", Attr::Texts(vec!["Relu"; directions])));
    }
    if op == "LSTM" && net.one_in(4) {
        attributes.push(("input_forget", Attr::Int(1)));
    }
    // Every record's own length.
    let lengths = match net.one_in(4) {
        true => {
            let lengths = net.input(Kind::I, &[], 1.0, steps as f64 + 1.0);
            net.hidden("Cast", &[&lengths], vec![("to", Attr::Int(6))], lengths.clone())
        }
        false => Val::none(),
    };
    let peepholes = if op == "LSTM" && net.one_in(3) { net.parameter(&[directions, 3 * hidden]) } else { Val::none() };
    let none = Val::none();
    let operands = [&turned, &w, &r, &b, &lengths, &none, &none, &peepholes];
    let operands = if op == "LSTM" { &operands[..] } else { &operands[..6] };
    let all = Val { dims: vec![steps, directions, 1, hidden], batch: Some(2), ..x.clone() };
    let last = Val { dims: vec![directions, 1, hidden], batch: Some(1), ..x.clone() };
    let mut like = vec![Some(all.of(Kind::F, 1.0)), Some(last.clone().of(Kind::F, 1.0))];
    if op == "LSTM" {
        like.push(Some(last.of(Kind::F, 3.0)));
    }
    let results = net.several(op, operands, attributes, like);
    net.values.extend(results.iter().cloned());
    // Records first again.
    let perm = vec![("perm", Attr::Ints(vec![2, 0, 1, 3]))];
    let dims = vec![1, steps, directions, hidden];
    let first = Val { dims, batch: Some(0), ..results[0].clone() };
    Some(net.emit("Transpose", &[&results[0]], perm, first))
}

pub fn attention(net: &mut Net) -> Option<Val> {
    let x = net.of_rank(3)?;
    let (t, width) = (x.dims[1], x.dims[2]);
    if net.opset < 23 || t > 13 || width > 40 {
        return None;
    }
    let divisors: Vec<usize> = (1..=width).filter(|heads| width.is_multiple_of(*heads)).collect();
    let heads = *net.one_of(&divisors);
    let x = net.within(&x, 2.0);
    let divisors: Vec<usize> = (1..=heads).filter(|own| heads.is_multiple_of(*own)).collect();
    let of_keys = *net.one_of(&divisors);
    let mut projected = vec![];
    for heads_of in [heads, of_keys, of_keys] {
        let own = width / heads * heads_of;
        let weight = net.weight(&[width, own]);
        let like = x.with(vec![1, t, own]).of(Kind::F, 5.0);
        projected.push(net.hidden("MatMul", &[&x, &weight], vec![], like));
    }
    let causal = net.below(2) as i64;
    let mut attributes = vec![
        ("q_num_heads", Attr::Int(heads as i64)),
        ("kv_num_heads", Attr::Int(of_keys as i64)),
        ("is_causal", Attr::Int(causal)),
    ];
    if net.one_in(3) {
        attributes.push(("softcap", Attr::Float(1.7)));
    }
    if net.one_in(3) {
        projected.push(net.parameter(&[t, t]));
    }
    let operands: Vec<&Val> = projected.iter().collect();
    Some(net.emit("Attention", &operands, attributes, x.clone().of(Kind::F, 5.0)))
}

pub fn rotary(net: &mut Net) -> Option<Val> {
    let x = net.of_rank(4)?;
    let (t, width) = (x.dims[2], x.dims[3]);
    if net.opset < 23 || !width.is_multiple_of(2) {
        return None;
    }
    let (cos, sin) = (net.constant(&[t, width / 2], -1.0, 1.0), net.constant(&[t, width / 2], -1.0, 1.0));
    // Each record has the same positions.
    let ids = net.input(Kind::I, &[t], 0.0, t as f64);
    let attributes = vec![("interleaved", Attr::Int(net.below(2) as i64))];
    Some(net.emit("RotaryEmbedding", &[&x, &cos, &sin, &ids], attributes, x.clone().of(Kind::F, 2.0 * x.most)))
}

/// Losses of each record.
pub fn loss(net: &mut Net) -> Option<Val> {
    let x = net.pick(|value| {
        value.kind == Kind::F && value.leads() && (value.rank() == 2 || value.rank() == 3) && value.dims[1] > 1
    })?;
    let (classes, rest) = (x.dims[1], x.dims[2..].to_vec());
    let labels = net.input(Kind::I, &rest, 0.0, classes as f64);
    let x = net.within(&x, 15.0);
    let like = x.with([&[1], rest.as_slice()].concat()).of(Kind::F, x.most + 5.0);
    let weights = if net.one_in(3) { net.constant(&[classes], 0.5, 2.0) } else { Val::none() };
    let attributes = || vec![("reduction", Attr::Text("none"))];
    if net.one_in(2) {
        let log = net.hidden("LogSoftmax", &[&x], vec![("axis", Attr::Int(1))], x.clone());
        return Some(net.emit("NegativeLogLikelihoodLoss", &[&log, &labels, &weights], attributes(), like));
    }
    Some(net.emit("SoftmaxCrossEntropyLoss", &[&x, &labels, &weights], attributes(), like))
}
