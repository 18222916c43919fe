// Labels that count: those of a class, other than the ignored one.

fn counts(label: i32) -> bool {
    return label != params.ignore && label >= 0 && u32(label) < params.classes;
}

// How many labels of record n count; every invocation of the workgroup calls it.
fn counted(n: u32, lane: u32) -> f32 {
    var share = 0.0;
    for (var t = lane; t < params.tokens; t += LANES) {
        share += select(0.0, 1.0, counts(label[n * params.tokens + t]));
    }
    return total(lane, share);
}

// The largest logit of the row at `base`, and Σ exp(logit − largest); of log-probabilities, 0 and 1.
fn softmax_parts(base: u32, lane: u32) -> vec2<f32> {
    if (LOG_PROBABILITIES) {
        return vec2<f32>(0.0, 1.0);
    }
    var top = logits[base];
    for (var k = lane; k < params.classes; k += LANES) {
        top = max(top, logits[base + k]);
    }
    top = largest(lane, top);
    var share = 0.0;
    for (var k = lane; k < params.classes; k += LANES) {
        share += exp_(logits[base + k] - top);
    }
    return vec2<f32>(top, total(lane, share));
}
